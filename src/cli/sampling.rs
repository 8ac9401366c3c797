//! Sampling flags, by the names that llama.cpp's and vLLM's users know.

use clap::Args;

use crate::sample::SamplingParams;

/// How tokens are chosen.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Most tokens to generate [default: until the model stops or the context is full]
    #[arg(long, short = 'n', visible_alias = "n-predict", value_name = "TOKENS")]
    pub max_tokens: Option<u32>,
    /// 0 always takes the most probable token
    #[arg(long, visible_alias = "temp", value_name = "T", default_value_t = 0.8)]
    pub temperature: f32,
    /// Keep so many of the most probable tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 40)]
    pub top_k: i64,
    /// Keep the smallest set of tokens with so much probability
    #[arg(long, value_name = "P", default_value_t = 0.95)]
    pub top_p: f32,
    /// Keep tokens at least this times as probable as the most probable one
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    pub min_p: f32,
    /// Above 1: tokens seen before become less probable
    #[arg(long, visible_alias = "repeat-penalty", value_name = "X", default_value_t = 1.0)]
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens in the answer so far
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub presence_penalty: f32,
    /// Subtracted for each occurrence in the answer so far
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub frequency_penalty: f32,
    /// Add to a token's logit; may be given several times
    #[arg(long, value_name = "ID=X", value_parser = bias, allow_hyphen_values = true)]
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed gives the same text, any whole number; without one each answer has its own
    #[arg(long, short, value_name = "N")]
    pub seed: Option<i64>,
    /// End at this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Go on past the model's end of sequence
    #[arg(long)]
    pub ignore_eos: bool,
}

/// `ID=X`.
fn bias(text: &str) -> Result<(u32, f32), String> {
    let parsed =
        text.split_once('=').and_then(|(id, x)| Some((id.trim().parse().ok()?, x.trim().parse().ok()?)));
    parsed.ok_or_else(|| format!("'{text}': expected a token id and a number, as in 42=-1.5"))
}

impl From<&SamplingArgs> for SamplingParams {
    fn from(a: &SamplingArgs) -> Self {
        Self {
            temperature: a.temperature,
            top_k: a.top_k,
            top_p: a.top_p,
            min_p: a.min_p,
            repetition_penalty: a.repetition_penalty,
            presence_penalty: a.presence_penalty,
            frequency_penalty: a.frequency_penalty,
            logit_bias: a.logit_bias.iter().copied().collect(),
            seed: a.seed.or_else(|| Some(i64::from(rand::random::<u32>()))),
            max_tokens: a.max_tokens,
            stop: a.stop.clone(),
            ignore_eos: a.ignore_eos,
            ..Self::default()
        }
    }
}
