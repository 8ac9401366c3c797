//! From the steps of a serving engine to rows: steps of one kind are put together, and what stamps
//! read around nothing is taken off what they read around a kernel.
//!
//! Contexts grow from step to step, so a kernel's shape changes in its context while it stays the same
//! dispatch: groups are matched by their place, and the middle step's shapes and costs stand for all.

use std::collections::BTreeMap;

use super::analyse::{Group, MeasuredStep};
use super::intervals::{ABOVE_NULL, Reading, grouped, reading, stamp_cost};
use super::report::{Host, TimedBy};
use crate::profile::stats::Samples;
use crate::profile::{Watch, Watched};
use crate::units::Nanos;

/// Kinds of steps that came less often say nothing.
const LEAST: usize = 3;

fn median(values: Vec<f64>) -> Option<f64> {
    Samples::new(values).map(|s| s.median())
}

/// The kinds of steps of a window, the most frequent first, each as one measured step.
pub fn steps(window: &[Watched]) -> Vec<MeasuredStep> {
    let mut kinds: Vec<Vec<&Watched>> = Vec::new();
    for step in window {
        match kinds.iter_mut().find(|k| k.first().is_some_and(|first| first.alike(step))) {
            Some(kind) => kind.push(step),
            None => kinds.push(vec![step]),
        }
    }
    kinds.retain(|k| k.len() >= LEAST);
    kinds.sort_by_key(|k| std::cmp::Reverse(k.len()));
    let mut steps: Vec<MeasuredStep> = kinds.iter().filter_map(|kind| measured(kind)).collect();
    number(&mut steps);
    steps
}

/// Numbers the steps whose names others have before them: rows name their step.
fn number(steps: &mut [MeasuredStep]) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for step in steps {
        let times = seen.entry(step.name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            step.name = format!("{} ({times})", step.name);
        }
    }
}

fn measured(kind: &[&Watched]) -> Option<MeasuredStep> {
    let middle = kind.get(kind.len() / 2)?;
    let (groups, of) = grouped(&middle.dispatched);
    let of_kind = |how: Watch| kind.iter().filter(move |w| w.how == how);
    let span = |w: &&&Watched| w.times.spans.first().copied().flatten();
    let plain = median(of_kind(Watch::Plain).filter_map(|w| span(&w)).collect());
    let padded = median(of_kind(Watch::Padded).filter_map(|w| span(&w)).collect());
    let longer = plain.zip(padded).map(|(plain, padded)| padded - plain);
    let wall = |how: Watch| median(of_kind(how).map(|w| w.times.wall().0 as f64).collect());
    let by_pass = kind.iter().any(|w| w.how == Watch::Passes);
    let stamped = if by_pass { Watch::Passes } else { Watch::Stamped };
    let read_of = |w: &Watched| {
        let padded = w.how == Watch::Stamped;
        reading(&w.times, &of, &groups, padded)
    };
    let readings: Vec<Reading> = of_kind(stamped).map(|w| read_of(w)).collect();
    let read = median(readings.iter().filter_map(|r| r.nothing).collect());
    // Where nothing is put between, the tax of a pass bounds what its stamps cost.
    let tax = wall(Watch::Passes).zip(wall(Watch::Plain));
    let cost = match tax {
        Some((passes, plain)) => Some(((passes - plain) / of.len().max(1) as f64).max(0.0)),
        None => read.zip(longer).map(|(read, longer)| stamp_cost(read, longer, of.len())),
    };
    let most = if by_pass { cost } else { read };
    let group = |(i, (d, calls)): (usize, &(crate::profile::Dispatched, u64))| {
        let mut raw: Vec<f64> = readings.iter().filter_map(|r| r.groups.get(i).copied().flatten()).collect();
        let long = median(raw.clone()).zip(most).is_some_and(|(time, most)| time > ABOVE_NULL * most);
        let (timed_by, off) = match (by_pass, long) {
            (true, _) => (TimedBy::PassPerDispatch, 0.0),
            (false, true) => (TimedBy::InsidePass, 0.0),
            (false, false) => (TimedBy::NullSubtracted, cost.unwrap_or(0.0)),
        };
        // A server's steps can't leave a kernel out, so what a pass of its own drowns has no time.
        if !long && (cost.is_none() || by_pass) {
            raw.clear();
        }
        Group {
            kernel: d.kernel.clone(),
            shape: d.shape.clone(),
            calls: *calls,
            workgroups: d.workgroups,
            cost: d.cost.clone(),
            timed_by,
            samples: raw.into_iter().map(|time| time - off).collect(),
        }
    };
    let part = |f: fn(&Watched) -> Nanos| {
        median(of_kind(Watch::Plain).map(|w| f(w).0 as f64).collect()).unwrap_or(0.0)
    };
    Some(MeasuredStep {
        name: name(middle),
        tokens: middle.tokens,
        sequences: middle.sequences,
        context: middle.context,
        groups: groups.iter().enumerate().map(group).collect(),
        gpu: plain,
        wall: wall(Watch::Plain)?,
        profiled_wall: wall(stamped),
        host: Host {
            plan_ns: part(|w| w.times.plan),
            record_ns: part(|w| w.times.record),
            submit_ns: part(|w| w.times.submit),
            wait_ns: part(|w| w.times.wait),
        },
    })
}

