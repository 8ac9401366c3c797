//! Ceilings: the fastest that this device was seen to do one thing.

use serde::Serialize;

use super::probe::{Error, PROBES, Probe, Rig, Unit};
use super::rounds::{Asked, in_rounds};
use super::slope::{Budget, Repeat, Slope};
use crate::gpu::{self, Gpu};
use crate::units::Nanos;

/// A dispatch is made this long where the probe allows it, so that launching it is small.
const LONG: Nanos = Nanos(2_000_000);

/// Variants are compared by runs of this part of the shortest batch.
const TRIAL: f64 = 0.4;
/// Variants are compared by as many runs as fit as many of the longest batch.
const TRIALS: usize = 8;
/// Variants with this part of the fastest's rate in trials take part in the rounds: noise, and where a driver
/// puts its code, can put the better behind.
const CLOSE: f64 = 0.85;
/// At most so many of them.
const CONTENDERS: usize = 3;

/// A measured ceiling.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ceiling {
    /// Its name, such as `fma_f32`.
    pub name: &'static str,
    /// The unit of the three figures.
    pub unit: Unit,
    /// By the shortest runs of all rounds.
    pub value: f64,
    /// The least that it is with any one round left out.
    pub low: f64,
    /// The most that it is with any one round left out.
    pub high: f64,
    /// The shader and variant that gave it.
    pub probe: String,
    /// How far rounds agreed.
    pub rounds: Rounds,
}

/// Whether a measurement repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounds {
    /// Of so many, any one could be left out without changing the figure by more than 5 %.
    Agreed(usize),
    /// So many were tried and one still mattered: the machine was busy, and the figure may be low.
    Scattered(usize),
}

/// Measures the ceilings of these names ([`PROBES`]), in their order.
///
/// # Errors
/// An unknown name, a device that can't run a probe or runs it wrong, or a machine too busy.
pub fn measure(gpu: &Gpu, names: &[&str], budget: Budget) -> Result<Vec<Ceiling>, Error> {
    let find = |name: &&str| {
        let found = PROBES.iter().find(|p| p.name() == *name);
        found.copied().ok_or_else(|| Error::Unknown { name: (*name).to_string() })
    };
    let probes = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    ceilings(gpu, &probes, budget, &mut |_| {})?.into_iter().collect()
}

/// Measures the ceilings of these probes, in their order; or says why one has none: what the device lacks.
/// `progress` is told what is measured.
///
/// # Errors
/// A device that fails or runs a probe wrong.
pub fn ceilings(
    gpu: &Gpu,
    probes: &[&dyn Probe],
    budget: Budget,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Result<Ceiling, Error>>, Error> {
    let mut found: Vec<Option<Result<Ceiling, Error>>> = probes.iter().map(|_| None).collect();
    for group in together(gpu, probes) {
        let (mut places, mut asked) = (Vec::new(), Vec::new());
        for place in group {
            let probe = probes[place];
            progress(&format!("{}, its variants", probe.name()));
            let contend = |rigs| contenders(gpu, probe.name(), probe.unit(), rigs, CONTENDERS);
            match probe.rigs(gpu).and_then(contend) {
                Ok(contenders) => {
                    places.extend(contenders.iter().map(|_| place));
                    asked.extend(contenders);
                }
                Err(error @ Error::Missing { .. }) => found[place] = Some(Err(error)),
                Err(error) => return Err(error),
            }
        }
        for (place, ceiling) in places.into_iter().zip(in_rounds(asked, budget, progress)?) {
            found[place] = Some(Ok(match found[place].take() {
                Some(Ok(there)) => there.faster(ceiling),
                _ => ceiling,
            }));
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// Which probes, by their place, are measured in turn: all, or on a GPU those that go through more memory
/// than any cache holds each alone, since their buffers may not fit beside one another.
fn together(gpu: &Gpu, probes: &[&dyn Probe]) -> Vec<Vec<usize>> {
    let alone = |at: &usize| !gpu.adapter.is_software() && probes[*at].name().ends_with("_cold");
    let (cold, rest): (Vec<usize>, Vec<usize>) = (0..probes.len()).partition(alone);
    cold.into_iter().map(|at| vec![at]).chain([rest]).collect()
}

/// The fastest of some variants, at most so many and the fastest first, ready to be timed.
pub(super) fn contenders<'a>(
    gpu: &'a Gpu,
    name: &'static str,
    unit: Unit,
    mut rigs: Vec<Rig>,
    most: usize,
) -> Result<Vec<Asked<'a>>, Error> {
    let rates = trials(gpu, &mut rigs)?;
    let mut contenders: Vec<(Rig, f64)> = rigs.into_iter().zip(rates).collect();
    contenders.sort_by(|a, b| b.1.total_cmp(&a.1));
    let best = contenders.first().map_or(0.0, |c| c.1);
    contenders.truncate(most);
    let close = contenders.into_iter().filter(|(_, rate)| *rate >= CLOSE * best);
    let asked = close.map(|(rig, _)| {
        let (probe, work) = (rig.program.label(), rig.work());
        Asked { name, unit, probe, work, what: Box::new(Kept { rig, gpu }) as Box<dyn Repeat> }
    });
    Ok(asked.collect())
}

/// A rig that outlives its siblings.
struct Kept<'a> {
    rig: Rig,
    gpu: &'a Gpu,
}

impl Repeat for Kept<'_> {
    fn run(&mut self, repeats: u32) -> Result<Nanos, gpu::Error> {
        self.rig.on(self.gpu).run(repeats)
    }

    fn least(&self) -> Nanos {
        self.rig.on(self.gpu).least()
    }
}

