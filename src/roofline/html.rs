//! The report as one HTML file, readable without a network: pictures, tables, device and method.

use std::fmt::Write;

use super::charts::{bandwidth, waterfall};
use super::hover::{LOST, about, headroom, lost, range};
use super::plot::{busiest, roofline, words};
use super::report::{KernelRow, Report};
use super::svg::{STYLE, escape, short, time};

/// A page around a body.
pub(super) fn page(title: &str, body: &str) -> String {
    let (style, script) = (include_str!("page.css"), include_str!("page.js"));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <div id=\"about\" hidden></div>\n<script>\n{script}</script>\n</body>\n</html>\n",
        escape(title)
    )
}

/// The whole report.
pub fn html(report: &Report) -> String {
    let mut body = String::new();
    head(&mut body, report);
    pictures(&mut body, report);
    if let Some(curve) = bandwidth(report) {
        body.push_str("<h2>Bandwidth over the working set</h2>\n<figure><div class=\"wide\">");
        body.push_str(&curve.element("bandwidth over the working set"));
        body.push_str("</div><figcaption>Each plateau is a level of memory as kernels see it; dashes mark its median.</figcaption></figure>\n");
    }
    if !report.steps.is_empty() {
        body.push_str("<h2>Where a step's time goes</h2>\n<div class=\"falls\">\n");
        for step in &report.steps {
            body.push_str(&waterfall(report, step).element(&step.name));
        }
        body.push_str("</div>\n");
        steps(&mut body, report);
    }
    if !report.kernels.is_empty() {
        table(&mut body, report);
    }
    advice(&mut body, report);
    device(&mut body, report);
    body.push_str(METHOD);
    page(&format!("Roofline of {}", report.device.name), &body)
}

fn head(body: &mut String, report: &Report) {
    let device = &report.device;
    let model = report.model.as_ref().map(|m| format!("{} on ", escape(&m.name))).unwrap_or_default();
    let _ = writeln!(
        body,
        "<h1>{model}{}</h1>\n<p class=\"sub\">{}, {}, {}; Ridgepoint {}</p>",
        escape(&device.name),
        escape(&device.kind),
        escape(&device.backend),
        escape(&device.driver),
        escape(&report.version)
    );
    if device.software {
        let processor = device.processor.as_ref().map_or(String::new(), |p| format!(" ({})", escape(p)));
        let _ = writeln!(
            body,
            "<p class=\"summary warning\">A software adapter: shaders run on the host's processor{processor}, and these are the processor's figures, not a GPU's.</p>"
        );
    }
    if !report.timer.reason.is_empty() {
        let _ = writeln!(
            body,
            "<p class=\"summary warning\">The timer is graded <b>{}</b>: {}</p>",
            words(report.timer.grade),
            escape(&report.timer.reason)
        );
    }
    if !report.summary.is_empty() {
        let lines: String = report.summary.lines().map(|line| format!("<p>{}</p>", escape(line))).collect();
        let _ = writeln!(body, "<div class=\"summary\">{lines}</div>");
    }
}

/// The roofline with all steps, and with each alone, one at a time.
fn pictures(body: &mut String, report: &Report) {
    body.push_str("<section>\n<h2>Roofline</h2>\n");
    let mut shown = vec![("all steps", None)];
    if report.steps.len() > 1 {
        shown.extend(report.steps.iter().map(|step| (step.name.as_str(), Some(step.name.as_str()))));
        body.push_str("<div class=\"keys\">");
        for (i, (name, _)) in shown.iter().enumerate() {
            let _ = write!(
                body,
                "<button type=\"button\" data-pick=\"{i}\" aria-pressed=\"{}\">{}</button>",
                i == 0,
                escape(name)
            );
        }
        body.push_str("</div>\n");
    }
    body.push_str("<figure>\n");
    for (i, (name, step)) in shown.iter().enumerate() {
        let hidden = if i == 0 { "" } else { " hidden" };
        let picture = roofline(report, *step).element(&format!("roofline, {name}"));
        let _ = write!(body, "<div class=\"wide\" data-show=\"{i}\"{hidden}>\n{picture}</div>\n");
    }
    body.push_str(
        "<figcaption>Filled: measured; its area is the kernel's share of its step, its shape the step, the bar the interval of its intensity; \
         faded: too blurred by noise for a verdict; lost in noise: no dot. Hollow: what costs and ceilings allow. Solid slope: memory that no cache holds; dashed: a working set that one holds. \
         Dotted verticals: ridges.</figcaption></figure>\n</section>\n",
    );
}

