//! What chat templates expect beside Jinja itself, as transformers provides it.

use std::io;

use minijinja::value::{Kwargs, Value, from_args};
use minijinja::{ErrorKind, State, filters};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

use super::{ChatTemplate, clock};

/// The template refuses a conversation, in its own words.
pub fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// The date, in UTC.
pub fn strftime_now(format: String) -> Result<String, minijinja::Error> {
    clock::strftime(&format, clock::now()).map_err(|e| minijinja::Error::new(ErrorKind::InvalidOperation, e))
}

/// Python's methods of texts that minijinja's own list lacks; nothing for another name.
pub fn text_method(
    state: &State<'_, '_>,
    text: &str,
    name: &str,
    given: &[Value],
) -> Option<Result<Value, minijinja::Error>> {
    let done = match name {
        "removeprefix" => {
            from_args(given).map(|(cut,): (&str,)| text.strip_prefix(cut).unwrap_or(text).into())
        }
        "removesuffix" => {
            from_args(given).map(|(cut,): (&str,)| text.strip_suffix(cut).unwrap_or(text).into())
        }
        "partition" | "rpartition" => from_args(given).and_then(|(at,): (&str,)| parted(text, name, at)),
        "rsplit" => from_args(given).and_then(|(at, most, named): (Option<&str>, Option<i64>, Kwargs)| {
            let most = most.or(named.get("maxsplit")?);
            let at = at.or(named.get("sep")?);
            named.assert_all_used()?;
            split_back(text, at, most)
        }),
        "swapcase" => from_args(given).map(|()| text.chars().flat_map(swapped).collect::<String>().into()),
        "zfill" => from_args(given).and_then(|(width,): (i64,)| {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            let width = width.saturating_sub(sign.len() as i64).into();
            Ok(format!("{sign}{}", padded(state, digits, "rjust", &[width, "0".into()])?).into())
        }),
        "ljust" | "rjust" | "center" => padded(state, text, name, given).map(Value::from),
        _ => return None,
    };
    Some(done)
}

fn empty_separator() -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, "expected a separator, found an empty text")
}

/// What stands before the first or last `at`, `at` itself, and what stands behind it.
fn parted(text: &str, name: &str, at: &str) -> Result<Value, minijinja::Error> {
    if at.is_empty() {
        return Err(empty_separator());
    }
    let parts = match (name, text.split_once(at), text.rsplit_once(at)) {
        ("partition", Some((before, after)), _) | ("rpartition", _, Some((before, after))) => {
            [before, at, after]
        }
        ("partition", ..) => [text, "", ""],
        _ => ["", "", text],
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Python's `rsplit`: at whitespace where nothing else is named, `most` times at most, from the end.
fn split_back(text: &str, at: Option<&str>, most: Option<i64>) -> Result<Value, minijinja::Error> {
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = match at {
        Some("") => return Err(empty_separator()),
        Some(at) => text.rsplitn(most.saturating_add(1), at).collect(),
        None => {
            let mut words = Vec::new();
            let mut rest = text.trim_end();
            while words.len() < most
                && let Some((before, word)) = rest.rsplit_once(char::is_whitespace)
            {
                words.push(word);
                rest = before.trim_end();
            }
            words.extend(Some(rest).filter(|rest| !rest.is_empty()));
            words
        }
    };
    parts.reverse();
    Ok(parts.into_iter().map(Value::from).collect())
}

fn swapped(c: char) -> Vec<char> {
    match (c.is_lowercase(), c.is_uppercase()) {
        (true, _) => c.to_uppercase().collect(),
        (_, true) => c.to_lowercase().collect(),
        _ => vec![c],
    }
}

fn padded(
    state: &State<'_, '_>,
    text: &str,
    name: &str,
    given: &[Value],
) -> Result<String, minijinja::Error> {
    let (width, fill): (i64, Option<char>) = from_args(given)?;
    let missing = (width.max(0) as usize).saturating_sub(text.chars().count());
    // Four bytes each, and 64 for each of the fuel.
    state.consume_fuel(missing as u64 / 16)?;
    let left = match name {
        "ljust" => 0,
        "rjust" => missing,
        // As CPython: the odd one goes left where the width is odd.
        _ => missing / 2 + (missing & width as usize & 1),
    };
    let fill = |n: usize| std::iter::repeat_n(fill.unwrap_or(' '), n);
    Ok(fill(left).chain(text.chars()).chain(fill(missing - left)).collect())
}

/// Places that `round` knows: no number has more, and a thousand are written out one by one.
const PLACES: i32 = 30;

/// Jinja's `round`, which writes a number out to cut it.
pub fn round(
    state: &State<'_, '_>,
    value: Value,
    precision: Option<i32>,
    method: Option<&str>,
    options: Kwargs,
) -> Result<Value, minijinja::Error> {
    let places = precision.or(options.get("precision")?);
    if places.is_some_and(|places| !(-PLACES..=PLACES).contains(&places)) {
        let what = format!("round: expected -{PLACES} to {PLACES} places");
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, what));
    }
    state.consume_fuel(64)?;
    filters::round(value, precision, method, options)
}

/// Jinja's `batch`, which makes room for `count` in each list.
pub fn batch(
    state: &State<'_, '_>,
    value: Value,
    count: usize,
    fill: Option<Value>,
) -> Result<Value, minijinja::Error> {
    // Without a filling, no list is longer than what there is.
    let most = if fill.is_some() { usize::MAX } else { value.len().unwrap_or(usize::MAX).max(1) };
    let count = count.min(most);
    state.consume_fuel(count as u64)?;
    filters::batch(state, value, count, fill)
}

/// Jinja's `slice`, which makes `count` lists.
pub fn slice(
    state: &State<'_, '_>,
    value: Value,
    count: usize,
    fill: Option<Value>,
) -> Result<Value, minijinja::Error> {
    state.consume_fuel(count as u64)?;
    filters::slice(state, value, count, fill)
}

/// Python's `json.dumps(value, ensure_ascii=False)`: unlike Jinja's own filter it doesn't escape
/// HTML, and its separators are followed by spaces.
pub fn to_json(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent = match indent {
        Some(n) => Some(n),
        None => options.get("indent")?,
    };
    options.assert_all_used()?;
    let mut out = Capped(Vec::new());
    let done = match indent {
        Some(n) => {
            let spaces = " ".repeat(n.min(16));
            let pretty = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, pretty))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)),
    };
    let failed = |e: String| minijinja::Error::new(ErrorKind::InvalidOperation, e);
    done.map_err(|e| if e.is_io() { ErrorKind::OutOfFuel.into() } else { failed(e.to_string()) })?;
    String::from_utf8(out.0).map_err(|e| failed(e.to_string()))
}

/// No longer than what a template may write in all.
struct Capped(Vec<u8>);

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > ChatTemplate::MAX_OUTPUT {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `, ` and `: `, as Python writes them.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// transformers' `{% generation %}` marks what the assistant wrote, for training. It becomes an
/// `if` that is always true.
pub fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        // After the opening, whose own `%` begins no end: `{%}` is no tag.
        let Some((inner, after)) = tag[2..].split_once("%}") else {
            rest = tag;
            break;
        };
        let word = inner.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let instead = match word {
            "generation" => inner.replace("generation", "if true"),
            "endgeneration" => inner.replace("endgeneration", "endif"),
            _ => inner.into(),
        };
        out.push_str("{%");
        out.push_str(&instead);
        out.push_str("%}");
        rest = after;
    }
    out.push_str(rest);
    out
}
