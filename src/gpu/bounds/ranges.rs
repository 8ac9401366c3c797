//! What an index can be, read off the text: from constants, from counters of loops whose bounds are
//! constant, and from the invocation's index in its workgroup.
//!
//! It is interval arithmetic over one walk through a module: each `[` gets the smallest and the
//! largest value of what stands behind it, or nothing where it depends on anything else. Such an index
//! needs no watching, and the compiler keeps a register tile in registers.

use std::collections::{BTreeMap, BTreeSet};

/// The smallest and the largest value of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub low: u64,
    pub high: u64,
}

/// The ranges of a text's indices.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    at: BTreeMap<usize, Range>,
    /// Where loops begin that constants end.
    ends: BTreeSet<usize>,
    names: Names,
    /// What `local_invocation_index` can be.
    lanes: Option<Range>,
}

/// What names mean at one place: the innermost last.
#[derive(Debug, Default)]
struct Names {
    all: Vec<Name>,
    /// Whether all numbers of the module that are not known are unsigned.
    unsigned: bool,
}

#[derive(Debug)]
struct Name {
    name: String,
    /// How many braces are open around it.
    depth: usize,
    range: Option<Range>,
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl Ranges {
    /// Walks through a text without comments.
    pub fn new(text: &str) -> Self {
        let mut ranges = Self::default();
        ranges.names.unsigned = !text.contains("i32");
        // Names that hold from a place on, in the order of their places.
        let mut coming: BTreeMap<usize, Vec<Name>> = BTreeMap::new();
        let mut depth: usize = 0;
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            ranges.names.all.extend(coming.remove(&at).unwrap_or_default());
            let rest = &text[at..];
            match c {
                '{' => depth += 1,
                '}' => {
                    depth = depth.saturating_sub(1);
                    ranges.names.all.retain(|name| name.depth <= depth);
                }
                '[' => {
                    let range = super::closing(rest).and_then(|end| ranges.names.range(&rest[1..end]));
                    ranges.at.extend(range.map(|range| (at, range)));
                }
                _ => {}
            }
            if !is_word(c) {
                at += c.len_utf8();
                continue;
            }
            let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
            if word == "workgroup_size" {
                ranges.lanes = lanes(rest, &ranges.names);
            }
            if word == "for" && counter(rest, &ranges.names).is_some_and(|(_, _, range)| range.is_some()) {
                ranges.ends.insert(at);
            }
            for (place, name) in declared(word, rest, depth, &ranges) {
                coming.entry(at + place).or_default().push(name);
            }
            at += word.len();
        }
        ranges
    }

    /// The range of the index whose bracket opens at this byte.
    pub fn at(&self, place: usize) -> Option<Range> {
        self.at.get(&place).copied()
    }

    /// Whether the loop that begins at this byte ends by its constants.
    pub fn ends(&self, place: usize) -> bool {
        self.ends.contains(&place)
    }

    /// What an expression of the module's constants is.
    pub fn constant(&self, text: &str) -> Option<u64> {
        self.names.range(text).filter(|range| range.low == range.high).map(|range| range.low)
    }
}

/// What an invocation's index can be in the workgroup of a text that begins with its size.
fn lanes(text: &str, names: &Names) -> Option<Range> {
    let (sizes, _) = text.split_once('(')?.1.split_once(')')?;
    let sizes = sizes.split(',').map(|size| names.range(size).map(|size| size.high));
    let lanes = sizes.reduce(|a, b| a?.checked_mul(b?))??;
    within(Range { low: 0, high: lanes.checked_sub(1)? })
}

/// The names that a text which begins with `word` declares, and how many bytes on they hold.
fn declared(word: &str, text: &str, depth: usize, ranges: &Ranges) -> Vec<(usize, Name)> {
    let names = &ranges.names;
    let name = |name: &str, depth, range| Name { name: name.to_string(), depth, range };
    match word {
        "const" | "let" | "var" => {
            let Some(end) = text.find(';') else { return Vec::new() };
            let (head, value) = text[..end].split_once('=').unwrap_or((&text[..end], ""));
            let head = head.split(':').next().unwrap_or_default();
            let declared = head.rsplit(|c| !is_word(c)).find(|part| !part.is_empty()).unwrap_or_default();
            let range = if word == "var" { None } else { names.range(value) };
            vec![(end, name(declared, depth, range))]
        }
        "fn" => {
            // A parameter hides a constant of its name.
            let body = text.find('{').unwrap_or(text.len());
            let before = text[..body].match_indices(':').map(|(colon, _)| text[..colon].trim_end());
            let parameters = before.map(|text| {
                let parameter = text.rsplit(|c| !is_word(c)).next().unwrap_or_default();
                let attributes = text[..text.len() - parameter.len()].trim_end();
                let is_lane = attributes.ends_with("@builtin(local_invocation_index)");
                (body, name(parameter, depth + 1, ranges.lanes.filter(|_| is_lane)))
            });
            parameters.collect()
        }
        "for" => {
            let Some((counter, body, range)) = counter(text, names) else { return Vec::new() };
            // In the head it is what an outer one of that name is not.
            vec![(word.len(), name(counter, depth + 1, None)), (body, name(counter, depth + 1, range))]
        }
        _ => Vec::new(),
    }
}

