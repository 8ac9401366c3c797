//! The expander: from a file of `shaders/` to the text of one WGSL module.
//!
//! Files stay WGSL that an editor can open. Four directives, each alone on its line:
//! - `#import lib/weights` puts that file here, once. `{NAME}` in the path is a text of the
//!   program's (`#import quant/{FORMAT}`).
//! - `#ifdef FLAG`, `#ifndef FLAG`, `#else`, `#endif`.
//! - `#unroll i in 0..N` … `#end` repeats the lines with `i` replaced by `0u`, `1u`, …; `N` is a
//!   number or a `const` above it (also `const N: u32 = M / 8u;`). For what WGSL wants as a constant (a broadcast's lane).
//! - `const NAME = 4u;` in the first column takes the program's number for `NAME`, if it has one.

use std::collections::{BTreeMap, BTreeSet};

/// Every file under `shaders/`: its path without `.wgsl`, and its text.
pub const SHADERS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// One shader variant: a file and what it is specialised with.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Program {
    /// Path under `shaders/`, without `.wgsl`.
    pub file: &'static str,
    /// The text, of a kernel that lies elsewhere.
    pub own: Option<&'static str>,
    /// Flags for `#ifdef`.
    pub flags: BTreeSet<&'static str>,
    /// Numbers for `const` lines.
    pub numbers: BTreeMap<&'static str, u32>,
    /// Texts for `{NAME}` in imports.
    pub texts: BTreeMap<&'static str, String>,
}

impl Program {
    /// The file as it stands.
    pub fn new(file: &'static str) -> Self {
        Self { file, ..Self::default() }
    }

    /// A kernel of one's own, which may import what lies under `shaders/`.
    pub fn of_text(name: &'static str, text: &'static str) -> Self {
        Self { file: name, own: Some(text), ..Self::default() }
    }

    /// With a flag set.
    #[must_use]
    pub fn flag(mut self, flag: &'static str) -> Self {
        self.flags.insert(flag);
        self
    }

    /// With every flag of `flags` set.
    #[must_use]
    pub fn flags(mut self, flags: impl IntoIterator<Item = &'static str>) -> Self {
        self.flags.extend(flags);
        self
    }

    /// With a `const` set.
    #[must_use]
    pub fn number(mut self, name: &'static str, value: u32) -> Self {
        self.numbers.insert(name, value);
        self
    }

    /// With a text for imports.
    #[must_use]
    pub fn text(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.texts.insert(name, value.into());
        self
    }

    /// A readable label: file, texts, flags, numbers.
    pub fn label(&self) -> String {
        let mut parts = vec![self.file.to_string()];
        parts.extend(self.texts.values().cloned());
        parts.extend(self.flags.iter().map(|f| f.to_ascii_lowercase()));
        parts.extend(self.numbers.iter().map(|(n, v)| format!("{}{v}", n.to_ascii_lowercase())));
        parts.join(" ")
    }
}

/// The text of a file of `shaders/`.
fn source(path: &str) -> Option<&'static str> {
    SHADERS.binary_search_by(|(name, _)| (*name).cmp(path)).ok().map(|i| SHADERS[i].1)
}

/// Expands a program into WGSL.
///
/// # Errors
/// Names the file and line of a directive that can't be followed.
pub fn expand(program: &Program) -> Result<String, String> {
    let mut out =
        Expansion { program, text: String::new(), imported: BTreeSet::new(), consts: BTreeMap::new() };
    out.file(program.file)?;
    Ok(out.text)
}

struct Expansion<'a> {
    program: &'a Program,
    text: String,
    imported: BTreeSet<String>,
    consts: BTreeMap<String, u32>,
}