fn steps(body: &mut String, report: &Report) {
    body.push_str("<div class=\"wide\"><table>\n<thead><tr><th>step<th>tokens<th>sequences<th>context<th>kernels<th>GPU span<th>wall<th>coverage<th>profiling tax<th>GPU idle</tr></thead>\n");
    let percent = |part: Option<f64>| part.map_or("–".into(), |p| format!("{:.1} %", 100.0 * p));
    for s in &report.steps {
        let _ = writeln!(
            body,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            escape(&s.name),
            s.tokens,
            s.sequences,
            s.context,
            Some(s.kernels_ns).filter(|ns| *ns > 0.0).map_or_else(|| LOST.into(), time),
            s.gpu_ns.map_or("–".into(), time),
            time(s.wall_ns),
            percent(s.coverage),
            percent(s.profiling_tax),
            percent(s.gpu_idle)
        );
    }
    body.push_str("</table></div>\n");
}

fn table(body: &mut String, report: &Report) {
    body.push_str("<h2>Kernels</h2>\n<div class=\"wide\"><table>\n<thead><tr><th>kernel<th>calls<th>time<br>p10 to p90<th>median within<br>timed by<th>share<th>GB/s<br>of memory<th>GOP/s<br>of pipe<th>ops / byte<th class=\"left\">verdict<br>side<th>to win</tr></thead>\n");
    let mut steps: Vec<&str> = Vec::new();
    for row in &report.kernels {
        if !steps.contains(&row.step.as_str()) {
            steps.push(&row.step);
        }
    }
    for step in steps {
        let _ = writeln!(body, "<tr class=\"step\"><td colspan=\"10\">{}</td></tr>", escape(step));
        for row in report.kernels.iter().filter(|row| row.step == step) {
            line(body, row);
        }
    }
    body.push_str("</table></div>\n<p class=\"small\">Median within: its 95 % interval. Side: what the intensity predicts. Verdict: what the measurement says. Percentages are never cut at 100: more is a finding about the cost or the ceiling.</p>\n");
}

fn line(body: &mut String, row: &KernelRow) {
    let known = row.time().filter(|_| !lost(row));
    let percent = |part: f64| format!("{:.0}\u{a0}%", 100.0 * part);
    let small = |text: &str| format!("<br><span class=\"small\">{}</span>", escape(text));
    // A rate, and below it what part of its ceiling that is.
    let rate = |amount: f64, of: Option<f64>| {
        let rate = known.map_or("–".into(), |time| short(amount / time));
        rate + &of.filter(|_| known.is_some()).map(|part| small(&percent(part))).unwrap_or_default()
    };
    let spread = row.time_ns.map(|times| small(&range(times.p10, times.p90))).unwrap_or_default();
    let within = row.interval_ns.map_or("–".into(), |interval| range(interval.low, interval.high));
    let cells = [
        format!("{}{}", escape(&row.kernel), small(&row.shape)),
        row.calls.to_string(),
        known.map_or(LOST.into(), time) + &spread,
        within + &small(&words(row.timed_by)),
        format!("{:.1}\u{a0}%", 100.0 * row.share),
        rate(row.bytes.low, row.of_ceiling.memory),
        busiest(row).map_or("–".into(), |(_, ops)| rate(ops, row.of_ceiling.pipe)),
        interval(row.intensity.low, row.intensity.high),
    ];
    // On lines of their own, since with both beside it the verdict is the widest cell.
    let about_verdict =
        small(&words(row.side)) + &row.confirmed.map(|c| small(&words(c))).unwrap_or_default();
    let _ = writeln!(
        body,
        "<tr title=\"{}\"><td>{}<td class=\"left\">{}{}<td>{}</tr>",
        escape(&about(row)),
        cells.join("<td>"),
        words(row.verdict),
        about_verdict,
        headroom(row)
    );
}

fn interval(low: f64, high: f64) -> String {
    let (low, high) = (short(low), short(high));
    if low == high { low } else { format!("{low} to {high}") }
}

fn advice(body: &mut String, report: &Report) {
    if report.advice.is_empty() {
        return;
    }
    body.push_str("<h2>What would gain most</h2>\n<div class=\"wide\"><table>\n<thead><tr><th>step<th class=\"left\">knob<th class=\"left\">change<th>gain predicted<th>measured<th class=\"left\">because</tr></thead>\n");
    for a in &report.advice {
        let _ = writeln!(
            body,
            "<tr><td>{}<td class=\"left\">{}<td class=\"shape\">{}<td>{:.2} ×<td>{}<td class=\"shape\">{}</tr>",
            escape(&a.step),
            escape(&a.knob.replace('_', " ")),
            escape(&a.change),
            a.predicted_gain,
            a.measured_gain.map_or("–".into(), |gain| format!("{gain:.2} ×")),
            escape(&a.because)
        );
    }
    body.push_str("</table></div>\n");
}

