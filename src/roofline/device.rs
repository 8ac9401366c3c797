//! What belongs to the device alone, ceilings, curves and the timer's grade: measured once, kept in
//! a file of its own, since it takes minutes and changes only with the driver or with us.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::doubts;
use super::machine::processor;
use super::report::{Ceiling, Curve, Device, Plateau, Point, Timer};
use super::roof::Roof;
use super::timer::{grade, graded};
use crate::gpu::{Checks, Gpu};
use crate::profile::stats::Interval;
use crate::profile::timer::GpuClock;
use crate::profile::{
    self, Budget, Contest, Error, Fill, Kind, Memory, PROBES, Probe, RESIDENT, Rounds, ceilings, grids,
    levels, native, points, pool,
};
use crate::units::Bytes;

/// What a kept measurement holds for: another driver, processor or version measures anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Ridgepoint's version.
    pub version: String,
    /// The version of the probes that measured.
    pub probes: u32,
    /// The device as reports name it.
    pub device: Device,
}

/// The version of the probes: to be raised whenever one of them, or how they are measured, changes what comes
/// out, since what was kept before is no figure of theirs.
pub const MEASURED_AS: u32 = 5;

/// Whether a kept measurement will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remeasure {
    /// Yes, if there is one.
    IfAbsent,
    /// No.
    Always,
}

/// The curves over the working set.
const KINDS: [(&str, Kind); 3] = [("read", Kind::Read), ("write", Kind::Write), ("copy", Kind::Copy)];

/// The device's part of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// The device and whose figures these are.
    #[serde(flatten)]
    pub key: Key,
    /// The timer's self-test.
    pub timer: Timer,
    /// What an interval around an empty dispatch reads, in ns.
    pub null_interval_ns: Option<f64>,
    /// The ceilings.
    pub ceilings: Vec<Ceiling>,
    /// The curves.
    pub curves: Vec<Curve>,
}

impl Key {
    /// The key of an open device.
    pub fn of(gpu: &Gpu) -> Self {
        let a = &gpu.adapter;
        Self {
            version: env!("CARGO_PKG_VERSION").to_string(),
            probes: MEASURED_AS,
            device: Device {
                name: a.name.clone(),
                kind: a.kind.to_string(),
                backend: a.backend.clone(),
                driver: a.driver.clone(),
                subgroup_size: a.subgroup_size,
                f16: a.f16,
                software: a.is_software(),
                checks: match gpu.checks {
                    Checks::Trusted => "trusted",
                    Checks::Checked => "checked",
                }
                .to_string(),
                wgpu: env!("RIDGEPOINT_WGPU").to_string(),
                processor: a.is_software().then(processor),
            },
        }
    }

    fn path(&self, folder: &Path) -> PathBuf {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let digest = Sha256::new().chain_update(&text).finalize();
        let digest: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        folder.join(format!("{digest}.json"))
    }
}

