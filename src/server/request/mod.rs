//! The one request that every API's own is turned into.

pub mod fields;
pub mod prompt;
pub mod sampling;

use fields::{Fields, Refused};
use prompt::Prompt;
use serde_json::Value;

use crate::engine::Wanted;
use crate::sample::SamplingParams;
use crate::server::app::App;
use crate::server::caps::{Cap, Caps};
use crate::server::error::ApiError;
use crate::server::running::Usage;

/// Text to be generated.
#[derive(Clone, Debug)]
pub struct Generation {
    /// What is to be continued, each `params.n` times.
    pub prompts: Vec<Prompt>,
    /// How.
    pub params: SamplingParams,
    /// What is wanted beside or instead of text.
    pub wanted: Wanted,
    /// What does not shape the text.
    pub service: ServiceFields,
}

/// Fields that say how a request is served, not what is generated.
#[derive(Clone, Debug, Default)]
pub struct ServiceFields {
    /// The model's name as the client knows it.
    pub model: String,
    /// Lower is served first.
    pub priority: i32,
    /// Only requests with equal salts share cached prefixes.
    pub salt: Option<String>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// When a stream says the tokens used.
    pub usage: TellUsage,
}

/// When a stream says the tokens used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TellUsage {
    /// Never.
    #[default]
    Never,
    /// In an event of its own at the end.
    AtEnd,
    /// There, and in every event what it is so far.
    Always,
}

/// The tokens used, as a stream tells them.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    when: TellUsage,
    so_far: Usage,
}

impl Told {
    /// Nothing used yet.
    pub fn new(when: TellUsage) -> Self {
        Self { when, so_far: Usage::default() }
    }

    /// The stream begins.
    pub fn begin(&mut self, usage: Usage) {
        self.so_far = usage;
    }

    /// So many tokens more.
    pub fn add(&mut self, tokens: usize) {
        self.so_far.completion += tokens;
    }

    /// Puts into an event what it has to say of them.
    pub fn put(&self, event: &mut Value) {
        match self.when {
            TellUsage::Never => {}
            TellUsage::AtEnd => event["usage"] = Value::Null,
            TellUsage::Always => event["usage"] = self.so_far.body(),
        }
    }

    /// What the stream ends with, if it says them at all.
    pub fn end(&self, usage: Usage) -> Option<Value> {
        (self.when != TellUsage::Never).then(|| usage.body())
    }
}

impl ServiceFields {
    /// Reads them; refuses a model that isn't served.
    ///
    /// # Errors
    /// Names the field at fault.
    pub fn read(fields: &mut Fields, app: &App) -> Result<Self, ApiError> {
        let model = app.accept(fields)?;
        let salt = app.name(fields, "cache_salt")?;
        if salt.as_ref().is_some_and(String::is_empty) {
            return Err(ApiError::field("cache_salt", "found an empty text: expected one of some bytes"));
        }
        let stream = fields.take("stream")?.unwrap_or(false);
        let mut usage = TellUsage::Never;
        if let Some(options) = fields.take("stream_options")? {
            let mut options = Fields::nested(options, "stream_options".into())?;
            let mut is_on = |name: &str| options.take(name).map(|on| on.unwrap_or(false));
            usage = match (is_on("include_usage")?, is_on("continuous_usage_stats")?) {
                (true, true) => TellUsage::Always,
                (true, false) => TellUsage::AtEnd,
                (false, false) => TellUsage::Never,
                (false, true) => {
                    let name = options.name("continuous_usage_stats");
                    return Err(ApiError::field(name, "it has no meaning without \"include_usage\": true"));
                }
            };
            options.ignore(&["include_obfuscation"]);
            options.finish(app.unknown)?;
            if !stream {
                return Err(ApiError::field("stream_options", "it has no meaning without \"stream\": true"));
            }
        }
        Ok(Self { model, priority: app.priority(fields)?, salt, stream, usage })
    }
}

/// Checks `logprobs` against its cap and puts it in.
///
/// # Errors
/// When more are asked for than the cap allows.
pub fn set_logprobs(
    params: &mut SamplingParams,
    caps: &Caps,
    field: &str,
    listed: Option<u32>,
) -> Result<(), ApiError> {
    caps.check(Cap::Logprobs, field, listed.unwrap_or(0) as usize)?;
    params.logprobs = listed;
    Ok(())
}

/// Fields that name someone or something, and change nothing here.
pub const NAMES: &[&str] = &["user", "request_id", "safety_identifier", "prompt_cache_key"];

/// Fields of the generating endpoints that change nothing here either.
pub const NEUTRAL: &[&str] = &["metadata"];

