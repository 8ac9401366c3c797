//! A small canvas for SVG: scales, axes, marks and labels that keep out of each other's way.
//!
//! Colours are classes, which `style.css` gives values in light, dark and print; its palette is
//! Okabe and Ito's, whose colours stay apart for colour-blind readers.

use std::fmt::Write;

/// The style of every picture and page.
pub const STYLE: &str = include_str!("style.css");

/// Colours for series, `c0` to `c6`.
pub const COLOURS: usize = 7;

/// Text in markup.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML allows no other control characters, escaped or not.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A number with a prefix and about three digits: 1500 is `1.5k`.
pub fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".into() } else { "–".into() };
    }
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")];
    let (scale, prefix) = steps.into_iter().find(|(s, _)| value.abs() >= *s * 0.9995).unwrap_or((1.0, ""));
    let scaled = value / scale;
    let digits = (2 - scaled.abs().log10().floor() as i32).clamp(0, 4) as usize;
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{prefix}")
}

/// A size in binary units: 65536 is `64 KiB`.
pub fn size(bytes: f64) -> String {
    let steps = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let found = steps.into_iter().find(|(power, _)| bytes >= f64::from(1u32 << power));
    found.map_or(format!("{bytes} B"), |(power, unit)| {
        format!("{} {unit}", short(bytes / f64::from(1u32 << power)))
    })
}

/// A time in the unit that suits it.
pub fn time(ns: f64) -> String {
    let steps = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let found = steps.into_iter().find(|(scale, _)| ns.abs() >= *scale);
    let (scale, unit) = found.unwrap_or((1.0, "ns"));
    format!("{}\u{a0}{unit}", short(ns / scale))
}

/// From values to pixels.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    values: [f64; 2],
    pixels: [f64; 2],
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Linear,
    Log,
    /// Logarithmic, with ticks at powers of 4.
    Sizes,
}

impl Scale {
    /// Logarithmic; both values above 0.
    pub fn log(values: [f64; 2], pixels: [f64; 2]) -> Self {
        Self { values: values.map(f64::log10), pixels, kind: Kind::Log }
    }

    /// Logarithmic, for sizes in bytes.
    pub fn sizes(values: [f64; 2], pixels: [f64; 2]) -> Self {
        Self { kind: Kind::Sizes, ..Self::log(values, pixels) }
    }

    /// Linear.
    pub fn linear(values: [f64; 2], pixels: [f64; 2]) -> Self {
        Self { values, pixels, kind: Kind::Linear }
    }

    /// A value's place, held inside the picture.
    pub fn at(&self, value: f64) -> f64 {
        let value = if self.kind == Kind::Linear { value } else { value.max(f64::MIN_POSITIVE).log10() };
        let part = (value - self.values[0]) / (self.values[1] - self.values[0]).max(1e-12);
        self.pixels[0] + part.clamp(0.0, 1.0) * (self.pixels[1] - self.pixels[0])
    }

    /// Places for grid lines, few enough to be labelled.
    pub fn ticks(&self) -> Vec<f64> {
        let [low, high] = self.values;
        if self.kind == Kind::Sizes {
            return (0..32).map(|p| 4f64.powi(p)).filter(|v| (low..=high).contains(&v.log10())).collect();
        }
        if self.kind == Kind::Log {
            let decades: Vec<i32> = (low.ceil() as i32..=high.floor() as i32).collect();
            let mantissas: &[f64] = if decades.len() < 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let start = decades.first().map_or(low.floor() as i32, |d| d - 1);
            let all = (start..=start + decades.len() as i32 + 1)
                .flat_map(|d| mantissas.iter().map(move |m| m * 10f64.powi(d)));
            return all.filter(|v| (low - 1e-9..=high + 1e-9).contains(&v.log10())).collect();
        }
        let rough = (high - low).max(1e-12) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough);
        let step = step.unwrap_or(rough);
        let first = (low / step).ceil() as i64;
        (first..=(high / step).floor() as i64).map(|i| i as f64 * step).collect()
    }
}

