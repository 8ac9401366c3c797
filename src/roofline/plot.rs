//! The roofline: operations a second over operations per byte, both logarithmic (Williams, Waterman
//! & Patterson 2009), with every roof that was measured and a dot for each kernel.
//!
//! A filled dot is a measurement, its area the kernel's share of its step's time; the bar through it is
//! the interval of its intensity (bytes have a floor and a ceiling), its shape which step it is of. The hollow dot above it is where
//! costs and ceilings would have it, so that the line between is what could be won at best. A faded dot is of a
//! row whose verdict is unknown; a row that is lost in noise has none.

use std::fmt::Write;

use super::hover::{about, lost};
use super::legend::{self, HEIGHT, Key};
use super::marks::Shape;
use super::report::{KernelRow, Range, Report, Verdict};
use super::roofs::{Line, PIPES, Roofs, words as words_of_roofs};
use super::svg::{Anchor, COLOURS, Canvas, Scale, around, escape, short};

/// The largest dot: all of a step's time.
const RADIUS: f64 = 26.0;
/// Dots below this share of their step get no label, only a hover.
const LABELLED: f64 = 0.03;

/// A kernel's place.
pub(super) struct Dot<'a> {
    row: &'a KernelRow,
    colour: usize,
    shape: Shape,
    intensity: f64,
    rate: f64,
    predicted: Option<f64>,
}