impl Ceiling {
    /// What was asked, by the slope that it was timed with.
    pub(super) fn new(asked: &Asked<'_>, slope: Slope, rounds: Rounds) -> Self {
        let [value, a, b] =
            [slope.seconds, slope.least, slope.most].map(|s| asked.unit.figure(asked.work, s));
        let (low, high) = (a.min(b), a.max(b));
        Self { name: asked.name, unit: asked.unit, value, low, high, probe: asked.probe.clone(), rounds }
    }

    /// The faster of two variants.
    fn faster(self, other: Self) -> Self {
        let less = self.value < other.value;
        if less == (self.unit == Unit::Nanoseconds) { self } else { other }
    }
}

/// The rigs' work a second by short runs in turn, the round trip included; dispatches are made long first.
fn trials(gpu: &Gpu, rigs: &mut [Rig]) -> Result<Vec<f64>, Error> {
    let mut repeats = Vec::new();
    let mut trials = TRIALS;
    for rig in &mut *rigs {
        let mut took = rig.on(gpu).run(1)?;
        while rig.groups < rig.most_groups && took < LONG {
            rig.groups = rig.groups.saturating_mul(2).min(rig.most_groups);
            took = rig.on(gpu).run(1)?;
        }
        let running = rig.on(gpu);
        let trial = TRIAL * running.least().0 as f64;
        repeats.push((trial / took.0.max(1) as f64).clamp(1.0, 64.0) as u32);
        trials = running.draws(TRIALS);
    }
    let mut rates = vec![0.0_f64; rigs.len()];
    for _ in 0..trials {
        for ((rig, rate), n) in rigs.iter().zip(&mut rates).zip(&repeats) {
            let seconds = rig.on(gpu).run(*n)?.seconds().max(1e-9);
            *rate = rate.max(rig.work() * f64::from(*n) / seconds);
        }
    }
    for (rig, rate) in rigs.iter().zip(&rates) {
        tracing::debug!("{}: {:.1}e9 a second in trials", rig.program.label(), rate * 1e-9);
    }
    Ok(rates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faster_variant_counts() {
        let of = |unit, value| Ceiling {
            name: "x",
            unit,
            value,
            low: value,
            high: value,
            probe: String::new(),
            rounds: Rounds::Agreed(3),
        };
        let faster = |unit, a, b| of(unit, a).faster(of(unit, b)).value;
        assert_eq!(faster(Unit::GigabytesPerSecond, 10.0, 12.0), 12.0);
        assert_eq!(faster(Unit::GigabytesPerSecond, 12.0, 10.0), 12.0);
        // Of times the least is the fastest.
        assert_eq!(faster(Unit::Nanoseconds, 10.0, 12.0), 10.0);
        assert_eq!(faster(Unit::Nanoseconds, 12.0, 10.0), 10.0);
    }
}
