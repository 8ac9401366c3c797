//! How many dispatches go into one submission, so that none runs long enough for a driver's watchdog
//! (Windows resets a device after 2 s).
//!
//! What a dispatch takes is measured, step by step, and kept by the step's size: a dispatch of 512
//! tokens takes many times what one of a single token does. Until a size has been measured, it is
//! taken to be as slow as the nearest measured one would be if time grew with the tokens, and before
//! anything has been measured, submissions are short.

use std::time::Duration;

/// What a submission may take: an eighth of the shortest watchdog, since dispatches differ.
const BUDGET: Duration = Duration::from_millis(250);
/// Dispatches of a submission before anything is known.
const UNKNOWN: u32 = 8;

/// Measured times of dispatches by the size of their step.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// Seconds per dispatch of steps of 2^i to 2^(i+1) - 1 tokens.
    seconds: [Option<f64>; 32],
}

impl Pace {
    fn class(tokens: usize) -> usize {
        (tokens.max(1).ilog2() as usize).min(31)
    }

    /// Dispatches of a step of `tokens` tokens that may go into one submission, at least 1.
    pub fn dispatches(&self, tokens: usize) -> u32 {
        let class = Self::class(tokens);
        let known = |(i, seconds): (usize, &Option<f64>)| {
            let growth = 2_f64.powi((class as i32 - i as i32).max(0));
            seconds.map(|s| (i.abs_diff(class), s * growth))
        };
        let nearest = self.seconds.iter().enumerate().filter_map(known).min_by_key(|(distance, _)| *distance);
        nearest.map_or(UNKNOWN, |(_, seconds)| (BUDGET.as_secs_f64() / seconds.max(1e-9)).max(1.0) as u32)
    }

    /// Takes note of a step's time. A slow one counts at once, a fast one by and by.
    pub fn measured(&mut self, tokens: usize, dispatches: u32, took: Duration) {
        let now = took.as_secs_f64() / f64::from(dispatches.max(1));
        let seconds = &mut self.seconds[Self::class(tokens)];
        *seconds = Some(seconds.map_or(now, |before| now.max(0.75 * before + 0.25 * now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submissions_are_short_until_something_is_known() {
        let mut pace = Pace::default();
        assert_eq!(pace.dispatches(1), UNKNOWN);
        pace.measured(1, 100, Duration::from_millis(100));
        assert_eq!(pace.dispatches(1), 250);
        // 512 tokens may take 512 times as long.
        assert_eq!(pace.dispatches(512), 1);
        pace.measured(512, 100, Duration::from_secs(1));
        assert_eq!(pace.dispatches(600), 25);
    }

    #[test]
    fn a_slow_step_counts_at_once_and_a_dispatch_beyond_the_budget_goes_alone() {
        let mut pace = Pace::default();
        pace.measured(8, 10, Duration::from_millis(10));
        pace.measured(8, 10, Duration::from_secs(10));
        assert_eq!(pace.dispatches(8), 1);
        for _ in 0..40 {
            pace.measured(8, 10, Duration::from_millis(10));
        }
        assert!(pace.dispatches(8) > 200);
    }
}
