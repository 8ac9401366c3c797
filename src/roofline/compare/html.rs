//! A comparison as one HTML file: rooflines over each other, ratios, and why.

use std::fmt::Write;

use super::{Comparison, Factors, Figures, KernelRatio, Other, StepRatio, factor};
use crate::roofline::hover::LOST;
use crate::roofline::html::page;
use crate::roofline::plot::{overlay, words};
use crate::roofline::report::Report;
use crate::roofline::svg::{COLOURS, escape, short, time};

/// The page. `reports` are those of the comparison, the baseline first.
pub fn html(comparison: &Comparison, reports: &[&Report]) -> String {
    let mut body = String::new();
    let subjects: Vec<_> =
        std::iter::once(&comparison.baseline).chain(comparison.others.iter().map(|o| &o.subject)).collect();
    body.push_str("<h1>Reports side by side</h1>\n<div class=\"keys\">");
    for (i, subject) in subjects.iter().enumerate() {
        let model = subject.model.as_ref().map(|m| format!("{m} on ")).unwrap_or_default();
        let _ = write!(
            body,
            "<span><i class=\"swatch b{}\"></i>{}{} ({}, Ridgepoint {}; {})</span>",
            i % COLOURS,
            escape(&model),
            escape(&subject.device),
            escape(&subject.driver),
            escape(&subject.version),
            escape(&subject.file)
        );
    }
    body.push_str("</div>\n");
    for subject in &subjects {
        if let Some(doubt) = &subject.doubt {
            let _ = writeln!(
                body,
                "<p class=\"summary warning\">The ceilings of {} are in doubt ({}), and so is what the device is blamed for.</p>",
                escape(&subject.file),
                escape(doubt)
            );
        }
    }
    body.push_str("<h2>Rooflines</h2>\n<figure><div class=\"wide\">");
    body.push_str(&overlay(reports).element("rooflines over each other"));
    body.push_str("</div><figcaption>A colour for each report: its roofs, and its kernels as measured (filled; faded: too blurred by noise for a verdict; lost in noise: no dot) and as costs and ceilings allow (hollow). A shape for each step.</figcaption></figure>\n");
    for other in &comparison.others {
        section(&mut body, comparison, other);
    }
    body.push_str("<h2>How to read it</h2>\n<p class=\"small\">Ratios are of times: 2 takes twice as long as the baseline. A kernel's ratio is the product of three: the devices' (the same cost under both ceilings), the work's (both costs under one device's ceilings) and the kernel's (the rest, its efficiency); the one that pushed the time farthest is blamed. Only differences beyond noise are: the medians' intervals tested against each other, at 5 % over the whole comparison (Holm). What either report could not tell from noise is not judged.</p>\n");
    page("Reports side by side", &body)
}

fn section(body: &mut String, comparison: &Comparison, other: &Other) {
    let _ = writeln!(
        body,
        "<h2>{} against {}</h2>\n<div class=\"wide\"><table>\n<thead><tr><th>ceiling<th>baseline<th>here<th>ratio<th class=\"left\">unit</tr></thead>",
        escape(&other.subject.file),
        escape(&comparison.baseline.file)
    );
    for c in &other.ceilings {
        let _ = writeln!(
            body,
            "<tr><td>{}<td>{}<td>{}<td>{}<td class=\"left\">{}</tr>",
            escape(&c.name),
            short(c.baseline),
            short(c.here),
            times(Some(c.ratio)),
            escape(&c.unit)
        );
    }
    body.push_str("</table></div>\n<div class=\"wide\"><table class=\"dense\">\n<thead><tr><th>kernel<th>baseline<th>here<th>ratio<th>× device<th>× work<th>× kernel<th class=\"left\">blame<th>of memory<br>of pipe<th>ops / byte<th class=\"left\">verdict</tr></thead>\n");
    for step in &other.steps {
        let _ = writeln!(body, "<tr class=\"step\"><td colspan=\"11\">{}</td></tr>", escape(&headline(step)));
        for kernel in other.kernels.iter().filter(|k| k.step == step.step) {
            line(body, kernel, step.not_judged.as_deref());
        }
    }
    body.push_str("</table></div>\n");
    for (what, rows) in [("baseline", &other.only_in_baseline), ("other report", &other.only_here)] {
        if !rows.is_empty() {
            let rows: Vec<String> = rows.iter().map(|row| escape(row)).collect();
            let _ = writeln!(body, "<p class=\"small\">Only in the {what}: {}</p>", rows.join("; "));
        }
    }
}

/// A step's line.
fn headline(step: &StepRatio) -> String {
    let why = step.not_judged.as_ref().map_or(String::new(), |why| format!(": {why}"));
    let tested = step.caution().map_or(String::new(), |caution| format!(" ({caution}{why})"));
    let [a, b] = step.kernels_ns.map(|ns| if ns > 0.0 { time(ns) } else { LOST.into() });
    format!(
        "{}: kernels {a} → {b}, {}{tested}; wall {} → {}, {}",
        step.step,
        times(step.ratio),
        time(step.wall_ns[0]),
        time(step.wall_ns[1]),
        times(step.wall_ratio)
    )
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or("–".into(), |ratio| format!("{}\u{a0}×", factor(ratio)))
}

/// What both reports say, once where that is the same.
fn both(k: &KernelRatio, said: impl Fn(&Figures) -> String) -> String {
    let (a, b) = (said(&k.baseline), said(&k.here));
    if a == b { a } else { format!("{a} → {b}") }
}

/// A kernel's line; `known` is said of its step already.
fn line(body: &mut String, k: &KernelRatio, known: Option<&str>) {
    let median = |figures: &Figures| match figures.time_ns {
        _ if figures.lost => LOST.to_string(),
        times => times.map_or("–".into(), |t| time(t.p50)),
    };
    let factors = |get: fn(&Factors) -> f64| times(k.factors.as_ref().map(get));
    let percent = |f: &Figures, part: Option<f64>| {
        part.filter(|_| !f.lost).map_or("–".into(), |p| format!("{:.0}\u{a0}%", 100.0 * p))
    };
    let blame = match (&k.not_judged, k.significant) {
        (Some(why), _) if known == Some(why) => "not judged".into(),
        (Some(why), _) => format!("not judged<br><span class=\"small\">{}</span>", escape(why)),
        (None, true) => words(k.blame),
        (None, false) => "within noise".into(),
    };
    let intensity = |f: &Figures| {
        let (low, high) = (short(f.intensity.low), short(f.intensity.high));
        if low == high { low } else { format!("{low} to {high}") }
    };
    let _ = writeln!(
        body,
        "<tr{}><td>{}<br><span class=\"small\">{}{}</span><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td class=\"left\">{blame}<td>{}<br>{}<td>{}<td class=\"left\">{}</tr>",
        if k.significant { " class=\"changed\"" } else { "" },
        escape(&k.kernel),
        escape(&k.shape),
        k.became.as_ref().map_or(String::new(), |b| format!(" → {} {}", escape(&b.kernel), escape(&b.shape))),
        median(&k.baseline),
        median(&k.here),
        times(k.ratio),
        factors(|f| f.device),
        factors(|f| f.work),
        factors(|f| f.kernel),
        both(k, |f| percent(f, f.of_memory)).replace(' ', "\u{a0}"),
        both(k, |f| percent(f, f.of_pipe)).replace(' ', "\u{a0}"),
        both(k, intensity),
        both(k, |f| words(f.verdict))
    );
}
