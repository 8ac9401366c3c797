//! A comparison as text: who is compared, ceilings, a line per kernel, and what could not be judged.

use std::collections::HashSet;
use std::fmt::Write as _;

use crate::cli::printable::one_line;
use crate::roofline::LOST;
use crate::roofline::compare::{Blame, Comparison, Figures, KernelRatio, Other, StepRatio, Subject, factor};
use crate::roofline::plot::words;
use crate::roofline::svg::{short, time};

/// All of it.
pub fn table(comparison: &Comparison) -> String {
    let mut text = String::new();
    about(&mut text, "baseline ", &comparison.baseline);
    for other in &comparison.others {
        text.push('\n');
        about(&mut text, "", &other.subject);
        one(&mut text, other);
    }
    text
}

fn about(text: &mut String, before: &str, s: &Subject) {
    let model = s.model.as_ref().map(|m| format!("{m} on ")).unwrap_or_default();
    let on = s.processor.as_ref().map(|p| format!("; {p}")).unwrap_or_default();
    let (device, driver) = (&s.device, &s.driver);
    let line = format!("{before}{}: {model}{device} ({driver}{on}), Ridgepoint {}", s.file, s.version);
    let _ = writeln!(text, "{}", one_line(&line));
    if let Some(doubt) = &s.doubt {
        let note = format!("its ceilings are in doubt ({doubt}), and so is what the device is blamed for");
        let _ = writeln!(text, "note: {}", one_line(&note));
    }
}

fn one(text: &mut String, other: &Other) {
    let ceilings: Vec<String> = other
        .ceilings
        .iter()
        .filter(|c| (c.ratio - 1.0).abs() > 0.05)
        .map(|c| {
            let (a, b) = (short(c.baseline), short(c.here));
            one_line(&format!("{} {a} -> {b} {} ({} x)", c.name, c.unit, factor(c.ratio)))
        })
        .collect();
    let same = match (other.ceilings.is_empty(), ceilings.is_empty()) {
        (true, _) => "none in common".into(),
        (false, true) => "the same within 5 %".into(),
        (false, false) => ceilings.join(", "),
    };
    let _ = writeln!(text, "ceilings: {same}");
    for step in &other.steps {
        let _ = writeln!(text, "\n{}", one_line(&headline(step)));
        let rows = other.kernels.iter().filter(|k| k.step == step.step);
        lines(text, &rows.map(cells).collect::<Vec<_>>());
    }
    for (what, rows) in [
        ("not judged", not_judged(other)),
        ("only in the baseline", other.only_in_baseline.clone()),
        ("only in the other report", other.only_here.clone()),
    ] {
        if !rows.is_empty() {
            let rows: Vec<String> = rows.iter().map(|row| one_line(row)).collect();
            let _ = writeln!(text, "\n{what}:\n  {}", rows.join("\n  "));
        }
    }
}

/// A step's line.
fn headline(step: &StepRatio) -> String {
    let said = |ratio: Option<f64>| ratio.map_or("no ratio".to_string(), |r| format!("{} x", factor(r)));
    let tested = step.caution().map_or(String::new(), |caution| format!(", {caution}"));
    let [a, b] = step.kernels_ns.map(|ns| if ns > 0.0 { time(ns) } else { LOST.into() });
    format!(
        "{}: kernels {a} -> {b} ({}{tested}), wall {} -> {} ({})",
        step.step,
        said(step.ratio),
        time(step.wall_ns[0]),
        time(step.wall_ns[1]),
        said(step.wall_ratio)
    )
}

/// Whether a step and all its rows could not be judged, for one reason.
fn dark(other: &Other, step: &StepRatio) -> bool {
    let mut rows = other.kernels.iter().filter(|k| k.step == step.step);
    step.not_judged.is_some() && rows.all(|k| k.not_judged == step.not_judged)
}

/// What could not be judged, with reasons: a step with all its rows, or a row.
fn not_judged(other: &Other) -> Vec<String> {
    let steps = other.steps.iter().filter_map(|s| {
        let all = if dark(other, s) { ", with all its rows" } else { ", its kernels together" };
        Some(format!("{}{all}: {}", s.step, s.not_judged.as_ref()?))
    });
    let whole: HashSet<&str> =
        other.steps.iter().filter(|s| dark(other, s)).map(|s| s.step.as_str()).collect();
    let rows = other.kernels.iter().filter(|k| !whole.contains(k.step.as_str()));
    let rows = rows.filter_map(|k| Some(format!("{}: {}: {}", k.step, k.title(), k.not_judged.as_ref()?)));
    steps.chain(rows).collect()
}

const HEAD: [&str; 11] = [
    "kernel",
    "baseline",
    "here",
    "ratio",
    "x device",
    "x work",
    "x kernel",
    "blame",
    "of ceiling",
    "ops/byte",
    "verdict",
];

/// Columns that are words, and begin at their left.
const WORDS: [usize; 3] = [0, 7, 10];

