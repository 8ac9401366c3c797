//! Checked modules: a text in which every index is watched.
//!
//! Each `name[index]` of a buffer, of an array in workgroup memory or of a local array becomes
//! `name[...]` with a test beside it: an index that is not below the array's length sets the array's
//! bit, and what lies in a buffer or in workgroup memory is clamped. When an invocation ends it adds
//! its bits to one more buffer, which [`super::Gpu::strays`] reads. So an index that strays is found
//! also where its value is thrown away, and also on a driver that would have answered it with zero.
//!
//! naga has checks too, but they clamp in silence, leave buffers to a driver that is robust by
//! itself, and hide from a driver's compiler how an array is indexed: llvmpipe then turns each access
//! of a register tile into a search, and takes minutes a kernel. A test beside each access of a tile
//! would do the same, since loops that grow too long are no longer unrolled. So an index of an array of
//! known length that constants, the bounds of the loops around it and the workgroup's size prove to be
//! in bounds ([`ranges`]) stays as it is, and is counted.
//!
//! A loop whose end constants don't prove counts its turns and is ended, with a bit of its own, when it makes too
//! many ([`turns`]).
//!
//! Not watched: arrays in values and structs (`let` and members), whose indices are constants or
//! counters of loops with constant bounds.

mod ranges;
mod turns;

use std::cell::Cell;
use std::collections::BTreeMap;

use ranges::{Range, Ranges};

/// Arrays that one module may have: a bit each, but for the one of loops.
const MOST: usize = 32;
/// The bit of loops.
const LOOPS: usize = 0;

/// What a watched text declares besides its own names.
const STRAYED: &str = "strayed_bits";

/// A module with every index watched or proved.
#[derive(Debug)]
pub(super) struct Watched {
    /// The module's text.
    pub text: String,
    /// The arrays, in the order of their bits.
    pub arrays: Vec<String>,
    /// How it is known to be sound.
    pub sound: Sound,
}

/// How a module is known to be sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sound {
    /// That indices lie within their arrays.
    pub indices: Known,
    /// That loops end.
    pub loops: Known,
}

/// How something is known of every index or loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Known {
    /// Looked at each time, on the device.
    pub watched: usize,
    /// By constants and by the bounds of the loops around.
    pub proved: usize,
}

impl std::iter::Sum for Sound {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        let add = |a: Known, b: Known| Known { watched: a.watched + b.watched, proved: a.proved + b.proved };
        all.fold(Self::default(), |a, b| Self {
            indices: add(a.indices, b.indices),
            loops: add(a.loops, b.loops),
        })
    }
}

/// A module's text with every index and every loop's end watched or proved.
///
/// # Errors
/// When the text has no entry point that can be wrapped, or more arrays than bits.
pub(super) fn watch(text: &str) -> Result<Watched, String> {
    let text: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    let mut watcher = Watcher { ranges: Ranges::new(&text.join("\n")), ..Watcher::default() };
    watcher.bit(turns::NAME)?;
    for line in &text {
        if let Some((name, length)) = declared(line, &["var<storage", "var<workgroup>"]) {
            let bit = watcher.bit(&name)?;
            watcher.globals.insert(name.clone(), Array { length, bit, place: Place::Shared });
        }
    }
    let mut sound = Sound::default();
    let mut out = String::new();
    let mut function = String::new();
    let mut at = 0;
    for line in &text {
        if let Some(rest) = line.strip_prefix("fn ") {
            function = rest.split('(').next().unwrap_or_default().to_string();
            watcher.locals.clear();
        }
        let (counted, loops) = turns::counted(&watcher.watched(line, at)?, line, at, &watcher.ranges, LOOPS)?;
        out.push_str(&counted);
        out.push('\n');
        sound.loops.watched += loops.watched;
        sound.loops.proved += loops.proved;
        at += line.len() + 1;
        if let Some((name, length)) = declared(line, &["var"]).filter(|_| line.starts_with(' ')) {
            let bit = watcher.bit(&format!("{name} in {function}()"))?;
            watcher.locals.insert(name, Array { length, bit, place: Place::Local });
        }
    }
    let binding = text.iter().filter_map(|line| binding(line)).max().map_or(0, |last| last + 1);
    sound.indices = watcher.indices.get();
    let out = wrapped(&out)?
        + &turns::declarations(STRAYED)
        + &format!(
            "@group(0) @binding({binding}) var<storage, read_write> strayed_out: array<atomic<u32>>;\n\
             var<private> {STRAYED}: u32;\n\
             fn stray_clamped(i: u32, n: u32, bit: u32) -> u32 {{\n    \
             {STRAYED} |= select(0u, bit, i >= n);\n    return min(i, n - 1u);\n}}\n\
             fn stray(i: u32, n: u32, bit: u32) -> u32 {{\n    \
             {STRAYED} |= select(0u, bit, i >= n);\n    return i;\n}}\n"
        );
    Ok(Watched { text: out, arrays: watcher.names, sound })
}

