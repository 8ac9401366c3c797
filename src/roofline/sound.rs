//! Whether figures that were read can be a measurement's: a file may hold anything, and a ceiling of 0 or
//! 1e-300 makes factors that mean nothing.

use std::collections::HashMap;

use super::report::{KernelRow, Report, Step};

/// Beyond any figure of a report, which is a time in ns, a rate in 10^9 a second, bytes or operations.
const MOST: f64 = 1e18;

/// Below any rate that can be measured.
const LEAST: f64 = 1e-6;

/// Below any time and any intensity that is above 0.
const TINY: f64 = 1.0 / MOST;

/// More than any report has: one of a server's 3000 steps has some 30 rows for each of its kinds.
const MOST_ROWS: usize = 50_000;

/// Sums of the same numbers agree at least so well, whoever adds them up.
const SAME: f64 = 1e-6;

/// Far beyond any part of a step: a part of a step that noise has nearly swallowed may be large.
const SHARE: f64 = 1e6;

/// Where something stands that can't be, what it is, and what was expected.
pub(super) type Unsound = (String, String, String);

/// Looks at each figure that anything is computed from, and at how rows and steps belong together.
pub(super) fn check(report: &Report) -> Result<(), Unsound> {
    for (i, c) in report.ceilings.iter().enumerate() {
        let at = format!("ceilings[{i}] ({})", c.name);
        // Launching is a slope, and may be lost in noise.
        let least = if c.name == "launch" { 0.0 } else { LEAST };
        within(c.value, least, MOST, || format!("{at}.value"))?;
        within(c.low, 0.0, c.value, || format!("{at}.low"))?;
        within(c.high, c.value, MOST, || format!("{at}.high"))?;
        if report.ceilings[..i].iter().any(|other| other.name == c.name) {
            let expected = "a name that no other ceiling has";
            return Err((format!("ceilings[{i}].name"), format!("'{}'", c.name), expected.into()));
        }
    }
    for (i, curve) in report.curves.iter().enumerate() {
        for (j, point) in curve.points.iter().enumerate() {
            let at = |field: &str| format!("curves[{i}].points[{j}].{field}");
            within(point.x, LEAST, MOST, || at("x"))?;
            within(point.value, 0.0, MOST, || at("value"))?;
            within(point.low.unwrap_or(0.0), 0.0, point.value, || at("low"))?;
            within(point.high.unwrap_or(MOST), point.value, MOST, || at("high"))?;
        }
        for (j, flat) in curve.plateaus.iter().enumerate() {
            for (name, value) in [("from", flat.from), ("to", flat.to), ("value", flat.value)] {
                within(value, 0.0, MOST, || format!("curves[{i}].plateaus[{j}].{name}"))?;
            }
        }
    }
    report.kernels.iter().enumerate().try_for_each(|(i, row)| kernel(i, row))?;
    report.steps.iter().enumerate().try_for_each(|(i, s)| step(i, s))?;
    belong(report)?;
    report.advice.iter().enumerate().try_for_each(|(i, advice)| {
        let measured = advice.measured_gain.unwrap_or(0.0);
        within(measured, 0.0, MOST, || format!("advice[{i}].measured_gain"))?;
        within(advice.predicted_gain, 0.0, MOST, || format!("advice[{i}].predicted_gain"))
    })
}

