//! Ceilings: the fastest that this device was seen to do one thing.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::probe::{Error, PROBES, Probe, Rig, Unit};
use super::slope::{Budget, Draws, Repeat, Slope, batch};
use crate::gpu::{self, Gpu};
use crate::units::Nanos;

/// Windows agree when leaving any one out changes the figure by no more than this part.
const AGREE: f64 = 0.05;

/// Rounds over all ceilings, at least and at most.
const ROUNDS: [usize; 2] = [2, 3];

/// A dispatch is made this long where the probe allows it, so that launching it is small.
const LONG: Nanos = Nanos(2_000_000);

/// Variants are compared by runs of about this.
const TRIAL: Nanos = Nanos(20_000_000);
/// Runs of each variant when variants are compared.
const TRIALS: usize = 8;

/// A measured ceiling.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ceiling {
    /// Its name, such as `fma_f32`.
    pub name: &'static str,
    /// The unit of the three figures.
    pub unit: Unit,
    /// By the shortest runs of all windows.
    pub value: f64,
    /// The least that it is with any one window left out, or in the second fastest round.
    pub low: f64,
    /// The most that it is with any one window left out, or in the second fastest round.
    pub high: f64,
    /// The shader and variant that gave it.
    pub probe: String,
    /// How far windows agreed.
    pub windows: Windows,
}

/// Further tries at a figure that was lost in noise.
const RETRIES: usize = 3;

/// Whether a measurement repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Windows {
    /// Of so many, any one could be left out without changing the figure by more than 5 %.
    Agreed(usize),
    /// So many were tried and one still mattered: the machine was busy, and the figure may be low.
    Scattered(usize),
}

impl Windows {
    fn tried(self) -> usize {
        match self {
            Self::Agreed(tried) | Self::Scattered(tried) => tried,
        }
    }
}

/// A ceiling that can be measured as often as it takes.
pub struct Asked<'a> {
    /// Its name.
    pub name: &'static str,
    /// Measures it, from cold.
    pub measure: Box<dyn FnMut() -> Result<Ceiling, Error> + 'a>,
}

impl fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asked").field(&self.name).finish()
    }
}

