//! The report in plain words: what bounds each step, and what would gain most.

use super::doubts;
use super::predict::weakness;
use super::report::{Advice, KernelRow, Report, Step, Verdict};
use super::verdict::THRESHOLDS;

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

/// Of a window in which nothing came often enough.
const NO_STEP: &str =
    "There is no step to report on: no kind of step came three times. Watch more steps, of longer answers.";

/// The report's paragraph, a line for each thing that it says.
pub fn summary(report: &Report) -> String {
    let mut parts: Vec<String> = Vec::new();
    if report.device.software {
        parts.push("These figures are a processor's: shaders run in software here.".to_string());
    }
    if let Some(steps) = report.watched_steps {
        parts.push(format!("Steps that were watched: {steps}."));
    }
    if report.steps.is_empty() {
        parts.push(NO_STEP.to_string());
    }
    for step in &report.steps {
        let rows: Vec<&KernelRow> = report.kernels.iter().filter(|r| r.step == step.name).collect();
        parts.push(of_step(step, &rows));
    }
    parts.extend(report.advice.first().map(best));
    parts.extend(doubts::said(&report.ceilings).map(|doubt| format!("The {doubt}.")));
    parts.join("\n")
}

fn of_step(step: &Step, rows: &[&KernelRow]) -> String {
    let mut text = format!("A step '{}' takes {}", step.name, milliseconds(step.wall_ns));
    if rows.iter().all(|r| r.verdict == Verdict::Unknown) {
        let few = rows.iter().filter_map(|r| r.samples).max().filter(|n| *n < THRESHOLDS.samples as u64);
        let why = few.map_or(
            "what its kernels take is lost in noise: measure on a quieter machine, or for longer".to_string(),
            |n| {
                format!(
                    "it was seen too seldom to tell its kernels: {n} times, and {} are needed",
                    THRESHOLDS.samples
                )
            },
        );
        return text + "; " + &why + ".";
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
    if let Some(weakness) = weakness(step, rows) {
        text += &format!(". From its rows nothing is predicted, since {weakness}");
        return text + &idle(step) + ".";
    }
    let told = rows.iter().filter(|r| r.verdict != Verdict::Unknown);
    let headroom = told.filter_map(|row| Some((row, row.headroom_ns?)));
    if let Some((row, headroom)) = headroom.max_by(|a, b| a.1.total_cmp(&b.1))
        && headroom > 0.0
    {
        let times = row.time().filter(|_| row.floor_ns > 0.0).map(|time| time / row.floor_ns);
        let times =
            times.map_or(String::new(), |n| format!(": it takes {n:.1} times what its ceilings allow"));
        text += &format!(
            ". Most is to be won at {} ({}), at most {} of the step{times}",
            row.kernel,
            row.shape,
            milliseconds(headroom)
        );
    }
    text + &idle(step) + "."
}

fn idle(step: &Step) -> String {
    let much = step.gpu_idle.filter(|idle| *idle > 0.1);
    much.map_or(String::new(), |idle| {
        format!(". The GPU waits for the host {:.0} % of the time", 100.0 * idle)
    })
}

/// A bound is only what costs and ceilings give; this is a prediction, or what was measured.
fn best(advice: &Advice) -> String {
    let gain = match advice.measured_gain {
        Some(measured) => format!(
            "measured here, {measured:.2} times the tokens a second ({:.2} were predicted: {})",
            advice.predicted_gain, advice.because
        ),
        None => {
            format!("predicted, {:.2} times the tokens a second ({})", advice.predicted_gain, advice.because)
        }
    };
    format!("What gains most in '{}' is {}: {gain}.", advice.step, advice.change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::sample;

    #[test]
    fn a_gain_is_called_predicted_or_measured_and_never_a_bound() {
        let mut report = sample::report();
        let text = summary(&report);
        assert!(text.contains("predicted, 5.10 times the tokens a second"), "{text}");
        report.advice[0].measured_gain = Some(4.25);
        let text = summary(&report);
        assert!(text.contains("measured here, 4.25 times") && text.contains("5.10 were predicted"), "{text}");
        assert!(!text.contains("at best") && !text.contains("in doubt"), "{text}");
        report.ceilings[0].agreed = false;
        assert!(summary(&report).contains("The ceilings are in doubt (a single round moves"));
    }

    #[test]
    fn a_step_whose_rows_are_weak_names_no_kernel() {
        let mut report = sample::report();
        assert!(summary(&report).contains("Most is to be won at"));
        report.steps.iter_mut().for_each(|step| step.coverage = Some(1.19));
        let text = summary(&report);
        assert!(text.contains("nothing is predicted, since its kernels add up to 119.0 % of it"), "{text}");
        assert!(!text.contains("to be won"), "{text}");
    }

    #[test]
    fn the_kernel_with_most_to_win_is_named_with_how_far_it_is_from_its_ceiling() {
        let mut report = sample::report();
        let step = report.steps[0].name.clone();
        // The farthest from its ceiling, and still with least to win.
        let far = report.kernels.iter_mut().find(|r| r.step == step && r.kernel == "embed").unwrap();
        far.time_ns.as_mut().unwrap().p50 = 10.0 * far.floor_ns;
        far.headroom_ns = Some(9.0 * far.floor_ns);
        let of = report.kernels.iter().filter(|r| r.step == step);
        let most = of.max_by(|a, b| a.headroom_ns.partial_cmp(&b.headroom_ns).unwrap()).unwrap();
        assert_ne!(most.kernel, "embed");
        let text = summary(&report);
        let times = most.time().unwrap() / most.floor_ns;
        let named = format!("Most is to be won at {} ({}), at most ", most.kernel, most.shape);
        let (_, rest) = text.split_once(&named).unwrap_or_else(|| panic!("{text}"));
        let tail = format!("of the step: it takes {times:.1} times what its ceilings allow.");
        assert!(rest.split_once(" ms ").unwrap().1.starts_with(&tail), "{text}");
    }

    #[test]
    fn watched_steps_are_counted_in_words() {
        let mut report = sample::report();
        assert!(!summary(&report).contains("watched"));
        report.watched_steps = Some(60);
        assert!(summary(&report).contains("Steps that were watched: 60."));
    }
}
