//! Loops of a checked module: one whose end constants don't prove counts its turns, and ends by force, with a
//! bit set, once an invocation has made more than any right dispatch does.

use super::ranges::Ranges;

/// Turns of all counted loops that an invocation may make: those of the largest case are some thousands.
const MOST: u32 = 1 << 20;

/// What stands for such a loop among the names of arrays.
pub(super) const NAME: &str = "its turns (a loop that does not end)";

/// A line with the conditions of its loops counted, and how many these are; of `original`, which begins at
/// byte `at`, only indices were changed.
///
/// # Errors
/// When a loop's head does not end on its line.
pub(super) fn counted(
    line: &str,
    original: &str,
    at: usize,
    ranges: &Ranges,
    bit: usize,
) -> Result<(String, Loops), String> {
    if words(original, "loop").next().is_some() {
        return Err(format!("a 'loop', whose turns can't be counted: expected for or while: {original}"));
    }
    let mut loops = Loops::default();
    let mut out = String::new();
    let mut rest = line;
    let mut places = heads(original).into_iter();
    while let Some(&(start, word)) = heads(rest).first() {
        let place = places.next().map_or(at, |(place, _)| at + place);
        let open = start + word.len() + rest[start + word.len()..].find('(').unwrap_or(0);
        let close =
            closing(&rest[open..]).ok_or_else(|| format!("a loop's head that does not end: {original}"))?;
        let (before, head, after) = (&rest[..=open], &rest[open + 1..open + close], &rest[open + close..]);
        out.push_str(before);
        if ranges.ends(place) {
            loops.proved += 1;
            out.push_str(head);
        } else {
            loops.watched += 1;
            let goes_on = |condition: &str| {
                let condition = Some(condition.trim()).filter(|c| !c.is_empty()).unwrap_or("true");
                format!("goes_on({condition}, {}u)", 1_u32 << bit)
            };
            match head.splitn(3, ';').collect::<Vec<_>>()[..] {
                [first, condition, step] => {
                    out.push_str(&format!("{first}; {};{step}", goes_on(condition)));
                }
                _ => out.push_str(&goes_on(head)),
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok((out, loops))
}

/// Loops that count as they run, and loops that need not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loops {
    pub watched: usize,
    pub proved: usize,
}

/// What a module with counted loops declares; `strayed` holds the bits.
pub(super) fn declarations(strayed: &str) -> String {
    format!(
        "var<private> turns: u32;\nfn goes_on(more: bool, bit: u32) -> bool {{\n    turns += select(0u, 1u, more);\n    \
         {strayed} |= select(0u, bit, turns > {MOST}u);\n    return more && turns <= {MOST}u;\n}}\n"
    )
}

/// Where loops begin in a line, and by which word.
fn heads(line: &str) -> Vec<(usize, &str)> {
    let mut found: Vec<(usize, &str)> = words(line, "for").chain(words(line, "while")).collect();
    found.retain(|(at, word)| line[at + word.len()..].trim_start().starts_with('('));
    found.sort_unstable();
    found
}

/// Where a word stands by itself in a line.
fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).filter(move |(at, word)| {
        !line[..*at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word)
    })
}

/// Where the parenthesis that opens a text is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, c)| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        (depth == 0).then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> (String, usize, usize) {
        let ranges = Ranges::new(&format!("const N = 4u;\n{line}"));
        let (text, loops) = counted(line, line, "const N = 4u;\n".len(), &ranges, 3).unwrap();
        (text, loops.watched, loops.proved)
    }

    #[test]
    fn loops_that_constants_end_stay_as_they_are() {
        let line = "for (var i = 0u; i < N; i++) { for (var j = 0u; j < min(n, 2u * N); j += 2u) { } }";
        assert_eq!(of(line), (line.to_string(), 0, 2));
    }

    #[test]
    fn a_bare_loop_is_refused() {
        let counted = |line| counted(line, line, 0, &Ranges::default(), 0).map(|(text, _)| text);
        assert!(counted("loop { break; }").is_err());
        assert_eq!(counted("let looped = loop_count;").as_deref(), Ok("let looped = loop_count;"));
    }

    #[test]
    fn all_others_count_their_turns() {
        let (text, watched, proved) =
            of("for (var i = 0u; i < f(n); i += N) { for (var j = 0u; j < N; j++) { a(i); } }");
        assert_eq!((watched, proved), (1, 1));
        assert_eq!(
            text,
            "for (var i = 0u; goes_on(i < f(n), 8u); i += N) { for (var j = 0u; j < N; j++) { a(i); } }"
        );
        assert_eq!(of("for (var i = 9u; ; i -= 1u) {").0, "for (var i = 9u; goes_on(true, 8u); i -= 1u) {");
        assert_eq!(of("while (b && c()) {").0, "while (goes_on(b && c(), 8u)) {");
        assert_eq!(of("for (var i = 0u; i < N; i++) { i = 0u; }").1, 1);
        assert_eq!(of("let before = meanwhile(4);").0, "let before = meanwhile(4);");
    }
}