impl DeviceReport {
    /// What may be measured better on a quieter machine, and how; none if nothing.
    pub fn doubt(&self) -> Option<String> {
        let all: Vec<String> = doubts::said(&self.ceilings).into_iter().chain(self.timer.doubt()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// The roof that it makes.
    pub fn roof(&self) -> Roof {
        Roof::new(self.ceilings.clone(), self.curves.clone())
    }

    /// The kept measurement of this device in `folder`, or a new one, which is then kept there.
    /// What can't be kept is measured all the same, and logged. `progress` is told what is measured.
    ///
    /// # Errors
    /// A device that fails or runs a probe wrong.
    pub fn get(
        gpu: &Gpu,
        folder: &Path,
        remeasure: Remeasure,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, Error> {
        let key = Key::of(gpu);
        if remeasure == Remeasure::IfAbsent
            && let Some(kept) = Self::kept(folder, &key)
        {
            return Ok(kept);
        }
        if key.path(folder).exists() && remeasure == Remeasure::IfAbsent {
            progress(&format!("what {} holds is no measurement of it", key.path(folder).display()));
        }
        progress("takes some minutes, once: the figures are kept");
        let report = Self::measure(gpu, key, progress)?;
        if let Err(error) = report.keep(folder) {
            tracing::warn!("can't keep the ceilings in {}: {error}", folder.display());
        }
        Ok(report)
    }

    /// The kept measurement of this device in `folder`, if there is one.
    pub fn recall(gpu: &Gpu, folder: &Path) -> Option<Self> {
        Self::kept(folder, &Key::of(gpu))
    }

    /// A kept file that is this key's; another's, or a broken one, is as good as none.
    fn kept(folder: &Path, key: &Key) -> Option<Self> {
        let kept: Self = serde_json::from_str(&fs::read_to_string(key.path(folder)).ok()?).ok()?;
        (kept.key == *key).then_some(kept)
    }

    /// Keeps it in a folder for [`DeviceReport::get`]. Written beside and renamed: a reader sees all
    /// or nothing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        let path = self.key.path(folder);
        fs::create_dir_all(folder)?;
        let part = path.with_extension(format!("part{}", std::process::id()));
        fs::write(&part, serde_json::to_vec_pretty(self)?)?;
        fs::rename(part, path)
    }

    fn measure(gpu: &Gpu, key: Key, progress: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        progress("grids");
        let grids = grids(gpu)?;
        let sets: Vec<Memory> = KINDS.into_iter().flat_map(|(_, kind)| points(gpu, kind)).collect();
        let sized =
            sets.iter().map(|set| set as &dyn Probe).chain(grids.iter().map(|grid| grid as &dyn Probe));
        let probes: Vec<&dyn Probe> = PROBES.iter().copied().chain(sized).collect();
        let native =
            if key.device.software { Some(Contest { variants: vec![native()?], every: 1 }) } else { None };
        let mut found = ceilings(gpu, &probes, native, Budget::Full, progress)?;
        let native = found.split_off(probes.len());
        let mut sized = found.split_off(PROBES.len());
        let filled = sized.split_off(sets.len());
        found.extend(native);
        for error in found.iter().chain(&sized).chain(&filled).filter_map(|found| found.as_ref().err()) {
            progress(&error.to_string());
        }
        let mut ceilings: Vec<Ceiling> = found.into_iter().flatten().map(ceiling).collect();
        let at = |(set, found): (&Memory, Result<profile::Ceiling, _>)| {
            Some((set.kind(), profile::At::new(set.set(gpu).0, &found.ok()?)))
        };
        let within: Vec<(Kind, profile::At)> = sets.iter().zip(sized).filter_map(at).collect();
        let mut curves: Vec<Curve> = KINDS
            .into_iter()
            .map(|(name, kind)| {
                let within = within.iter().filter(|(of, _)| *of == kind).map(|(_, at)| at.clone());
                over_working_set(name, &whole(name, &ceilings, within, pool(gpu)))
            })
            .collect();
        let filled: Vec<_> =
            grids.into_iter().zip(filled).filter_map(|(grid, c)| Some((grid, c.ok()?))).collect();
        match Fill::new(&filled) {
            Some(fill) => {
                ceilings.push(filling(&fill));
                curves.push(over_grid(&fill));
            }
            None => progress("'fill' is left out: no grid's rate could be told"),
        }
        doubts::mark(&mut ceilings);
        progress("timer");
        let launch = ceilings.iter().find(|c| c.name == "launch").map(|c| c.value);
        let (timer, null_interval_ns) = match GpuClock::new(gpu)? {
            Some(mut clock) => {
                let (timer, findings) = graded(&mut clock, launch)?;
                (timer, findings.passes.null)
            }
            None => (grade(None, launch), None),
        };
        Ok(Self { key, timer, null_interval_ns, ceilings, curves })
    }
}

/// A curve from end to end: the resident ceiling, what was measured between, and the cold ceiling.
fn whole(
    name: &str,
    ceilings: &[Ceiling],
    within: impl Iterator<Item = profile::At>,
    cold: Bytes,
) -> Vec<profile::At> {
    let end = |end: &str, set: Bytes| {
        let ceiling = ceilings.iter().find(|c| c.name == format!("{name}_{end}"))?;
        let spread = Interval { low: ceiling.low, high: ceiling.high };
        Some(profile::At { size: set.0, rate: ceiling.value, spread, probe: ceiling.probe.clone() })
    };
    end("resident", RESIDENT).into_iter().chain(within).chain(end("cold", cold)).collect()
}

fn ceiling(c: profile::Ceiling) -> Ceiling {
    Ceiling {
        name: c.name.to_string(),
        unit: c.unit.to_string(),
        value: c.value,
        low: c.low,
        high: c.high,
        probe: c.probe,
        agreed: matches!(c.rounds, Rounds::Agreed(_)),
    }
}

fn point(at: &profile::At) -> Point {
    let profile::At { size, rate, spread, probe } = at;
    let (low, high) = (Some(spread.low), Some(spread.high));
    Point { x: *size as f64, value: *rate, low, high, probe: Some(probe.clone()) }
}

fn over_working_set(name: &str, points: &[profile::At]) -> Curve {
    let plateau = |l: profile::Level| Plateau { from: l.from.0 as f64, to: l.to.0 as f64, value: l.rate };
    Curve {
        name: name.to_string(),
        x_unit: "bytes".to_string(),
        unit: "GB/s".to_string(),
        points: points.iter().map(point).collect(),
        plateaus: levels(points).into_iter().map(plateau).collect(),
    }
}

/// The smallest full grid, between the largest that is surely none and the largest that it could be.
fn filling(fill: &profile::Fill) -> Ceiling {
    let smallest = f64::from(fill.smallest);
    let grids = || fill.rates.iter().map(|r| r.size as f64);
    let [least, most] = fill.range.map(f64::from);
    Ceiling {
        name: "fill".to_string(),
        unit: "workgroups".to_string(),
        value: smallest,
        low: grids().filter(|g| *g < least).fold(0.0, f64::max),
        high: most,
        probe: fill.probe.clone(),
        agreed: least >= most,
    }
}

fn over_grid(fill: &profile::Fill) -> Curve {
    Curve {
        name: "fill".to_string(),
        x_unit: "workgroups".to_string(),
        unit: "GFLOP/s".to_string(),
        points: fill.rates.iter().map(point).collect(),
        plateaus: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(size: u64, rate: f64) -> profile::At {
        profile::At { size, rate, spread: Interval { low: rate, high: rate }, probe: String::new() }
    }

    #[test]
    fn another_processor_or_other_probes_keep_no_figure() {
        let folder = tempfile::tempdir().unwrap();
        let device = crate::roofline::sample::report().device;
        let key = Key { version: "1".into(), probes: MEASURED_AS, device };
        let report = DeviceReport {
            key: key.clone(),
            timer: grade(None, None),
            null_interval_ns: None,
            ceilings: Vec::new(),
            curves: Vec::new(),
        };
        report.keep(folder.path()).unwrap();
        assert_eq!(DeviceReport::kept(folder.path(), &key), Some(report));
        let mut other = key.clone();
        other.device.processor = Some("A CPU, 1 core".into());
        assert_eq!(DeviceReport::kept(folder.path(), &other), None);
        let other = Key { probes: MEASURED_AS - 1, ..key };
        assert_eq!(DeviceReport::kept(folder.path(), &other), None);
    }

    #[test]
    fn a_curve_ends_with_the_ceilings() {
        let ceiling = |name: &str, value: f64| Ceiling {
            name: name.into(),
            unit: "GB/s".into(),
            value,
            low: value,
            high: value,
            probe: String::new(),
            agreed: true,
        };
        let ceilings =
            [ceiling("read_resident", 30.0), ceiling("read_cold", 8.9), ceiling("write_cold", 9.0)];
        let between = [at(1 << 20, 28.0), at(64 << 20, 12.0)];
        let curve = |name| whole(name, &ceilings, between.iter().cloned(), Bytes(128 << 20));
        let [first, second] = between.clone();
        assert_eq!(curve("read"), [at(512 << 10, 30.0), first, second, at(128 << 20, 8.9)]);
        // An end that could not be measured is missing, and no other takes its place.
        let [first, second] = between.clone();
        assert_eq!(curve("write"), [first, second, at(128 << 20, 9.0)]);
    }

    #[test]
    fn a_fill_lies_above_what_is_surely_not_full() {
        let fill = |smallest, range| Fill {
            rates: [(1, 1.0), (2, 2.0), (4, 4.0), (8, 4.0)].map(|(size, rate)| at(size, rate)).into(),
            smallest,
            range,
            probe: String::new(),
        };
        let found = |fill| {
            let c = filling(&fill);
            (c.low, c.value, c.high, c.agreed)
        };
        assert_eq!(found(fill(4, [4, 4])), (2.0, 4.0, 4.0, true));
        assert_eq!(found(fill(4, [2, 8])), (1.0, 4.0, 8.0, false));
        // Of one workgroup nothing is smaller.
        assert_eq!(found(fill(1, [1, 2])), (0.0, 1.0, 2.0, false));
    }
}