impl Expansion<'_> {
    fn file(&mut self, path: &str) -> Result<(), String> {
        if !self.imported.insert(path.to_string()) {
            return Ok(());
        }
        let own = self.program.own.filter(|_| path == self.program.file);
        let text =
            own.or_else(|| source(path)).ok_or_else(|| format!("no shader '{path}' under shaders/"))?;
        let lines: Vec<(usize, &str)> = text.lines().enumerate().collect();
        self.lines(path, &lines)
    }

    fn lines(&mut self, path: &str, lines: &[(usize, &str)]) -> Result<(), String> {
        // One entry per open `#ifdef`: whether its current branch is taken.
        let mut branches: Vec<bool> = Vec::new();
        let mut i = 0;
        while i < lines.len() {
            let (number, line) = lines[i];
            i += 1;
            let fail = |what: &str| format!("shaders/{path}.wgsl:{}: {what}", number + 1);
            let mut words = line.split_whitespace();
            let directive = words.next().filter(|w| w.starts_with('#')).unwrap_or_default();
            match directive {
                "#ifdef" | "#ifndef" => {
                    let flag = words.next().ok_or_else(|| fail("expected a flag"))?;
                    branches.push(self.program.flags.contains(flag) == (directive == "#ifdef"));
                    continue;
                }
                "#else" => {
                    let taken = branches.last_mut().ok_or_else(|| fail("#else without #ifdef"))?;
                    *taken = !*taken;
                    continue;
                }
                "#endif" => {
                    branches.pop().ok_or_else(|| fail("#endif without #ifdef"))?;
                    continue;
                }
                _ if branches.contains(&false) => continue,
                "#import" => {
                    let mut target = words.next().ok_or_else(|| fail("expected a path"))?.to_string();
                    for (name, value) in &self.program.texts {
                        target = target.replace(&format!("{{{name}}}"), value);
                    }
                    self.file(&target).map_err(|e| fail(&e))?;
                }
                "#unroll" => {
                    let end = Self::matching_end(&lines[i..]).ok_or_else(|| fail("no #end"))?;
                    let (name, count) = self.unroll_head(line).map_err(|e| fail(&e))?;
                    let body = &lines[i..i + end];
                    for step in 0..count {
                        let texts: Vec<(usize, String)> = body
                            .iter()
                            .map(|(n, l)| (*n, replace_word(l, &name, &format!("{step}u"))))
                            .collect();
                        let body: Vec<(usize, &str)> = texts.iter().map(|(n, l)| (*n, l.as_str())).collect();
                        self.lines(path, &body)?;
                    }
                    i += end + 1;
                }
                "" => self.plain(line),
                other => return Err(fail(&format!("unknown directive '{other}'"))),
            }
        }
        if branches.is_empty() { Ok(()) } else { Err(format!("shaders/{path}.wgsl: #ifdef without #endif")) }
    }

    /// The index of the `#end` that closes an `#unroll` whose body starts at `lines[0]`.
    fn matching_end(lines: &[(usize, &str)]) -> Option<usize> {
        let mut depth = 0;
        for (i, (_, line)) in lines.iter().enumerate() {
            match line.split_whitespace().next() {
                Some("#unroll") => depth += 1,
                Some("#end") if depth == 0 => return Some(i),
                Some("#end") => depth -= 1,
                _ => {}
            }
        }
        None
    }

    fn unroll_head(&self, line: &str) -> Result<(String, u32), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, name, "in", range] = words[..] else {
            return Err("expected '#unroll i in 0..N'".into());
        };
        let end = range.strip_prefix("0..").ok_or("the range starts at 0")?;
        let count = end.parse().ok().or_else(|| self.consts.get(end).copied());
        let count = count.ok_or_else(|| format!("'{end}' is neither a number nor a const above"))?;
        Ok((name.to_string(), count))
    }

    fn plain(&mut self, line: &str) {
        if let Some((name, value)) = const_line(line) {
            let value = self.program.numbers.get(name).copied().unwrap_or(value);
            self.consts.insert(name.to_string(), value);
            self.text.push_str(&format!("const {name} = {value}u;\n"));
        } else {
            if let Some((name, value)) = self.derived(line) {
                self.consts.insert(name.to_string(), value);
            }
            self.text.push_str(line);
            self.text.push('\n');
        }
    }
}

impl Expansion<'_> {
    /// `const NAME: u32 = A / 4u;` (or `*`), where `A` is known: not settable, but a bound.
    fn derived<'a>(&self, line: &'a str) -> Option<(&'a str, u32)> {
        let (name, rest) = line.strip_prefix("const ")?.split_once(": u32 = ")?;
        let words: Vec<&str> = rest.split_once(';')?.0.split(' ').collect();
        let value = |word: &str| {
            let number = word.strip_suffix('u').and_then(|n| n.parse().ok());
            number.or_else(|| self.consts.get(word).copied())
        };
        let [a, operator, b] = words[..] else { return None };
        let value = match operator {
            "/" => value(a)?.checked_div(value(b)?),
            "*" => value(a)?.checked_mul(value(b)?),
            _ => None,
        };
        Some((name, value?))
    }
}

/// `const NAME = 4u;` in the first column, with or without a comment after it.
fn const_line(line: &str) -> Option<(&str, u32)> {
    let (name, rest) = line.strip_prefix("const ")?.split_once(" = ")?;
    let (value, _) = rest.split_once("u;")?;
    Some((name, value.parse().ok()?))
}

/// Replaces `name` where it stands as a whole word.
fn replace_word(line: &str, name: &str, with: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(name) {
        let before = rest[..at].chars().next_back().or_else(|| out.chars().next_back());
        let after = rest[at + name.len()..].chars().next();
        let whole = !before.is_some_and(is_word) && !after.is_some_and(is_word);
        out.push_str(&rest[..at]);
        out.push_str(if whole { with } else { name });
        rest = &rest[at + name.len()..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(program: &Program, source: &str) -> Result<String, String> {
        let lines: Vec<(usize, &str)> = source.lines().enumerate().collect();
        let mut out =
            Expansion { program, text: String::new(), imported: BTreeSet::new(), consts: BTreeMap::new() };
        out.lines("test", &lines)?;
        Ok(out.text)
    }

    #[test]
    fn flags_choose_branches_and_nest() {
        let p = Program::new("test").flag("A");
        let s = "#ifdef A\na\n#ifdef B\nb\n#else\nnot b\n#endif\n#else\nnot a\n#endif\n";
        assert_eq!(text(&p, s).unwrap(), "a\nnot b\n");
    }

    #[test]
    fn consts_are_set_and_bound_unrolled_loops() {
        let p = Program::new("test").number("N", 2);
        let s = "const N = 4u; // lanes\n#unroll i in 0..N\nx[i] += i_0 + i;\n#end\n";
        assert_eq!(text(&p, s).unwrap(), "const N = 2u;\nx[0u] += i_0 + 0u;\nx[1u] += i_0 + 1u;\n");
    }

    #[test]
    fn derived_consts_bound_loops_too() {
        let p = Program::new("test").number("D", 16);
        let s = "const D = 64u;\nconst V: u32 = D / 8u;\n#unroll i in 0..V\ni\n#end\n";
        assert!(text(&p, s).unwrap().ends_with("0u\n1u\n"));
    }

    #[test]
    fn mistakes_name_their_line() {
        let p = Program::new("test");
        for (source, what) in [
            ("\n#import lib/none", "test.wgsl:2: no shader 'lib/none'"),
            ("#unroll i in 0..N\n#end", "test.wgsl:1: 'N' is neither"),
            ("#ifdef A", "#ifdef without #endif"),
            ("#else", "test.wgsl:1: #else without"),
            ("#loop", "test.wgsl:1: unknown directive '#loop'"),
        ] {
            let error = text(&p, source).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}
