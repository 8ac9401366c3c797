//! Conversations to prompts, by the Jinja template that a model carries.
//!
//! Templates come from files and are hostile until proved otherwise: minijinja has no access to
//! anything but what is handed over, [`ChatTemplate::FUEL`] bounds both time and memory (of trees of shared
//! lists too, see [`super::template_meter`]), and one that writes more than [`ChatTemplate::MAX_OUTPUT`] is
//! stopped there.
//!
//! What users write must not become special tokens, though what the template writes must. Before
//! the template runs, the first character of everything in messages that looks like a special
//! token is replaced by a stand-in, a private character that occurs nowhere else; so templates may
//! cut and compare as they like. The special tokens are cut out of the result, and then the
//! stand-ins are turned back.

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;

use super::Error;
use super::chat_functions::{raise_exception, strftime_now, to_json, without_generation_tags};
use super::template_code::{self, Code};
use super::template_meter::Meter;
use super::tokenizer::{MAX_TEXT, Tokenizer};

/// A template may not be longer.
const MAX_TEMPLATE: usize = 1 << 18;
const NAME: &str = "chat";
/// Private characters (plane 15) that serve as stand-ins.
const STAND_INS: std::ops::RangeInclusive<u32> = 0xf_0000..=0xf_fffd;

/// Stand-ins and the characters they stand for.
type Disguise = Vec<(char, char)>;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who speaks: system, user, assistant.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// How a rendered conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With what makes the model answer (`add_generation_prompt`).
    Answer,
    /// With the last message.
    Closed,
    /// Within the last message, which the model goes on writing.
    Continued,
}

/// A compiled template.
#[derive(Debug)]
pub struct ChatTemplate {
    env: Environment<'static>,
    source: String,
    /// The source without what only training reads.
    code: String,
    bos: String,
    eos: String,
    /// Instructions beside one for each byte of the conversation.
    fuel: u64,
    /// Bytes that it may write.
    most: usize,
}

impl ChatTemplate {
    /// Instructions that a rendering may take, and 64 bytes of memory for each; beside one more for
    /// each byte of the messages.
    pub const FUEL: u64 = 1_000_000;
    /// Bytes that a rendering may write: some two million tokens of English.
    pub const MAX_OUTPUT: usize = 8 << 20;

