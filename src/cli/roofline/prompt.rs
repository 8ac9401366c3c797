//! A prompt in steps of a token budget: what another budget is predicted to gain, and what it gains.

use super::knobs::{By, Knob, Predicted, Predictions};
use super::meter::{Config, Meter, in_turn};
use crate::model::Profile;
use crate::roofline::{Baseline, MeasuredStep, Overlap, Roof, grouped};

/// A prompt of so many tokens in steps of at most so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens.
    pub tokens: usize,
    /// Those of a step.
    pub budget: usize,
}

/// A smaller budget is no knob: its steps are decodes in all but name.
pub const LEAST_BUDGET: usize = 8;

impl Prompt {
    /// `prefill 512 in steps of 128`.
    pub fn name(self) -> String {
        format!("prefill {} in steps of {}", self.tokens, self.budget)
    }

    /// Its steps, in their order.
    pub fn steps(self) -> Vec<Config> {
        let starts = (0..self.tokens).step_by(self.budget);
        let ends = starts.map(|start| (start, (start + self.budget).min(self.tokens)));
        ends.map(|(start, end)| Config { tokens: end - start, sequences: 1, context: end }).collect()
    }

    /// The step that its kernels are timed in: the last that is as large as the budget.
    pub fn typical(self) -> Config {
        let context = self.tokens / self.budget * self.budget;
        Config { tokens: self.budget, sequences: 1, context }
    }

    /// The same prompt with other budgets.
    pub fn knobs(self) -> Vec<Knob> {
        let larger = [2, 4].map(|by| (self.budget * by).min(self.tokens));
        let budgets = larger.into_iter().chain([self.budget / 2, self.budget / 4]);
        let mut found: Vec<usize> = budgets.filter(|b| *b >= LEAST_BUDGET && *b != self.budget).collect();
        found.dedup();
        found.into_iter().map(|budget| Knob::Budget { from: self, to: Self { budget, ..self } }).collect()
    }
}

/// What each budget would gain on a prompt that takes `wall`, by the rows of its typical step.
pub fn budgets(
    meter: &mut Meter<'_>,
    roof: &Roof,
    step: &MeasuredStep,
    prompt: Prompt,
    wall: f64,
) -> anyhow::Result<Predictions> {
    let overlap = if meter.runner.gpu.adapter.is_software() { Overlap::Shared } else { Overlap::Apart };
    let base = Baseline::new(step, roof, overlap);
    let mut found = Predictions::default();
    for knob in prompt.knobs() {
        let Knob::Budget { to, .. } = knob else { continue };
        let mut sum = |prompt: Prompt| -> anyhow::Result<Result<f64, String>> {
            let base = match &base {
                Ok(base) => base,
                Err(weakness) => return Ok(Err(weakness.clone())),
            };
            let mut sum = Ok(0.0);
            for config in prompt.steps() {
                let (groups, _) = grouped(&meter.describe(config)?);
                let other = || format!("other kernels would run in a step of {} tokens", config.tokens);
                sum = sum.and_then(|sum| Ok(sum + base.predict(roof, &groups).ok_or_else(other)?));
            }
            Ok(sum)
        };
        let (before, after) = (sum(prompt)?, sum(to)?);
        match before.and_then(|before| Ok((before, after?))) {
            Ok((before, after)) => {
                let (wall, gain) = (wall * after / before, before / after);
                found.made.push(Predicted { knob, wall, gain, by: By::Ceilings });
            }
            Err(why) => found.withheld.push((knob, why)),
        }
    }
    found.made.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    Ok(found)
}

impl Meter<'_> {
    /// Wall clocks of two prompts, in turn: medians, ns.
    pub fn prompts(&mut self, a: Prompt, b: Prompt) -> anyhow::Result<(f64, f64)> {
        let all = [a.steps(), b.steps()];
        let mut turns = all.iter().cycle();
        in_turn(self.budget, || {
            let steps = turns.next().into_iter().flatten();
            steps.map(|config| Ok(self.step(*config, Profile::default())?.wall().0 as f64)).sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_cut_by_its_budget() {
        let sizes = |tokens, budget| {
            let steps = Prompt { tokens, budget }.steps();
            steps.iter().map(|c| (c.tokens, c.context)).collect::<Vec<_>>()
        };
        assert_eq!(sizes(100, 40), [(40, 40), (40, 80), (20, 100)]);
        assert_eq!(sizes(40, 40), [(40, 40)]);
        let typical = Prompt { tokens: 100, budget: 40 }.typical();
        assert_eq!((typical.tokens, typical.context), (40, 80));
    }

    #[test]
    fn budgets_stay_within_the_prompt() {
        let budgets = |tokens, budget| -> Vec<usize> {
            let knobs = Prompt { tokens, budget }.knobs();
            let to = |knob: Knob| match knob {
                Knob::Budget { to, .. } => to.budget,
                _ => 0,
            };
            knobs.into_iter().map(to).collect()
        };
        assert_eq!(budgets(512, 128), [256, 512, 64, 32]);
        assert_eq!(budgets(150, 100), [150, 50, 25]);
        assert_eq!(budgets(16, 16), [8]);
        assert_eq!(budgets(8, 8), [0; 0]);
    }
}
