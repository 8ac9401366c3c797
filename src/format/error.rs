//! What can go wrong with a model's files.

use std::io;
use std::path::{Path, PathBuf};

/// A file that can't be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused to open or to read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is broken: its bytes contradict the format.
    #[error("{} is damaged or no model: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        what: String,
    },
    /// The file is sound, but asks for something that isn't implemented.
    #[error("{} can't be run: {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it asks for, and what is known instead.
        what: String,
    },
    /// Something that the model needs isn't there.
    #[error("{} lacks {what}", path.display())]
    Missing {
        /// The file or directory.
        path: PathBuf,
        /// What is absent, and what to do.
        what: String,
    },
    /// Text that can't be tokenised, or ids that aren't in the vocabulary.
    #[error("tokenizer: {0}")]
    Tokenize(String),
    /// A chat template that took more instructions than it may.
    #[error("chat template: it took more than {0} instructions; does it loop, or write without end?")]
    TemplateFuel(u64),
    /// A chat template that would write more bytes than it may.
    #[error(
        "chat template: it was stopped when it came to {found} bytes, expected at most {most}; does it write \
         without end?"
    )]
    TemplateLength {
        /// Written, and what it was about to write.
        found: usize,
        /// Allowed.
        most: usize,
    },
    /// A prompt that is too long by its length alone.
    #[error(
        "the prompt needs {fewest} tokens at least, but {most} is the longest that this model is run with: shorten the \
         prompt or raise --max-model-len"
    )]
    TooManyTokens {
        /// It has no fewer.
        fewest: usize,
        /// Allowed.
        most: usize,
    },
    /// A chat template that can't be read or that failed.
    #[error("chat template: {0}")]
    Template(String),
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    pub(crate) fn malformed(path: &Path, what: impl Into<String>) -> Self {
        Self::Malformed { path: path.into(), what: what.into() }
    }

    pub(crate) fn unsupported(path: &Path, what: impl Into<String>) -> Self {
        Self::Unsupported { path: path.into(), what: what.into() }
    }

    pub(crate) fn missing(path: &Path, what: impl Into<String>) -> Self {
        Self::Missing { path: path.into(), what: what.into() }
    }
}
