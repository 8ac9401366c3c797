//! Ceilings: the fastest that this device was seen to do one thing.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::probe::{Error, PROBES, Probe, Rig, Unit};
use super::slope::{Budget, Repeat, Slope, batch, slope};
use crate::gpu::Gpu;
use crate::units::Nanos;

/// Windows agree within this part of the faster one.
const AGREE: f64 = 0.05;

/// Windows at most.
const MOST_WINDOWS: usize = 4;

/// A dispatch is made this long where the probe allows it, so that launching it is small.
const LONG: Nanos = Nanos(2_000_000);

/// Variants are compared by runs of about this.
const TRIAL: Nanos = Nanos(20_000_000);
/// Runs of each variant when variants are compared.
const TRIALS: usize = 4;

/// A measured ceiling.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ceiling {
    /// Its name, such as `fma_f32`.
    pub name: &'static str,
    /// The unit of the three figures.
    pub unit: Unit,
    /// The fastest window.
    pub value: f64,
    /// The slowest that any window gave, with any one draw left out.
    pub low: f64,
    /// The fastest that the kept window gives with any one draw left out.
    pub high: f64,
    /// The shader and variant that gave it.
    pub probe: String,
    /// How far windows agreed.
    pub windows: Windows,
}

/// Whether a measurement repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Windows {
    /// The two fastest of so many agreed within 5 %.
    Agreed(usize),
    /// So many were tried and no two agreed: the machine was busy, and the figure may be low.
    Scattered(usize),
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

fn ceiling(gpu: &Gpu, probe: &dyn Probe, budget: Budget) -> Result<Ceiling, Error> {
    let mut rigs = probe.rigs(gpu)?;
    let start = Instant::now();
    let fastest = fastest(gpu, &mut rigs)?;
    let noisy = || Error::Noisy { name: probe.name() };
    let rig = rigs.swap_remove(fastest.ok_or_else(noisy)?);
    drop(rigs);
    let mut running = rig.on(gpu);
    let repeats = batch(&mut running)?;
    // The trials have warmed the device too.
    warm_up(&mut running, repeats, budget.warm_up().saturating_sub(start.elapsed()))?;
    let (windows, agreement) = windows(&mut running, repeats, budget.draws())?;
    let figure = |seconds: f64| probe.unit().figure(rig.work(), seconds);
    let best = windows.first().ok_or_else(noisy)?;
    let slowest = windows.iter().map(|w| w.most).fold(best.most, f64::max);
    Ok(Ceiling {
        name: probe.name(),
        unit: probe.unit(),
        value: figure(best.seconds),
        low: figure(slowest).min(figure(best.least)),
        high: figure(slowest).max(figure(best.least)),
        probe: rig.program.label(),
        windows: agreement,
    })
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

/// Windows until the two fastest agree, the fastest first. Windows lost in noise are not among them.
fn windows(what: &mut dyn Repeat, repeats: u32, draws: usize) -> Result<(Vec<Slope>, Windows), Error> {
    let mut found: Vec<Slope> = Vec::new();
    for tried in 1..=MOST_WINDOWS {
        found.extend(slope(what, repeats, draws)?);
        found.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        if let [first, second, ..] = found[..]
            && second.seconds <= first.seconds * (1.0 + AGREE)
        {
            return Ok((found, Windows::Agreed(tried)));
        }
    }
    Ok((found, Windows::Scattered(MOST_WINDOWS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu;

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
        let (found, agreement) = windows(&mut Clocked(vec![2000, 2000, 2000, 2000, 1000]), 1000, 2).unwrap();
        assert_eq!(agreement, Windows::Agreed(3));
        assert!(
            (found[0].seconds - 1e-6).abs() < 1e-12 && (found[2].seconds - 2e-6).abs() < 1e-12,
            "{found:?}"
        );
    }

    #[test]
    fn windows_that_never_agree_say_so() {
        let clocks = [1000, 1200, 1500, 2000].into_iter().flat_map(|c| [c; 4]).collect();
        let (found, agreement) = windows(&mut Clocked(clocks), 1000, 2).unwrap();
        assert_eq!((found.len(), agreement), (4, Windows::Scattered(4)));
        assert!((found[0].seconds - 1e-6).abs() < 1e-12);
    }

    #[test]
    fn noise_alone_is_no_window() {
        // Each T(n) takes as long as each T(2n).
        let clocks = [2000, 1000].into_iter().cycle().take(4 * 2 * MOST_WINDOWS).collect();
        assert_eq!(windows(&mut Clocked(clocks), 1000, 2).unwrap().0, vec![]);
    }
}