fn device(body: &mut String, report: &Report) {
    body.push_str("<h2>Device</h2>\n<div class=\"wide\"><table>\n<thead><tr><th>ceiling<th>value<th>low<th>high<th class=\"left\">unit<th class=\"left\">probe</tr></thead>\n");
    for c in &report.ceilings {
        let _ = writeln!(
            body,
            "<tr><td>{}<td>{}<td>{}<td>{}<td class=\"left\">{}<td class=\"shape\">{}{}</tr>",
            escape(&c.name),
            short(c.value),
            short(c.low),
            short(c.high),
            escape(&c.unit),
            escape(&c.probe),
            if c.agreed { "" } else { " (rounds or probes differ: the machine was busy)" }
        );
    }
    let d = &report.device;
    let _ = writeln!(
        body,
        "</table></div>\n<p class=\"small\">Subgroups of {} to {} lanes; 16-bit floats in shaders: {}; modules {}; wgpu {}; timer {} over {} samples ({} zero, {} negative).</p>",
        d.subgroup_size[0],
        d.subgroup_size[1],
        if d.f16 { "yes" } else { "no" },
        escape(&d.checks),
        escape(&d.wgpu),
        words(report.timer.grade),
        report.timer.samples,
        report.timer.zeros,
        report.timer.negatives
    );
    if let Some(m) = &report.model {
        let formats: Vec<String> =
            m.formats.iter().map(|(f, bytes)| format!("{} {}B", escape(f), short(*bytes as f64))).collect();
        let _ = writeln!(
            body,
            "<p class=\"small\">{}: {} parameters in {} bytes ({}); KV cache in {}.</p>",
            escape(&m.name),
            short(m.parameters as f64),
            short(m.weight_bytes as f64),
            formats.join(", "),
            escape(&m.kv_cache_dtype)
        );
    }
}

const METHOD: &str = "<h2>Method</h2>\n<p class=\"small\">Ceilings are measured on this device, driver and with the same shader \
checks as the kernels: noise-filled buffers, warmed by time, repeated until rounds agree within 5 %. Bytes have a floor (each \
distinct byte once) and a ceiling (what the loads ask for), so that an intensity is an interval. Every step reconciles: the sum of its \
kernels, the GPU's span of the same step unprofiled, and the wall clock. docs/roofline.md has definitions and sources.</p>\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::report::Percentiles;
    use crate::roofline::sample;

    #[test]
    fn one_file_without_a_network() {
        let page = html(&sample::report());
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            let found = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "{outside}");
        }
        assert!(!page.contains("NaN") && !page.contains(">inf"));
    }

    #[test]
    fn each_row_step_and_ceiling_is_in_its_table() {
        let report = sample::report();
        let page = html(&report);
        let rows = page.matches("<tr title=").count();
        assert_eq!(rows, report.kernels.len());
        for step in &report.steps {
            assert!(page.contains(&format!("<td>{}<td>{}", step.name, step.tokens)), "{}", step.name);
        }
        for ceiling in &report.ceilings {
            assert!(page.contains(&format!("<tr><td>{}<td>", ceiling.name)), "{}", ceiling.name);
        }
    }

    #[test]
    fn each_row_says_how_it_was_timed_and_nothing_less_than_nothing() {
        let mut report = sample::report();
        report.kernels[0].time_ns = Some(Percentiles { p10: -40e6, p50: -34e6, p90: 2e6 });
        report.kernels[0].headroom_ns = None;
        let page = html(&report);
        let rows: Vec<&str> = page.lines().filter(|l| l.starts_with("<td>") || l.contains("<td>")).collect();
        let timed = rows.iter().filter(|l| l.contains("<br><span class=\"small\">simulated</span>")).count();
        assert_eq!(timed, report.kernels.len());
        let first = rows.iter().find(|l| l.contains(">lost in noise<")).expect("the first row");
        assert!(first.ends_with("<td>lost in noise</tr>") && !first.contains("<td>-"), "{first}");
    }

    #[test]
    fn every_table_has_a_head_that_print_repeats() {
        let page = html(&sample::report());
        assert!(page.matches("<table>").count() >= 3);
        assert_eq!(page.matches("<table>\n<thead><tr><th>").count(), page.matches("<table>").count());
        assert_eq!(page.matches("</tr></thead>").count(), page.matches("<table>").count());
    }

    #[test]
    fn what_the_report_names_is_text_and_no_markup() {
        let mut report = sample::report();
        report.device.name = "<img src=x>".into();
        report.summary = "a < b & c".into();
        report.kernels[0].kernel = "</script>".into();
        let page = html(&report);
        assert!(!page.contains("<img") && page.contains("a &lt; b &amp; c"));
        assert_eq!(page.matches("</script>").count(), 1);
    }

    #[test]
    fn a_software_adapter_and_a_bad_timer_are_named_first() {
        let mut report = sample::report();
        report.device.software = true;
        report.timer.reason = "stamps cost four times the dispatch".into();
        let page = html(&report);
        assert!(page.find("software adapter").unwrap() < page.find("<h2>").unwrap());
        assert!(page.contains("stamps cost four times"));
    }
}
