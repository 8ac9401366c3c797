//! Whether two medians differ by more than their noise.
//!
//! A report gives each median with its 95 % interval, by bootstrap. On a logarithmic scale, where a
//! ratio is a difference, half an interval is 1.96 standard errors; two medians' difference over both
//! errors is a normal deviate if they are the same. Many rows are compared at once, so that p values
//! are held to Holm's levels (Holm 1979), which keep the chance of any false alarm below alpha.

use crate::roofline::report::{KernelRow, Range, TimedBy};

/// Half a 95 % interval in standard errors.
const HALF: f64 = 1.959_964;

/// The logarithm of a time, and its standard error; none if one sample was all there was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Medians {
    log: f64,
    error: Option<f64>,
}

impl Medians {
    /// Of one row.
    pub fn of(row: &KernelRow) -> Option<Self> {
        let Range { low, high } = row.interval_ns?;
        let sound = low > 0.0 && high >= low && high.is_finite();
        Some(Self { log: row.time().filter(|_| sound)?.ln(), error: error(row) })
    }

    /// Of the sum of rows, each with its calls.
    pub fn sum<'a>(rows: impl Iterator<Item = &'a KernelRow>) -> Option<Self> {
        let (mut sum, mut variance) = (0.0, Some(0.0));
        for row in rows {
            Self::of(row)?;
            let time = row.calls as f64 * row.time()?;
            sum += time;
            variance = variance.zip(error(row)).map(|(v, e)| v + (time * e).powi(2));
        }
        (sum > 0.0).then(|| Self { log: sum.ln(), error: variance.map(|v| v.sqrt() / sum) })
    }
}

fn error(row: &KernelRow) -> Option<f64> {
    let Range { low, high } = row.interval_ns?;
    let error = (high / low).ln() / (2.0 * HALF);
    // A simulated time has no noise; else, an interval that is a point is one of too few samples.
    (error > 0.0 || row.timed_by == TimedBy::Simulated).then_some(error)
}

/// The chance that two medians of the same distribution differ so; none where nothing tells.
pub(super) fn p(a: Option<Medians>, b: Option<Medians>) -> Option<f64> {
    let (a, b) = (a?, b?);
    let error = a.error?.hypot(b.error?);
    let difference = (b.log - a.log).abs();
    if difference == 0.0 {
        return Some(1.0);
    }
    Some(two_sided(difference / error.max(f64::MIN_POSITIVE)))
}

/// 2 (1 - Phi(z)): erfc(z / sqrt 2) by Abramowitz & Stegun 7.1.26, off by 1.5e-7 at most.
fn two_sided(z: f64) -> f64 {
    let x = z / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let terms = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let sum = terms.iter().fold(0.0, |sum, term| (sum + term) * t);
    (sum * (-x * x).exp()).clamp(0.0, 1.0)
}

/// Which p values are significant together: the k-th smallest of m is held to alpha / (m - k + 1),
/// up to the first that isn't. Untested ones are not, and don't count.
pub(super) fn holm(p: &[Option<f64>], alpha: f64) -> Vec<bool> {
    let mut order: Vec<(usize, f64)> = p.iter().enumerate().filter_map(|(i, p)| Some((i, (*p)?))).collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut sure = vec![false; p.len()];
    let tested = order.len();
    for (k, (i, p)) in order.into_iter().enumerate() {
        if p > alpha / (tested - k) as f64 {
            break;
        }
        sure[i] = true;
    }
    sure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::sample;

    /// A measured row with this median and this half of its interval, as a part of the median.
    fn row(median: f64, half: f64) -> KernelRow {
        let mut row = sample::report().kernels[0].clone();
        row.timed_by = TimedBy::InsidePass;
        row.time_ns.as_mut().unwrap().p50 = median;
        row.interval_ns = Some(Range { low: median / (1.0 + half), high: median * (1.0 + half) });
        row
    }

    #[test]
    fn two_sided_chances_are_the_tables() {
        for (z, p) in [(0.0, 1.0), (1.0, 0.3173), (1.96, 0.05), (2.576, 0.01), (3.291, 0.001)] {
            assert!((two_sided(z) - p).abs() < 1e-4, "{z}: {}", two_sided(z));
        }
    }

    #[test]
    fn a_difference_within_the_noise_is_none() {
        let chance = |a, b| p(Medians::of(&a), Medians::of(&b)).unwrap();
        assert!(chance(row(100.0, 0.05), row(103.0, 0.05)) > 0.3);
        assert!(chance(row(100.0, 0.05), row(150.0, 0.05)) < 1e-6);
        assert!(chance(row(100.0, 0.001), row(103.0, 0.001)) < 1e-6);
        // At the edge: 1.96 joint errors apart.
        let apart = 100.0 * (0.02_f64.ln_1p() * 2f64.sqrt()).exp();
        assert!((chance(row(100.0, 0.02), row(apart, 0.02)) - 0.05).abs() < 1e-3);
    }

    #[test]
    fn one_sample_tells_nothing_and_a_simulated_time_all() {
        let (a, b) = (row(100.0, 0.0), row(200.0, 0.0));
        assert_eq!(p(Medians::of(&a), Medians::of(&b)), None);
        let simulated = |row: KernelRow| KernelRow { timed_by: TimedBy::Simulated, ..row };
        assert_eq!(p(Medians::of(&simulated(a)), Medians::of(&simulated(b))), Some(0.0));
    }

    #[test]
    fn the_noise_of_a_sum_is_less_than_its_parts() {
        let rows = vec![row(100.0, 0.1); 4];
        let (one, sum) = (Medians::of(&rows[0]).unwrap(), Medians::sum(rows.iter()).unwrap());
        assert!((sum.error.unwrap() - one.error.unwrap() / 2.0).abs() < 1e-12);
    }

    #[test]
    fn many_comparisons_are_held_to_stricter_levels() {
        let p = [Some(0.03), Some(0.001), None, Some(0.02), Some(0.6)];
        assert_eq!(holm(&p, 0.05), [false, true, false, false, false]);
        assert_eq!(holm(&p[..1], 0.05), [true]);
        // 0.001 <= 0.05 / 3, 0.02 <= 0.05 / 2, 0.03 <= 0.05 / 1.
        assert_eq!(holm(&p[..4], 0.05), [true, true, false, true]);
    }
}
