//! `ridgepoint explain`: predicts what each knob would gain, turns it, measures again, and prints
//! prediction against outcome.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::Global;
use super::roofline::{
    By, Config, Knob, LEAST_BUDGET, Meter, Predicted, Predictions, Prompt, Reformat, SHORTEN, SetupArgs,
    budgets, knobs, main_formats, predict, time,
};

/// Predict which knob gains most, turn it, and measure whether it did
#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    setup: SetupArgs,
    /// Sequences decoded at once, before any knob is turned
    #[arg(long, short = 'b', default_value_t = 1, value_name = "SEQUENCES")]
    batch: usize,
    /// Tokens of each sequence, before any knob is turned [default: 1024, or the model's whole context]
    #[arg(long, value_name = "TOKENS")]
    context: Option<usize>,
    /// Explain a prompt of so many tokens in steps of --max-num-batched-tokens instead, whose knob is that
    /// budget
    #[arg(long, short = 'p', value_name = "TOKENS", conflicts_with_all = ["batch", "context", "most_sequences"])]
    prefill: Option<usize>,
    /// The most sequences that a batch may have [default: 8, or --batch if that is more]
    #[arg(long, value_name = "SEQUENCES")]
    most_sequences: Option<usize>,
    /// Turn every knob, not only the best
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A knob's prediction and outcome.
#[derive(Debug, Serialize)]
struct Outcome {
    knob: &'static str,
    change: String,
    /// `growth` or `ceilings`: what the prediction rests on.
    by: By,
    /// The step as it is, in turn with the changed one: what both figures below go by.
    before_step_ns: f64,
    predicted_step_ns: f64,
    measured_step_ns: f64,
    predicted_gain: f64,
    measured_gain: f64,
    /// Time a token saved, measured over predicted; none where nothing was predicted to be saved.
    saved_over_predicted: Option<f64>,
}

/// Most steps of a prompt: each is run many times.
const MOST_STEPS: usize = 1 << 16;

/// The sizes that a knob leads to, and the wall clocks of before and after, ns.
type Turned = (Config, (f64, f64));

#[derive(Debug, Serialize)]
struct Explanation {
    schema_version: u32,
    step: String,
    step_ns: f64,
    tokens: usize,
    outcomes: Vec<Outcome>,
    /// Predicted but not turned.
    not_turned: Vec<String>,
    /// Neither, and why.
    not_predicted: Vec<String>,
}

impl Explain {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let explanation = match self.prefill {
            Some(tokens) => self.prompt(global, tokens)?,
            None => self.decode(global)?,
        };
        let mut out = std::io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &explanation)?;
            writeln!(out)?;
            return Ok(());
        }
        print(&mut out, &explanation)
    }

    fn decode(&self, global: &Global) -> anyhow::Result<Explanation> {
        let context = match self.context {
            Some(context) => context,
            None => self.setup.context_length(global)?.min(1024),
        };
        let most = self.most_sequences.unwrap_or(self.batch.max(8));
        anyhow::ensure!(most > 0, "--most-sequences 0: expected at least 1");
        if self.batch == 0 || self.batch > most {
            anyhow::bail!("--batch {}: expected 1 to --most-sequences, which is {most}", self.batch);
        }
        let base = Config { tokens: 1, sequences: self.batch, context };
        let widest = Config { sequences: most, ..base };
        let mut prepared = self.setup.without_budget()?.prepare(global, &[base, widest])?;
        let roof = prepared.device.roof();
        let all = knobs(base, most, &main_formats(&prepared.model.formats));
        anyhow::ensure!(
            !all.is_empty(),
            "{}: there is no knob to turn at these sizes: expected a batch of at most half of --most-sequences, which is {most}, a context of at least {}, or weights in a format larger than the smallest here",
            base.name(),
            SHORTEN,
        );
        let mut meter = prepared.meter()?;
        if !global.quiet {
            eprintln!("measuring {}", base.name());
        }
        let step = meter.measure(base)?;
        let predictions = predict(&mut meter, &roof, &step, base, all)?;
        let explanation = Explanation::new(base.name(), step.wall, base.sequences);
        // In turn with the base, so that a machine that changes its pace changes both.
        self.turn(global, explanation, &predictions, base, &mut |knob| match *knob {
            Knob::Config { to, .. } => Ok((to, meter.compare(base, to)?)),
            Knob::Weights { from, to } => Ok((base, self.reformatted(global, &mut meter, base, (from, to))?)),
            Knob::Budget { from, to } => Ok((base, meter.prompts(from, to)?)),
        })
    }

    /// A prompt, whose knob is the budget of its steps.
    fn prompt(&self, global: &Global, tokens: usize) -> anyhow::Result<Explanation> {
        let context = self.setup.context_length(global)?;
        anyhow::ensure!(
            (1..=context).contains(&tokens),
            "--prefill {tokens}: expected 1 to {context} tokens, which is the model's context"
        );
        let budget = self.setup.step_tokens()?.min(tokens);
        let prompt = Prompt { tokens, budget };
        let steps = tokens.div_ceil(budget);
        anyhow::ensure!(
            steps <= MOST_STEPS,
            "{}: {steps} steps, expected at most {MOST_STEPS}: give a larger --max-num-batched-tokens",
            prompt.name()
        );
        anyhow::ensure!(
            !prompt.knobs().is_empty(),
            "{}: there is no knob to turn at these sizes: expected a prompt of at least {} tokens, in steps of at least 2",
            prompt.name(),
            2 * LEAST_BUDGET
        );
        let whole = Prompt { budget: tokens, ..prompt };
        let mut prepared = self.setup.prepare(global, &[prompt.steps(), whole.steps()].concat())?;
        let roof = prepared.device.roof();
        let mut meter = prepared.meter()?;
        if !global.quiet {
            eprintln!("measuring {}", prompt.name());
        }
        let step = meter.measure(prompt.typical())?;
        let (wall, _) = meter.prompts(prompt, prompt)?;
        let predictions = budgets(&mut meter, &roof, &step, prompt, wall)?;
        let explanation = Explanation::new(prompt.name(), wall, tokens);
        let base = Config { tokens, sequences: 1, context: tokens };
        self.turn(global, explanation, &predictions, base, &mut |knob| match *knob {
            Knob::Budget { from, to } => Ok((base, meter.prompts(from, to)?)),
            Knob::Config { .. } | Knob::Weights { .. } => {
                anyhow::bail!("a prompt has no such knob: {knob:?}")
            }
        })
    }

    /// Turns the best knob, or all: `measure` gives the sizes that a knob leads to, and the wall clocks of
    /// before and after.
    fn turn(
        &self,
        global: &Global,
        mut explanation: Explanation,
        predictions: &Predictions,
        base: Config,
        measure: &mut dyn FnMut(&Knob) -> anyhow::Result<Turned>,
    ) -> anyhow::Result<Explanation> {
        let withheld = predictions.withheld.iter().map(|(knob, why)| format!("{}: {why}", knob.change(base)));
        explanation.not_predicted = withheld.collect();
        if predictions.made.is_empty() {
            anyhow::bail!(
                "no prediction can be made ({}); where that is for noise, try again on a quieter machine, or with more --seconds",
                explanation.not_predicted.join("; ")
            );
        }
        let turned = if self.all { predictions.made.len() } else { 1 };
        for p in &predictions.made {
            let change = p.knob.change(base);
            if explanation.outcomes.len() >= turned {
                explanation
                    .not_turned
                    .push(format!("{change}: {:.2} times the tokens a second predicted", p.gain));
                continue;
            }
            if !global.quiet {
                eprintln!("turning: {change}");
            }
            let (to, (before, after)) = measure(&p.knob)?;
            explanation.outcomes.push(outcome(p, base, to, explanation.step_ns, before, after));
        }
        Ok(explanation)
    }
}

