//! The one table of caps: how much a single request may ask for.
//!
//! Each has a name, which is also its flag (`--cap NAME=VALUE`), a default and the status of its
//! refusal. A test walks the table and sends one more than each allows.

use axum::http::{HeaderMap, StatusCode, Uri};

use super::error::ApiError;
use crate::format;

macro_rules! caps {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal = $default:expr, $status:ident;)*) => {
        /// A cap.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Cap { $($(#[doc = $doc])* $variant,)* }

        /// Every cap with its name, default and the status of its refusal.
        pub const CAPS: &[(Cap, &str, usize, StatusCode)] =
            &[$((Cap::$variant, $name, $default, StatusCode::$status),)*];

        /// Every cap's name and what it bounds.
        pub const ABOUT: &[(&str, &str)] = &[$(($name, concat!($($doc),*)),)*];
    };
}

caps! {
    /// answers in all: prompts times the larger of n and best_of
    Answers "answers" = 128, BAD_REQUEST;
    /// alternatives listed for each token (logprobs, top_logprobs)
    Logprobs "logprobs" = 64, BAD_REQUEST;
    /// stop strings
    Stops "stops" = 16, BAD_REQUEST;
    /// bytes of one stop string
    StopBytes "stop-bytes" = 1024, BAD_REQUEST;
    /// stop_token_ids
    StopTokens "stop-tokens" = 128, BAD_REQUEST;
    /// entries of logit_bias
    LogitBias "logit-bias" = 1024, BAD_REQUEST;
    /// texts of one request for embeddings
    Inputs "inputs" = 2048, BAD_REQUEST;
    /// tokens of a prompt whose log-probabilities are asked for (echo with logprobs)
    PromptLogprobs "prompt-logprobs" = 4096, BAD_REQUEST;
    /// messages of a conversation
    Messages "messages" = 4096, BAD_REQUEST;
    /// bytes of text of one prompt or conversation
    PromptBytes "prompt-bytes" = 4 << 20, BAD_REQUEST;
    /// tokens of one prompt given as ids
    PromptTokens "prompt-tokens" = 1 << 20, BAD_REQUEST;
    /// bytes of short texts: model, cache_salt, user, request_id, safety_identifier, prompt_cache_key
    NameBytes "name-bytes" = 256, BAD_REQUEST;
    /// instructions of the chat template, beside one for each byte of the conversation
    TemplateFuel "template-fuel" = format::ChatTemplate::FUEL as usize, BAD_REQUEST;
    /// bytes that the chat template writes
    TemplateBytes "template-bytes" = format::ChatTemplate::MAX_OUTPUT, BAD_REQUEST;
    /// headers of a request
    Headers "headers" = 100, REQUEST_HEADER_FIELDS_TOO_LARGE;
    /// bytes of a request's target, its headers' names and their values
    HeaderBytes "header-bytes" = 64 << 10, REQUEST_HEADER_FIELDS_TOO_LARGE;
    /// bytes of a request's body
    BodyBytes "body-bytes" = 16 << 20, PAYLOAD_TOO_LARGE;
}

/// The caps in force.
#[derive(Clone, Debug)]
pub struct Caps([usize; CAPS.len()]);

impl Default for Caps {
    fn default() -> Self {
        Self(std::array::from_fn(|i| CAPS[i].2))
    }
}

impl Caps {
    /// Refuses headers that are too many or too large.
    ///
    /// # Errors
    /// When there are more than the caps allow.
    pub fn check_headers(&self, target: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let target = target.path_and_query().map_or(0, |t| t.as_str().len());
        let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        self.check(Cap::Headers, "headers", headers.len())?;
        self.check(Cap::HeaderBytes, "headers", target + bytes)
    }

    /// A template's failure as the request's: a bound that was hit is a cap.
    pub fn template_error(&self, error: &format::Error) -> ApiError {
        let exceeded = match error {
            format::Error::TemplateFuel(_) => {
                self.check(Cap::TemplateFuel, "messages", self.get(Cap::TemplateFuel).saturating_add(1))
            }
            format::Error::TemplateLength { found, .. } => self.check(Cap::TemplateBytes, "messages", *found),
            _ => Ok(()),
        };
        exceeded.err().unwrap_or_else(|| ApiError::bad(error.to_string()))
    }

    /// Sets one by its name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn set(&mut self, name: &str, most: usize) -> Result<(), String> {
        let Some(at) = CAPS.iter().position(|row| row.1 == name) else {
            let names: Vec<&str> = CAPS.iter().map(|row| row.1).collect();
            return Err(format!("no cap is named '{name}': expected one of {}", names.join(", ")));
        };
        self.0[at] = most;
        Ok(())
    }

    /// What a cap allows.
    pub fn get(&self, cap: Cap) -> usize {
        self.0[cap as usize]
    }

    /// Refuses more than a cap allows; `field` is what the client calls it.
    ///
    /// # Errors
    /// When `found` is above the cap.
    pub fn check(&self, cap: Cap, field: &str, found: usize) -> Result<(), ApiError> {
        let most = self.get(cap);
        if found <= most {
            return Ok(());
        }
        let (_, name, _, status) = CAPS[cap as usize];
        let about = ABOUT[cap as usize].1.trim();
        Err(ApiError {
            status,
            ..ApiError::field(
                field,
                format!("found {found}, expected at most {most} ({about}; the server's --cap {name}=N)"),
            )
        }
        .code("cap_exceeded"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_the_order_of_the_variants() {
        for (at, (cap, name, _, _)) in CAPS.iter().enumerate() {
            assert_eq!(*cap as usize, at, "{name}");
        }
        let mut caps = Caps::default();
        caps.set("stops", 2).unwrap();
        assert!(caps.check(Cap::Stops, "stop", 2).is_ok());
        let error = caps.check(Cap::Stops, "stop", 3).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("stop"));
        assert!(error.message.contains("at most 2"), "{}", error.message);
        assert!(caps.set("nothing", 1).unwrap_err().contains("answers"));
    }
}
