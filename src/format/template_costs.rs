//! What calls of a template cost beside their own fuel: by what they walk, compare and write.

use minijinja::value::Value;
use minijinja::{Error, State};

use super::template_meter::Meter;

/// Filters that compare all items of a list with each other, and filters and tests that compare each of them once.
const SORTING: [&str; 4] = ["sort", "unique", "groupby", "dictsort"];
const COMPARING: [&str; 22] = [
    "count",
    "index",
    "startingwith",
    "endingwith",
    "greaterthan",
    "min",
    "max",
    "in",
    "eq",
    "equalto",
    "==",
    "ne",
    "!=",
    "lt",
    "lessthan",
    "<",
    "le",
    "<=",
    "gt",
    ">",
    "ge",
    ">=",
];

/// Pays for what a call works on: all of the first value, and all of the others for each of its items and
/// for each of its bytes (`'%(a)s%(a)s' | format(a=x)`, `x.strip(y)`, `x | map(attribute=y)`).
pub fn pay_for_call(
    meter: &Meter,
    state: &State<'_, '_>,
    (name, filter): (&str, bool),
    given: &[Value],
) -> Result<(), Error> {
    let Some((first, others)) = given.split_first() else { return Ok(()) };
    let text = first.as_str().map_or(0, str::len) as u64;
    state.consume_fuel(text / 64)?;
    // These look at no item, and templates call them at every turn; `list.count(x)` does.
    if filter && ["length", "count", "first", "last"].contains(&name) {
        return Ok(());
    }
    if let Some(text) = first.as_str().filter(|_| asked_for(name, given) == "format") {
        pay_for_widths(state, text)?;
    }
    let mut bytes: u64 = 0;
    for value in others {
        bytes = bytes.saturating_add(match value.as_str() {
            Some(text) => text.len() as u64,
            None => meter.used(value)?.saturating_mul(64),
        });
    }
    meter.spend(text.saturating_mul(bytes) / 64)?;
    if first.as_object().is_some() {
        let weight = meter.used(first)?;
        meter.spend(weight.saturating_mul(bytes / 16))?;
        let inner = asked_for(name, given);
        if SORTING.contains(&inner) {
            // Each item is compared once for each time that its list can be halved.
            meter.compares(weight, u64::from(weight.max(1).ilog2()) + 1)?;
        } else if COMPARING.contains(&inner) {
            meter.compares(weight, 1)?;
        }
        // It adds up by way of every sum before: of texts and lists each is as long as all before it.
        let number = |item: Value| item.is_number();
        if name == "sum" && !first.try_iter()?.all(number) {
            meter.spend(weight.saturating_mul(weight))?;
        }
    }
    Ok(())
}

/// What a call looks up by its name: itself, or what it is to do to every item.
pub fn asked_for<'a>(name: &'a str, given: &'a [Value]) -> &'a str {
    let (mut name, mut given) = (name, given);
    // Filters of filters, as in `map('map', 'sort')`.
    loop {
        let at = match name {
            "map" | "select" | "reject" => 1,
            "selectattr" | "rejectattr" => 2,
            _ => return name,
        };
        let Some(inner) = given.get(at).and_then(Value::as_str) else { return name };
        (name, given) = (inner, &given[at..]);
    }
}

/// `'{:>9}'.format(x)` and `'%9d' | format(x)` cost the widths and precisions of their fields too.
pub fn pay_for_widths(state: &State<'_, '_>, text: &str) -> Result<(), Error> {
    let braces = text.split('{').skip(1).map(|field| field.split('}').next().unwrap_or_default());
    let percents = text.split('%').skip(1).map(|field| {
        let flags =
            field.rsplit_once(')').map_or(field, |(_, flags)| flags).trim_start_matches(['-', '+', ' ', '#']);
        &flags[..flags.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(flags.len())]
    });
    let mut width: u64 = 0;
    for field in braces.chain(percents) {
        let numbers = field.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
        width = numbers.fold(width, |sum, n| sum.saturating_add(n.parse().unwrap_or(u64::MAX)));
    }
    state.consume_fuel(width / 16)
}
