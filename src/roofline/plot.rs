//! The roofline: operations a second over operations per byte, both logarithmic (Williams, Waterman
//! & Patterson 2009), with every roof that was measured and a dot for each kernel.
//!
//! A filled dot is a measurement, its area the kernel's share of its step's time; the bar through it is
//! the interval of its intensity (bytes have a floor and a ceiling). The hollow dot above it is where
//! costs and ceilings would have it, so that the line between is what could be won at best.

use std::fmt::Write;

use super::report::{KernelRow, Range, Report};
use super::svg::{Anchor, COLOURS, Canvas, Scale, around, escape, short, time};

/// A roof: its ceiling, its words and its class.
type Line = (&'static str, &'static str, &'static str);

/// Diagonal roofs, then flat ones.
const MEMORY: [Line; 2] =
    [("read_cold", "memory, cold", "roof"), ("read_resident", "memory, resident", "resident")];
const PIPES: [Line; 5] = [
    ("fma_f32", "f32 multiply-add", "roof"),
    ("fma_f16", "f16 multiply-add", "pipe"),
    ("dot4_i8", "packed int8 dot", "pipe"),
    ("int_alu", "integer", "pipe"),
    ("special", "special functions", "pipe"),
];

/// The largest dot: all of a step's time.
const RADIUS: f64 = 26.0;
/// Dots below this share of their step get no label, only a hover.
const LABELLED: f64 = 0.03;

/// A kernel's place.
struct Dot<'a> {
    row: &'a KernelRow,
    colour: usize,
    intensity: f64,
    rate: f64,
    predicted: Option<f64>,
}

impl<'a> Dot<'a> {
    /// None for a kernel without arithmetic or without a time.
    fn new(row: &'a KernelRow, colour: usize) -> Option<Self> {
        let (_, ops) = busiest(row)?;
        let Range { low, high } = row.intensity;
        let intensity = (low * high).sqrt();
        let rate = ops / row.time()?;
        let predicted = (row.floor_ns > 0.0).then(|| ops / row.floor_ns);
        let sound = intensity > 0.0 && intensity.is_finite() && rate > 0.0 && rate.is_finite();
        sound.then_some(Self { row, colour, intensity, rate, predicted })
    }
}

/// The pipe that the report judges a kernel by, and its operations of a dispatch.
pub(super) fn busiest(row: &KernelRow) -> Option<(&str, f64)> {
    let named = row.pipe.as_ref().and_then(|pipe| row.ops.get_key_value(pipe));
    let most = named.or_else(|| row.ops.iter().max_by_key(|(_, ops)| **ops));
    most.filter(|(_, ops)| **ops > 0).map(|(pipe, ops)| (pipe.as_str(), *ops as f64))
}

/// The kernels of a report, in the order of their first dispatch: their places are their colours.
pub fn kernels(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for row in &report.kernels {
        if !names.contains(&row.kernel.as_str()) {
            names.push(&row.kernel);
        }
    }
    names
}

/// Everything about a row, for a hover.
pub(super) fn about(row: &KernelRow) -> String {
    let mut text = format!("{} ({})\n{}\n", row.kernel, row.shape, row.step);
    let _ = writeln!(
        text,
        "{}, {} calls, {:.1} % of the step",
        row.time_ns.map_or("no time".into(), |t| format!(
            "{} a dispatch [{} to {}]",
            time(t.p50),
            time(t.p10),
            time(t.p90)
        )),
        row.calls,
        100.0 * row.share
    );
    if let Some((pipe, ops)) = busiest(row) {
        let of = row.of_ceiling.pipe.map_or(String::new(), |p| format!(", {:.0} % of {pipe}", 100.0 * p));
        let _ = writeln!(text, "{} GOP/s{of}", row.time().map_or("–".into(), |t| short(ops / t)));
    }
    let _ = writeln!(
        text,
        "{} GB/s, {} of memory; {} to {} operations a byte",
        row.time().map_or("–".into(), |t| short(row.bytes.low / t)),
        row.of_ceiling.memory.map_or("–".into(), |p| format!("{:.0} %", 100.0 * p)),
        short(row.intensity.low),
        short(row.intensity.high)
    );
    let _ = write!(
        text,
        "{}: {}\nat best {}: {} of the step to win",
        words(row.verdict),
        row.reason,
        time(row.floor_ns),
        row.headroom_ns.map_or("–".into(), time)
    );
    text
}

