//! The report's steps as a trace that Perfetto and Chrome's `about:tracing` open: the Trace Event
//! Format's JSON object, with a track for the host and one for the GPU.
//!
//! The report holds medians, not each dispatch, so a trace shows each step once: its kernels in the
//! order of their first dispatch, all calls of a row as one event of calls x median, and the host's
//! parts. The GPU's span is the measured one; kernels that add up to more, since they were timed one by one,
//! are drawn shorter by a common factor (`drawn` in their arguments, beside the true `total_ns`). Times
//! are microseconds from the trace's begin.

use serde_json::{Value, json};

use super::plot::words;
use super::report::{KernelRow, Report, Step};

const PROCESS: u32 = 1;
const HOST: u32 = 1;
const GPU: u32 = 2;

/// Nanoseconds between two steps, so that they can be told apart.
const PAUSE: f64 = 50_000.0;

/// The trace.
pub fn trace(report: &Report) -> Value {
    let name = |what: &str, thread: u32, name: &str| json!({ "ph": "M", "name": what, "pid": PROCESS, "tid": thread, "args": { "name": name } });
    let gpu = format!("GPU: {}", report.device.name);
    let mut events = vec![
        name("process_name", 0, "ridgepoint"),
        name("thread_name", HOST, "host"),
        name("thread_name", GPU, &gpu),
    ];
    let mut start = 0.0;
    for step in &report.steps {
        let [handed, length] = host(&mut events, step, start);
        kernels(&mut events, report, step, start, [handed, length]);
        start += length + PAUSE;
    }
    json!({
        "displayTimeUnit": "ns",
        "otherData": { "version": report.version, "device": report.device.name, "driver": report.device.driver },
        "traceEvents": events,
    })
}

/// A complete event; times in nanoseconds.
fn event(name: &str, category: &str, thread: u32, [from, long]: [f64; 2], args: Value) -> Value {
    // Rounded to the format's picoseconds, so that neighbours that touch don't overlap.
    let [from, to] = [from, from + long.max(0.0)].map(f64::round);
    json!({
        "ph": "X", "name": name, "cat": category, "pid": PROCESS, "tid": thread,
        "ts": from / 1000.0, "dur": (to - from) / 1000.0, "args": args,
    })
}

/// The step and, within it, the host's parts; when it has submitted, after `start`, and how long it is.
fn host(events: &mut Vec<Value>, step: &Step, start: f64) -> [f64; 2] {
    let parts = [
        ("plan", step.host.plan_ns),
        ("record", step.host.record_ns),
        ("submit", step.host.submit_ns),
        ("wait", step.host.wait_ns),
    ];
    let all: f64 = parts.iter().map(|(_, ns)| ns).sum();
    let args = json!({
        "tokens": step.tokens, "sequences": step.sequences, "context": step.context,
        "coverage": step.coverage, "gpu_idle": step.gpu_idle, "profiling_tax": step.profiling_tax,
    });
    let length = step.wall_ns.max(all);
    events.push(event(&step.name, "step", HOST, [start, length], args));
    let mut at = start;
    for (name, ns) in parts {
        if ns > 0.0 {
            events.push(event(name, "host", HOST, [at, ns], json!({})));
        }
        at += ns;
    }
    [all - step.host.wait_ns, length]
}

