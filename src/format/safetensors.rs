//! The safetensors part of a Hugging Face directory: one file, or shards with an index.
//!
//! The `safetensors` crate reads and checks the headers (offsets in order without holes, sizes
//! that match shapes); only headers are read here, tensors later at their positions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use safetensors::tensor::{Dtype, Metadata};

use super::{Error, Source, TensorInfo};
use crate::quant;

/// Headers may not be longer (the crate's own limit).
const MAX_HEADER: u64 = 100_000_000;
/// Nor may an index.
const MAX_INDEX: u64 = 64 << 20;

/// The weights of a directory: the open files, and all tensors sorted by name.
///
/// # Errors
/// When weights are absent, a shard is missing, a header is broken, a tensor is of no known type,
/// or occurs in two shards.
pub fn open(dir: &Path) -> Result<(Vec<Source>, Vec<TensorInfo>), Error> {
    let single = dir.join("model.safetensors");
    let index = dir.join("model.safetensors.index.json");
    let names = if single.is_file() {
        vec!["model.safetensors".to_string()]
    } else if index.is_file() {
        shards(&index)?
    } else {
        return Err(Error::missing(
            dir,
            "weights: expected model.safetensors or model.safetensors.index.json (models in \
             PyTorch's own format must be converted to safetensors first)",
        ));
    };
    let mut sources = Vec::new();
    let mut tensors = BTreeMap::new();
    for (file, name) in names.iter().enumerate() {
        let path = dir.join(name);
        if !path.is_file() {
            return Err(Error::missing(
                dir,
                format!("the shard {name}, which its index names; was it downloaded completely?"),
            ));
        }
        let source = Source::open(&path)?;
        for tensor in read_header(&source, file)? {
            if let Some(twice) = tensors.insert(tensor.name.clone(), tensor) {
                return Err(Error::malformed(
                    &path,
                    format!("the tensor '{}' occurs in an earlier shard as well", twice.name),
                ));
            }
        }
        sources.push(source);
    }
    Ok((sources, tensors.into_values().collect()))
}

/// File names of an index, each once.
fn shards(index: &Path) -> Result<Vec<String>, Error> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bytes = Source::read_small(index, MAX_INDEX)?;
    let parsed: Index = serde_json::from_slice(&bytes)
        .map_err(|e| Error::malformed(index, format!("expected a map weight_map: {e}")))?;
    let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
    for name in &names {
        let mut parts = Path::new(name).components();
        let plain = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(part)), None) if part == name.as_str()
        );
        if !plain {
            return Err(Error::malformed(
                index,
                format!("expected plain file names as shards, found '{name}'"),
            ));
        }
    }
    if names.is_empty() {
        return Err(Error::malformed(index, "its weight_map is empty"));
    }
    Ok(names.into_iter().collect())
}

fn read_header(source: &Source, file: usize) -> Result<Vec<TensorInfo>, Error> {
    let bad = |what: String| Error::malformed(&source.path, what);
    if source.len < 8 {
        return Err(bad(format!("expected at least 8 bytes, found {}", source.len)));
    }
    let mut length = [0; 8];
    source.read_at(&mut length, 0)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > source.len - 8 {
        return Err(bad(format!(
            "it announces a header of {length} bytes, but has {} and at most {MAX_HEADER} are \
             allowed; is it safetensors, and complete?",
            source.len - 8
        )));
    }
    let mut header = vec![0; length as usize];
    source.read_at(&mut header, 8)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|e| bad(format!("its header is invalid: {e}")))?;
    drop(header);
    let start = 8 + length;
    let end = start.checked_add(metadata.data_len() as u64);
    if end != Some(source.len) {
        return Err(bad(format!(
            "its tensors need {} bytes after the header, found {}; was it downloaded completely?",
            metadata.data_len(),
            source.len - start
        )));
    }
    let mut tensors = Vec::new();
    for (name, info) in metadata.tensors() {
        let format = match info.dtype {
            Dtype::F32 => quant::by_name("F32"),
            Dtype::F16 => quant::by_name("F16"),
            Dtype::BF16 => quant::by_name("BF16"),
            _ => None,
        };
        let Some(format) = format else {
            return Err(Error::unsupported(
                &source.path,
                format!("the tensor '{name}' is {:?}; F32, F16 and BF16 are known", info.dtype),
            ));
        };
        let offset = start + info.data_offsets.0 as u64;
        tensors.push(TensorInfo::new(name, format, info.shape.clone(), file, offset).map_err(bad)?);
    }
    Ok(tensors)
}