/// The counter of `for (var i = A; i < B; i += C) { ... }`, where the body begins, and the counter's
/// range there.
fn counter<'a>(text: &'a str, names: &Names) -> Option<(&'a str, usize, Option<Range>)> {
    let body = text.find('{')?;
    let mut head = text[..body].trim_start_matches("for").trim().strip_prefix('(')?.splitn(3, ';');
    let (name, first) = head.next()?.trim().strip_prefix("var ")?.split_once('=')?;
    let name = name.split(':').next()?.trim();
    let mut range = || {
        let condition = head.next()?.trim().strip_prefix(name)?.trim_start().strip_prefix('<')?;
        let step = head.next()?.trim().strip_suffix(')')?.trim().strip_prefix(name)?.trim_start();
        let step =
            if step == "++" { Range { low: 1, high: 1 } } else { names.range(step.strip_prefix("+=")?)? };
        let (first, bound) = (names.range(first)?, names.range(condition)?);
        let last = bound.high.checked_sub(1)?;
        let block = &text[body..][..block(&text[body..])?];
        let steady = !assigned(name, block) && step.low > 0 && last + step.high <= u64::from(u32::MAX);
        (steady && first.low <= last).then_some(Range { low: first.low, high: last })
    };
    let range = range();
    Some((name, body, range))
}

/// Where the brace that opens a text is closed.
fn block(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, c)| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        (depth == 0).then_some(at)
    })
}

/// Whether a text may change a name: assigns to it, counts with it, or takes its address.
fn assigned(name: &str, text: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], text[at + name.len()..].trim_start());
        if before.ends_with(is_word) || text[at + name.len()..].starts_with(is_word) {
            return false;
        }
        let operator = after.trim_start_matches(['+', '-', '*', '/', '%', '&', '|', '^', '<', '>']);
        let assigns = operator.starts_with('=') && !operator.starts_with("==");
        // `<=` and `>=` compare; told apart from `<<=`, they need not be: either is a reason for doubt.
        assigns || after.starts_with("++") || after.starts_with("--") || before.trim_end().ends_with('&')
    })
}

impl Names {
    /// What an expression can be.
    fn range(&self, text: &str) -> Option<Range> {
        let mut parser = Parser { names: self, rest: text };
        let range = parser.bits()?;
        parser.rest.trim().is_empty().then_some(range)
    }
}

/// A sum of products in brackets, as far as indices need it; each step gives up where a value could
/// leave 32 bits.
struct Parser<'a> {
    names: &'a Names,
    rest: &'a str,
}

impl Parser<'_> {
    fn taken(&mut self, text: &str) -> bool {
        let found = self.rest.trim_start().strip_prefix(text);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn bits(&mut self) -> Option<Range> {
        let mut a = self.sum()?;
        loop {
            if self.taken("&") {
                let b = self.sum()?;
                a = Range { low: 0, high: a.high.min(b.high) };
            } else if self.taken(">>") {
                let b = self.sum().filter(|b| b.high < 32)?;
                a = Range { low: a.low >> b.high, high: a.high >> b.low };
            } else {
                return Some(a);
            }
        }
    }

    fn sum(&mut self) -> Option<Range> {
        let mut a = self.product()?;
        loop {
            if self.taken("+") {
                let b = self.product()?;
                a = within(Range { low: a.low + b.low, high: a.high + b.high })?;
            } else if self.taken("-") {
                let b = self.product()?;
                a = Range { low: a.low.checked_sub(b.high)?, high: a.high - b.low };
            } else {
                return Some(a);
            }
        }
    }

    fn product(&mut self) -> Option<Range> {
        let mut a = self.value()?;
        loop {
            if self.taken("*") {
                let b = self.value()?;
                a = within(Range { low: a.low * b.low, high: a.high.checked_mul(b.high)? })?;
            } else if self.taken("/") {
                let b = self.value().filter(|b| b.low > 0)?;
                a = Range { low: a.low / b.high, high: a.high / b.low };
            } else if self.taken("%") {
                let b = self.value().filter(|b| b.low > 0)?;
                a = if a.high < b.low { a } else { Range { low: 0, high: a.high.min(b.high - 1) } };
            } else {
                return Some(a);
            }
        }
    }

    /// The smaller one of two, of which one may not be known, up to the closing parenthesis.
    fn smaller(&mut self) -> Option<Range> {
        let end = super::argument(self.rest)?;
        let (a, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix(',')?;
        let end = super::argument(self.rest)?;
        let (b, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix(')')?;
        match (self.names.range(a), self.names.range(b)) {
            (Some(a), Some(b)) => Some(Range { low: a.low.min(b.low), high: a.high.min(b.high) }),
            // A signed one might be below 0.
            (one, other) => {
                one.or(other).filter(|_| self.names.unsigned).map(|known| Range { low: 0, high: known.high })
            }
        }
    }

    fn value(&mut self) -> Option<Range> {
        if self.taken("(") {
            let inner = self.bits()?;
            return self.taken(")").then_some(inner);
        }
        self.rest = self.rest.trim_start();
        let (word, rest) = self.rest.split_at(self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len()));
        self.rest = rest;
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            let value = word.trim_end_matches('u').parse().ok()?;
            return within(Range { low: value, high: value });
        }
        if word == "min" && self.taken("(") {
            return self.smaller();
        }
        // What else is called, indexed or a member is not known.
        if word.is_empty() || rest.trim_start().starts_with(['(', '[', '.']) {
            return None;
        }
        self.names.all.iter().rev().find(|name| name.name == word)?.range
    }
}