impl Explanation {
    fn new(step: String, step_ns: f64, tokens: usize) -> Self {
        let (outcomes, not_turned, not_predicted) = Default::default();
        Self { schema_version: 1, step, step_ns, tokens, outcomes, not_turned, not_predicted }
    }
}

impl Explain {
    /// Wall clocks of a step with the weights as they are and in another format, in turn.
    fn reformatted(
        &self,
        global: &Global,
        meter: &mut Meter<'_>,
        base: Config,
        change: Reformat,
    ) -> anyhow::Result<(f64, f64)> {
        let mut other = self.setup.prepare_in(global, &[base], Some(change))?;
        meter.against(&mut other.meter()?, base)
    }
}

/// `before` and `after` were measured in turn; the prediction is scaled to the pace of then.
fn outcome(p: &Predicted, base: Config, to: Config, at_first: f64, before: f64, after: f64) -> Outcome {
    let predicted = p.wall * before / at_first;
    let token = |wall: f64, config: Config| wall / config.sequences as f64;
    let saved = |wall: f64| token(before, base) - token(wall, to);
    Outcome {
        knob: p.knob.name(),
        change: p.knob.change(base),
        by: p.by,
        before_step_ns: before,
        predicted_step_ns: predicted,
        measured_step_ns: after,
        predicted_gain: p.gain,
        measured_gain: token(before, base) / token(after, to),
        saved_over_predicted: (saved(predicted) > 0.0).then(|| saved(after) / saved(predicted)),
    }
}

fn print(out: &mut impl Write, e: &Explanation) -> anyhow::Result<()> {
    writeln!(out, "{} takes {} ({} a token)", e.step, time(e.step_ns), time(e.step_ns / e.tokens as f64))?;
    for o in &e.outcomes {
        writeln!(out)?;
        writeln!(out, "{}", o.change)?;
        writeln!(
            out,
            "  takes: {} before, predicted {}, measured {}",
            time(o.before_step_ns),
            time(o.predicted_step_ns),
            time(o.measured_step_ns)
        )?;
        writeln!(out, "  predicted {}", o.by.words())?;
        let saved = o.saved_over_predicted;
        writeln!(
            out,
            "  tokens a second: predicted {:.2} times, measured {:.2} times{}",
            o.predicted_gain,
            o.measured_gain,
            saved.map_or(String::new(), |saved| format!("; time saved over predicted: {saved:.2}"))
        )?;
    }
    for line in &e.not_turned {
        writeln!(out)?;
        writeln!(out, "not turned: {line}")?;
    }
    for line in &e.not_predicted {
        writeln!(out)?;
        writeln!(out, "not predicted: {line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_compares_time_a_token() {
        let base = Config { tokens: 1, sequences: 1, context: 64 };
        let to = Config { sequences: 4, ..base };
        let p =
            Predicted { knob: Knob::Config { name: "batch", to }, wall: 200.0, gain: 2.0, by: By::Growth };
        // The machine runs at half the pace by now: 100 ns at first are 200 now, and so is all else.
        let o = outcome(&p, base, to, 100.0, 200.0, 400.0);
        assert_eq!((o.predicted_step_ns, o.measured_gain, o.saved_over_predicted), (400.0, 2.0, Some(1.0)));
        // Measured 480: 120 ns a token instead of 100, of 200 before.
        assert_eq!(outcome(&p, base, to, 100.0, 200.0, 480.0).saved_over_predicted, Some(0.8));
    }
}
