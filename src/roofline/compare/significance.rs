//! Whether two medians differ by more than their noise.
//!
//! A report gives each median with its 95 % interval, by bootstrap. On a logarithmic scale, where a
//! ratio is a difference, half an interval is 1.96 standard errors; two medians' difference over both
//! errors would be a normal deviate if the errors were exact. They are estimates, from few samples, so it is
//! taken for one of Student's t, with the degrees of freedom that Welch (1947) gives to several errors.
//! Many rows are compared at once, so that p values are held to Holm's levels (Holm 1979), which keep the
//! chance of any false alarm below alpha.

use crate::roofline::report::{KernelRow, Range, TimedBy};

/// Half a 95 % interval in standard errors.
const HALF: f64 = 1.959_964;

/// The samples of a row whose report doesn't say: older ones judged from so many on.
const FEWEST: u64 = 5;

/// The degrees of freedom of an interval's width are this times the root of the samples: the spacing of
/// ordered samples, which the width is, is off by one over the fourth root of them. Source: ours, as many as a
/// simulation of equal reports allows (the tests have it).
const DEGREES: f64 = 1.5;

/// A variance and how well it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Spread {
    variance: f64,
    /// Its own variance, as the sum over its parts of their squares over their degrees of freedom.
    doubt: f64,
}

impl Spread {
    fn plus(self, other: Self) -> Self {
        Self { variance: self.variance + other.variance, doubt: self.doubt + other.doubt }
    }

    fn times(self, by: f64) -> Self {
        Self { variance: self.variance * by.powi(2), doubt: self.doubt * by.powi(4) }
    }
}

/// The logarithm of a time, and its error; none if one sample was all there was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Medians {
    log: f64,
    error: Option<Spread>,
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
        let (mut sum, mut spread) = (0.0, Some(Spread::default()));
        for row in rows {
            Self::of(row)?;
            let time = row.calls as f64 * row.time()?;
            sum += time;
            spread = spread.zip(error(row)).map(|(all, e)| all.plus(e.times(time)));
        }
        (sum > 0.0).then(|| Self { log: sum.ln(), error: spread.map(|all| all.times(1.0 / sum)) })
    }
}

fn error(row: &KernelRow) -> Option<Spread> {
    let Range { low, high } = row.interval_ns?;
    let variance = ((high / low).ln() / (2.0 * HALF)).powi(2);
    let degrees = DEGREES * (row.samples.unwrap_or(FEWEST).max(1) as f64).sqrt();
    // A simulated time has no noise; else, an interval that is a point is one of too few samples.
    let told = variance > 0.0 || row.timed_by == TimedBy::Simulated;
    told.then_some(Spread { variance, doubt: variance.powi(2) / degrees })
}

/// The chance that two medians of the same distribution differ so; none where nothing tells.
pub(super) fn p(a: Option<Medians>, b: Option<Medians>) -> Option<f64> {
    let (a, b) = (a?, b?);
    let error = a.error?.plus(b.error?);
    let difference = (b.log - a.log).abs();
    if difference == 0.0 {
        return Some(1.0);
    }
    let t = difference / error.variance.sqrt().max(f64::MIN_POSITIVE);
    Some(two_sided(if error.doubt > 0.0 { deviate(t, error.variance.powi(2) / error.doubt) } else { t }))
}

