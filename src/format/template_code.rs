//! A template's instructions, with what the [`Meter`] has to see put between them.
//!
//! minijinja has no hook where a list is built or two are compared. Its instructions are open to us,
//! though (`unstable_machinery`, hence the exact version in Cargo.toml): each that makes a container is
//! followed by a call that weighs it, and each that walks one is preceded by one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::machinery::{
    CodeGenerator, Instruction, Instructions, Token, eval, make_string_output, parse, tokenize,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Object, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::chat_functions::{batch, round, slice, text_method};
use super::template_costs::{asked_for, pay_for_call, pay_for_widths};
use super::template_meter::Meter;

/// What is called between a template's own instructions, each by a name that no template can spell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    /// Gives back the value that was made, as [`Meter::made`] keeps it.
    Made,
    /// Gives back the value that is about to be used.
    Used,
    /// Gives back the value that is about to be compared.
    Compared,
    /// Gives back the value that is about to be walked, or one of whose items is about to be taken.
    Walked,
    /// Gives back the value that is about to be sliced.
    Sliced,
    /// Gives back the value that a namespace is to hold.
    Stored,
    /// Makes a map of keys and values in turn.
    Map,
    /// Calls what is named last with what comes before.
    Filter,
    Test,
    Method,
}

impl Hook {
    const ALL: [Self; 10] = [
        Self::Made,
        Self::Used,
        Self::Compared,
        Self::Walked,
        Self::Sliced,
        Self::Stored,
        Self::Map,
        Self::Filter,
        Self::Test,
        Self::Method,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Made => "(made)",
            Self::Used => "(used)",
            Self::Compared => "(compared)",
            Self::Walked => "(walked)",
            Self::Sliced => "(sliced)",
            Self::Stored => "(stored)",
            Self::Map => "(map)",
            Self::Filter => "(filter)",
            Self::Test => "(test)",
            Self::Method => "(method)",
        }
    }

    fn call(self, given: u16) -> Instruction<'static> {
        Instruction::CallFunction(self.name(), Some(given))
    }
}

/// An object and no function of minijinja's: those take keyword arguments apart.
struct Hooked {
    hook: Hook,
    meter: Arc<Meter>,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hook.fmt(f)
    }
}

impl Object for Hooked {
    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, given: &[Value]) -> Result<Value, Error> {
        let meter = &self.meter;
        let (last, before) = given.split_last().unwrap_or((&Value::UNDEFINED, &[]));
        match self.hook {
            Hook::Made => return meter.made(last),
            Hook::Used => drop(meter.used(last)?),
            Hook::Compared => drop(meter.compared(last)?),
            Hook::Walked => meter.walked(last)?,
            Hook::Sliced => meter.sliced(last)?,
            Hook::Stored => Meter::stored(last)?,
            Hook::Map => return map(given),
            Hook::Filter | Hook::Test | Hook::Method => {
                let name: String = last.as_str().unwrap_or_default().split_ascii_whitespace().collect();
                pay_for_call(meter, state, (&name, self.hook == Hook::Filter), before)?;
                return match self.hook {
                    Hook::Filter => state.apply_filter(&name, before),
                    Hook::Test => state.perform_test(&name, before).map(Value::from),
                    _ => before[0].call_method(state, &name, &before[1..]),
                }
                .map_err(|e| unknown(e, asked_for(&name, before)));
            }
        }
        Ok(last.clone())
    }
}

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
    // minijinja's alone, or for debugging; each walks far more than it is given.
    for name in ["chain", "zip", "pprint"] {
        env.remove_filter(name);
    }
    env.add_filter("round", round);
    env.add_filter("batch", batch);
    env.add_filter("slice", slice);
    for hook in Hook::ALL {
        let hooked = Hooked { hook, meter: Arc::clone(meter) };
        env.add_global(hook.name(), Value::from_object(hooked));
    }
    env.set_unknown_method_callback(move |state, value, name, given| {
        if let Some(text) = value.as_str() {
            if name == "format" {
                pay_for_widths(state, text)?;
            }
            if let Some(done) = text_method(state, text, name, given) {
                return done;
            }
        }
        unknown_method_callback(state, value, name, given)
    });
    let m = Arc::clone(meter);
    env.set_formatter(move |out, state, value| {
        m.used(value)?;
        m.write(value.as_str().map_or_else(|| value.to_string().len(), str::len))?;
        escape_formatter(out, state, value)
    });
    let mut page = String::new();
    let mut output = make_string_output(&mut page);
    eval(&env, &code.root, given, &code.blocks, &mut output, AutoEscape::None).map(drop)?;
    drop(output);
    Ok(page)
}

