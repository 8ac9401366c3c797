//! What a fetch tells whoever watches it. How it looks is the caller's affair.

use crate::units::Bytes;

/// Watches a fetch.
pub trait Progress {
    /// Something that takes a while begins: `what` is a phrase such as `fetching X from Y`, `total`
    /// its size if it is known.
    fn begin(&self, what: &str, total: Option<Bytes>);
    /// So many bytes of it are done.
    fn at(&self, done: Bytes);
    /// It is over, well or not.
    fn end(&self);
    /// Something a person should know, such as a source that failed.
    fn note(&self, text: &str);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<Bytes>) {}
    fn at(&self, _: Bytes) {}
    fn end(&self) {}
    fn note(&self, _: &str) {}
}