/// Ends of a logarithmic scale around values, with room at both.
pub fn around(values: impl Iterator<Item = f64>, room: f64) -> Option<[f64; 2]> {
    let sound = values.filter(|v| v.is_finite() && *v > 0.0);
    let ends = sound.fold(None, |ends: Option<[f64; 2]>, v| {
        let [low, high] = ends.unwrap_or([v, v]);
        Some([low.min(v), high.max(v)])
    });
    ends.map(|[low, high]| [low / room, high * room])
}

/// Where a text's anchor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// At its left end.
    Start,
    /// In its middle.
    Middle,
    /// At its right end.
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A picture that is being drawn.
#[derive(Debug)]
pub struct Canvas {
    /// Width and height.
    pub size: [f64; 2],
    body: String,
    /// Left, top, right and bottom of what labels must keep off.
    taken: Vec<[f64; 4]>,
}

/// Width of a character of labels, in pixels, and the height of a line.
const LETTER: [f64; 2] = [6.3, 13.0];

impl Canvas {
    /// An empty one.
    pub fn new(width: f64, height: f64) -> Self {
        Self { size: [width, height], body: String::new(), taken: Vec::new() }
    }

    /// Markup as it is.
    pub fn raw(&mut self, markup: &str) {
        self.body.push_str(markup);
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: [f64; 2], to: [f64; 2]) {
        let _ = writeln!(
            self.body,
            r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
            from[0], from[1], to[0], to[1]
        );
    }