/// The step's span on the GPU and its kernels in it, all within the host's step of this length.
fn kernels(events: &mut Vec<Value>, report: &Report, step: &Step, start: f64, [handed, length]: [f64; 2]) {
    let rows: Vec<&KernelRow> = report.kernels.iter().filter(|row| row.step == step.name).collect();
    // A difference lost in noise may be negative, and time doesn't run backwards.
    let total = |row: &KernelRow| (row.calls as f64 * row.median().unwrap_or(0.0)).max(0.0);
    let sum: f64 = rows.iter().map(|row| total(row)).sum();
    let span = step.gpu_ns.unwrap_or(sum).clamp(0.0, length);
    // A GPU may begin before all is handed over, but waiting ends when it is done.
    let from = start + handed.min(length - span);
    let drawn = if sum > span { span / sum } else { 1.0 };
    let args = json!({ "gpu_ns": step.gpu_ns, "kernels_ns": step.kernels_ns, "drawn": drawn });
    events.push(event(&step.name, "gpu", GPU, [from, span], args));
    let mut at = from;
    for row in rows {
        let long = drawn * total(row);
        let args = json!({
            "shape": row.shape, "calls": row.calls, "median_ns": row.median(), "total_ns": total(row),
            "drawn": drawn, "bytes": row.bytes.low, "ops": row.ops, "share": row.share,
            "verdict": words(row.verdict), "reason": row.reason, "floor_ns": row.floor_ns,
        });
        let end = (at + long).min(from + span);
        events.push(event(&row.kernel, "kernel", GPU, [at, end - at], args));
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::sample;

    fn number(event: &Value, key: &str) -> f64 {
        event[key].as_f64().unwrap_or_else(|| panic!("no {key} in {event}"))
    }

    /// The rules of the Trace Event Format that viewers rely on (its section 'Event Descriptions').
    fn check(trace: &Value) -> usize {
        let events = trace["traceEvents"].as_array().unwrap();
        let mut complete = 0;
        for thread in [HOST, GPU] {
            let mut open: Vec<[f64; 2]> = Vec::new();
            let mut last = 0.0;
            for event in events.iter().filter(|e| e["tid"] == thread && e["ph"] == "X") {
                let (from, long) = (number(event, "ts"), number(event, "dur"));
                assert!(event["name"].is_string() && event["cat"].is_string() && event["args"].is_object());
                assert!(from.is_finite() && from >= last && long >= 0.0, "out of order: {event}");
                last = from;
                while open.last().is_some_and(|[_, end]| *end <= from + 1e-9) {
                    open.pop();
                }
                if let Some([_, end]) = open.last() {
                    assert!(from + long <= end + 1e-6, "not nested: {event} ends after {end}");
                }
                open.push([from, from + long]);
                complete += 1;
            }
        }
        let metadata = events.iter().filter(|e| e["ph"] == "M").count();
        assert_eq!(metadata + complete, events.len(), "phases other than X and M");
        complete
    }

    #[test]
    fn events_are_ordered_and_nested_and_none_is_missing() {
        let report = sample::report();
        // Two of each step, one of each kernel row, four parts of the host.
        let expected = 2 * report.steps.len() + report.kernels.len() + 4 * report.steps.len();
        assert_eq!(check(&trace(&report)), expected);
    }

    #[test]
    fn durations_are_the_reports_in_microseconds() {
        let report = sample::report();
        let trace = trace(&report);
        let kernels: Vec<&Value> =
            trace["traceEvents"].as_array().unwrap().iter().filter(|e| e["cat"] == "kernel").collect();
        for (event, row) in kernels.iter().zip(&report.kernels) {
            assert_eq!(event["name"], row.kernel.as_str());
            let long = row.calls as f64 * row.median().unwrap() / 1000.0;
            assert!((number(event, "dur") - long).abs() <= 0.001, "{event}");
        }
    }

    #[test]
    fn a_negative_median_takes_no_time_back() {
        let mut report = sample::report();
        let time = report.kernels[1].time_ns.as_mut().unwrap();
        time.p50 *= -1.0;
        report.kernels[4].time_ns = None;
        let expected = 2 * report.steps.len() + report.kernels.len() + 4 * report.steps.len();
        assert_eq!(check(&trace(&report)), expected);
    }

    /// Events of a category: their begins, lengths and arguments.
    fn of<'a>(trace: &'a Value, category: &str) -> Vec<(f64, f64, &'a Value)> {
        let all = trace["traceEvents"].as_array().unwrap().iter().filter(|e| e["cat"] == category);
        all.map(|e| (number(e, "ts"), number(e, "dur"), &e["args"])).collect()
    }

    #[test]
    fn a_span_is_the_measured_one_and_ends_with_its_step() {
        for factor in [1.0 / 3.0, 1.0, 1.4] {
            let mut report = sample::report();
            for step in &mut report.steps {
                step.gpu_ns = step.gpu_ns.map(|ns| ns * factor);
            }
            let trace = trace(&report);
            check(&trace);
            let (hosts, spans) = (of(&trace, "step"), of(&trace, "gpu"));
            for ((step, host), span) in report.steps.iter().zip(&hosts).zip(&spans) {
                let gpu = step.gpu_ns.unwrap();
                assert!((1000.0 * span.1 - gpu.min(step.wall_ns)).abs() <= 1.0, "{span:?}");
                assert_eq!(span.2["gpu_ns"], gpu);
                assert!(span.0 >= host.0 && span.0 + span.1 <= host.0 + host.1 + 1e-6, "{host:?} {span:?}");
            }
            for ((_, long, args), row) in of(&trace, "kernel").iter().zip(&report.kernels) {
                let total = row.calls as f64 * row.median().unwrap();
                let drawn = number(args, "drawn");
                assert_eq!(number(args, "total_ns"), total);
                assert!((1000.0 * long - drawn * total).abs() <= 1.0, "{args}");
                assert_eq!(drawn < 1.0, factor < 0.5, "{args}");
            }
            report.steps.iter_mut().for_each(|step| step.gpu_ns = None);
            check(&super::trace(&report));
        }
    }
}
