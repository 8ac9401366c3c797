//! One model: what it holds, and its weights by position.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::tokenizer::{Tokenizer, from_gguf, from_json};
use super::{
    ChatTemplate, Error, Hyper, Source, config, gguf, gguf_hyper, gguf_split, quantize, safetensors,
    templates,
};
use crate::quant::Format;

/// How a model is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GGUF. Llama-family files hold the rows of Q and K so that rotary pairs are neighbours.
    Gguf,
    /// config.json and safetensors. Rotary pairs are `head_dim / 2` rows apart.
    HuggingFace,
}

/// A tensor in a file.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// How its numbers are handed out: as they are stored, unless [`ModelFile::quantize`] was called.
    pub format: &'static dyn Format,
    /// Outermost dimension first: a matrix is `[rows, columns]`. One to four, each at least 1.
    pub shape: Vec<usize>,
    /// Bytes in the file.
    pub bytes: u64,
    /// How its numbers are stored.
    pub(super) stored: &'static dyn Format,
    pub(super) file: usize,
    /// From the file's start.
    pub(super) offset: u64,
}

impl TensorInfo {
    /// Computes the size. The `Err` says what is wrong with the shape.
    pub(super) fn new(
        name: String,
        format: &'static dyn Format,
        shape: Vec<usize>,
        file: usize,
        offset: u64,
    ) -> Result<Self, String> {
        let columns = match shape.last() {
            Some(&columns) if shape.iter().all(|&d| d >= 1) => columns,
            _ => {
                return Err(format!("the tensor '{name}' has the shape {shape:?}, which is empty"));
            }
        };
        if columns % format.block_len() != 0 {
            return Err(format!(
                "the tensor '{name}' has rows of {columns}, no multiple of {}'s blocks of {}",
                format.name(),
                format.block_len()
            ));
        }
        let bytes = shape[..shape.len() - 1]
            .iter()
            .try_fold(columns / format.block_len(), |n, &d| n.checked_mul(d))
            .and_then(|blocks| blocks.checked_mul(format.block_bytes()))
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or_else(|| format!("the size of the tensor '{name}', {shape:?}, overflows"))?;
        Ok(Self { name, format, shape, bytes: bytes as u64, stored: format, file, offset })
    }

    /// Numbers per row: the innermost dimension.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Rows: the product of all dimensions but the innermost (1 for a vector).
    pub fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// Bytes of one row as it is handed out.
    pub fn row_bytes(&self) -> usize {
        self.columns() / self.format.block_len() * self.format.block_bytes()
    }
}

/// What lies beside the weights.
#[derive(Debug)]
pub(super) enum Side {
    /// The key-values of the (first) GGUF file.
    Gguf(gguf::Header),
    /// The directory.
    HuggingFace(PathBuf),
}

/// An open model.
#[derive(Debug)]
pub struct ModelFile {
    pub(super) path: PathBuf,
    pub(super) side: Side,
    sources: Vec<Source>,
    pub(super) tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
}