/// As `roofline` names its own steps, which are greedy. Contexts are told by the power of two above them, so
/// that two windows of one load have steps in common.
fn name(step: &Watched) -> String {
    let context = step.bucket();
    let last = step.dispatched.last();
    let ends = match last.map(|d| d.kernel.as_str()) {
        Some("argmax") => "",
        Some("top_k") => ", candidates",
        _ if last.is_some_and(|d| d.shape.ends_with(" head")) => ", rows",
        _ => ", no logits",
    };
    match (step.tokens, step.sequences) {
        (t, s) if t == s => format!("decode x{s} up to {context}{ends}"),
        (t, 1) => format!("prefill {t} up to {context}{ends}"),
        (t, s) => format!("{t} tokens of {s} sequences up to {context}{ends}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cost::Cost;
    use crate::profile::{Counts, Dispatched, StepTimes};

    fn step(how: Watch, context: u64, spans: &[f64], wall: u64) -> Watched {
        let d = |kernel: &str, shape: String| Dispatched {
            kernel: kernel.into(),
            shape,
            cost: Cost::default(),
            workgroups: 1,
        };
        let dispatched = vec![d("linear", "a".into()), d("attention", format!("x 1 to {context}"))];
        let dispatched = dispatched.into_iter().map(Arc::new).collect();
        let spans = spans.iter().copied().map(Some).collect();
        let times = StepTimes { spans, wait: Nanos(wall), ..StepTimes::default() };
        Watched { how, tokens: 1, sequences: 1, context, dispatched, times, counts: Counts::default() }
    }

    #[test]
    fn what_stamps_cost_is_taken_off_and_kinds_stay_apart() {
        let mut window = Vec::new();
        for round in 0..5 {
            let context = 100 + 3 * round;
            window.push(step(Watch::Plain, context, &[300.0], 400));
            // Nothing takes 10 in place and reads 60: stamps cost 50.
            window.push(step(Watch::Stamped, context + 1, &[250.0, 60.0, 150.0, 60.0], 700));
            window.push(step(Watch::Padded, context + 2, &[320.0], 420));
        }
        let mut odd = step(Watch::Plain, 9, &[1.0], 1);
        odd.tokens = 9;
        window.push(odd);
        let found = steps(&window);
        assert_eq!(found.len(), 1, "one step of another kind says nothing");
        let s = &found[0];
        let times: Vec<f64> = s.groups.iter().map(|g| g.samples[0]).collect();
        assert_eq!(times, [200.0, 100.0]);
        assert!(s.groups.iter().all(|g| g.samples.len() == 5 && g.timed_by == TimedBy::NullSubtracted));
        assert_eq!((s.gpu, s.wall, s.profiled_wall), (Some(300.0), 400.0, Some(700.0)));
        assert_eq!(s.name, "decode x1 up to 128, no logits");
    }

    /// A decode whose last kernel is this, as it takes turns; its attention takes `long` ns.
    fn decodes(context: u64, long: f64, last: &str, shape: &str) -> Vec<Watched> {
        let turns = [(Watch::Plain, 0.0), (Watch::Stamped, 60.0), (Watch::Padded, 30.0)];
        let of = |(how, more): (Watch, f64)| {
            let spans = match how {
                Watch::Stamped => vec![250.0, more, long + 50.0, more, 75.0, more],
                _ => vec![225.0 + long + more],
            };
            let mut step = step(how, context, &spans, 400);
            let cost = Cost::default();
            let chosen = Dispatched { kernel: last.into(), shape: shape.into(), cost, workgroups: 1 };
            step.dispatched.push(Arc::new(chosen));
            step
        };
        (0..5).flat_map(|_| turns.map(of)).collect()
    }

    #[test]
    fn contexts_and_what_is_chosen_from_stay_apart() {
        let (short, long) = (decodes(6, 100.0, "argmax", "9"), decodes(1800, 9000.0, "argmax", "9"));
        let sampled = decodes(6, 100.0, "top_k", "9");
        let rows = decodes(6, 100.0, "linear", "F32 9x4 x 1 norm head");
        let mixed: Vec<Watched> = [short, long, sampled, rows].concat();
        // As they come in turn.
        let mixed: Vec<Watched> = (0..15).flat_map(|i| mixed.iter().skip(i).step_by(15).cloned()).collect();
        let found = steps(&mixed);
        let names: Vec<&str> = found.iter().map(|s| s.name.as_str()).collect();
        let expected = [
            "decode x1 up to 8",
            "decode x1 up to 2048",
            "decode x1 up to 8, candidates",
            "decode x1 up to 8, rows",
        ];
        assert_eq!(names, expected);
        let attention: Vec<f64> = found.iter().map(|s| s.groups[1].samples[0]).collect();
        // What is long beside its stamps stays as they read it.
        assert_eq!(attention, [100.0, 9050.0, 100.0, 100.0]);
        assert!(found.iter().all(|s| s.groups.iter().all(|g| g.samples.len() == 5)));
        assert_eq!(found[2].groups[2].kernel, "top_k");
    }

    #[test]
    fn no_two_steps_have_one_name() {
        let (one, two) = (decodes(100, 100.0, "argmax", "9 x 1"), decodes(100, 100.0, "argmax", "9 x 2"));
        let names: Vec<String> = steps(&[one, two].concat()).into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["decode x1 up to 128", "decode x1 up to 128 (2)"]);
    }

    #[test]
    fn a_pass_for_each_dispatch_tells_of_those_that_are_long_beside_it() {
        let mut window = Vec::new();
        for round in 0..5 {
            window.push(step(Watch::Plain, 100 + round, &[5300.0], 5400));
            // Two passes of their own take 200 more: 100 each, of which the second drowns.
            window.push(step(Watch::Passes, 100 + round, &[5000.0, 300.0], 5600));
        }
        let s = steps(&window).remove(0);
        let found: Vec<(usize, TimedBy)> = s.groups.iter().map(|g| (g.samples.len(), g.timed_by)).collect();
        assert_eq!(found, [(5, TimedBy::PassPerDispatch), (0, TimedBy::PassPerDispatch)]);
        assert_eq!(s.groups[0].samples[0], 5000.0);
        assert_eq!((s.gpu, s.profiled_wall), (Some(5300.0), Some(5600.0)));
    }
}