/// Whom a request is served before; it is `priority` that tells here.
pub const SERVICE_TIER: Refused = Refused {
    name: "service_tier",
    neutral: &["\"auto\"", "\"default\"", "\"standard_only\""],
    why: "there is one tier: leave it out, or send priority",
};

/// The shape of an answer.
pub const FORMAT: Refused = Refused {
    name: "format",
    neutral: &["{\"type\":\"text\"}"],
    why: "structured output is not served yet: expected {\"type\": \"text\"}",
};

/// How long an answer is to be.
pub const VERBOSITY: Refused = Refused {
    name: "verbosity",
    neutral: &["\"medium\""],
    why: "it is not served: say in the prompt how long the answer may be",
};

/// What becomes of a prompt that is too long: it is refused, which is never silent.
pub const TRUNCATE: Refused = Refused {
    name: "truncate_prompt_tokens",
    neutral: &["-1"],
    why: "it is not served: send what is to be read",
};

/// What a conversation's rendering can't honour, wherever one is rendered.
pub const CONVERSATION: &[Refused] = &[
    Refused { name: "tools", neutral: &["[]"], why: "tools are not served" },
    Refused { name: "chat_template", neutral: &[], why: "templates come from the model or the command line" },
    Refused {
        name: "chat_template_kwargs",
        neutral: &["{}"],
        why: "variables for the template are not taken",
    },
    Refused { name: "documents", neutral: &["[]"], why: "documents are not served: put them in a message" },
    Refused {
        name: "continue_final_message",
        neutral: &["false"],
        why: "it is not served: use /v1/completions",
    },
];

/// Fields that every generating endpoint knows and can't honour.
pub const UNSUPPORTED: &[Refused] = &[
    SERVICE_TIER,
    Refused { name: "store", neutral: &["false"], why: "nothing is stored: leave it out, or send false" },
    Refused { name: "use_beam_search", neutral: &["false"], why: "beam search is not served: leave it out" },
    Refused {
        name: "prompt_logprobs",
        neutral: &["0"],
        why: "it is not served: ask /v1/completions with \"echo\": true and \"logprobs\"",
    },
    Refused { name: "guided_json", neutral: &[], why: "structured output is not served yet" },
    Refused { name: "guided_regex", neutral: &[], why: "structured output is not served yet" },
    Refused { name: "guided_choice", neutral: &[], why: "structured output is not served yet" },
    Refused { name: "guided_grammar", neutral: &[], why: "structured output is not served yet" },
    Refused { name: "structured_outputs", neutral: &["{}"], why: "structured output is not served yet" },
    Refused { name: "grammar", neutral: &["\"\""], why: "structured output is not served yet" },
    Refused { name: "json_schema", neutral: &["{}"], why: "structured output is not served yet" },
    Refused { name: "response_format", ..FORMAT },
    Refused { name: "bad_words", neutral: &["[]"], why: "it is not served: use logit_bias" },
    Refused { name: "allowed_token_ids", neutral: &["[]"], why: "it is not served: use logit_bias" },
    Refused { name: "prompt_embeds", neutral: &[], why: "tensors from clients are not taken" },
    TRUNCATE,
    Refused { name: "skip_special_tokens", neutral: &["true"], why: "special tokens are never shown" },
    Refused {
        name: "typical_p",
        neutral: &["1", "1.0"],
        why: "this sampler is not served: use min_p or top_p",
    },
    Refused { name: "dry_multiplier", neutral: &["0", "0.0"], why: "this sampler is not served" },
    Refused { name: "xtc_probability", neutral: &["0", "0.0"], why: "this sampler is not served" },
    Refused {
        name: "length_penalty",
        neutral: &["1", "1.0"],
        why: "it is of beam search, which is not served",
    },
    Refused { name: "logits_processors", neutral: &["[]"], why: "code from clients is not run" },
    Refused { name: "detokenize", neutral: &["true"], why: "answers are always text" },
    Refused { name: "return_token_ids", neutral: &["false"], why: "it is not served: ask for logprobs" },
    Refused { name: "prediction", neutral: &[], why: "it is not served: leave it out" },
    Refused {
        name: "reasoning_effort",
        neutral: &["\"none\""],
        why: "how long a model thinks can't be chosen here: leave it out",
    },
    Refused {
        name: "reasoning",
        neutral: &["{}", "{\"effort\":\"none\"}", "{\"effort\":null}", "{\"enabled\":false}"],
        why: "how long a model thinks can't be chosen here: leave it out",
    },
    VERBOSITY,
    Refused {
        name: "return_tokens_as_token_ids",
        neutral: &["false"],
        why: "it is not served: ask for logprobs, whose tokens /tokenize turns into ids",
    },
    Refused { name: "mirostat", neutral: &["0"], why: "this sampler is not served: use min_p or top_p" },
];