/// The normal deviate that is as rare as Student's t of so many degrees of freedom: D. L. Wallace, Annals of
/// Mathematical Statistics 30 (1959), off by less than a tenth of p from 6 degrees on (two rows have
/// as many).
fn deviate(t: f64, degrees: f64) -> f64 {
    (degrees * (t * t / degrees).ln_1p()).sqrt() * (8.0 * degrees + 1.0) / (8.0 * degrees + 3.0)
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
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;
    use crate::profile::stats::Samples;
    use crate::roofline::sample;

    /// A measured row with this median and this half of its interval, as a part of the median.
    fn row(median: f64, half: f64) -> KernelRow {
        let mut row = sample::report().kernels[0].clone();
        (row.timed_by, row.samples) = (TimedBy::InsidePass, Some(60));
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
    fn few_degrees_of_freedom_make_great_deviates_of_student_s_more_likely() {
        // The tables' two-sided quantiles.
        for (degrees, t, p) in [
            (6.0, 2.447, 0.05),
            (6.0, 5.959, 0.001),
            (10.0, 2.228, 0.05),
            (10.0, 4.587, 0.001),
            (20.0, 2.086, 0.05),
            (20.0, 3.850, 0.001),
        ] {
            let found = two_sided(deviate(t, degrees));
            assert!((found / p - 1.0).abs() < 0.1, "{degrees} {t}: {found}");
        }
    }

    #[test]
    fn a_difference_within_the_noise_is_none() {
        let chance = |a, b| p(Medians::of(&a), Medians::of(&b)).unwrap();
        assert!(chance(row(100.0, 0.05), row(103.0, 0.05)) > 0.3);
        assert!(chance(row(100.0, 0.05), row(150.0, 0.05)) < 1e-6);
        assert!(chance(row(100.0, 0.001), row(103.0, 0.001)) < 1e-6);
        // At the edge: 1.96 joint errors apart, where so many samples leave no doubt of the errors.
        let apart = 100.0 * (0.02_f64.ln_1p() * 2f64.sqrt()).exp();
        let of = |samples| {
            let of = |median| KernelRow { samples, ..row(median, 0.02) };
            chance(of(100.0), of(apart))
        };
        assert!((of(Some(1_000_000)) - 0.05).abs() < 1e-3);
        // Fewer samples leave more chance to noise, and who doesn't say is taken to have had the fewest.
        assert!(of(Some(60)) > 0.051 && of(Some(6)) > of(Some(60)) && of(None) > of(Some(6)));
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
        let (one, sum) = (one.error.unwrap(), sum.error.unwrap());
        assert!((sum.variance.sqrt() - one.variance.sqrt() / 2.0).abs() < 1e-12);
        // Four errors together are known with four times the degrees of freedom.
        let degrees = |e: Spread| e.variance.powi(2) / e.doubt;
        assert!((degrees(sum) / degrees(one) - 4.0).abs() < 1e-9);
    }

    /// A row of so many samples of a time with 3 % of noise.
    fn sampled(rng: &mut ChaCha8Rng, n: u64) -> KernelRow {
        let mut uniform = || (f64::from(rng.next_u32()) + 0.5) / 2f64.powi(32);
        let normal = |u: f64, v: f64| (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let samples = (0..n).map(|_| 100.0 * (0.03 * normal(uniform(), uniform())).exp()).collect();
        let samples = Samples::new(samples).unwrap();
        let (median, interval) = (samples.median(), samples.median_interval());
        let mut row = row(median, 0.0);
        (row.samples, row.interval_ns) = (Some(n), Some(Range { low: interval.low, high: interval.high }));
        row
    }

    #[test]
    fn reports_that_differ_by_noise_alone_raise_an_alarm_in_one_of_twenty() {
        for n in [6, 7, 21] {
            let mut rng = ChaCha8Rng::seed_from_u64(n);
            let pool: Vec<KernelRow> = (0..300).map(|_| sampled(&mut rng, n)).collect();
            for rows in [12, 60] {
                // A step of so many rows in two reports: the rows and their sums are one family.
                let alarm = |rng: &mut ChaCha8Rng| {
                    let mut pick = || &pool[rng.next_u32() as usize % pool.len()];
                    let pairs: Vec<_> = (0..rows).map(|_| (pick(), pick())).collect();
                    let sum = p(
                        Medians::sum(pairs.iter().map(|(a, _)| *a)),
                        Medians::sum(pairs.iter().map(|(_, b)| *b)),
                    );
                    let each = pairs.iter().map(|(a, b)| p(Medians::of(a), Medians::of(b)));
                    let all: Vec<_> = each.chain([sum]).collect();
                    holm(&all, 0.05).contains(&true)
                };
                let families = 2000;
                let alarms = (0..families).filter(|_| alarm(&mut rng)).count();
                let rate = alarms as f64 / families as f64;
                println!("{n} samples, {rows} rows: {rate}");
                assert!(rate <= 0.065, "{n} samples, {rows} rows: {rate}");
            }
        }
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
