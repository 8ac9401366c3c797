//! The roof: what a device's ceilings say that a cost must take at least.

use crate::cost::{Cost, Pipe, Role};

use super::report::{Ceiling, Curve};

/// Ceilings and curves to look figures up in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roof {
    ceilings: Vec<Ceiling>,
    curves: Vec<Curve>,
}

/// The least times of one dispatch, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Floors {
    /// To launch it.
    pub launch: f64,
    /// To move its compulsory bytes.
    pub memory: f64,
    /// To do the work of its busiest pipe; none where it has none or no pipe's ceiling is known.
    pub pipe: Option<(Pipe, f64)>,
}

impl Floors {
    /// The greatest.
    pub fn most(&self) -> f64 {
        self.launch.max(self.memory).max(self.pipe.map_or(0.0, |(_, t)| t))
    }
}

/// Reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Read,
    Write,
}

impl Roof {
    /// A roof of these.
    pub fn new(ceilings: Vec<Ceiling>, curves: Vec<Curve>) -> Self {
        Self { ceilings, curves }
    }

    /// A ceiling's figure by name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.ceilings.iter().find(|c| c.name == name).map(|c| c.value).filter(|v| *v > 0.0)
    }

    /// The ceilings.
    pub fn ceilings(&self) -> &[Ceiling] {
        &self.ceilings
    }

    /// The curves.
    pub fn curves(&self) -> &[Curve] {
        &self.curves
    }

    /// Nanoseconds that one more dispatch costs.
    pub fn launch(&self) -> f64 {
        self.value("launch").unwrap_or(0.0)
    }

    /// Workgroups that fill the device.
    pub fn fill(&self) -> Option<f64> {
        self.value("fill")
    }

    /// 10^9 operations a second of a pipe.
    pub fn pipe(&self, pipe: Pipe) -> Option<f64> {
        self.value(pipe.name())
    }

    /// GB/s at a working set: from the curve, and never less than from cold memory.
    fn rate(&self, way: Way, working_set: u64) -> Option<f64> {
        let (curve, cold) = match way {
            Way::Read => ("read", "read_cold"),
            Way::Write => ("write", "write_cold"),
        };
        // Without a probe of writes, the read rate stands in: both are memory's.
        let cold = self.value(cold).or_else(|| self.value("read_cold"))?;
        let points = self.curves.iter().find(|c| c.name == curve).map_or(&[][..], |c| &c.points);
        let x = working_set as f64;
        let beyond = points.last().is_none_or(|last| x >= last.x);
        if beyond {
            return Some(cold);
        }
        // The next measured size upwards: a working set between two levels gets the slower's rate.
        let at = points.iter().find(|p| p.x >= x).map_or(cold, |p| p.value);
        Some(at.max(cold))
    }

    /// The floors of a cost. `step_bytes` is what the whole step reads of weights and cache before
    /// it comes back to the same bytes; activations stay between neighbouring dispatches.
    pub fn floors(&self, cost: &Cost, step_bytes: u64) -> Floors {
        let own: u64 = cost.traffic.iter().filter(|t| !lasting(t.role)).map(|t| t.floor.0).sum();
        let memory = cost
            .traffic
            .iter()
            .filter_map(|t| {
                let way = if t.role == Role::Output { Way::Write } else { Way::Read };
                let set = if lasting(t.role) { step_bytes.max(t.floor.0) } else { own };
                // Bytes over 10^9 bytes a second are nanoseconds.
                self.rate(way, set).map(|rate| t.floor.0 as f64 / rate)
            })
            .sum();
        let pipe = cost
            .work
            .pipes()
            .into_iter()
            .filter_map(|(pipe, work)| Some((pipe, work.0 as f64 / self.pipe(pipe)?)))
            .filter(|(_, t)| *t > 0.0)
            .max_by(|a, b| a.1.total_cmp(&b.1));
        Floors { launch: self.launch(), memory, pipe }
    }
}

/// Weights and cache last from step to step; all else is made and used within one.
fn lasting(role: Role) -> bool {
    matches!(role, Role::Weights | Role::Cache)
}

#[cfg(test)]
mod tests {
    use super::super::report::Point;
    use super::*;
    use crate::cost::Work;
    use crate::units::Flops;

    fn ceiling(name: &str, value: f64) -> Ceiling {
        let (name, unit, probe) = (name.into(), "GB/s".into(), "test".into());
        Ceiling { name, unit, value, low: value, high: value, probe, agreed: true }
    }

    fn roof() -> Roof {
        let point = |x, value| Point { x, value, low: None, high: None, probe: None };
        let points = vec![point(1e6, 100.0), point(1e8, 9.0)];
        let curve = Curve {
            name: "read".into(),
            x_unit: "bytes".into(),
            unit: "GB/s".into(),
            points,
            plateaus: vec![],
        };
        let ceilings = [("read_cold", 10.0), ("write_cold", 5.0), ("fma_f32", 50.0), ("launch", 700.0)];
        Roof::new(ceilings.map(|(name, value)| ceiling(name, value)).to_vec(), vec![curve])
    }

    #[test]
    fn hand_counted_floors() {
        let work = Work { f32: Flops(5_000), int: Flops(1 << 40), ..Work::default() };
        let cost = Cost { work, traffic: vec![] }
            .moves(Role::Weights, 20_000, 20_000)
            .moves(Role::Input, 400_000, 800_000)
            .moves(Role::Output, 500, 500);
        // Weights are cold in a step of 1 GB; 400 KB of activations come at 100 GB/s.
        let floors = roof().floors(&cost, 1_000_000_000);
        assert_eq!(floors.memory, 2_000.0 + 4_000.0 + 100.0);
        // The integer pipe has no ceiling here, so it has no floor either.
        assert_eq!(floors.pipe, Some((Pipe::F32, 100.0)));
        assert_eq!((floors.launch, floors.most()), (700.0, 6_100.0));
        // A step of 1 MB keeps its weights in the cache.
        assert_eq!(roof().floors(&cost, 1_000_000).memory, 200.0 + 4_000.0 + 100.0);
    }

    #[test]
    fn a_curve_never_falls_below_the_cold_ceiling() {
        assert_eq!(roof().rate(Way::Read, 50_000_000), Some(10.0));
        assert_eq!(roof().rate(Way::Read, u64::MAX), Some(10.0));
        assert_eq!(Roof::default().rate(Way::Read, 1), None);
    }
}
