//! Summaries of samples: median and percentiles with an interval, mean and deviation.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Resamples of [`Samples::median_interval`]: enough for ends at 2.5 and 97.5 %.
const RESAMPLES: usize = 1000;

/// What disturbs a run makes it longer: one that took this part more than the fastest tenth was disturbed.
const CALM: f64 = 0.05;

/// So many samples have a median with an interval of 95 %: the least and the most of five hold it in 93.75 %.
pub const ENOUGH: usize = 6;

/// A set of finite samples, at least one, in ascending order.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    sorted: Vec<f64>,
}

/// An interval, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Samples {
    /// The samples in any order; none if there are none or one isn't finite.
    pub fn new(mut values: Vec<f64>) -> Option<Self> {
        if values.is_empty() || values.iter().any(|v| !v.is_finite()) {
            return None;
        }
        values.sort_by(f64::total_cmp);
        Some(Self { sorted: values })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest.
    pub fn least(&self) -> f64 {
        self.sorted[0]
    }

    /// The largest.
    pub fn most(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }

    /// The percentile `p` in 0..=100, between neighbours in proportion.
    pub fn percentile(&self, p: f64) -> f64 {
        percentile(&self.sorted, p)
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    /// The most that a run took that nothing disturbed: 5 % above the tenth percentile.
    pub fn calm(&self) -> f64 {
        self.percentile(10.0) * (1.0 + CALM)
    }

    /// The median of the runs that nothing disturbed.
    pub fn calm_median(&self) -> f64 {
        let calm = self.sorted.partition_point(|v| *v <= self.calm());
        percentile(&self.sorted[..calm.max(1)], 50.0)
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.sorted.iter().sum::<f64>() / self.count() as f64
    }

    /// The standard deviation of the population that these are a sample of (n - 1); none of one.
    pub fn deviation(&self) -> Option<f64> {
        let degrees = self.count().checked_sub(1).filter(|n| *n > 0)?;
        let mean = self.mean();
        let squares: f64 = self.sorted.iter().map(|v| (v - mean).powi(2)).sum();
        Some((squares / degrees as f64).sqrt())
    }

    /// The 95 % interval of the median by bootstrap (Efron's percentile method); the same for the
    /// same samples.
    pub fn median_interval(&self) -> Interval {
        let mut rng = ChaCha8Rng::seed_from_u64(self.count() as u64);
        let n = self.count() as u64;
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                // Sorted indices give a sorted resample.
                let mut picks: Vec<usize> =
                    (0..n).map(|_| ((u64::from(rng.next_u32()) * n) >> 32) as usize).collect();
                picks.sort_unstable();
                let resample: Vec<f64> = picks.into_iter().map(|i| self.sorted[i]).collect();
                percentile(&resample, 50.0)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        Interval { low: percentile(&medians, 2.5), high: percentile(&medians, 97.5) }
    }
}

/// What the first of each pair took more than the second, where nothing disturbed either; of all pairs where
/// fewer than [`ENOUGH`] are calm, and their interval then tells how little that says.
pub fn differences(pairs: &[(f64, f64)]) -> Vec<f64> {
    let limit = |of: fn(&(f64, f64)) -> f64| Samples::new(pairs.iter().map(of).collect()).map(|s| s.calm());
    let Some((first, second)) = limit(|p| p.0).zip(limit(|p| p.1)) else { return Vec::new() };
    let calm: Vec<_> = pairs.iter().filter(|p| p.0 <= first && p.1 <= second).collect();
    let used = if calm.len() < ENOUGH { pairs.iter().collect() } else { calm };
    used.into_iter().map(|p| p.0 - p.1).collect()
}

fn percentile(sorted: &[f64], p: f64) -> f64 {
    let place = p.clamp(0.0, 100.0) / 100.0 * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = place.ceil() as usize;
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples::new(values.to_vec()).unwrap()
    }

    #[test]
    fn hand_counted_summaries() {
        let s = samples(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!((s.least(), s.median(), s.most(), s.mean()), (1.0, 2.5, 4.0, 2.5));
        assert_eq!((s.percentile(0.0), s.percentile(25.0), s.percentile(100.0)), (1.0, 1.75, 4.0));
        assert!((s.deviation().unwrap() - (5.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn disturbed_runs_do_not_move_the_calm_median() {
        // Two thirds of them took half as long again.
        let walls: Vec<f64> =
            (0..30).map(|i| if i % 3 == 0 { 100.0 + i as f64 / 10.0 } else { 150.0 }).collect();
        let s = samples(&walls);
        assert!((100.0..103.0).contains(&s.calm_median()) && s.median() == 150.0, "{s:?}");
        assert!((105.0..107.0).contains(&s.calm()), "{}", s.calm());
        assert_eq!(samples(&[7.0]).calm_median(), 7.0);
        // Where nothing is disturbed it is the median.
        assert_eq!(samples(&[100.0, 101.0, 102.0]).calm_median(), 101.0);
    }

    #[test]
    fn disturbed_pairs_tell_nothing() {
        let mut pairs: Vec<(f64, f64)> = (0..8).map(|i| (100.0 + f64::from(i) / 10.0, 60.0)).collect();
        // A first and a second run that were disturbed: these pairs would say 90 and 10.
        pairs.extend([(150.0, 60.0), (100.0, 90.0)]);
        let took = differences(&pairs);
        assert_eq!(took.len(), 8);
        assert!(took.iter().all(|took| (40.0..41.0).contains(took)), "{took:?}");
        // Where calm ones are too few, all tell what little they do.
        assert_eq!(differences(&pairs[6..]).len(), 4);
        assert_eq!(differences(&[(1.0, 1.5), (1.2, 1.0), (1.5, 1.2)]).len(), 3);
        assert_eq!(differences(&[]), [0.0; 0]);
    }

    #[test]
    fn one_sample_has_no_deviation_and_a_point_for_an_interval() {
        let s = samples(&[7.0]);
        assert_eq!((s.median(), s.deviation()), (7.0, None));
        assert_eq!(s.median_interval(), Interval { low: 7.0, high: 7.0 });
    }

    #[test]
    fn no_summary_of_nothing_or_of_infinity() {
        for bad in [vec![], vec![1.0, f64::NAN], vec![f64::INFINITY]] {
            assert_eq!(Samples::new(bad), None);
        }
    }

    #[test]
    fn the_interval_holds_the_median_and_narrows_with_more_samples() {
        let spread = |n: usize| {
            // A fixed scramble of 0..n, scaled to 0..1.
            let s = samples(&(0..n).map(|i| (i * 37 % n) as f64 / n as f64).collect::<Vec<_>>());
            let i = s.median_interval();
            assert!(i.low <= s.median() && s.median() <= i.high, "{i:?}");
            i.high - i.low
        };
        // The median's standard error of uniform samples is 1 / (2 sqrt n): 95 % is 1.96 times that.
        let (few, many) = (spread(101), spread(1601));
        assert!((0.12..0.28).contains(&few), "{few}");
        assert!((0.03..0.07).contains(&many), "{many}");
    }
}
