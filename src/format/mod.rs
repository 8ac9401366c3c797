//! Model files: weights, hyper-parameters, tokenizers and chat templates, as GGUF or as a
//! Hugging Face directory.
//!
//! Files are hostile until proved otherwise: sizes are computed in checked arithmetic, nothing is
//! allocated on a header's word, and every contradiction is an [`Error`], never a panic.

mod chat_functions;
mod chat_template;
mod clock;
mod config;
mod error;
pub mod gguf;
mod gguf_hyper;
mod gguf_split;
mod hyper;
mod model_file;
mod quantize;
mod rope;
mod safetensors;
mod source;
mod template_code;
mod template_costs;
mod template_meter;
mod templates;
pub mod tokenizer;

pub use chat_template::{ChatTemplate, Ending, Message};
pub use error::Error;
pub use hyper::Hyper;
pub use model_file::{Kind, ModelFile, TensorInfo};
pub use rope::{Rope, RopeScaling};
pub use source::Source;
pub use tokenizer::Tokenizer;

/// The time now as ISO 8601 in UTC.
pub fn utc_now() -> String {
    // The directives are known ones.
    clock::strftime("%FT%TZ", clock::now()).unwrap_or_default()
}

/// Names of the weight formats that can be read, for messages.
fn format_names() -> String {
    let names: Vec<&str> = crate::quant::FORMATS.iter().map(|f| f.name()).collect();
    names.join(", ")
}