impl ModelFile {
    /// Opens a `.gguf` file (any of a split model's files: the others are found beside it), a
    /// Hugging Face directory, or a `.safetensors` file inside one, and checks every header.
    ///
    /// # Errors
    /// When there is nothing, or nothing sound, to open, and when a tensor is in a format that isn't known.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = Self::describe(path)?;
        match file.foreign().first() {
            Some(tensor) => Err(Error::unsupported(path, tensor.refusal())),
            None => Ok(file),
        }
    }

    /// The same of a file that may hold tensors in formats that aren't known: to say what is in it.
    ///
    /// # Errors
    /// When there is nothing, or nothing sound, to open.
    pub fn describe(path: &Path) -> Result<Self, Error> {
        if path.extension().is_some_and(|e| e == "safetensors") {
            let dir = path.parent().filter(|p| !p.as_os_str().is_empty());
            return Self::open_directory(dir.unwrap_or(Path::new(".")));
        }
        if path.is_dir() { Self::open_directory(path) } else { Self::open_gguf(path) }
    }

    fn open_directory(dir: &Path) -> Result<Self, Error> {
        if !dir.join("config.json").exists() {
            return Err(Error::missing(
                dir,
                "config.json: expected a Hugging Face model directory (config.json, \
                 tokenizer.json, model.safetensors) or the path of a .gguf file",
            ));
        }
        let (sources, tensors) = safetensors::open(dir)?;
        Ok(Self::build(dir, Side::HuggingFace(dir.into()), sources, tensors))
    }

    fn open_gguf(path: &Path) -> Result<Self, Error> {
        let (header, sources, tensors) = gguf_split::open(path)?;
        Ok(Self::build(path, Side::Gguf(header), sources, tensors))
    }

    fn build(path: &Path, side: Side, sources: Vec<Source>, tensors: Vec<TensorInfo>) -> Self {
        let by_name = tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Self { path: path.into(), side, sources, tensors, by_name }
    }

    /// How it is stored.
    pub fn kind(&self) -> Kind {
        match self.side {
            Side::Gguf(_) => Kind::Gguf,
            Side::HuggingFace(_) => Kind::HuggingFace,
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tensors in formats that aren't known; none if the file was opened to be run.
    pub fn foreign(&self) -> &[gguf::Foreign] {
        match &self.side {
            Side::Gguf(header) => &header.foreign,
            Side::HuggingFace(_) => &[],
        }
    }

    /// Whether there is a tensor of this name, whatever its format.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || self.foreign().iter().any(|t| t.name == name)
    }

    /// All tensors, in the file's order (GGUF) or by name.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.iter()
    }

    /// A tensor by its name in the file.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&i| &self.tensors[i])
    }

    /// Bytes of all weight files together, headers included.
    pub fn file_bytes(&self) -> u64 {
        self.sources.iter().map(|s| s.len).sum()
    }

    /// Key-values of a GGUF file, printable (arrays abbreviated); none for a directory.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &gguf::Value)> {
        let values = match &self.side {
            Side::Gguf(header) => header.values.as_slice(),
            Side::HuggingFace(_) => &[],
        };
        values.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Sizes and switches. The factors in a GGUF file's `rope_freqs.weight` are read as well
    /// (see [`super::RopeScaling::Factors`]); nobody else needs that tensor.
    ///
    /// # Errors
    /// When something is absent or contradictory, or would change the mathematics in a way that
    /// isn't implemented. Whether the architecture is known is not asked here.
    pub fn hyper(&self) -> Result<Hyper, Error> {
        match &self.side {
            Side::Gguf(header) => gguf_hyper::read(self, header),
            Side::HuggingFace(dir) => config::read(&dir.join("config.json")),
        }
    }

    /// The architecture's name: `general.architecture`, or `model_type` of config.json.
    ///
    /// # Errors
    /// When there is none.
    pub fn architecture(&self) -> Result<String, Error> {
        match &self.side {
            Side::Gguf(header) => gguf_hyper::architecture(self, header),
            Side::HuggingFace(dir) => config::architecture(&dir.join("config.json")),
        }
    }

    /// The tokenizer: `tokenizer.ggml.*`, or tokenizer.json and the files beside it.
    ///
    /// # Errors
    /// When there is none, it contradicts itself, or is of a kind that isn't known.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        match &self.side {
            Side::Gguf(header) => from_gguf::read(&self.path, header),
            Side::HuggingFace(dir) => from_json::read(dir),
        }
    }

    /// The chat template, if the model has one. `name` picks one of several (`tool_use`, `rag`);
    /// `None` is the usual one.
    ///
    /// # Errors
    /// When it can't be read or is no Jinja.
    pub fn chat_template(&self, name: Option<&str>) -> Result<Option<ChatTemplate>, Error> {
        match &self.side {
            Side::Gguf(header) => templates::of_gguf(header, name),
            Side::HuggingFace(dir) => templates::of_directory(dir, name),
        }
    }

    /// Replaces what `into` holds by the bytes of some rows of a tensor in its format, so that a caller
    /// decides how much of a model is in memory at a time.
    ///
    /// # Errors
    /// When the rows aren't there, or the file can't be read or was shortened.
    pub fn read_rows(
        &self,
        tensor: &TensorInfo,
        rows: Range<usize>,
        into: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let source =
            self.sources.get(tensor.file).filter(|_| rows.start <= rows.end && rows.end <= tensor.rows());
        let Some(source) = source else {
            return Err(Error::missing(
                &self.path,
                format!("rows {rows:?} of '{}', which has {}", tensor.name, tensor.rows()),
            ));
        };
        let row = (tensor.bytes / tensor.rows() as u64) as usize;
        into.clear();
        into.resize(rows.len() * row, 0);
        source.read_at(into, tensor.offset + (rows.start * row) as u64)?;
        if tensor.stored != tensor.format {
            let stored = std::mem::take(into);
            quantize::encode(tensor, &stored, into);
        }
        Ok(())
    }
}
