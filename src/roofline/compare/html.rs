//! A comparison as one HTML file: rooflines over each other, ratios, and why.

use std::fmt::Write;

use super::{Comparison, Factors, Figures, KernelRatio, Other};
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
    body.push_str("</div>\n<h2>Rooflines</h2>\n<figure>");
    body.push_str(&overlay(reports).element("rooflines over each other"));
    body.push_str("<figcaption>A colour for each report: its roofs, and its kernels as measured (filled) and as costs and ceilings allow (hollow).</figcaption></figure>\n");
    for other in &comparison.others {
        section(&mut body, comparison, other);
    }
    body.push_str("<h2>How to read it</h2>\n<p class=\"small\">Ratios are of times: 2 takes twice as long as the baseline. A kernel's ratio is the product of three: the devices' (the same cost under both ceilings), the work's (both costs under one device's ceilings) and the kernel's (the rest, its efficiency); the one that pushed the time farthest is blamed. Only differences beyond noise are: the medians' intervals tested against each other, at 5 % over the whole comparison (Holm).</p>\n");
    page("Reports side by side", &body)
}

fn section(body: &mut String, comparison: &Comparison, other: &Other) {
    let _ = writeln!(
        body,
        "<h2>{} against {}</h2>\n<div class=\"wide\"><table>\n<tr><th>ceiling<th>baseline<th>here<th>ratio<th class=\"left\">unit</tr>",
        escape(&other.subject.file),
        escape(&comparison.baseline.file)
    );
    for c in &other.ceilings {
        let _ = writeln!(
            body,
            "<tr><td>{}<td>{}<td>{}<td>{:.2} ×<td class=\"left\">{}</tr>",
            escape(&c.name),
            short(c.baseline),
            short(c.here),
            c.ratio,
            escape(&c.unit)
        );
    }
    body.push_str("</table></div>\n<div class=\"wide\"><table>\n<tr><th>kernel<th>baseline<th>here<th>ratio<th>device<th>work<th>kernel<th class=\"left\">blame<th>of memory<th>of pipe<th class=\"left\">verdict</tr>\n");
    for step in &other.steps {
        let _ = writeln!(
            body,
            "<tr class=\"step\"><td colspan=\"11\">{}: kernels {} → {}, {}{}</td></tr>",
            escape(&step.step),
            time(step.kernels_ns[0]),
            time(step.kernels_ns[1]),
            times(step.ratio),
            if step.significant { "" } else { " (within noise)" }
        );
        for kernel in other.kernels.iter().filter(|k| k.step == step.step) {
            line(body, kernel);
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

fn times(ratio: Option<f64>) -> String {
    ratio.map_or("–".into(), |ratio| format!("{ratio:.2} ×"))
}

fn line(body: &mut String, k: &KernelRatio) {
    let median = |figures: &Figures| figures.time_ns.map_or("–".into(), |t| time(t.p50));
    let factor =
        |get: fn(&Factors) -> f64| k.factors.as_ref().map_or("–".into(), |f| format!("{:.2} ×", get(f)));
    let percent = |part: Option<f64>| part.map_or("–".into(), |p| format!("{:.0} %", 100.0 * p));
    let blame = if k.significant { words(k.blame) } else { "within noise".into() };
    let verdict = if k.baseline.verdict == k.here.verdict {
        words(k.here.verdict)
    } else {
        format!("{} → {}", words(k.baseline.verdict), words(k.here.verdict))
    };
    let _ = writeln!(
        body,
        "<tr{}><td>{}<br><span class=\"small\">{}{}</span><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td class=\"left\">{}<td>{} → {}<td>{} → {}<td class=\"left\">{}</tr>",
        if k.significant { " class=\"changed\"" } else { "" },
        escape(&k.kernel),
        escape(&k.shape),
        k.became.as_ref().map_or(String::new(), |b| format!(" → {} {}", escape(&b.kernel), escape(&b.shape))),
        median(&k.baseline),
        median(&k.here),
        times(k.ratio),
        factor(|f| f.device),
        factor(|f| f.work),
        factor(|f| f.kernel),
        blame,
        percent(k.baseline.of_memory),
        percent(k.here.of_memory),
        percent(k.baseline.of_pipe),
        percent(k.here.of_pipe),
        verdict
    );
}