impl<'a> Dot<'a> {
    /// None for a kernel without arithmetic or without a time that can be told from nothing.
    pub(super) fn new(row: &'a KernelRow, colour: usize, shape: Shape) -> Option<Self> {
        let (_, ops) = busiest(row).filter(|_| !lost(row))?;
        let Range { low, high } = row.intensity;
        let intensity = (low * high).sqrt();
        let rate = ops / row.time()?;
        let predicted = (row.floor_ns > 0.0).then(|| ops / row.floor_ns);
        let sound = intensity > 0.0 && intensity.is_finite() && rate > 0.0 && rate.is_finite();
        sound.then_some(Self { row, colour, shape, intensity, rate, predicted })
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
    let steps: Vec<&str> = report.steps.iter().map(|step| step.name.as_str()).collect();
    let dot = |row| Dot::new(row, colour(row) % COLOURS, shape(&steps, row));
    let mut dots: Vec<Dot<'_>> = rows.filter_map(dot).collect();
    let roofs = Roofs::new(report, &PIPES, None);
    draw(&mut dots, &[roofs], &legend::keys(report, step))
}

/// The shape of a row's step.
fn shape(steps: &[&str], row: &KernelRow) -> Shape {
    Shape::of(steps.iter().position(|step| *step == row.step).unwrap_or(0))
}

/// The plots of several reports over each other: a colour for each report, a shape for each step, and of the
/// pipes those that its kernels are judged by.
pub fn overlay(reports: &[&Report]) -> Canvas {
    let mut dots = Vec::new();
    let mut roofs = Vec::new();
    let mut steps: Vec<&str> = Vec::new();
    for step in reports.iter().flat_map(|report| &report.steps) {
        if !steps.contains(&step.name.as_str()) {
            steps.push(&step.name);
        }
    }
    for (i, report) in reports.iter().enumerate() {
        let colour = i % COLOURS;
        dots.extend(report.kernels.iter().filter_map(|row| Dot::new(row, colour, shape(&steps, row))));
        let used = |pipe: &&Line| report.kernels.iter().any(|r| busiest(r).is_some_and(|(p, _)| p == pipe.0));
        let pipes: Vec<Line> = PIPES.iter().filter(used).copied().collect();
        roofs.push(Roofs::new(report, &pipes, Some(colour)));
    }
    let mut keys = legend::shapes(&steps);
    keys.extend(legend::unsure(reports.iter().flat_map(|report| &report.kernels)));
    draw(&mut dots, &roofs, &keys)
}

fn draw(dots: &mut [Dot<'_>], roofs: &[Roofs], keys: &[Key<'_>]) -> Canvas {
    let rows = legend::rows(keys);
    let mut canvas = Canvas::new(920.0, 540.0 + HEIGHT * rows.len() as f64);
    // Small ones on top, so that none is hidden.
    dots.sort_by(|a, b| b.row.share.total_cmp(&a.row.share));
    let intensities = dots.iter().flat_map(|d| [d.row.intensity.low, d.row.intensity.high]);
    let rates = dots.iter().flat_map(|d| [Some(d.rate), d.predicted]).flatten();
    let tops = roofs.iter().flat_map(Roofs::tops);
    let x_ends = around(intensities.chain(roofs.iter().flat_map(Roofs::ridges)), 2.5).unwrap_or([0.1, 100.0]);
    let y_ends = around(rates.chain(tops), 1.9).unwrap_or([1.0, 1000.0]);
    let (x, y) = (Scale::log(x_ends, [64.0, 772.0]), Scale::log(y_ends, [492.0, 34.0]));
    canvas.axes(&x, &y, ["operations per byte", "10⁹ operations a second"], [short, short]);
    for roofs in roofs {
        roofs.lines(&mut canvas, [&x, &y], [x_ends, y_ends]);
    }
    marks(&mut canvas, dots, x, y);
    words_of_roofs(roofs, &mut canvas, [&x, &y], [x_ends, y_ends]);
    labels(&mut canvas, dots, x, y);
    if dots.is_empty() {
        canvas.text(
            "note",
            [418.0, 262.0],
            Anchor::Middle,
            "no kernel of this report has arithmetic and a time",
        );
    }
    for (i, row) in rows.into_iter().enumerate() {
        row.into_iter().for_each(|(left, key)| key.draw(&mut canvas, [left, 548.0 + HEIGHT * i as f64]));
    }
    canvas
}

fn radius(dot: &Dot<'_>) -> f64 {
    (dot.row.share.max(0.0).sqrt() * RADIUS).clamp(3.0, RADIUS)
}

fn marks(canvas: &mut Canvas, dots: &[Dot<'_>], x: Scale, y: Scale) {
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
        let unsure = if dot.row.verdict == Verdict::Unknown { " unsure" } else { "" };
        let (low, high) = (x.at(dot.row.intensity.low), x.at(dot.row.intensity.high));
        canvas.keep_off([low, py - 2.0, high, py + 2.0]);
        let _ = writeln!(
            group,
            "<line class=\"c{colour} interval\" x1=\"{low:.1}\" y1=\"{py:.1}\" x2=\"{high:.1}\" y2=\"{py:.1}\"/>\
             {}</g>",
            dot.shape.element(&format!("c{colour} measured{unsure}"), [px, py], r)
        );
        canvas.raw(&group);
    }
}

/// One label for a kernel and step, at its largest dot: dots come in that order.
fn labels(canvas: &mut Canvas, dots: &[Dot<'_>], x: Scale, y: Scale) {
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
    use crate::roofline::report::Percentiles;
    use crate::roofline::sample;

    #[test]
    fn a_dot_lies_where_its_figures_say() {
        let report = sample::report();
        let row = &report.kernels[0];
        let dot = Dot::new(row, 0, Shape::of(0)).unwrap();
        assert!((dot.intensity - (row.intensity.low * row.intensity.high).sqrt()).abs() < 1e-9);
        let ops = row.ops["fma_f32"] as f64;
        assert!((dot.rate - ops / row.time().unwrap()).abs() < 1e-9);
        assert!(dot.predicted.unwrap() >= dot.rate, "a floor is no slower than the measurement");
    }

    /// Left, top, right and bottom of each upright text of a class, and the text.
    fn texts(markup: &str, class: &str) -> Vec<([f64; 4], String)> {
        let start = format!("<text class=\"{class}\" x=");
        let of = |line: &str| {
            let number = |name: &str| {
                let rest = line.split_once(&format!(" {name}=\"")).unwrap().1;
                rest.split_once('"').unwrap().0.parse::<f64>().unwrap()
            };
            let text = line.split_once('>').unwrap().1.split_once('<').unwrap().0;
            let width = 6.3 * text.chars().count() as f64;
            let left = match line {
                l if l.contains("\"end\"") => number("x") - width,
                l if l.contains("\"middle\"") => number("x") - width / 2.0,
                _ => number("x"),
            };
            ([left, number("y") - 9.0, left + width, number("y") + 2.0], text.to_string())
        };
        markup.lines().filter(|line| line.starts_with(&start)).map(of).collect()
    }

    fn touch(a: &[f64; 4], b: &[f64; 4]) -> bool {
        a[0] < b[2] && a[2] > b[0] && a[1] < b[3] && a[3] > b[1]
    }

    #[test]
    fn words_keep_off_each_other_and_off_the_roofs() {
        let mut report = sample::report();
        for (name, value) in [("fma_f32", 163.0), ("int_alu", 180.0), ("dot4_i8", 171.0)] {
            report.ceilings.iter_mut().filter(|c| c.name == name).for_each(|c| c.value = value);
        }
        let markup = roofline(&report, None).element("roofline");
        let notes = texts(&markup, "note");
        for (_, words, _) in PIPES.iter().filter(|(name, ..)| report.ceiling(name).is_some()) {
            assert!(notes.iter().any(|(_, text)| text.starts_with(words)), "{words}: {notes:?}");
        }
        let all = [notes, texts(&markup, "label")].concat();
        for (i, (a, one)) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|(b, _)| !touch(a, b)), "{one} touches another: {all:?}");
            // No flat roof runs through it.
            for line in markup
                .lines()
                .filter(|l| ["roof", "pipe"].iter().any(|c| l.starts_with(&format!("<line class=\"{c}\""))))
            {
                let number = |name: &str| {
                    let rest = line.split_once(&format!(" {name}=\"")).unwrap().1;
                    rest.split_once('"').unwrap().0.parse::<f64>().unwrap()
                };
                let flat = number("y1") == number("y2");
                let roof = [number("x1"), number("y1"), number("x2"), number("y2")];
                assert!(!(flat && touch(a, &roof)), "a roof strikes {one}: {line}");
            }
        }
    }

    #[test]
    fn steps_are_told_apart_by_shapes_that_the_legend_lists() {
        let report = sample::report();
        let markup = roofline(&report, None).element("roofline");
        for (i, step) in report.steps.iter().enumerate() {
            let name = Shape::of(i).element("", [0.0, 0.0], 5.0)[1..].split(' ').next().unwrap().to_string();
            let of = |class: &str| markup.matches(&format!("<{name} class=\"{class}")).count();
            let all: usize = (0..COLOURS).map(|c| of(&format!("c{c} measured"))).sum();
            assert!(all > 0 && of("shape\"") >= 1, "{}: {markup}", step.name);
            assert!(markup.contains(&format!(">{}</text>", step.name)), "{}", step.name);
        }
        let one = roofline(&report, Some(&report.steps[1].name)).element("roofline");
        assert!(!one.contains("class=\"shape\""), "one step needs no legend of steps");
    }

    #[test]
    fn the_legend_names_each_kernel_and_why_it_has_no_dot() {
        let mut report = sample::report();
        let named = kernels(&report).len();
        let lost = report.kernels[0].kernel.clone();
        for row in report.kernels.iter_mut().filter(|row| row.kernel == lost) {
            row.time_ns = row.time_ns.map(|times| Percentiles { p50: -3.0, ..times });
        }
        let markup = roofline(&report, None).file("roofline");
        assert_eq!(markup.matches(" kernel\"").count(), named - 1);
        assert!(markup.contains(&format!("without a dot: {lost} (lost in noise)")), "{markup}");
    }

    #[test]
    fn what_noise_has_swallowed_has_no_dot_and_what_it_blurs_a_faded_one() {
        let mut report = sample::report();
        let dots = |report: &Report| roofline(report, None).element("").matches(" measured").count();
        let (all, name) = (dots(&report), report.kernels[1].kernel.clone());
        let of = report.kernels.iter().filter(|row| row.kernel == name).count();
        assert!(of > 1 && !roofline(&report, None).element("").contains("unsure"));
        report.kernels[1].interval_ns.as_mut().unwrap().low = -1.0;
        report.kernels[2].verdict = Verdict::Unknown;
        assert_eq!(dots(&report), all - 1, "a median above 0 is no time if its interval holds 0");
        for markup in [roofline(&report, None), overlay(&[&report, &report])].map(|c| c.element("")) {
            assert!(markup.contains(" measured unsure\""), "{markup}");
            assert!(markup.contains(">faded: verdict unknown</text>"), "{markup}");
        }
        let markup = roofline(&report, None).element("");
        assert!(markup.contains(&format!("{name} (1 of {of} rows lost in noise)")), "{markup}");
    }

    #[test]
    fn reports_over_each_other_have_words_in_their_colours_and_steps_their_shapes() {
        let (a, mut b) = (sample::report(), sample::report());
        b.ceilings.iter_mut().for_each(|c| c.value *= 0.9);
        let markup = overlay(&[&a, &b]).element("");
        for colour in ["note ink0", "note ink1"] {
            let words = texts(&markup, colour);
            assert!(words.iter().any(|(_, text)| text.starts_with("f32 multiply-add")), "{words:?}");
            let along =
                markup.lines().filter(|l| l.starts_with(&format!("<text class=\"{colour}\" transform")));
            assert!(along.into_iter().any(|line| line.contains("cold")), "{markup}");
        }
        let words = [texts(&markup, "note ink0"), texts(&markup, "note ink1")].concat();
        for (i, (a, one)) in words.iter().enumerate() {
            assert!(words[..i].iter().all(|(b, _)| !touch(a, b)), "{one} touches another: {words:?}");
        }
        assert_eq!(markup.matches("class=\"shape\"").count(), a.steps.len());
        assert!(markup.contains("<rect class=\"c1 measured\""), "{markup}");
    }

    #[test]
    fn every_kernel_with_arithmetic_is_drawn_once_and_names_are_escaped() {
        let mut report = sample::report();
        report.kernels[0].shape = "<script>\"&'".into();
        let markup = roofline(&report, None).element("roofline");
        let drawn = report.kernels.iter().filter(|r| Dot::new(r, 0, Shape::of(0)).is_some()).count();
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