/// A value of the report's enums in words, as the JSON names it.
pub fn words(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text.replace('_', " "),
        _ => "unknown".into(),
    }
}

/// The plot of one report: only the rows of `step`, or all. A colour for each kernel.
pub fn roofline(report: &Report, step: Option<&str>) -> Canvas {
    let names = kernels(report);
    let colour = |row: &KernelRow| names.iter().position(|n| *n == row.kernel).unwrap_or(0);
    let rows = report.kernels.iter().filter(|row| step.is_none_or(|s| row.step == s));
    let mut dots: Vec<Dot<'_>> = rows.filter_map(|row| Dot::new(row, colour(row) % COLOURS)).collect();
    let roofs = Roofs::new(report, &PIPES, None);
    draw(&mut dots, &[roofs])
}

/// The plots of several reports over each other: a colour for each report, and of the pipes those
/// that its kernels are judged by.
pub fn overlay(reports: &[&Report]) -> Canvas {
    let mut dots = Vec::new();
    let mut roofs = Vec::new();
    for (i, report) in reports.iter().enumerate() {
        let colour = i % COLOURS;
        dots.extend(report.kernels.iter().filter_map(|row| Dot::new(row, colour)));
        let used = |pipe: &&Line| report.kernels.iter().any(|r| busiest(r).is_some_and(|(p, _)| p == pipe.0));
        let pipes: Vec<Line> = PIPES.iter().filter(used).copied().collect();
        roofs.push(Roofs::new(report, &pipes, Some(colour)));
    }
    draw(&mut dots, &roofs)
}

