//! How long a step takes, learnt from the steps that ran.
//!
//! `time = a + b tokens + c pairs`, where a pair is a query and a key that it sees: launches and
//! waiting, weights and arithmetic of the linear layers, attention. The three are fitted to the
//! steps that ran, the latest counting most (recursive least squares with forgetting; Ljung 1999,
//! section 11.2), since clocks, neighbours and contexts change.

use std::time::Duration;

/// What a step computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepWork {
    /// Tokens.
    pub tokens: u64,
    /// Queries times the keys that each sees.
    pub pairs: u64,
}

impl StepWork {
    /// Adds `len` tokens of one sequence, the first of them at position `start`.
    #[must_use]
    pub fn with(self, start: u64, len: u64) -> Self {
        Self { tokens: self.tokens + len, pairs: self.pairs + len * start + len * (len + 1) / 2 }
    }

    /// Of like size, so that the fit is well conditioned.
    fn features(self) -> [f64; 3] {
        [1.0, self.tokens as f64 / 64.0, self.pairs as f64 / 65536.0]
    }
}

/// Weight of a step against the one after it.
const FORGETTING: f64 = 0.98;
/// Nothing is known before the first step: a variance far above any coefficient's.
const PRIOR: f64 = 1e4;
/// What is left of the largest late overrun after another step. A bound on the longest of many steps is kept
/// by the worst of them, not by the mean.
const FADING: f64 = 0.99;
/// The least overrun that is reckoned with: no fit is better than its machine is steady.
const MARGIN: f64 = 0.2;
/// Tokens of a prompt while nothing is known.
const FIRST: u64 = 16;
/// Tokens of a prompt that a step has at least, or prompts would starve.
pub const LEAST: u64 = 4;

/// The fit.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// Seconds per feature.
    theta: [f64; 3],
    covariance: [[f64; 3]; 3],
    steps: u64,
    /// The most tokens of a step so far: the fit isn't believed beyond twice that.
    largest: u64,
    /// Mean error of late, relative to the prediction.
    error: f64,
    /// The largest overrun of late, relative to the prediction.
    overrun: f64,
}

impl Default for StepTime {
    fn default() -> Self {
        let row = |i: usize| std::array::from_fn(|j| if i == j { PRIOR } else { 0.0 });
        Self {
            theta: [0.0; 3],
            covariance: std::array::from_fn(row),
            steps: 0,
            largest: 0,
            error: 0.0,
            overrun: 0.0,
        }
    }
}

impl StepTime {
    /// Takes in a step that ran.
    pub fn observe(&mut self, work: StepWork, time: Duration) {
        let y = time.as_secs_f64();
        if self.steps >= 4 {
            let expected = self.seconds(work).max(1e-6);
            let late = ((y - expected) / expected).min(1.0);
            self.error += 0.1 * (late.abs() - self.error);
            self.overrun = late.max(FADING * self.overrun);
        }
        let x = work.features();
        // Errors are judged relative to the step's time, or long steps alone would count.
        let scale = y.max(1e-6);
        let x = x.map(|v| v / scale);
        let p = self.covariance;
        let px: [f64; 3] = std::array::from_fn(|i| (0..3).map(|j| p[i][j] * x[j]).sum());
        let spread: f64 = FORGETTING + (0..3).map(|i| x[i] * px[i]).sum::<f64>();
        let gain = px.map(|v| v / spread);
        let residual = 1.0 - (0..3).map(|i| self.theta[i] * x[i]).sum::<f64>();
        for i in 0..3 {
            self.theta[i] += gain[i] * residual;
            for j in 0..3 {
                self.covariance[i][j] = (p[i][j] - gain[i] * px[j]) / FORGETTING;
            }
            // A direction that no step varies must not forget without end.
            if self.covariance[i][i] > PRIOR {
                *self = Self { covariance: Self::default().covariance, ..self.clone() };
            }
        }
        self.steps += 1;
        self.largest = self.largest.max(work.tokens);
    }

