//! A template's instructions, with what the [`Meter`] has to see put between them.
//!
//! minijinja has no hook where a list is built or two are compared. Its instructions are open to us,
//! though (`unstable_machinery`, hence the exact version in Cargo.toml): each that makes a container is
//! followed by a call that weighs it, and each that walks one is preceded by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::machinery::{
    CodeGenerator, Instruction, Instructions, Token, eval, make_string_output, parse, tokenize,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::template_meter::Meter;

// Names that no template can spell.
const WEIGH: &str = "(weigh)";
const STORE: &str = "(store)";
const MAP: &str = "(map)";
const FILTER: &str = "(filter)";
const TEST: &str = "(test)";
const METHOD: &str = "(method)";

/// Tokens of one tag, and `elif`s: minijinja compiles `1+1+1` and a chain of `elif` by recursion, the one
/// thing in which it counts no depth. Templates that models have come to a tenth.
const TAG: usize = 1000;
const ELIFS: usize = 500;

/// Compiled.
pub struct Code<'s> {
    root: Instructions<'s>,
    blocks: BTreeMap<&'s str, Instructions<'s>>,
}

impl<'s> Code<'s> {
    /// Compiles a source.
    pub fn new(name: &'s str, source: &'s str, syntax: SyntaxConfig) -> Result<Self, Error> {
        bounded(source, &syntax)?;
        let tree = parse(source, name, syntax)?;
        let mut generator = CodeGenerator::new(name, source);
        generator.compile_stmt(&tree);
        let (root, blocks) = generator.finish();
        let blocks = blocks.into_iter().map(|(name, code)| Ok((name, weighed(&code)?)));
        Ok(Self { root: weighed(&root)?, blocks: blocks.collect::<Result<_, Error>>()? })
    }
}

/// Refuses a source that would take the whole stack to compile.
fn bounded(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    let (mut tag, mut elifs) = (0, 0);
    // What is no token is an error of the parser's.
    for (token, span) in tokenize(source, false, syntax.clone()).map_while(Result::ok) {
        tag = if matches!(token, Token::VariableStart | Token::BlockStart) { 0 } else { tag + 1 };
        elifs += usize::from(tag == 1 && matches!(token, Token::Ident("elif")));
        let line = span.start_line;
        if tag > TAG {
            return Err(refused(format!(
                "expected at most {TAG} tokens in a tag, found more in line {line}"
            )));
        }
        if elifs > ELIFS {
            return Err(refused(format!("expected at most {ELIFS} 'elif', found more up to line {line}")));
        }
    }
    Ok(())
}

/// Runs it with what it is given.
pub fn run(
    mut env: Environment<'_>,
    code: &Code<'_>,
    given: Value,
    meter: &Arc<Meter>,
) -> Result<String, Error> {
    let m = Arc::clone(meter);
    env.add_function(WEIGH, move |value: Value| m.weigh(&value).map(|_| value));
    let m = Arc::clone(meter);
    env.add_function(STORE, move |value: Value| m.weigh_stored(&value).map(|_| value));
    env.add_function(MAP, |items: Rest<Value>| map(&items));
    let m = Arc::clone(meter);
    env.add_function(FILTER, move |state: &mut State<'_, '_>, given: Rest<Value>| {
        let (name, given) = called(&m, state, &given)?;
        state.apply_filter(&name, given).map_err(|e| unknown(e, ErrorKind::UnknownFilter, "filter", &name))
    });
    let m = Arc::clone(meter);
    env.add_function(TEST, move |state: &mut State<'_, '_>, given: Rest<Value>| {
        let (name, given) = called(&m, state, &given)?;
        state.perform_test(&name, given).map_err(|e| unknown(e, ErrorKind::UnknownTest, "test", &name))
    });
    let m = Arc::clone(meter);
    env.add_function(METHOD, move |state: &mut State<'_, '_>, given: Rest<Value>| {
        let (name, given) = called(&m, state, &given)?;
        given[0].call_method(state, &name, &given[1..])
    });
    let m = Arc::clone(meter);
    env.set_unknown_method_callback(move |state, value, name, given| {
        if let (Some(text), "format") = (value.as_str(), name) {
            pay_for_format(&m, state, text, given)?;
        }
        unknown_method_callback(state, value, name, given)
    });
    let m = Arc::clone(meter);
    env.set_formatter(move |out, state, value| {
        m.weigh(value)?;
        m.write(value.as_str().map_or_else(|| value.to_string().len(), str::len))?;
        escape_formatter(out, state, value)
    });
    let mut page = String::new();
    let mut output = make_string_output(&mut page);
    eval(&env, &code.root, given, &code.blocks, &mut output, AutoEscape::None).map(drop)?;
    drop(output);
    Ok(page)
}