    /// A line through points.
    pub fn path(&mut self, class: &str, points: &[[f64; 2]]) {
        let places: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(self.body, r#"<polyline class="{class}" points="{}"/>"#, places.join(" "));
    }

    /// A bar; `about` shows when the pointer rests on it.
    pub fn bar(&mut self, class: &str, corner: [f64; 2], size: [f64; 2], about: &str) {
        let _ = writeln!(
            self.body,
            r#"<rect class="{class}" x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}"><title>{}</title></rect>"#,
            corner[0],
            corner[1],
            size[0].max(0.5),
            size[1],
            escape(about)
        );
    }

    /// A text, which later labels keep off.
    pub fn text(&mut self, class: &str, at: [f64; 2], anchor: Anchor, text: &str) {
        self.taken.push(extent(at, anchor, text));
        let _ = writeln!(
            self.body,
            r#"<text class="{class}" x="{:.1}" y="{:.1}" text-anchor="{}">{}</text>"#,
            at[0],
            at[1],
            anchor.name(),
            escape(text)
        );
    }

    /// Keeps labels off a circle.
    pub fn take(&mut self, [x, y]: [f64; 2], radius: f64) {
        self.keep_off([x - radius, y - radius, x + radius, y + radius]);
    }

    /// Keeps labels off a box: left, top, right, bottom.
    pub fn keep_off(&mut self, area: [f64; 4]) {
        self.taken.push(area);
    }

    /// A text beside a mark, at the first place around it that is free; none if there is none.
    pub fn label(&mut self, class: &str, [x, y]: [f64; 2], radius: f64, text: &str) {
        let (out, half) = (radius + 5.0, 4.0);
        let diagonal = radius * 0.72 + 4.0;
        let places = [
            ([x + out, y + half], Anchor::Start),
            ([x - out, y + half], Anchor::End),
            ([x, y - out], Anchor::Middle),
            ([x, y + out + 9.0], Anchor::Middle),
            ([x + diagonal, y - diagonal], Anchor::Start),
            ([x - diagonal, y - diagonal], Anchor::End),
            ([x + diagonal, y + diagonal + 9.0], Anchor::Start),
            ([x - diagonal, y + diagonal + 9.0], Anchor::End),
        ];
        let free = places.into_iter().find(|(at, anchor)| self.is_free(extent(*at, *anchor, text)));
        if let Some((at, anchor)) = free {
            self.text(class, at, anchor, text);
        }
    }

    /// Keeps labels off a straight line.
    pub fn keep_off_line(&mut self, from: [f64; 2], to: [f64; 2]) {
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let steps = (dx.hypot(dy) / 4.0).ceil().max(1.0);
        for i in 0..=steps as usize {
            let part = i as f64 / steps;
            self.take([from[0] + dx * part, from[1] + dy * part], 1.5);
        }
    }

    /// A text above or below a level line, at the first stretch of it that is free.
    pub fn label_along(&mut self, class: &str, [from, to]: [f64; 2], y: f64, text: &str) {
        let middle = (from + to) / 2.0;
        let across = [0.0, -0.25, 0.25, -0.45, 0.45].map(|part| middle + part * (to - from));
        let away = [-6.0, 15.0, -18.0, 27.0, -30.0, 39.0];
        let places = away.into_iter().flat_map(|dy| across.map(|x| [x, y + dy]));
        let free = |at: &[f64; 2]| self.is_free(extent(*at, Anchor::Middle, text));
        if let Some(at) = places.into_iter().find(free) {
            self.text(class, at, Anchor::Middle, text);
        }
    }

    /// Whether nothing that labels keep off lies in a box, and the picture has it: left, top, right, bottom.
    pub fn is_free(&self, [left, top, right, bottom]: [f64; 4]) -> bool {
        let inside = left >= 0.0 && top >= 0.0 && right <= self.size[0] && bottom <= self.size[1];
        inside && !self.taken.iter().any(|t| left < t[2] && right > t[0] && top < t[3] && bottom > t[1])
    }

    /// Grid lines, numbers and titles for two scales.
    pub fn axes(&mut self, x: &Scale, y: &Scale, titles: [&str; 2], numbers: [fn(f64) -> String; 2]) {
        let ([left, right], [bottom, top]) = (x.pixels, y.pixels);
        for tick in x.ticks() {
            self.line("grid", [x.at(tick), top], [x.at(tick), bottom]);
            self.text("tick", [x.at(tick), bottom + 15.0], Anchor::Middle, &numbers[0](tick));
        }
        for tick in y.ticks() {
            self.line("grid", [left, y.at(tick)], [right, y.at(tick)]);
            self.text("tick", [left - 6.0, y.at(tick) + 4.0], Anchor::End, &numbers[1](tick));
        }
        self.line("axis", [left, bottom], [right, bottom]);
        self.line("axis", [left, top], [left, bottom]);
        self.text("title", [(left + right) / 2.0, bottom + 34.0], Anchor::Middle, titles[0]);
        self.text("title", [left - 44.0, top - 12.0], Anchor::Start, titles[1]);
    }

    /// The element, to be put into a page that has [`STYLE`].
    pub fn element(&self, name: &str) -> String {
        let [width, height] = self.size;
        format!(
            "<svg class=\"picture\" viewBox=\"0 0 {width} {height}\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
            escape(name),
            self.body
        )
    }

    /// A file of its own.
    pub fn file(&self, name: &str) -> String {
        let [width, height] = self.size;
        let back =
            format!("<style>{STYLE}</style>\n<rect class=\"back\" width=\"{width}\" height=\"{height}\"/>\n");
        let element = self.element(name);
        let body = element.find('>').map_or(0, |end| end + 1);
        let head =
            element[..body].replacen("<svg ", &format!("<svg width=\"{width}\" height=\"{height}\" "), 1);
        format!("{head}\n{back}{}", &element[body..])
    }
}

/// What a text covers.
fn extent([x, y]: [f64; 2], anchor: Anchor, text: &str) -> [f64; 4] {
    let width = text.chars().count() as f64 * LETTER[0];
    let left = match anchor {
        Anchor::Start => x,
        Anchor::Middle => x - width / 2.0,
        Anchor::End => x - width,
    };
    [left, y - LETTER[1] + 3.0, left + width, y + 3.0]
}