#[derive(Debug)]
struct Array {
    /// An expression; `None` for a buffer, which has as many as are bound.
    length: Option<String>,
    bit: usize,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Memory that others see: an index is clamped.
    Shared,
    /// Registers: a clamp would keep loops from being unrolled.
    Local,
}

#[derive(Debug, Default)]
struct Watcher {
    ranges: Ranges,
    indices: Cell<Known>,
    names: Vec<String>,
    globals: BTreeMap<String, Array>,
    locals: BTreeMap<String, Array>,
}

impl Watcher {
    fn bit(&mut self, name: &str) -> Result<usize, String> {
        if let Some(at) = self.names.iter().position(|n| n == name) {
            return Ok(at);
        }
        if self.names.len() == MOST {
            return Err(format!("'{name}' is array {MOST}: a checked module has a bit for each of {MOST}"));
        }
        self.names.push(name.to_string());
        Ok(self.names.len() - 1)
    }

    /// A line with its indices watched, also those within indices; the line begins at byte `at`.
    fn watched(&self, line: &str, at: usize) -> Result<String, String> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut out = String::new();
        let mut rest = line;
        while let Some(open) = rest.find('[') {
            let close = closing(&rest[open..])
                .ok_or_else(|| format!("an index that does not end on its line: {line}"))?
                + open;
            let before = &rest[..open];
            let name = &before[before.rfind(|c| !is_word(c)).map_or(0, |at| at + 1)..];
            let member = before[..before.len() - name.len()].ends_with('.');
            let array = self.locals.get(name).or_else(|| self.globals.get(name)).filter(|_| !member);
            let place = at + line.len() - rest.len() + open;
            let index = self.watched(&rest[open + 1..close], place + 1)?;
            out.push_str(before);
            match array {
                Some(array) => out.push_str(&self.index(array, name, &index, self.ranges.at(place))),
                None => out.push_str(&format!("[{index}]")),
            }
            rest = &rest[close + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    /// An index of an array, in its brackets.
    fn index(&self, array: &Array, name: &str, index: &str, range: Option<Range>) -> String {
        let mut indices = self.indices.get();
        let length = array.length.as_ref().and_then(|length| self.ranges.constant(length));
        let proved = range.zip(length).is_some_and(|(range, length)| range.high < length);
        indices.proved += usize::from(proved);
        indices.watched += usize::from(!proved);
        self.indices.set(indices);
        if proved {
            return format!("[{index}]");
        }
        let length = array
            .length
            .as_ref()
            .map_or_else(|| format!("arrayLength(&{name})"), |length| format!("u32({length})"));
        let function = if array.place == Place::Shared { "stray_clamped" } else { "stray" };
        format!("[{function}({index}, {length}, {}u)]", 1_u32 << array.bit)
    }
}

/// Where an argument that begins a text ends: at a comma or a closing parenthesis of its own depth.
fn argument(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, c)| {
        let ends = depth == 0 && (c == ',' || c == ')');
        depth += i32::from(c == '(' || c == '[') - i32::from(c == ')' || c == ']');
        ends.then_some(at)
    })
}

/// Where the bracket that opens a text is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, c)| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        (depth == 0).then_some(at)
    })
}

