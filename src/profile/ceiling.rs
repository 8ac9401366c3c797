//! Ceilings: the fastest that this device was seen to do one thing.

use serde::Serialize;

use super::memory::pool;
use super::probe::{Error, PROBES, Probe, Rig, Unit};
use super::rounds::{Asked, Contest, in_rounds};
use super::slope::{Budget, Repeat, Slope, Timing};
use crate::gpu::{self, Gpu};
use crate::units::{Bytes, Nanos};

/// A dispatch is made this long where the probe allows it, so that launching it is small.
const LONG: Nanos = Nanos(2_000_000);

/// Variants are compared by runs of this part of the shortest batch.
const TRIAL: f64 = 0.4;
/// Variants are compared by as many runs as fit as many of the longest batch.
const TRIALS: usize = 8;
/// Variants with this part of the fastest's rate in trials take part in the rounds: noise, and where a driver
/// puts its code, can put the better behind.
pub(super) const CLOSE: f64 = 0.85;

/// A measured ceiling.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ceiling {
    /// Its name, such as `fma_f32`.
    pub name: &'static str,
    /// The unit of the three figures.
    pub unit: Unit,
    /// By the shortest runs of all rounds; of launches on a processor, by the lower quartile.
    pub value: f64,
    /// The least that it is with any one round left out; of such launches, by half of the rounds.
    pub low: f64,
    /// The most, likewise.
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
    ceilings(gpu, &probes, None, budget, &mut |_| {})?.into_iter().collect()
}

/// Measures the ceilings of these probes, in their order; or says why one has none: what the device lacks.
/// `also` takes its turns beside the first of them, and what it gives comes last. `progress` is told what is
/// measured.
///
/// # Errors
/// A device that fails or runs a probe wrong.
pub fn ceilings(
    gpu: &Gpu,
    probes: &[&dyn Probe],
    mut also: Option<Contest<'_>>,
    budget: Budget,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Result<Ceiling, Error>>, Error> {
    let mut last = None;
    let mut found: Vec<Option<Result<Ceiling, Error>>> = probes.iter().map(|_| None).collect();
    let sizes: Vec<Bytes> = probes.iter().map(|probe| probe.part(gpu).memory).collect();
    // A processor's neighbours ask for one after the other of all; a GPU's memory may not hold them.
    let most = if gpu.adapter.is_software() { Bytes(u64::MAX) } else { pool(gpu) };
    let mut named = "";
    for group in together(&sizes, most) {
        let (mut places, mut contests) = (Vec::new(), Vec::new());
        for place in group {
            let probe = probes[place];
            if named != probe.name() {
                named = probe.name();
                progress(&format!("{named}, its variants"));
            }
            match probe.rigs(gpu).and_then(|rigs| contest(gpu, probe, rigs)) {
                Ok(contest) => {
                    places.push(place);
                    contests.push(contest);
                }
                Err(error @ Error::Missing { .. }) => found[place] = Some(Err(error)),
                Err(error) => return Err(error),
            }
        }
        contests.extend(also.take());
        let mut timed = in_rounds(contests, budget, progress)?;
        last = last.or_else(|| timed.split_off(places.len()).into_iter().next().flatten());
        for (place, ceiling) in places.into_iter().zip(timed) {
            found[place] = ceiling.map(Ok);
        }
    }
    let missing = |probe: &&dyn Probe| Error::Missing { name: probe.name(), what: "room for its variants" };
    let found = found.into_iter().zip(probes).map(|(found, p)| found.unwrap_or_else(|| Err(missing(p))));
    Ok(found.chain(last.map(Ok)).collect())
}

/// Which probes, by their place, are measured in turn: each with the first that leave it room, or alone.
fn together(sizes: &[Bytes], most: Bytes) -> Vec<Vec<usize>> {
    let mut groups: Vec<(u64, Vec<usize>)> = Vec::new();
    for (place, size) in sizes.iter().enumerate() {
        match groups.iter_mut().find(|(taken, _)| taken.saturating_add(size.0) <= most.0) {
            Some((taken, group)) => {
                *taken += size.0;
                group.push(place);
            }
            None => groups.push((size.0, vec![place])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// The fastest of a probe's variants, as many as may take part, ready to be timed.
fn contest<'a>(gpu: &'a Gpu, probe: &dyn Probe, mut rigs: Vec<Rig>) -> Result<Contest<'a>, Error> {
    let part = probe.part(gpu);
    let rates = trials(gpu, &mut rigs, part.timing)?;
    let mut contenders: Vec<(Rig, f64)> = rigs.into_iter().zip(rates).collect();
    contenders.sort_by(|a, b| b.1.total_cmp(&a.1));
    let best = contenders.first().map_or(0.0, |c| c.1);
    contenders.truncate(part.variants);
    let close = contenders.into_iter().filter(|(_, rate)| *rate >= CLOSE * best);
    let variants = close.map(|(rig, _)| Asked {
        name: probe.name(),
        unit: probe.unit(),
        probe: rig.program.label(),
        work: rig.work(),
        what: Box::new(Kept { rig, gpu, timing: part.timing }) as Box<dyn Repeat>,
    });
    Ok(Contest { variants: variants.collect(), every: part.every })
}

/// A rig that outlives its siblings.
struct Kept<'a> {
    rig: Rig,
    gpu: &'a Gpu,
    timing: Timing,
}

impl Repeat for Kept<'_> {
    fn run(&mut self, repeats: u32) -> Result<Nanos, gpu::Error> {
        self.rig.time(self.gpu, repeats)
    }

    fn timing(&self) -> Timing {
        self.timing
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
}

/// The rigs' work a second by short runs in turn, the round trip included; dispatches are made long first.
fn trials(gpu: &Gpu, rigs: &mut [Rig], timing: Timing) -> Result<Vec<f64>, Error> {
    let mut repeats = Vec::new();
    for rig in &mut *rigs {
        let mut took = rig.time(gpu, 1)?;
        while rig.groups < rig.most_groups && took < LONG {
            rig.groups = rig.groups.saturating_mul(2).min(rig.most_groups);
            took = rig.time(gpu, 1)?;
        }
        let trial = TRIAL * timing.least.0 as f64;
        repeats.push((trial / took.0.max(1) as f64).clamp(1.0, 64.0) as u32);
    }
    let mut rates = vec![0.0_f64; rigs.len()];
    // One alone has nothing to be compared with.
    let trials = if rigs.len() > 1 { timing.draws(TRIALS) } else { 0 };
    for _ in 0..trials {
        for ((rig, rate), n) in rigs.iter().zip(&mut rates).zip(&repeats) {
            let seconds = rig.time(gpu, *n)?.seconds().max(1e-9);
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
    fn what_goes_through_much_memory_is_not_measured_beside_it() {
        let groups = |sizes: &[u64], most| {
            together(&sizes.iter().map(|&size| Bytes(size)).collect::<Vec<_>>(), Bytes(most))
        };
        assert_eq!(groups(&[8, 1, 8, 0, 4, 9], u64::MAX), [vec![0, 1, 2, 3, 4, 5]]);
        // A 9 has room nowhere, and is measured all the same.
        assert_eq!(groups(&[8, 1, 8, 0, 4, 9], 8), [vec![0, 3], vec![1, 4], vec![2], vec![5]]);
        assert!(groups(&[], 8).is_empty());
    }
}
