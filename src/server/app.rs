//! What every handler shares.

use std::sync::Arc;

use axum::http::StatusCode;

use super::caps::{Cap, Caps};
use super::debug::Roofline;
use super::error::ApiError;
use super::metrics::Metrics;
use super::request::fields::{Fields, Unknown};
use super::request::{NAMES, NEUTRAL};
use crate::engine::Pooling;
use crate::engine::service::Service;
use crate::format::{ChatTemplate, Tokenizer};
use crate::scheduler::Policy;

/// The model that is served.
#[derive(Debug)]
pub struct Model {
    /// Names under which it is served; the first is the one that answers carry.
    pub names: Vec<String>,
    /// Whether any other name is taken for it as well.
    pub any_name: bool,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Its chat template, if it has one.
    pub template: Option<ChatTemplate>,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Numbers of a token's state, and so of an embedding.
    pub width: usize,
    /// Rows of its head: token ids lie below.
    pub vocab: usize,
    /// When it began to be served, in seconds of Unix time.
    pub created: u64,
}

impl Model {
    /// The name to answer with; absent means the first.
    ///
    /// # Errors
    /// 404 for a model that isn't served.
    pub fn accept(&self, asked: Option<String>) -> Result<String, ApiError> {
        match asked.filter(|name| !name.is_empty()) {
            None => Ok(self.names.first().cloned().unwrap_or_default()),
            Some(name) if self.any_name || self.names.contains(&name) => Ok(name),
            Some(_) => {
                let mut error = ApiError::new(
                    StatusCode::NOT_FOUND,
                    format!("model: no such model is served; this server has {}", self.names.join(", ")),
                );
                error.param = Some("model".into());
                Err(error.code("model_not_found"))
            }
        }
    }

    /// The chat template.
    ///
    /// # Errors
    /// When the model has none.
    pub fn template(&self) -> Result<&ChatTemplate, ApiError> {
        self.template.as_ref().ok_or_else(|| {
            let why = "this model has no chat template: use /v1/completions";
            ApiError::field("messages", why).code("no_chat_template")
        })
    }
}

impl App {
    /// The name in a request's `model`, to answer with.
    ///
    /// # Errors
    /// 404 for a model that isn't served, 400 for a name that is too long.
    pub fn accept(&self, fields: &mut Fields) -> Result<String, ApiError> {
        self.model.accept(self.name(fields, "model")?)
    }

    /// A short text in a field.
    ///
    /// # Errors
    /// When it is longer than the cap allows.
    pub fn name(&self, fields: &mut Fields, name: &str) -> Result<Option<String>, ApiError> {
        let text: Option<String> = fields.take(name)?;
        self.caps.check(Cap::NameBytes, &fields.name(name), text.as_ref().map_or(0, String::len))?;
        Ok(text)
    }

    /// A request's `priority`.
    ///
    /// # Errors
    /// When it would change nothing.
    pub fn priority(&self, fields: &mut Fields) -> Result<i32, ApiError> {
        let priority = fields.take("priority")?.unwrap_or(0);
        if priority != 0 && self.policy == Policy::Fcfs {
            let why = format!(
                "found {priority}, expected 0: requests are served as they come; start the server with \
                 --scheduling-policy priority"
            );
            return Err(ApiError::field("priority", why).code("unsupported"));
        }
        Ok(priority)
    }

    /// Drops fields that change nothing here, but for the size of those that name someone.
    ///
    /// # Errors
    /// As [`App::name`].
    pub fn ignore_neutral(&self, fields: &mut Fields) -> Result<(), ApiError> {
        for name in NAMES {
            self.name(fields, name)?;
        }
        fields.ignore(NEUTRAL);
        Ok(())
    }
}

/// What every handler shares.
#[derive(Debug)]
pub struct App {
    /// The engine's thread.
    pub service: Service,
    /// The model.
    pub model: Model,
    /// How the states of a text become its vector, unless a request says so.
    pub pooling: Pooling,
    /// How much one request may ask for.
    pub caps: Caps,
    /// What becomes of unknown fields.
    pub unknown: Unknown,
    /// In what order requests are served.
    pub policy: Policy,
    /// What is known about the engine.
    pub metrics: Arc<Metrics>,
    /// What bounds its steps.
    pub roofline: Arc<Roofline>,
}
