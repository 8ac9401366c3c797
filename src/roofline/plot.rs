//! The roofline: operations a second over operations per byte, both logarithmic (Williams, Waterman
//! & Patterson 2009), with every roof that was measured and a dot for each kernel.
//!
//! A filled dot is a measurement, its area the kernel's share of its step's time; the bar through it is
//! the interval of its intensity (bytes have a floor and a ceiling), its shape which step it is of. The hollow dot above it is where
//! costs and ceilings would have it, so that the line between is what could be won at best.

use std::fmt::Write;

use super::hover::about;
use super::marks::Shape;
use super::report::{KernelRow, Range, Report};
use super::roofs::{Line, PIPES, Roofs};
use super::svg::{Anchor, COLOURS, Canvas, Scale, around, escape, short};

/// The largest dot: all of a step's time.
const RADIUS: f64 = 26.0;
/// Dots below this share of their step get no label, only a hover.
const LABELLED: f64 = 0.03;

/// A kernel's place.
struct Dot<'a> {
    row: &'a KernelRow,
    colour: usize,
    shape: Shape,
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
        sound.then_some(Self { row, colour, shape: Shape::of(0), intensity, rate, predicted })
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
    let mut dots: Vec<Dot<'_>> = rows.filter_map(|row| Dot::new(row, colour(row) % COLOURS)).collect();
    for dot in &mut dots {
        let at = report.steps.iter().position(|step| step.name == dot.row.step);
        dot.shape = Shape::of(at.unwrap_or(0));
    }
    let roofs = Roofs::new(report, &PIPES, None);
    draw(&mut dots, &[roofs], &keys(report, step))
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
    draw(&mut dots, &roofs, &[])
}

fn draw(dots: &mut [Dot<'_>], roofs: &[Roofs], keys: &[Key<'_>]) -> Canvas {
    let rows = rows(keys);
    let mut canvas = Canvas::new(920.0, 540.0 + KEY * rows.len() as f64);
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
    for roofs in roofs {
        roofs.words(&mut canvas, [&x, &y], [x_ends, y_ends]);
    }
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
        let baseline = 548.0 + KEY * i as f64;
        for (left, key) in row {
            let middle = [left + 5.0, baseline - 4.0];
            if let Some((class, shape)) = &key.mark {
                canvas.raw(&format!("{}\n", shape.element(class, middle, 5.0)));
            }
            canvas.text(
                "key",
                [left + if key.mark.is_some() { 15.0 } else { 0.0 }, baseline],
                Anchor::Start,
                &key.text,
            );
        }
    }
    canvas
}

/// An entry of the legend: a mark with its class, and words.
struct Key<'a> {
    mark: Option<(String, Shape)>,
    text: std::borrow::Cow<'a, str>,
}

/// Height of a row of the legend.
const KEY: f64 = 19.0;

/// Entries in rows as wide as the plot, each with its left end.
fn rows<'k, 'a>(keys: &'k [Key<'a>]) -> Vec<Vec<(f64, &'k Key<'a>)>> {
    let mut rows: Vec<Vec<_>> = Vec::new();
    let mut left = f64::INFINITY;
    for key in keys {
        let width = 34.0 + 6.3 * key.text.chars().count() as f64;
        if left + width > 912.0 {
            rows.push(Vec::new());
            left = 64.0;
        }
        rows.last_mut().into_iter().for_each(|row| row.push((left, key)));
        left += width;
    }
    rows
}

/// The legend: each kernel that has a dot, and why the others have none.
fn keys<'a>(report: &'a Report, step: Option<&str>) -> Vec<Key<'a>> {
    let rows = |name: &str| {
        let name = name.to_string();
        report.kernels.iter().filter(move |r| r.kernel == name && step.is_none_or(|s| r.step == s))
    };
    let mut keys = Vec::new();
    let mut dotless = Vec::new();
    for (i, name) in kernels(report).into_iter().enumerate().filter(|(_, name)| rows(name).next().is_some()) {
        if rows(name).any(|row| Dot::new(row, 0).is_some()) {
            keys.push(Key {
                mark: Some((format!("c{} swatch", i % COLOURS), Shape::of(0))),
                text: name.into(),
            });
        } else if rows(name).all(|row| busiest(row).is_none()) {
            dotless.push(format!("{name} (no arithmetic)"));
        } else {
            dotless.push(format!("{name} (lost in noise)"));
        }
    }
    // Steps by their shapes, where there are several.
    let steps = report.steps.iter().enumerate().filter(|_| step.is_none() && report.steps.len() > 1);
    keys.extend(
        steps.map(|(i, s)| Key { mark: Some(("shape".into(), Shape::of(i))), text: (&s.name).into() }),
    );
    if !dotless.is_empty() {
        keys.push(Key { mark: None, text: format!("without a dot: {}", dotless.join(", ")).into() });
    }
    keys
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
        let (low, high) = (x.at(dot.row.intensity.low), x.at(dot.row.intensity.high));
        canvas.keep_off([low, py - 2.0, high, py + 2.0]);
        let _ = writeln!(
            group,
            "<line class=\"c{colour} interval\" x1=\"{low:.1}\" y1=\"{py:.1}\" x2=\"{high:.1}\" y2=\"{py:.1}\"/>\
             {}</g>",
            dot.shape.element(&format!("c{colour} measured"), [px, py], r)
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
        let dot = Dot::new(row, 0).unwrap();
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
        assert_eq!(markup.matches(" swatch\"").count(), named - 1);
        assert!(markup.contains(&format!("without a dot: {lost} (lost in noise)")), "{markup}");
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