    /// Compiles a template as transformers does; `bos` and `eos` are the texts of those tokens,
    /// which templates use as variables.
    ///
    /// # Errors
    /// When it is too long or no Jinja.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, Error> {
        if source.len() > MAX_TEMPLATE {
            return Err(Error::Template(format!(
                "expected at most {MAX_TEMPLATE} bytes, found {}",
                source.len()
            )));
        }
        let mut env = Environment::new();
        // It prints whatever is known, and transformers has none.
        env.remove_global("debug");
        env.add_function("raise_exception", raise_exception);
        env.add_function("strftime_now", strftime_now);
        env.add_filter("tojson", to_json);
        let code = without_generation_tags(source);
        Self::compiled(&code)?;
        let (source, bos, eos) = (source.into(), bos.into(), eos.into());
        Ok(Self { env, source, code, bos, eos, fuel: Self::FUEL, most: Self::MAX_OUTPUT })
    }

    /// The code borrows the source, and takes less time to compile than a conversation to read.
    fn compiled(code: &str) -> Result<Code<'_>, Error> {
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        Code::new(NAME, code, syntax.map_err(failure)?).map_err(failure)
    }

    /// Another template for the same model.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn replaced(&self, source: &str) -> Result<Self, Error> {
        Self::new(source, &self.bos, &self.eos)
    }

    /// The same template with other bounds: instructions beside one for each byte of the conversation, and
    /// bytes that it may write, never more than the tokenizer takes.
    #[must_use]
    pub fn bounded(mut self, fuel: u64, bytes: usize) -> Self {
        (self.fuel, self.most) = (fuel, bytes.min(MAX_TEXT));
        self
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The prompt as text, to be read by people. To run it, use [`ChatTemplate::encode`].
    ///
    /// # Errors
    /// When the template refuses the conversation (with its own words), fails, runs out of fuel, or
    /// writes more than it may.
    pub fn render(&self, messages: &[Message], ending: Ending) -> Result<String, Error> {
        // What a model has begun to answer stands behind what makes it answer, whatever a template would make
        // of a whole message.
        if let (Ending::Continued, Some((begun, before))) = (ending, messages.split_last()) {
            let text = self.render(before, Ending::Answer)? + &begun.content;
            return match text.len() {
                found if found > self.most => Err(Error::TemplateLength { found, most: self.most }),
                _ => Ok(text),
            };
        }
        let bytes: usize = messages.iter().map(|m| m.role.len() + m.content.len()).sum();
        let fuel = self.fuel.saturating_add(bytes as u64);
        let mut env = self.env.clone();
        env.set_fuel(Some(fuel));
        let given = context! {
            messages => Serde(messages),
            add_generation_prompt => ending == Ending::Answer,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            tools => (),
            documents => (),
        };
        let meter = Arc::new(Meter::new(fuel, self.code.len(), (2 * messages.len(), bytes), self.most));
        let rendered = template_code::run(env, &Self::compiled(&self.code)?, given, &meter);
        if let Some(found) = meter.too_long() {
            return Err(Error::TemplateLength { found, most: self.most });
        }
        rendered.map_err(|e| match e.kind() {
            ErrorKind::OutOfFuel => Error::TemplateFuel(self.fuel),
            _ => failure(e),
        })
    }

    /// The prompt as ids. It begins with BOS where the model wants one, whether or not the
    /// template writes it; special tokens come from the template alone. What is sure to have more than
    /// `most` tokens is refused before it is cut into them.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`] and [`Tokenizer::encode`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        ending: Ending,
        most: usize,
    ) -> Result<Vec<u32>, Error> {
        let (messages, disguise) = self.disguise(tokenizer, messages)?;
        let text = self.render(&messages, ending)?;
        // A stand-in is longer than what it stands for.
        let surely = text.replace(|c| disguise.iter().any(|(stand_in, _)| *stand_in == c), "");
        tokenizer.allow(&surely, most)?;
        let mut ids = tokenizer.encode_disguised(&text, &disguise)?;
        if let Some(bos) = tokenizer.bos_to_add()
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// The messages with stand-ins, and which character each stands for.
    fn disguise(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> Result<(Vec<Message>, Disguise), Error> {
        let mut texts = messages.iter().flat_map(|m| [&m.role, &m.content]);
        let specials = tokenizer.special_texts();
        if !texts.any(|text| specials.iter().any(|s| text.contains(s.as_str()))) {
            return Ok((messages.to_vec(), Vec::new()));
        }
        let mut free = STAND_INS.filter_map(char::from_u32).filter(|&c| {
            !self.source.contains(c)
                && !specials.iter().any(|s| s.contains(c))
                && !messages.iter().any(|m| m.role.contains(c) || m.content.contains(c))
        });
        let mut disguise: Disguise = Vec::new();
        let mut disguised = |text: &str| {
            let mut out = String::with_capacity(text.len());
            for (i, c) in text.char_indices() {
                if !specials.iter().any(|s| s.starts_with(c) && text[i..].starts_with(s.as_str())) {
                    out.push(c);
                    continue;
                }
                let known = disguise.iter().find(|(_, real)| *real == c).map(|(s, _)| *s);
                let stand_in = match known.or_else(|| free.next().inspect(|&s| disguise.push((s, c)))) {
                    Some(stand_in) => stand_in,
                    None => {
                        return Err(Error::Template("the messages use every private character".into()));
                    }
                };
                out.push(stand_in);
            }
            Ok(out)
        };
        let mut all = Vec::with_capacity(messages.len());
        for m in messages {
            all.push(Message { role: disguised(&m.role)?, content: disguised(&m.content)? });
        }
        Ok((all, disguise))
    }
}

fn failure(e: minijinja::Error) -> Error {
    // The alternate form adds the line, the plain one the template's own words.
    let place = e.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    match e.detail() {
        // A template may say as much as it likes, to a client or into a log.
        Some(detail) => Error::Template(format!("{}: {detail:.1000}{place}", e.kind())),
        None => Error::Template(format!("{}{place}", e.kind())),
    }
}

#[cfg(test)]
mod tests;