/// As minijinja names what a template asks for and isn't there.
fn unknown(e: Error, name: &str) -> Error {
    match (e.kind(), e.detail()) {
        (kind @ ErrorKind::UnknownFilter, None) => Error::new(kind, format!("filter {name} is unknown")),
        (kind @ ErrorKind::UnknownTest, None) => Error::new(kind, format!("test {name} is unknown")),
        _ => e,
    }
}

/// A map of keys and values in turn.
fn map(items: &[Value]) -> Result<Value, Error> {
    if items.iter().step_by(2).any(|key| key.as_object().is_some()) {
        return Err(Error::new(ErrorKind::InvalidOperation, "a list or a map can't be a key"));
    }
    Ok(Value::from_pairs(items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()))))
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
    let (made, used) = (Hook::Made.call(1), Hook::Used.call(1));
    let call = |hook: Hook, name: &str, given: Option<u16>| match given.and_then(|n| n.checked_add(1)) {
        Some(n) => Ok(vec![I::LoadConst(Value::from(name)), hook.call(n), made.clone()]),
        None => Err(refused(format!("expected a call of '{name}' that lists what it is given, without '*'"))),
    };
    Ok(match instruction {
        // Written by way of the formatter, which counts.
        I::EmitRaw(text) => vec![I::LoadConst(Value::from(text)), I::Emit],
        I::BuildMap(pairs) => match u16::try_from(2 * pairs) {
            Ok(n) => vec![Hook::Map.call(n), made],
            Err(_) => return Err(refused(format!("expected a map of at most 32767 pairs, found {pairs}"))),
        },
        I::BuildList(_)
        | I::BuildTuple(_)
        | I::Add
        | I::Mul
        | I::EndCapture
        | I::CallFunction(..)
        | I::CallObject(_) => vec![instruction, made],
        I::Eq | I::Ne | I::Gt | I::Gte | I::Lt | I::Lte | I::In | I::CompareAndPreserve(_) => {
            let compared = Hook::Compared.call(1);
            vec![compared.clone(), I::Swap, compared, I::Swap, instruction]
        }
        I::StringConcat => vec![used.clone(), I::Swap, used, I::Swap, instruction],
        // Compiled into the code as what is walked anew at every use.
        I::LoadConst(ref value) if value.as_object().is_some() => vec![instruction, made],
        I::Slice => {
            let [start, stop, step] = ["(start)", "(stop)", "(step)"];
            let aside =
                [I::StoreLocal(step), I::StoreLocal(stop), I::StoreLocal(start), Hook::Sliced.call(1)];
            let back = [I::Lookup(start), I::Lookup(stop), I::Lookup(step), instruction, made];
            aside.into_iter().chain(back).collect()
        }
        I::GetItem => vec![used, I::Swap, Hook::Walked.call(1), I::Swap, instruction],
        I::PushLoop(_) => vec![Hook::Walked.call(1), instruction],
        I::SetAttr(_) => vec![I::Swap, Hook::Stored.call(1), I::Swap, instruction],
        I::ApplyFilter(name, given, _) => call(Hook::Filter, name, given)?,
        I::PerformTest(name, given, _) => call(Hook::Test, name, given)?,
        I::CallMethod(name, given) => call(Hook::Method, name, given)?,
        _ => vec![instruction],
    })
}

fn refused(why: String) -> Error {
    Error::new(ErrorKind::SyntaxError, why)
}