fn kernel(i: usize, row: &KernelRow) -> Result<(), Unsound> {
    let at = |field: &str| format!("kernels[{i}].{field}");
    let times = row.time_ns.map(|t| [t.p10, t.p50, t.p90]).into_iter().flatten();
    let interval = row.interval_ns.map(|r| [r.low, r.high]).into_iter().flatten();
    for (name, value) in times.map(|t| ("time_ns", t)).chain(interval.map(|t| ("interval_ns", t))) {
        within(value, -MOST, MOST, || at(name))?;
    }
    // A difference may be below 0, but what is above is a time that others are divided by.
    some(row.time().unwrap_or(0.0), LEAST, || at("time_ns"))?;
    within(row.share, -SHARE, SHARE, || at("share"))?;
    for (name, value, least) in [
        ("bytes.low", row.bytes.low, TINY),
        ("bytes.high", row.bytes.high, TINY),
        ("intensity.low", row.intensity.low, TINY),
        ("intensity.high", row.intensity.high, TINY),
        ("floor_ns", row.floor_ns, LEAST),
    ] {
        within(value, 0.0, MOST, || at(name))?;
        some(value, least, || at(name))?;
    }
    if let Some(t) = row.time_ns {
        within(t.p50, t.p10, t.p90, || at("time_ns.p50"))?;
    }
    if let Some(interval) = row.interval_ns {
        within(interval.low, -MOST, interval.high, || at("interval_ns.low"))?;
    }
    let elastic = row.elasticity.map(|e| [e.arithmetic, e.bytes]).into_iter().flatten();
    let optional = [
        ("headroom_ns", row.headroom_ns),
        ("of_ceiling.memory", row.of_ceiling.memory),
        ("of_ceiling.pipe", row.of_ceiling.pipe),
    ];
    let known = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
    for (name, value) in known.chain(elastic.map(|e| ("elasticity", e.value))) {
        within(value, -MOST, MOST, || at(name))?;
    }
    Ok(())
}

fn step(i: usize, s: &Step) -> Result<(), Unsound> {
    let at = |field: &str| format!("steps[{i}].{field}");
    within(s.kernels_ns, -MOST, MOST, || at("kernels_ns"))?;
    let host = s.host;
    for (name, value) in [
        ("wall_ns", s.wall_ns),
        ("gpu_ns", s.gpu_ns.unwrap_or(0.0)),
        ("host.plan_ns", host.plan_ns),
        ("host.record_ns", host.record_ns),
        ("host.submit_ns", host.submit_ns),
        ("host.wait_ns", host.wait_ns),
    ] {
        within(value, 0.0, MOST, || at(name))?;
    }
    for (name, value) in
        [("coverage", s.coverage), ("profiling_tax", s.profiling_tax), ("gpu_idle", s.gpu_idle)]
    {
        within(value.unwrap_or(0.0), -MOST, MOST, || at(name))?;
    }
    Ok(())
}

/// Each row is of a step, each step has a name of its own, and its sum is that of its rows.
fn belong(report: &Report) -> Result<(), Unsound> {
    let rows = report.kernels.len();
    if rows > MOST_ROWS {
        return Err(("kernels".into(), format!("{rows} rows"), format!("{MOST_ROWS} at most")));
    }
    // Of each step's rows the sum, and the sum of what they are without their signs.
    let mut sums: HashMap<&str, [f64; 2]> = HashMap::new();
    for (i, step) in report.steps.iter().enumerate() {
        if sums.insert(&step.name, [0.0; 2]).is_some() {
            let expected = "a name that no other step has";
            return Err((format!("steps[{i}].name"), format!("'{}'", step.name), expected.into()));
        }
    }
    for (i, row) in report.kernels.iter().enumerate() {
        let Some([sum, all]) = sums.get_mut(row.step.as_str()) else {
            let expected = "the name of one of the steps";
            return Err((format!("kernels[{i}].step"), format!("'{}'", row.step), expected.into()));
        };
        let time = row.calls as f64 * row.median().unwrap_or(0.0);
        *sum += time;
        *all += time.abs();
    }
    for (i, step) in report.steps.iter().enumerate() {
        let [sum, all] = sums.get(step.name.as_str()).copied().unwrap_or_default();
        if (step.kernels_ns - sum).abs() > SAME * all {
            let expected = format!("{sum}, which its rows' medians add up to");
            return Err((format!("steps[{i}].kernels_ns"), step.kernels_ns.to_string(), expected));
        }
    }
    Ok(())
}

/// Refuses what is neither 0 nor of a size that anything has.
fn some(value: f64, least: f64, at: impl Fn() -> String) -> Result<(), Unsound> {
    if value == 0.0 || value >= least {
        return Ok(());
    }
    Err((at(), value.to_string(), format!("0, or {least:e} or more")))
}

fn within(value: f64, low: f64, high: f64, at: impl Fn() -> String) -> Result<(), Unsound> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err((at(), figure(value), format!("{} to {}", figure(low), figure(high))))
}

/// A figure in few digits.
fn figure(value: f64) -> String {
    if value == 0.0 || (1e-3..1e9).contains(&value.abs()) { value.to_string() } else { format!("{value:e}") }
}

