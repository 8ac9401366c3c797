//! The legend of a roofline: which colour is which kernel, which shape which step, and what has no dot.

use std::borrow::Cow;

use super::hover::lost;
use super::marks::Shape;
use super::plot::{Dot, busiest, kernels};
use super::report::{KernelRow, Report, Verdict};
use super::svg::{Anchor, COLOURS, Canvas};

/// What stands before an entry's words.
enum Mark {
    /// A bar of a kernel's colour: no shape that a step has.
    Colour(usize),
    /// A step's shape, with a class.
    Shape(Shape, &'static str),
    None,
}

/// An entry: a mark, and words.
pub(super) struct Key<'a> {
    mark: Mark,
    text: Cow<'a, str>,
}

/// Height of a row of entries.
pub(super) const HEIGHT: f64 = 19.0;

/// Width of a colour's bar.
const BAR: f64 = 12.0;

impl Key<'_> {
    /// Draws it, its words' left end and baseline given.
    pub(super) fn draw(&self, canvas: &mut Canvas, [left, baseline]: [f64; 2]) {
        let mut indent = 15.0;
        match &self.mark {
            Mark::Colour(colour) => {
                indent += 2.0;
                canvas.bar(&format!("c{colour} kernel"), [left, baseline - 7.5], [BAR, 6.0], &self.text);
            }
            Mark::Shape(shape, class) => {
                canvas.raw(&format!("{}\n", shape.element(class, [left + 5.0, baseline - 4.0], 5.0)));
            }
            Mark::None => indent = 0.0,
        }
        canvas.text("key", [left + indent, baseline], Anchor::Start, &self.text);
    }
}

/// Entries in rows as wide as the plot, each with its left end.
pub(super) fn rows<'k, 'a>(keys: &'k [Key<'a>]) -> Vec<Vec<(f64, &'k Key<'a>)>> {
    let mut rows: Vec<Vec<_>> = Vec::new();
    let mut left = f64::INFINITY;
    for key in keys {
        let width = 36.0 + 6.3 * key.text.chars().count() as f64;
        if left + width > 912.0 {
            rows.push(Vec::new());
            left = 64.0;
        }
        rows.last_mut().into_iter().for_each(|row| row.push((left, key)));
        left += width;
    }
    rows
}

/// Of one report, or one step of it: each kernel that has a dot, the steps, and why others have no dot.
pub(super) fn keys<'a>(report: &'a Report, step: Option<&str>) -> Vec<Key<'a>> {
    let of_step = |row: &&KernelRow| step.is_none_or(|s| row.step == s);
    let mut keys = Vec::new();
    let mut dotless = Vec::new();
    for (i, name) in kernels(report).into_iter().enumerate() {
        let rows: Vec<_> = report.kernels.iter().filter(of_step).filter(|r| r.kernel == name).collect();
        let gone = rows.iter().filter(|row| busiest(row).is_some() && lost(row)).count();
        if rows.iter().any(|row| Dot::new(row, 0, Shape::of(0)).is_some()) {
            keys.push(Key { mark: Mark::Colour(i % COLOURS), text: name.into() });
            if gone > 0 {
                dotless.push(format!("{name} ({gone} of {} rows lost in noise)", rows.len()));
            }
        } else if rows.iter().all(|row| busiest(row).is_none()) {
            dotless.extend((!rows.is_empty()).then(|| format!("{name} (no arithmetic)")));
        } else {
            dotless.push(format!("{name} (lost in noise)"));
        }
    }
    if step.is_none() {
        keys.extend(shapes(&report.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>()));
    }
    keys.extend(unsure(report.kernels.iter().filter(of_step)));
    let last = dotless.len().saturating_sub(1);
    keys.extend(dotless.into_iter().enumerate().map(|(i, text)| {
        let (before, after) = (if i == 0 { "without a dot: " } else { "" }, if i < last { "," } else { "" });
        Key { mark: Mark::None, text: format!("{before}{text}{after}").into() }
    }));
    keys
}

/// Steps by their shapes, where there are several.
pub(super) fn shapes<'a>(steps: &[&'a str]) -> Vec<Key<'a>> {
    let several = steps.iter().enumerate().filter(|_| steps.len() > 1);
    several.map(|(i, name)| Key { mark: Mark::Shape(Shape::of(i), "shape"), text: (*name).into() }).collect()
}

/// What a faded dot is, where one of these rows has it.
pub(super) fn unsure<'a>(mut rows: impl Iterator<Item = &'a KernelRow>) -> Option<Key<'static>> {
    let faded = |row: &KernelRow| row.verdict == Verdict::Unknown && Dot::new(row, 0, Shape::of(0)).is_some();
    rows.any(faded).then(|| Key {
        mark: Mark::Shape(Shape::of(0), "shape unsure"),
        text: "faded: verdict unknown".into(),
    })
}
