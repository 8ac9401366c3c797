//! The report in plain words: what bounds each step, and what would gain most.

use super::report::{Advice, KernelRow, Report, Step, Verdict};

fn milliseconds(ns: f64) -> String {
    format!("{:.2} ms", ns / 1e6)
}

fn bound(verdict: Verdict, pipe: Option<&str>) -> String {
    match verdict {
        Verdict::MemoryBound => "bound by memory".to_string(),
        Verdict::ComputeBound => format!("bound by arithmetic ({})", pipe.unwrap_or("unknown pipe")),
        Verdict::Balanced => "near the memory's and a pipe's ceiling at once".to_string(),
        Verdict::LaunchOverhead => "little more than launches".to_string(),
        Verdict::Underfilled => "too small to fill the device".to_string(),
        Verdict::Latency => "far from every ceiling (dependencies, synchronisation, unpacking)".to_string(),
        Verdict::OverRoof => "faster than costs and ceilings allow, so one of them is wrong".to_string(),
        Verdict::Unknown => "not measured well enough to tell".to_string(),
    }
}

/// Coverage outside of this is said.
const COVERED: [f64; 2] = [0.95, 1.05];

/// The report's paragraph.
pub fn summary(report: &Report) -> String {
    let mut parts: Vec<String> = Vec::new();
    if report.device.software {
        parts.push("These figures are a processor's: shaders run in software here.".to_string());
    }
    for step in &report.steps {
        let rows: Vec<&KernelRow> = report.kernels.iter().filter(|r| r.step == step.name).collect();
        parts.push(of_step(step, &rows));
    }
    parts.extend(report.advice.first().map(best));
    parts.join(" ")
}

fn of_step(step: &Step, rows: &[&KernelRow]) -> String {
    let mut text = format!("A step '{}' takes {}", step.name, milliseconds(step.wall_ns));
    if rows.iter().all(|r| r.verdict == Verdict::Unknown) {
        return text
            + "; what its kernels take is lost in noise: measure on a quieter machine, or with more --seconds.";
    }
    // Verdicts by the part of the step that they hold for.
    let mut kinds: Vec<(Verdict, Option<&str>, f64)> = Vec::new();
    for row in rows {
        let pipe = row.pipe.as_deref().filter(|_| row.verdict == Verdict::ComputeBound);
        match kinds.iter_mut().find(|k| k.0 == row.verdict && k.1 == pipe) {
            Some(kind) => kind.2 += row.share,
            None => kinds.push((row.verdict, pipe, row.share)),
        }
    }
    kinds.sort_by(|a, b| b.2.total_cmp(&a.2));
    if let Some((verdict, pipe, share)) = kinds.first() {
        text += &format!("; {:.0} % of its kernels' time is {}", 100.0 * share, bound(*verdict, *pipe));
    }
    let told = rows.iter().filter(|r| r.verdict != Verdict::Unknown);
    if let Some(row) = told.max_by(|a, b| a.headroom_ns.total_cmp(&b.headroom_ns))
        && row.headroom_ns > 0.0
    {
        text += &format!(
            ". The most to win is in {} ({}): {} at its ceiling",
            row.kernel,
            row.shape,
            milliseconds(row.headroom_ns)
        );
    }
    if !(COVERED[0]..=COVERED[1]).contains(&step.coverage) {
        text += &format!(
            ". Its kernels add up to {:.0} % of the step, so single rows are that uncertain",
            100.0 * step.coverage
        );
    }
    if let Some(idle) = step.gpu_idle.filter(|idle| *idle > 0.1) {
        text += &format!(". The GPU waits for the host {:.0} % of the time", 100.0 * idle);
    }
    text + "."
}

fn best(advice: &Advice) -> String {
    format!(
        "What would gain most in '{}' is {}: at best {:.2} times the tokens a second, because {}.",
        advice.step, advice.change, advice.predicted_gain, advice.because
    )
}