fn lines(text: &mut String, rows: &[[String; 11]]) {
    let mut widths = HEAD.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |cells: [&str; 11]| {
        let padded = cells.iter().zip(widths).enumerate().map(|(i, (cell, width))| {
            if WORDS.contains(&i) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let _ = writeln!(text, "  {}", padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(HEAD);
    rows.iter().for_each(|row| line(row.each_ref().map(String::as_str)));
}

fn cells(k: &KernelRatio) -> [String; 11] {
    let none = || "-".to_string();
    let median = |figures: &Figures| match figures.time_ns {
        _ if figures.lost => LOST.to_string(),
        times => times.map_or_else(none, |t| time(t.p50)),
    };
    let factors = k.factors.map(|f| [f.device, f.work, f.kernel]);
    let [device, work, kernel] = factors.map_or([none(), none(), none()], |f| f.map(factor));
    let blame = match (k.p, k.significant, k.blame) {
        (None, ..) => "not judged".into(),
        (_, false, _) => "noise".into(),
        (_, true, Blame::None) => none(),
        (_, true, blame) => words(blame),
    };
    [
        one_line(&k.title()),
        median(&k.baseline),
        median(&k.here),
        k.ratio.map_or_else(none, factor),
        device,
        work,
        kernel,
        blame,
        one_line(&reached(k.baseline.nearest(), k.here.nearest())),
        both(&k.baseline, &k.here, " -> ", |f| {
            format!("{}..{}", short(f.intensity.low), short(f.intensity.high))
        }),
        both(&k.baseline, &k.here, " -> ", |f| words(f.verdict)),
    ]
}

/// What both reports say, once where that is the same.
fn both(a: &Figures, b: &Figures, arrow: &str, said: impl Fn(&Figures) -> String) -> String {
    let (a, b) = (said(a), said(b));
    if a == b { a } else { format!("{a}{arrow}{b}") }
}

/// The parts of the ceilings that bind on either side.
fn reached(a: Option<(&str, f64)>, b: Option<(&str, f64)>) -> String {
    let part = |(name, part): (&str, f64)| format!("{:.0} % {name}", 100.0 * part);
    match (a, b) {
        (Some(a), Some(b)) if a.0 == b.0 => format!("{:.0}->{}", 100.0 * a.1, part(b)),
        _ => [a, b].map(|side| side.map_or("-".to_string(), part)).join("->"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::report::{Report, Verdict};

    #[test]
    fn the_binding_ceilings_are_named() {
        let (memory, pipe) = (Some(("memory", 0.72)), Some(("fma_f32", 0.401)));
        assert_eq!(reached(memory, Some(("memory", 0.8))), "72->80 % memory");
        assert_eq!(reached(memory, pipe), "72 % memory->40 % fma_f32");
        assert_eq!(reached(None, pipe), "-->40 % fma_f32");
    }

    fn report() -> Report {
        let text = include_str!("../../../tests/data/roofline/simulated.json");
        Report::from_json(text).unwrap()
    }

    fn told(a: &Report, b: &Report) -> String {
        table(&Comparison::new(("a.json", a), &[("b.json", b)]))
    }

    #[test]
    fn names_steer_no_terminal() {
        let (a, mut b) = (report(), report());
        b.device.name = "A card\x1b[2J\nbaseline: a better one".into();
        b.model.as_mut().unwrap().name = "\x1b]0;title\x07".into();
        for row in &mut b.kernels {
            row.step += "\x1b[1m";
            row.kernel += "\x1b[1m";
        }
        b.steps.iter_mut().for_each(|step| step.name += "\x1b[1m");
        let text = told(&a, &b) + &told(&b, &b);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
        assert!(text.contains("A card\\u{1b}[2J\\nbaseline"), "{text}");
    }

    #[test]
    fn what_is_not_judged_is_told_apart_with_reasons() {
        let (a, mut b) = (report(), report());
        b.steps[0].coverage = Some(1.19);
        let row = b.kernels.iter_mut().filter(|row| row.step == a.steps[1].name).nth(1).unwrap();
        (row.verdict, row.reason) = (Verdict::Unknown, "the interval is 39 % wide".into());
        row.interval_ns.as_mut().unwrap().low = -1.0;
        let text = told(&a, &b);
        let list = text.split_once("\nnot judged:\n").unwrap().1;
        assert!(
            list.contains("decode x1 at 512, with all its rows: here, its kernels add up to 119.0 %"),
            "{list}"
        );
        assert!(list.contains("Q4_0: here, the interval is 39 % wide"), "{list}");
        assert_eq!(list.lines().count(), 2, "{list}");
        let line = |name: &str| text.lines().find(|l| l.starts_with(name)).unwrap().to_string();
        assert!(
            line("decode x1 at 512").contains("not judged") && !line("decode x1").contains("within noise")
        );
        assert!(line("decode x8 at 512").contains("within noise, tested without 1 row"), "{text}");
        assert!(text.contains("lost in noise") && !text.contains("untested"), "{text}");
    }

    #[test]
    fn doubtful_ceilings_and_other_intensities_are_told() {
        let (a, mut b) = (report(), report());
        assert!(
            !told(&a, &b).contains("note:") && !told(&a, &b).contains("2.65 -> 2.65.."),
            "{}",
            told(&a, &b)
        );
        b.ceilings[0].agreed = false;
        b.kernels[1].intensity.high = 7.0;
        let text = told(&a, &b);
        assert!(
            text.contains(
                "note: its ceilings are in doubt (a single round moves read_cold by more than 5 %)"
            ),
            "{text}"
        );
        assert!(text.contains("2.65..2.65 -> 2.65..7"), "{text}");
    }
}