/// The roofs of a report, with their words and classes.
struct Roofs {
    memory: Vec<(f64, &'static str, String)>,
    pipes: Vec<(f64, &'static str, String)>,
    labelled: bool,
}

impl Roofs {
    fn new(report: &Report, pipes: &[Line], colour: Option<usize>) -> Self {
        let find = |list: &[Line]| {
            let value = |line: &Line| report.ceiling(line.0).filter(|v| *v > 0.0);
            let class = |class: &str| colour.map_or(class.into(), |c| format!("{class} c{c}"));
            list.iter().filter_map(|line| Some((value(line)?, line.1, class(line.2)))).collect()
        };
        Self { memory: find(&MEMORY), pipes: find(pipes), labelled: colour.is_none_or(|c| c == 0) }
    }

    fn ridges(&self) -> impl Iterator<Item = f64> {
        self.memory.iter().flat_map(|(b, ..)| self.pipes.iter().map(move |(p, ..)| p / b))
    }
}

fn draw(dots: &mut [Dot<'_>], roofs: &[Roofs]) -> Canvas {
    let mut canvas = Canvas::new(920.0, 540.0);
    // Small ones on top, so that none is hidden.
    dots.sort_by(|a, b| b.row.share.total_cmp(&a.row.share));
    let intensities = dots.iter().flat_map(|d| [d.row.intensity.low, d.row.intensity.high]);
    let rates = dots.iter().flat_map(|d| [Some(d.rate), d.predicted]).flatten();
    let tops = roofs.iter().flat_map(|r| r.pipes.iter().map(|(p, ..)| *p));
    let x_ends = around(intensities.chain(roofs.iter().flat_map(Roofs::ridges)), 2.5).unwrap_or([0.1, 100.0]);
    let y_ends = around(rates.chain(tops), 1.9).unwrap_or([1.0, 1000.0]);
    let x = Scale::log(x_ends, [64.0, 904.0]);
    let y = Scale::log(y_ends, [492.0, 34.0]);
    canvas.axes(&x, &y, ["operations per byte", "10⁹ operations a second"], [short, short]);
    for roofs in roofs {
        lines(&mut canvas, roofs, [&x, &y], [x_ends, y_ends]);
    }
    marks(&mut canvas, dots, x, y);
    if dots.is_empty() {
        canvas.text(
            "note",
            [484.0, 262.0],
            Anchor::Middle,
            "no kernel of this report has arithmetic and a time",
        );
    }
    canvas
}

/// Height of a line of a label, width of a letter, and the gap between labels side by side.
const LINE: f64 = 12.0;
const LETTER: f64 = 6.2;
const GAP: f64 = 14.0;

fn lines(canvas: &mut Canvas, roofs: &Roofs, [x, y]: [&Scale; 2], [x_ends, y_ends]: [[f64; 2]; 2]) {
    // The highest first; a label too near to one above it moves to its left.
    let mut pipes: Vec<_> = roofs.pipes.iter().collect();
    pipes.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut labels: Vec<[f64; 2]> = Vec::new();
    for (rate, words, class) in pipes {
        let left = roofs.memory.iter().map(|(b, ..)| rate / b).fold(f64::INFINITY, f64::min);
        let left = if left.is_finite() { left } else { x_ends[0] };
        canvas.line(class, [x.at(left), y.at(*rate)], [x.at(x_ends[1]), y.at(*rate)]);
        if roofs.labelled {
            let text = format!("{words} {}", short(*rate));
            let (mut right, baseline) = (x.at(x_ends[1]) - 4.0, y.at(*rate) - 4.0);
            for [start, line] in &labels {
                if (line - baseline).abs() < LINE {
                    right = right.min(start - GAP);
                }
            }
            labels.push([right - text.chars().count() as f64 * LETTER, baseline]);
            canvas.text("note", [right, baseline], Anchor::End, &text);
        }
    }
    let top = roofs.pipes.iter().map(|(p, ..)| *p).fold(0.0, f64::max);
    for (i, (rate, words, class)) in roofs.memory.iter().enumerate() {
        for (pipe, ..) in &roofs.pipes {
            let ridge = pipe / rate;
            canvas.line("ridge", [x.at(ridge), y.at(*pipe)], [x.at(ridge), y.at(y_ends[0])]);
        }
        // Held inside the picture: where the roof enters it, and where the highest pipe cuts it.
        let from = x_ends[0].max(y_ends[0] / rate);
        let to = if top > 0.0 { (top / rate).min(x_ends[1]) } else { x_ends[1].min(y_ends[1] / rate) };
        if from >= to {
            continue;
        }
        let (start, end) = ([x.at(from), y.at(rate * from)], [x.at(to), y.at(rate * to)]);
        canvas.line(class, start, end);
        if roofs.labelled {
            // Along the line, on either side of it, so that two close roofs keep apart.
            let (dx, dy) = (end[0] - start[0], end[1] - start[1]);
            let angle = dy.atan2(dx).to_degrees();
            let (px, py) = (start[0] + dx * 0.02 + 8.0, start[1] + dy * 0.02 + 8.0 * dy / dx.max(1.0));
            let shift = if i + 1 == roofs.memory.len() && i > 0 { -6.0 } else { 15.0 };
            canvas.raw(&format!(
                "<text class=\"note\" transform=\"translate({px:.1} {py:.1}) rotate({angle:.1})\" y=\"{shift}\">{} {} GB/s</text>\n",
                escape(words),
                short(*rate)
            ));
        }
    }
}

fn marks(canvas: &mut Canvas, dots: &[Dot<'_>], x: Scale, y: Scale) {
    let radius = |dot: &Dot<'_>| (dot.row.share.max(0.0).sqrt() * RADIUS).clamp(3.0, RADIUS);
    for dot in dots {
        let (colour, px, py, r) = (dot.colour, x.at(dot.intensity), y.at(dot.rate), radius(dot));
        canvas.take([px, py], r);
        let mut group = format!("<g class=\"dot\"><title>{}</title>\n", escape(&about(dot.row)));
        if let Some(predicted) = dot.predicted {
            let top = y.at(predicted);
            canvas.take([px, top], 4.5);
            let _ = writeln!(
                group,
                "<line class=\"c{colour} reach\" x1=\"{px:.1}\" y1=\"{py:.1}\" x2=\"{px:.1}\" y2=\"{top:.1}\"/>\
                 <circle class=\"c{colour} predicted\" cx=\"{px:.1}\" cy=\"{top:.1}\" r=\"4.5\"/>"
            );
        }
        let (low, high) = (x.at(dot.row.intensity.low), x.at(dot.row.intensity.high));
        canvas.keep_off([low, py - 2.0, high, py + 2.0]);
        let _ = writeln!(
            group,
            "<line class=\"c{colour} interval\" x1=\"{low:.1}\" y1=\"{py:.1}\" x2=\"{high:.1}\" y2=\"{py:.1}\"/>\
             <circle class=\"c{colour} measured\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"{r:.1}\"/></g>"
        );
        canvas.raw(&group);
    }
    // One label for a kernel and step, at its largest dot: dots come in that order.
    let several = dots.iter().any(|d| d.row.step != dots[0].row.step);
    let mut labelled: Vec<(&str, &str)> = Vec::new();
    for dot in dots.iter().filter(|d| d.row.share >= LABELLED) {
        let name = (dot.row.kernel.as_str(), dot.row.step.as_str());
        if labelled.contains(&name) {
            continue;
        }
        labelled.push(name);
        let text = if several { format!("{}, {}", name.0, name.1) } else { name.0.to_string() };
        canvas.label("label", [x.at(dot.intensity), y.at(dot.rate)], radius(dot), &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::sample;

    #[test]
    fn a_dot_lies_where_its_figures_say() {
        let report = sample::report();
        let row = &report.kernels[0];
        let dot = Dot::new(row, 0).unwrap();
        assert!((dot.intensity - (row.intensity.low * row.intensity.high).sqrt()).abs() < 1e-9);
        let ops = row.ops["fma_f32"] as f64;
        assert!((dot.rate - ops / row.time().unwrap()).abs() < 1e-9);
        assert!(dot.predicted.unwrap() >= dot.rate, "a floor is no slower than the measurement");
    }

    #[test]
    fn words_of_roofs_that_lie_close_keep_apart() {
        let mut report = sample::report();
        for (name, value) in [("fma_f32", 163.0), ("int_alu", 180.0), ("dot4_i8", 171.0)] {
            report.ceilings.iter_mut().filter(|c| c.name == name).for_each(|c| c.value = value);
        }
        let markup = roofline(&report, None).element("roofline");
        // Where each ends, how long it is, and its line.
        let words: Vec<[f64; 3]> = markup
            .lines()
            .filter(|line| PIPES.iter().any(|(_, words, _)| line.contains(&format!(">{words} "))))
            .map(|line| {
                let number = |name: &str| {
                    let rest = line.split_once(&format!("{name}=\"")).unwrap().1;
                    rest.split_once('"').unwrap().0.parse::<f64>().unwrap()
                };
                let text = line.split_once('>').unwrap().1.split_once('<').unwrap().0;
                [number(" x"), text.len() as f64 * LETTER, number(" y")]
            })
            .collect();
        assert!(words.len() >= 3, "{markup}");
        for (i, a) in words.iter().enumerate() {
            for b in &words[..i] {
                let apart = (a[2] - b[2]).abs() >= LINE || a[0] <= b[0] - b[1] || b[0] <= a[0] - a[1];
                assert!(apart, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn every_kernel_with_arithmetic_is_drawn_once_and_names_are_escaped() {
        let mut report = sample::report();
        report.kernels[0].shape = "<script>\"&'".into();
        let markup = roofline(&report, None).element("roofline");
        let drawn = report.kernels.iter().filter(|r| Dot::new(r, 0).is_some()).count();
        assert!(drawn > 4);
        assert_eq!(markup.matches("measured").count(), drawn);
        assert!(!markup.contains("<script>") && markup.contains("&lt;script&gt;&quot;&amp;&#39;"));
        // Two memory roofs cut five pipes.
        assert_eq!(markup.matches("class=\"ridge\"").count(), 2 * report_pipes(&report));
    }

    fn report_pipes(report: &Report) -> usize {
        PIPES.iter().filter(|(name, ..)| report.ceiling(name).is_some()).count()
    }

    #[test]
    fn an_empty_report_is_a_picture_that_says_so() {
        let mut report = sample::report();
        report.kernels.clear();
        report.ceilings.clear();
        let markup = roofline(&report, None).element("roofline");
        assert!(
            markup.contains("no kernel") && !markup.contains("NaN") && !markup.contains("inf"),
            "{markup}"
        );
    }
}