fn within(range: Range) -> Option<Range> {
    (range.high <= u64::from(u32::MAX)).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The range of the only index of `a` in a text.
    fn range(text: &str) -> Option<(u64, u64)> {
        let ranges = Ranges::new(text);
        ranges.at(text.find("a[").unwrap() + 1).map(|range| (range.low, range.high))
    }

    #[test]
    fn counters_and_constants_bound_an_index() {
        let text = "const N = 4u;\nconst M: u32 = (N + 7u) / 8u;\nfn f(x: u32) {\n\
                    for (var i = 0u; i < N; i++) {\nfor (var j = M; j < 2u * N; j += 2u) { a[(i * 8u + j) * M] = x; }\n}\n}\n";
        assert_eq!(range(text), Some((1, 31)));
        assert_eq!(Ranges::new(text).constant("N * 2u - M"), Some(7));
        assert_eq!(range("for (var i = 0u; i < 9u; i++) { a[i % 4u + (i & 1u) + (i >> 3u)] }"), Some((0, 5)));
        assert_eq!(range("fn f() { let i = 3; a[i - 1u] }"), Some((2, 2)));
        assert_eq!(
            range("for (var i = 0u; i < min(n[i], 4u) + 1u; i++) { a[min(i, f(2u, 9u))] }"),
            Some((0, 4))
        );
        assert_eq!(range("fn f() { a[min(x, y)] }"), None);
        assert_eq!(range("fn f(x: i32) { a[min(x, 3)] }"), None);
        let lane = "const W = 8u;\n@compute @workgroup_size(W, 2)\n\
                    fn main(@builtin(local_invocation_index) tid: u32, x: u32) { let t = tid / 4u; a[t * 2u] }";
        assert_eq!(range(lane), Some((0, 6)));
        assert_eq!(range(&lane.replace("tid / 4u", "x / 4u")), None);
        assert_eq!(range(&lane.replace("(W, 2)", "(W, n)")), None);
        assert_eq!(range(&lane.replace("local_invocation_index", "subgroup_invocation_id")), None);
    }

    #[test]
    fn what_is_not_certain_is_not_known() {
        for text in [
            // Counters that the body, or something that it calls, changes.
            "for (var i = 0u; i < 4u; i++) { a[i] i += 9u; }",
            "for (var i = 0u; i < 4u; i++) { a[i]; i = 9u; }",
            "for (var i = 0u; i < 4u; i++) { a[i]; f(&i); }",
            // Bounds that are not constant, that count down, that wrap, that differ from the counter.
            "for (var i = 0u; i < n; i++) { a[i] }",
            "for (var i = 4u; ; i -= 1u) { a[i] }",
            "for (var i = 0u; i < 4294967295u; i += 2u) { a[i] }",
            "for (var i = 0u; j < 4u; i++) { a[i] }",
            "for (var i = 0u; i <= 4u; i++) { a[i] }",
            "for (var i = 0u; i < 4u; i += 0u) { a[i] }",
            // Other scopes: after the loop, a parameter, a variable, a shadow.
            "for (var i = 0u; i < 4u; i++) { }\na[i]",
            "const i = 4u;\nfn f(i: u32) { a[i] }",
            "const i = 4u;\nfn f() { var i = 2u; a[i] }",
            "for (var i = 0u; i < 4u; i++) { let i = x; a[i] }",
            // Differences that may wrap, calls, members.
            "for (var i = 0u; i < 4u; i++) { a[i - 1u] }",
            "const i = 4u;\n a[f(i)]",
            "const i = 4u;\n a[p.i]",
            "const i = 4u;\n a[i.x]",
        ] {
            assert_eq!(range(text), None, "{text}");
        }
        // The initialiser of a name still means the outer one.
        assert_eq!(range("const i = 2u;\nfn f() { let i = a[i]; }"), Some((2, 2)));
        assert_eq!(range("const i = 2u;\nfn f(j: u32) { for (var i = a[i]; i < 9u; i++) { } }"), None);
    }
}