/// The name and length of an array that a line declares with one of these words.
fn declared(line: &str, words: &[&str]) -> Option<(String, Option<String>)> {
    let start = words.iter().find_map(|word| line.find(word))?;
    let (head, rest) = line[start..].split_once(": array<")?;
    let name = head.rsplit(' ').next()?.to_string();
    let mut depth = 1;
    let mut comma = None;
    for (at, c) in rest.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 1 => comma = Some(at),
            _ => {}
        }
        if depth == 0 {
            return Some((name, comma.map(|comma| rest[comma + 1..at].trim().to_string())));
        }
    }
    None
}

fn binding(line: &str) -> Option<u32> {
    line.split_once("@binding(")?.1.split_once(')')?.0.parse().ok()
}

/// The entry point as a function of its own, and one that calls it and hands the bits over.
fn wrapped(text: &str) -> Result<String, String> {
    let missing = || "no entry point 'main' to wrap".to_string();
    let (head, rest) = text.split_once("@compute").ok_or_else(missing)?;
    let (attributes, rest) = rest.split_once("fn main(").ok_or_else(missing)?;
    let (parameters, body) = rest.split_once(") {").ok_or_else(missing)?;
    let mut plain = Vec::new();
    let mut names = Vec::new();
    for parameter in parameters.split("@builtin").skip(1) {
        let (_, declared) = parameter.split_once(')').ok_or_else(missing)?;
        let declared = declared.trim().trim_end_matches(',');
        names.push(declared.split(':').next().unwrap_or_default().trim());
        plain.push(declared);
    }
    Ok(format!(
        "{head}fn watched_main({}) {{{body}\n@compute{attributes}fn main({parameters}) {{\n    \
         watched_main({});\n    if ({STRAYED} != 0u) {{ atomicOr(&strayed_out[0], {STRAYED}); }}\n}}\n",
        plain.join(", "),
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::{Known, watch};

    const TEXT: &str = "@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;   // a[9]\n\
        var<workgroup> w: array<vec2<u32>, 4 * N>;\n\
        @compute @workgroup_size(N)\nfn main(@builtin(workgroup_id) wg: vec3<u32>) {\n    \
        var l: array<f32, N>;\n    l[1] = a[w[wg.x].y].z + b.a[2];\n}\n";

    #[test]
    fn every_index_is_watched_also_within_another() {
        let watched = watch(TEXT).unwrap();
        assert_eq!(watched.arrays[1..], ["a", "w", "l in main()"]);
        assert_eq!(watched.sound.indices, Known { watched: 3, proved: 0 });
        let text = watched.text;
        let line = "l[stray(1, u32(N), 8u)] = a[stray_clamped(w[stray_clamped(wg.x, u32(4 * N), 4u)].y, \
                    arrayLength(&a), 2u)].z + b.a[2];";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("@binding(1) var<storage, read_write> strayed_out"), "{text}");
        assert!(text.contains("fn watched_main(wg: vec3<u32>) {"), "{text}");
        assert!(text.contains("watched_main(wg);"), "{text}");
    }

    #[test]
    fn an_index_that_its_loop_proves_stays_as_it_is() {
        let tile = "const N = 4u;\n@compute @workgroup_size(N)\nfn main() {\n    var l: array<f32, 2 * N>;\n    \
                    for (var i = 0u; i < N; i++) { l[i * 2u] = l[i * 2u + 2u]; }\n}\n";
        let watched = watch(tile).unwrap();
        assert_eq!(watched.sound.indices, Known { watched: 1, proved: 1 });
        assert_eq!(watched.sound.loops, Known { watched: 0, proved: 1 });
        let line = "l[i * 2u] = l[stray(i * 2u + 2u, u32(2 * N), 2u)];";
        assert!(watched.text.contains(line), "{}", watched.text);
    }

    #[test]
    fn what_can_not_be_watched_is_refused() {
        assert!(watch("fn f() {}").unwrap_err().contains("no entry point"));
        assert!(
            watch("var<workgroup> w: array<u32, 4>;\nfn f() { w[\n").unwrap_err().contains("does not end")
        );
    }
}