#[cfg(test)]
mod tests {
    use crate::roofline::report::{Percentiles, Report};
    use crate::roofline::sample;

    fn refused(change: impl Fn(&mut Report)) -> String {
        let mut report = sample::report();
        change(&mut report);
        let text = serde_json::to_string(&report).unwrap();
        Report::from_json(&text).err().map_or(String::new(), |e| e.to_string())
    }

    #[test]
    fn figures_that_nothing_measures_are_refused_by_their_names() {
        assert_eq!(refused(|_| ()), "");
        for value in [0.0, -3.0, 1e-300, 1e300] {
            let error = refused(|r| r.ceilings[0].value = value);
            assert!(error.contains("ceilings[0] (read_cold).value is"), "{value}: {error}");
        }
        let launch = |r: &mut Report, ns: f64| {
            let ceiling = r.ceilings.iter_mut().find(|c| c.name == "launch").unwrap();
            (ceiling.value, ceiling.low) = (ns, ceiling.low.min(ns));
        };
        assert_eq!(refused(|r| launch(r, 0.0)), "");
        assert!(refused(|r| launch(r, -1.0)).contains("(launch).value"));
        assert!(refused(|r| r.kernels[2].share = 1e9).contains("kernels[2].share"));
        assert!(refused(|r| r.kernels[2].bytes.low = -1.0).contains("kernels[2].bytes.low"));
        assert!(
            refused(|r| r.kernels[1].time_ns.as_mut().unwrap().p50 = 1e30).contains("kernels[1].time_ns")
        );
        // What holds the others holds them.
        let of = |what: &dyn Fn(&mut Report)| refused(|r| what(r));
        assert!(of(&|r| r.ceilings[0].low = r.ceilings[0].value * 1.1).contains("(read_cold).low is"));
        assert!(
            of(&|r| r.ceilings[1].name = "read_cold".into()).contains("a name that no other ceiling has")
        );
        assert!(of(&|r| r.curves[0].points[0].high = Some(1e-9)).contains("points[0].high is"));
        assert!(of(&|r| r.kernels[1].interval_ns.as_mut().unwrap().low = 1e12).contains("interval_ns.low"));
        assert!(of(&|r| r.kernels[1].time_ns.as_mut().unwrap().p90 = 1.0).contains("time_ns.p50 is"));
        assert!(refused(|r| r.steps[0].wall_ns = -1.0).contains("steps[0].wall_ns is -1"));
        // A difference may be below nothing, and so may what is made of it.
        let below = |r: &mut Report| {
            let row = &mut r.kernels[1];
            let ns = row.time_ns.replace(Percentiles { p10: -9.0, p50: -5.0, p90: 1.0 }).unwrap().p50;
            r.steps[0].kernels_ns -= row.calls as f64 * (ns + 5.0);
        };
        assert_eq!(refused(below), "");
        // Nothing takes so little, or has so few operations for its bytes.
        for ns in [1e-300, 1e-7] {
            let error = refused(|r| r.kernels[1].time_ns.as_mut().unwrap().p50 = ns);
            assert!(error.contains("kernels[1].time_ns") && error.contains("0, or 1e-6 or more"), "{error}");
        }
        assert!(refused(|r| r.kernels[1].floor_ns = 1e-300).contains("kernels[1].floor_ns"));
        assert!(refused(|r| r.kernels[1].intensity.low = 1e-300).contains("kernels[1].intensity.low"));
    }

    #[test]
    fn rows_and_steps_belong_together() {
        let error = refused(|r| r.steps.clear());
        assert!(error.contains("kernels[0].step is 'decode x1 at 512': expected the name of one"), "{error}");
        let error = refused(|r| r.steps[1].name = r.steps[0].name.clone());
        assert!(error.contains("steps[1].name is 'decode x1 at 512': expected a name that no"), "{error}");
        let error = refused(|r| r.steps[0].kernels_ns *= 1.01);
        assert!(error.contains("steps[0].kernels_ns is") && error.contains("medians add up to"), "{error}");
        assert!(refused(|r| r.kernels[0].calls += 1).contains("steps[0].kernels_ns is"));
        let error = refused(|r| r.kernels.resize(60_000, r.kernels[0].clone()));
        assert!(error.contains("kernels is 60000 rows: expected 50000 at most"), "{error}");
    }
}
