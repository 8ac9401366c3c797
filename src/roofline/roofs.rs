//! The roofs of a roofline: what of memory and of the pipes was measured, drawn as lines with words that
//! keep off everything else. Words of pipes stand right of the plot, each at its line's end or as near as
//! its neighbours leave it; words of memory run along their slope where nothing else is.

use std::fmt::Write;

use super::report::Report;
use super::svg::{Anchor, Canvas, Scale, escape, short};

/// A roof: its ceiling, its words and its class.
pub(super) type Line = (&'static str, &'static str, &'static str);

/// Diagonal roofs, then flat ones.
const MEMORY: [Line; 2] = [("read_cold", "cold", "roof"), ("read_resident", "resident", "resident")];
pub(super) const PIPES: [Line; 5] = [
    ("fma_f32", "f32 multiply-add", "roof"),
    ("fma_f16", "f16 multiply-add", "pipe"),
    ("dot4_i8", "packed int8 dot", "pipe"),
    ("int_alu", "integer", "pipe"),
    ("special", "special functions", "pipe"),
];

/// Height of a line of words, the width of a letter, and what lies between plot and words.
const LINE: f64 = 14.0;
const LETTER: f64 = 6.0;
const GAP: f64 = 12.0;

/// The roofs of a report, with their words and classes.
pub(super) struct Roofs {
    memory: Vec<(f64, &'static str, String)>,
    pipes: Vec<(f64, &'static str, String)>,
    /// Which report's, where several are drawn.
    colour: Option<usize>,
}

impl Roofs {
    pub(super) fn new(report: &Report, pipes: &[Line], colour: Option<usize>) -> Self {
        let find = |list: &[Line]| {
            let value = |line: &Line| report.ceiling(line.0).filter(|v| *v > 0.0);
            let class = |class: &str| colour.map_or(class.into(), |c| format!("{class} c{c}"));
            list.iter().filter_map(|line| Some((value(line)?, line.1, class(line.2)))).collect()
        };
        Self { memory: find(&MEMORY), pipes: find(pipes), colour }
    }

    /// The rates of the pipes.
    pub(super) fn tops(&self) -> impl Iterator<Item = f64> {
        self.pipes.iter().map(|(p, ..)| *p)
    }

    /// The intensities at which memory and pipes cross.
    pub(super) fn ridges(&self) -> impl Iterator<Item = f64> {
        self.memory.iter().flat_map(|(b, ..)| self.tops().map(move |p| p / b))
    }

    /// Draws the lines.
    pub(super) fn lines(&self, canvas: &mut Canvas, [x, y]: [&Scale; 2], ends: [[f64; 2]; 2]) {
        let [x_ends, y_ends] = ends;
        let slowest = self.memory.iter().map(|(b, ..)| *b).fold(0.0, f64::max);
        for (rate, _, class) in &self.pipes {
            let left = if slowest > 0.0 { rate / slowest } else { x_ends[0] };
            canvas.line(class, [x.at(left), y.at(*rate)], [x.at(x_ends[1]), y.at(*rate)]);
            canvas.keep_off([x.at(left), y.at(*rate) - 1.5, x.at(x_ends[1]), y.at(*rate) + 1.5]);
        }
        for (i, (rate, _, class)) in self.memory.iter().enumerate() {
            for pipe in self.tops() {
                let ridge = pipe / rate;
                canvas.line("ridge", [x.at(ridge), y.at(pipe)], [x.at(ridge), y.at(y_ends[0])]);
            }
            if let Some([start, end]) = self.slope(i, [x, y], ends) {
                canvas.line(class, start, end);
                canvas.keep_off_line(start, end);
            }
        }
    }

    /// A memory's line within the picture: from where it enters to where the highest pipe cuts it.
    fn slope(&self, i: usize, [x, y]: [&Scale; 2], [x_ends, y_ends]: [[f64; 2]; 2]) -> Option<[[f64; 2]; 2]> {
        let rate = self.memory[i].0;
        let top = self.tops().fold(0.0, f64::max);
        let from = x_ends[0].max(y_ends[0] / rate);
        let to = if top > 0.0 { (top / rate).min(x_ends[1]) } else { x_ends[1].min(y_ends[1] / rate) };
        (from < to).then(|| [[x.at(from), y.at(rate * from)], [x.at(to), y.at(rate * to)]])
    }

    /// The class of words: those of a report among others have its colour.
    fn ink(&self) -> String {
        self.colour.map_or("note".into(), |colour| format!("note ink{colour}"))
    }
}

/// Writes the words of all roofs, once all dots are drawn.
pub(super) fn words(all: &[Roofs], canvas: &mut Canvas, scales: [&Scale; 2], ends: [[f64; 2]; 2]) {
    let [x, y] = scales;
    let edge = x.at(ends[0][1]);
    let mut pipes: Vec<(f64, f64, &str, String)> = Vec::new();
    for roofs in all {
        let own = roofs.pipes.iter().map(|(rate, words, _)| (y.at(*rate), *rate, *words, roofs.ink()));
        pipes.extend(own);
    }
    pipes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let places = apart(&pipes.iter().map(|p| p.0).collect::<Vec<_>>());
    for (place, (at, rate, words, ink)) in places.iter().zip(&pipes) {
        canvas.line("leader", [edge + 2.0, *at], [edge + GAP - 2.0, *place]);
        canvas.text(ink, [edge + GAP, place + 4.0], Anchor::Start, &format!("{words} {}", short(*rate)));
    }
    // The first memory of each before the second of any: where lines are close, not all words have room.
    for i in 0..MEMORY.len() {
        for roofs in all {
            let Some((rate, words, _)) = roofs.memory.get(i) else { continue };
            let Some(line) = roofs.slope(i, scales, ends) else { continue };
            // Without "memory" where the whole has no room.
            let short = format!("{words} {}\u{a0}GB/s", short(*rate));
            let whole = format!("memory, {short}");
            let ink = roofs.ink();
            let _ = along(canvas, &ink, line, &whole) || along(canvas, &ink, line, &short);
        }
    }
}

/// Heights near the wanted ones, which are in rising order, a line apart: neighbours that would touch are
/// centred around where they want to be.
fn apart(wanted: &[f64]) -> Vec<f64> {
    // Runs of neighbours: the sum of their wanted centres, and how many they are.
    let mut runs: Vec<(f64, usize)> = Vec::new();
    let first = |(sum, n): (f64, usize)| sum / n as f64 - LINE * (n as f64 - 1.0) / 2.0;
    for at in wanted {
        let mut run = (*at, 1);
        while let Some(above) =
            runs.last().copied().filter(|above| first(*above) + LINE * above.1 as f64 > first(run))
        {
            runs.pop();
            run = (above.0 + run.0, above.1 + run.1);
        }
        runs.push(run);
    }
    runs.iter().flat_map(|run| (0..run.1).map(move |i| first(*run) + LINE * i as f64)).collect()
}

/// A text along a line, above or below it, at the first stretch that is free; whether there is one.
fn along(canvas: &mut Canvas, class: &str, [start, end]: [[f64; 2]; 2], text: &str) -> bool {
    let (dx, dy) = (end[0] - start[0], end[1] - start[1]);
    let length = dx.hypot(dy).max(1.0);
    let (ux, uy) = (dx / length, dy / length);
    let width = text.chars().count() as f64 * LETTER;
    // Boxes that cover the text from a place along the line; `off` is its middle's distance from the line.
    let boxes = |from: f64, off: f64| -> Vec<[f64; 4]> {
        let steps = (width / 8.0).ceil() as usize;
        let point = |i: usize| from + width * i as f64 / steps as f64;
        let at = |d: f64| [start[0] + ux * d - uy * off, start[1] + uy * d + ux * off];
        (0..=steps).map(|i| at(point(i))).map(|[x, y]| [x - 4.0, y - 4.0, x + 4.0, y + 4.0]).collect()
    };
    let places = (0..48).map(|i| 4.0 + length * f64::from(i) / 48.0).filter(|from| from + width < length);
    // Beside the line, or else a line of words farther away.
    let mut all =
        [-9.0, 10.0, -23.0, 24.0].into_iter().flat_map(|off| places.clone().map(move |at| (at, off)));
    let Some((from, off)) = all
        .find(|(from, off)| boxes(*from, *off).iter().all(|b| b[0] + 4.0 >= start[0] && canvas.is_free(*b)))
    else {
        return false;
    };
    boxes(from, off).into_iter().for_each(|area| canvas.keep_off(area));
    let (px, py) = (start[0] + ux * from, start[1] + uy * from);
    let mut markup = String::new();
    let _ = writeln!(
        markup,
        "<text class=\"{class}\" transform=\"translate({px:.1} {py:.1}) rotate({:.1})\" y=\"{:.1}\">{}</text>",
        dy.atan2(dx).to_degrees(),
        off + 4.0,
        escape(text)
    );
    canvas.raw(&markup);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_would_touch_stand_a_line_apart_around_where_they_belong() {
        assert_eq!(apart(&[10.0, 100.0]), [10.0, 100.0]);
        assert_eq!(apart(&[50.0, 50.0]), [50.0 - LINE / 2.0, 50.0 + LINE / 2.0]);
        // The third pushes the first two up.
        let places = apart(&[50.0, 60.0, 62.0]);
        assert!(places.windows(2).all(|w| w[1] - w[0] >= LINE - 1e-9), "{places:?}");
        assert!((places.iter().sum::<f64>() - 172.0).abs() < 1e-9, "{places:?}");
        assert!(apart(&[]).is_empty());
    }
}