    fn seconds(&self, work: StepWork) -> f64 {
        let x = work.features();
        (0..3).map(|i| self.theta[i].max(0.0) * x[i]).sum()
    }

    /// The time of a step, if any has run.
    pub fn predict(&self, work: StepWork) -> Option<Duration> {
        (self.steps > 0).then(|| Duration::from_secs_f64(self.seconds(work).clamp(0.0, 1e6)))
    }

    /// Steps taken in.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Mean relative error of the latest predictions.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// How many tokens of a prompt, from position `start` on, may join a step of `base` that is to stay
    /// below `limit`: [`LEAST`] at least.
    pub fn tokens_within(&self, limit: Duration, base: StepWork, start: u64) -> u64 {
        if self.steps == 0 {
            return FIRST;
        }
        let limit = limit.as_secs_f64() / (1.0 + self.overrun.max(MARGIN));
        let most = (2 * self.largest).max(FIRST);
        let (mut low, mut high) = (LEAST, most);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if self.seconds(base.with(start, middle)) <= limit {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(work: StepWork) -> Duration {
        Duration::from_secs_f64(2e-3 + 1e-4 * work.tokens as f64 + 2e-8 * work.pairs as f64)
    }

    #[test]
    fn pairs_count_every_key_that_a_query_sees() {
        assert_eq!(StepWork::default().with(0, 3), StepWork { tokens: 3, pairs: 1 + 2 + 3 });
        assert_eq!(StepWork::default().with(10, 2), StepWork { tokens: 2, pairs: 11 + 12 });
    }

    #[test]
    fn a_device_is_learnt_and_followed() {
        let mut model = StepTime::default();
        assert_eq!(model.predict(StepWork::default()), None);
        let limit = Duration::from_millis(30);
        let mut start = 0;
        let mut longest = Duration::ZERO;
        // A prompt beside eight decodes, in chunks as the model allows them.
        for step in 0..200 {
            let base = (0..8).fold(StepWork::default(), |work, i| work.with(100 + step + i, 1));
            let chunk = model.tokens_within(limit, base, start);
            assert!(chunk >= LEAST);
            let work = base.with(start, chunk);
            start = (start + chunk) % 4000;
            let time = device(work);
            longest = longest.max(time);
            model.observe(work, time);
        }
        assert!(longest <= limit.mul_f64(1.25), "{longest:?}");
        let probe = StepWork::default().with(2000, 150);
        let (got, want) = (model.predict(probe).unwrap().as_secs_f64(), device(probe).as_secs_f64());
        assert!((got / want - 1.0).abs() < 0.05, "{got} {want}");
        assert!(model.error() < 0.05, "{}", model.error());
        // One that is late now and then leaves room for it, and comes back.
        let chunk = |model: &StepTime| model.tokens_within(limit, StepWork::default(), 1000);
        let (usual, mut late) = (chunk(&model), model.clone());
        let work = StepWork::default().with(1000, usual);
        late.observe(work, device(work).mul_f64(1.4));
        assert!(chunk(&late) < usual * 4 / 5, "{} {usual}", chunk(&late));
        (0..100).for_each(|_| late.observe(work, device(work)));
        assert!(chunk(&late) > usual * 9 / 10, "{} {usual}", chunk(&late));
        // A device that became three times slower is noticed within a few steps.
        for _ in 0..40 {
            let chunk = model.tokens_within(limit, StepWork::default(), 1000);
            let work = StepWork::default().with(1000, chunk);
            model.observe(work, 3 * device(work));
        }
        let work = StepWork::default().with(1000, model.tokens_within(limit, StepWork::default(), 1000));
        assert!(3 * device(work) <= limit.mul_f64(1.25), "{work:?}");
    }

    #[test]
    fn nothing_is_believed_far_beyond_what_ran() {
        let mut model = StepTime::default();
        for i in 0..50 {
            let work = StepWork::default().with(i, 1);
            model.observe(work, device(work));
        }
        assert!(model.tokens_within(Duration::from_secs(100), StepWork::default(), 0) <= FIRST);
    }
}