/// Measures in rounds, each ceiling again after all others, until its two fastest rounds agree: what slows
/// a machine down can outlast all windows of one round. The fastest counts. What the device lacks, and what
/// is lost in noise in every round, is left out, and `progress` is told.
///
/// # Errors
/// A device that fails or runs a probe wrong.
pub fn in_rounds(asked: &mut [Asked<'_>], progress: &mut dyn FnMut(&str)) -> Result<Vec<Ceiling>, Error> {
    let mut found: Vec<Vec<Ceiling>> = vec![Vec::new(); asked.len()];
    let mut lacking: Vec<Option<Error>> = asked.iter().map(|_| None).collect();
    for round in 0..ROUNDS[1] {
        for ((asked, found), lacking) in asked.iter_mut().zip(&mut found).zip(&mut lacking) {
            let settled = round >= ROUNDS[0] && joined(found).is_some_and(|(_, agreed)| agreed);
            if settled || matches!(lacking, Some(Error::Missing { .. })) {
                continue;
            }
            let again = if round > 0 { ", again" } else { "" };
            progress(&format!("{}{again}", asked.name));
            match (asked.measure)() {
                Ok(ceiling) => found.push(ceiling),
                Err(error @ (Error::Missing { .. } | Error::Noisy { .. })) => *lacking = Some(error),
                Err(error) => return Err(error),
            }
        }
    }
    for (found, lacking) in found.iter().zip(&lacking) {
        if let (true, Some(lacking)) = (found.is_empty(), lacking) {
            progress(&lacking.to_string());
        }
    }
    Ok(found.iter().filter_map(|found| joined(found)).map(|(ceiling, _)| ceiling).collect())
}

/// The fastest round's ceiling, down to the next fastest's figure; and whether these two agree.
fn joined(rounds: &[Ceiling]) -> Option<(Ceiling, bool)> {
    let mut rounds: Vec<&Ceiling> = rounds.iter().collect();
    let speed = |c: &Ceiling| if c.unit == Unit::Nanoseconds { 1.0 / c.value } else { c.value };
    rounds.sort_by(|a, b| speed(b).total_cmp(&speed(a)));
    let (&best, rest) = rounds.split_first()?;
    let windows = rounds.iter().map(|c| c.windows.tried()).sum();
    let agreed = rest.first().is_some_and(|next| speed(best) <= speed(next) * (1.0 + AGREE));
    let next = rest.first().map_or(best.value, |next| next.value);
    let joined = Ceiling {
        low: best.low.min(next),
        high: best.high.max(next),
        windows: if agreed { Windows::Agreed(windows) } else { Windows::Scattered(windows) },
        ..best.clone()
    };
    Some((joined, agreed))
}

/// Measures the ceilings of these names ([`PROBES`]), in their order.
///
/// # Errors
/// An unknown name, a device that can't run a probe or runs it wrong, or a machine too busy.
pub fn measure(gpu: &Gpu, names: &[&str], budget: Budget) -> Result<Vec<Ceiling>, Error> {
    let find = |name: &&str| {
        let found = PROBES.iter().find(|p| p.name() == *name);
        found.ok_or_else(|| Error::Unknown { name: (*name).to_string() })
    };
    let probes = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    probes.into_iter().map(|probe| ceiling(gpu, *probe, budget)).collect()
}

/// Measures one ceiling, from cold.
///
/// # Errors
/// A device that can't run the probe or runs it wrong, or a machine too busy.
pub fn ceiling(gpu: &Gpu, probe: &dyn Probe, budget: Budget) -> Result<Ceiling, Error> {
    let mut rigs = probe.rigs(gpu)?;
    let start = Instant::now();
    let fastest = fastest(gpu, &mut rigs)?;
    let noisy = || Error::Noisy { name: probe.name() };
    let rig = rigs.swap_remove(fastest.ok_or_else(noisy)?);
    drop(rigs);
    let mut running = rig.on(gpu);
    // The trials have warmed the device too.
    let warm = budget.warm_up().saturating_sub(start.elapsed());
    let mut found = settled(&mut running, budget, warm)?;
    // A disturbance passes: only one that stays is an error.
    for _ in 0..RETRIES {
        if found.is_none() {
            found = settled(&mut running, budget, Duration::ZERO)?;
        }
    }
    let (slope, windows) = found.ok_or_else(noisy)?;
    Ok(Ceiling::new(probe.name(), probe.unit(), rig.program.label(), rig.work(), slope, windows))
}

impl Ceiling {
    /// Of so much work a repeat, and the slope that it was timed with.
    pub(super) fn new(
        name: &'static str,
        unit: Unit,
        probe: String,
        work: f64,
        slope: Slope,
        windows: Windows,
    ) -> Self {
        let [value, a, b] = [slope.seconds, slope.least, slope.most].map(|s| unit.figure(work, s));
        Self { name, unit, value, low: a.min(b), high: a.max(b), probe, windows }
    }
}

/// The slope of something repeated, warmed up first, by as many windows as it takes to settle; none if
/// it is lost in noise.
pub(super) fn settled(
    what: &mut dyn Repeat,
    budget: Budget,
    warm: Duration,
) -> Result<Option<(Slope, Windows)>, Error> {
    let repeats = batch(what)?;
    warm_up(what, repeats, warm)?;
    Ok(windows(what, repeats, budget)?)
}

/// The fastest rig by short runs in turn, the round trip included; dispatches are made long first.
pub(super) fn fastest(gpu: &Gpu, rigs: &mut [Rig]) -> Result<Option<usize>, Error> {
    let mut repeats = Vec::new();
    for rig in &mut *rigs {
        let mut took = rig.on(gpu).run(1)?;
        while rig.groups < rig.most_groups && took < LONG {
            rig.groups = rig.groups.saturating_mul(2).min(rig.most_groups);
            took = rig.on(gpu).run(1)?;
        }
        repeats.push((TRIAL.0 / took.0.max(1)).clamp(1, 64) as u32);
    }
    let mut rates = vec![0.0_f64; rigs.len()];
    for _ in 0..TRIALS {
        for ((rig, rate), n) in rigs.iter().zip(&mut rates).zip(&repeats) {
            let seconds = rig.on(gpu).run(*n)?.seconds().max(1e-9);
            *rate = rate.max(rig.work() * f64::from(*n) / seconds);
        }
    }
    for (rig, rate) in rigs.iter().zip(&rates) {
        tracing::debug!("{}: {:.1}e9 a second in trials", rig.program.label(), rate * 1e-9);
    }
    Ok((0..rigs.len()).max_by(|a, b| rates[*a].total_cmp(&rates[*b])))
}

fn warm_up(what: &mut dyn Repeat, repeats: u32, time: Duration) -> Result<(), Error> {
    let start = Instant::now();
    while start.elapsed() < time {
        what.run(repeats)?;
    }
    Ok(())
}

/// The slope of the shortest runs of all windows, of as many as it takes until none of them matters.
///
/// Whatever disturbs a run makes it longer, so the shortest of all is the nearest to the truth, and
/// more windows can only bring it nearer; the spread is what leaving any one window out does.
fn windows(
    what: &mut dyn Repeat,
    repeats: u32,
    budget: Budget,
) -> Result<Option<(Slope, Windows)>, gpu::Error> {
    let mut all: Vec<Draws> = Vec::new();
    let mut found = None;
    let [least, most] = budget.windows();
    for tried in 1..=most {
        all.push(Draws::take(what, repeats, budget.draws())?);
        if tried < least {
            continue;
        }
        let Some(best) = pooled(&all, None, repeats) else { continue };
        let without: Vec<Option<Slope>> = (0..tried).map(|i| pooled(&all, Some(i), repeats)).collect();
        let lost = without.iter().any(Option::is_none);
        // Where a window can't be left out, how far the figure would move is told by its draws.
        let draws = [best.least, best.most].into_iter().filter(|_| lost);
        let seconds = without.iter().flatten().map(|slope| slope.seconds);
        let kept: Vec<f64> = seconds.chain(draws).chain([best.seconds]).collect();
        let least = kept.iter().copied().fold(best.seconds, f64::min);
        let most = kept.iter().copied().fold(best.seconds, f64::max);
        let agreed = most <= least * (1.0 + AGREE) && !lost;
        let windows = if agreed { Windows::Agreed(tried) } else { Windows::Scattered(tried) };
        found = Some((Slope { seconds: best.seconds, least, most }, windows));
        if agreed {
            break;
        }
    }
    Ok(found)
}

/// A repeat by the shortest runs of all windows but one.
fn pooled(all: &[Draws], without: Option<usize>, repeats: u32) -> Option<Slope> {
    let kept = all.iter().enumerate().filter(|(i, _)| Some(*i) != without);
    let joined = kept.fold(Draws::default(), |joined, (_, draws)| joined.and(draws));
    joined.slope(repeats)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device whose clock changes from run to run: nanoseconds of a repeat, in turn.
    struct Clocked(Vec<u64>);

    impl Repeat for Clocked {
        fn run(&mut self, repeats: u32) -> Result<Nanos, gpu::Error> {
            let each = if self.0.len() > 1 { self.0.remove(0) } else { self.0[0] };
            Ok(Nanos(50_000 + each * u64::from(repeats)))
        }
    }

    #[test]
    fn a_window_at_a_low_clock_is_left_behind() {
        // Two draws of T(n) and T(2n) are four runs: the first window runs at half the clock.
        let mut device = Clocked(vec![2000, 2000, 2000, 2000, 1000]);
        let (slope, agreement) = windows(&mut device, 1000, Budget::Quick).unwrap().unwrap();
        assert_eq!(agreement, Windows::Agreed(3));
        assert!((slope.seconds - 1e-6).abs() < 1e-12 && slope.most - slope.least < 1e-12, "{slope:?}");
    }

    #[test]
    fn one_fast_window_is_no_agreement_until_another_repeats_it() {
        // Windows of 1500 ns a repeat, one of 1000, again 1500: leaving that one out would matter.
        let clocks = [1500, 1000, 1500].into_iter().flat_map(|c| [c; 4]).collect();
        let (slope, agreement) = windows(&mut Clocked(clocks), 1000, Budget::Quick).unwrap().unwrap();
        assert_eq!(agreement, Windows::Scattered(8));
        assert!((slope.seconds - 1e-6).abs() < 1e-12 && (slope.most - 1.5e-6).abs() < 1e-12, "{slope:?}");
        let clocks = [1500, 1000, 1500, 1000].into_iter().flat_map(|c| [c; 4]).collect();
        let (slope, agreement) = windows(&mut Clocked(clocks), 1000, Budget::Quick).unwrap().unwrap();
        assert_eq!(agreement, Windows::Agreed(4));
        assert!((slope.seconds - 1e-6).abs() < 1e-12, "{slope:?}");
    }

    fn rounds(unit: Unit, values: &[f64]) -> (Vec<Ceiling>, usize, Vec<String>) {
        let (mut asked, mut told) = (0, Vec::new());
        let measure = Box::new(|| {
            let value = *values.get(asked).expect("no round more than this");
            asked += 1;
            if value.is_nan() {
                return Err(Error::Noisy { name: "x" });
            }
            let (low, high, windows) = (0.99 * value, 1.01 * value, Windows::Agreed(3));
            Ok(Ceiling { name: "x", unit, value, low, high, probe: String::new(), windows })
        });
        let found =
            in_rounds(&mut [Asked { name: "x", measure }], &mut |what| told.push(what.to_string())).unwrap();
        (found, asked, told)
    }

    #[test]
    fn rounds_go_on_until_the_two_fastest_agree() {
        let rate = Unit::GigabytesPerSecond;
        let (found, asked, _) = rounds(rate, &[10.0, 10.3]);
        assert_eq!((found[0].value, found[0].windows, asked), (10.3, Windows::Agreed(6), 2));
        // One round of three under a neighbour's load is left behind.
        let (found, asked, _) = rounds(rate, &[7.0, 10.0, 10.2]);
        assert_eq!((found[0].value, found[0].low, asked), (10.2, 10.0, 3));
        let (found, asked, _) = rounds(rate, &[8.0, 9.0, 10.0]);
        assert_eq!((found[0].value, found[0].low, asked), (10.0, 9.0, 3));
        assert_eq!(found[0].windows, Windows::Scattered(9));
        // Of times the least is the fastest.
        let (found, ..) = rounds(Unit::Nanoseconds, &[30.0, 20.0, 20.5]);
        assert_eq!((found[0].value, found[0].high), (20.0, 20.5));
    }

    #[test]
    fn a_round_lost_in_noise_is_tried_again_and_all_of_them_are_told() {
        let rate = Unit::GigabytesPerSecond;
        let (found, asked, _) = rounds(rate, &[f64::NAN, 10.0, 10.1]);
        assert_eq!((found[0].value, asked), (10.1, 3));
        let (found, asked, told) = rounds(rate, &[f64::NAN; 3]);
        assert_eq!((found.len(), asked), (0, 3));
        assert!(told.last().unwrap().contains("could not be measured"), "{told:?}");
    }

    #[test]
    fn a_window_that_can_not_be_left_out_leaves_a_spread() {
        // The first window alone has a sound T(n) and T(2n): all others' T(n) are as long as their T(2n).
        let sound = [1000, 1000, 1100, 1100];
        let clocks = sound.into_iter().chain([4000, 2000].into_iter().cycle().take(4 * 8 - 4));
        let (slope, agreement) =
            windows(&mut Clocked(clocks.collect()), 1000, Budget::Quick).unwrap().unwrap();
        assert_eq!(agreement, Windows::Scattered(8));
        assert!(slope.most > 1.1 * slope.least, "{slope:?}");
    }

    #[test]
    fn noise_alone_is_no_window() {
        // Each T(n) takes as long as each T(2n).
        let clocks = [2000, 1000].into_iter().cycle().take(4 * 8).collect();
        assert_eq!(windows(&mut Clocked(clocks), 1000, Budget::Quick).unwrap(), None);
    }
}