/// The name that was pushed last and what the call is given, weighed and the string it works on paid for.
fn called<'v>(
    meter: &Meter,
    state: &State<'_, '_>,
    given: &'v [Value],
) -> Result<(String, &'v [Value]), Error> {
    let (name, given) = given.split_last().ok_or(ErrorKind::MissingArgument)?;
    let name: String = name.as_str().unwrap_or_default().split_ascii_whitespace().collect();
    // These look at no item, and templates call them at every turn.
    if !["length", "count", "first", "last"].contains(&name.as_str()) {
        for value in given.iter().filter(|value| value.as_object().is_some()) {
            meter.weigh(value)?;
        }
    }
    let text = given.first().and_then(Value::as_str).map_or(0, str::len);
    state.consume_fuel(text as u64 / 64)?;
    Ok((name, given))
}

fn unknown(e: Error, kind: ErrorKind, what: &str, name: &str) -> Error {
    if e.kind() == kind && e.detail().is_none() {
        Error::new(kind, format!("{what} {name} is unknown"))
    } else {
        e
    }
}

/// A map of keys and values in turn.
fn map(items: &[Value]) -> Result<Value, Error> {
    let pairs = items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
    if items.iter().step_by(2).any(|key| key.as_object().is_some()) {
        return Err(Error::new(ErrorKind::InvalidOperation, "a list or a map can't be a key"));
    }
    Ok(pairs.collect())
}

/// `'{:>9}'.format(x)` costs what its fields may write: widths, and what it is given for each field.
fn pay_for_format(meter: &Meter, state: &State<'_, '_>, text: &str, given: &[Value]) -> Result<(), Error> {
    let mut width: u64 = 0;
    let fields = text.split('{').skip(1);
    for field in fields.clone() {
        let field = field.split('}').next().unwrap_or_default();
        let numbers = field.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
        width = numbers.fold(width, |sum, n| sum.saturating_add(n.parse().unwrap_or(u64::MAX)));
    }
    state.consume_fuel(width / 64)?;
    for value in given {
        let weight = meter.weigh(value)?;
        meter.spend(weight.saturating_mul(fields.clone().count() as u64))?;
    }
    Ok(())
}

/// The instructions with calls of the functions above between them.
fn weighed<'s>(code: &Instructions<'s>) -> Result<Instructions<'s>, Error> {
    let mut out = Instructions::new(code.name(), code.source());
    // Where each now begins, and where the code ends.
    let mut places = vec![0];
    let mut end = 0;
    for at in 0.. {
        let Some(instruction) = code.get(at) else { break };
        let line = code.get_line(at).unwrap_or(0).min(usize::from(u16::MAX)) as u16;
        for instruction in expanded(instruction.clone())? {
            end = out.add_with_line(instruction, line) + 1;
        }
        places.push(end);
    }
    for at in 0..end {
        use Instruction::{BuildMacro, Iterate, Jump, JumpIfFalse, JumpIfFalseOrPop, JumpIfTrueOrPop};
        if let Some(
            Iterate(to)
            | Jump(to)
            | JumpIfFalse(to)
            | JumpIfFalseOrPop(to)
            | JumpIfTrueOrPop(to)
            | BuildMacro(_, to, _),
        ) = out.get_mut(at)
        {
            *to = places[*to as usize];
        }
    }
    Ok(out)
}

/// What stands for an instruction.
fn expanded(instruction: Instruction<'_>) -> Result<Vec<Instruction<'_>>, Error> {
    use Instruction as I;
    let weigh = I::CallFunction(WEIGH, Some(1));
    let call = |function, name: &str, given: Option<u16>| match given.and_then(|n| n.checked_add(1)) {
        Some(n) => {
            Ok(vec![I::LoadConst(Value::from(name)), I::CallFunction(function, Some(n)), weigh.clone()])
        }
        None => Err(refused(format!("expected a call of '{name}' that lists what it is given, without '*'"))),
    };
    Ok(match instruction {
        // Written by way of the formatter, which counts.
        I::EmitRaw(text) => vec![I::LoadConst(Value::from(text)), I::Emit],
        I::BuildMap(pairs) => match u16::try_from(2 * pairs) {
            Ok(n) => vec![I::CallFunction(MAP, Some(n)), weigh],
            Err(_) => return Err(refused(format!("expected a map of at most 32767 pairs, found {pairs}"))),
        },
        I::BuildList(_) | I::BuildTuple(_) | I::Add | I::Mul | I::CallFunction(..) | I::CallObject(_) => {
            vec![instruction, weigh]
        }
        I::Eq
        | I::Ne
        | I::Gt
        | I::Gte
        | I::Lt
        | I::Lte
        | I::In
        | I::CompareAndPreserve(_)
        | I::StringConcat => {
            vec![weigh.clone(), I::Swap, weigh, I::Swap, instruction]
        }
        I::GetItem => vec![weigh, instruction],
        I::SetAttr(_) => vec![I::Swap, I::CallFunction(STORE, Some(1)), I::Swap, instruction],
        I::ApplyFilter(name, given, _) => call(FILTER, name, given)?,
        I::PerformTest(name, given, _) => call(TEST, name, given)?,
        I::CallMethod(name, given) => call(METHOD, name, given)?,
        _ => vec![instruction],
    })
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::SyntaxError, why)
}
