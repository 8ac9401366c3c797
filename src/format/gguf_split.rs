//! GGUF models that were split into several files, `NAME-00001-of-00003.gguf` and so on.

use std::collections::HashSet;
use std::path::Path;

use super::gguf::{Header, Value};
use super::{Error, Source, TensorInfo};

/// More files than any model has, and fewer than may be open.
const MAX_FILES: u64 = 512;

/// The key-values of the first file, all files, and all their tensors.
///
/// # Errors
/// When a file is missing or broken, or the files don't belong together.
pub fn open(path: &Path) -> Result<(Header, Vec<Source>, Vec<TensorInfo>), Error> {
    let source = Source::open(path)?;
    let mut header = Header::read(&source, 0)?;
    let count = number(&header, "split.count").unwrap_or(1);
    if count <= 1 {
        let tensors = std::mem::take(&mut header.tensors);
        return Ok((header, vec![source], tensors));
    }
    if count > MAX_FILES {
        let what = format!("it is one of {count} files; at most {MAX_FILES} can be opened");
        return Err(Error::unsupported(path, what));
    }
    let tail = |i: u64| format!("-{i:05}-of-{count:05}.gguf");
    let own = number(&header, "split.no").unwrap_or(0);
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some(stem) = name.strip_suffix(&tail(own.saturating_add(1))) else {
        let expected = tail(own.saturating_add(1));
        return Err(Error::malformed(
            path,
            format!("it is part of a split model, so expected a name that ends in {expected}"),
        ));
    };
    let mut all = Vec::new();
    let (mut tensors, mut foreign) = (Vec::new(), Vec::new());
    let mut names = HashSet::new();
    let mut first = None;
    for i in 0..count {
        let part = path.with_file_name(format!("{stem}{}", tail(i + 1)));
        let source = open_part(&part, path)?;
        let mut header = Header::read(&source, all.len())?;
        if number(&header, "split.no") != Some(i) || number(&header, "split.count") != Some(count) {
            let what = format!("expected it to say that it is part {i} of {count} (from 0)");
            return Err(Error::malformed(&part, what));
        }
        let of_part = header.tensors.iter().map(|t| &t.name).chain(header.foreign.iter().map(|t| &t.name));
        for name in of_part {
            if !names.insert(name.clone()) {
                let what = format!("the tensor '{name}' occurs in an earlier part");
                return Err(Error::malformed(&part, what));
            }
        }
        tensors.append(&mut header.tensors);
        foreign.append(&mut header.foreign);
        all.push(source);
        first.get_or_insert(header);
    }
    let mut first = first.unwrap_or(header);
    let found = tensors.len() + foreign.len();
    first.foreign = foreign;
    match number(&first, "split.tensors.count") {
        Some(n) if n != found as u64 => {
            Err(Error::malformed(path, format!("its {count} parts should hold {n} tensors, found {found}")))
        }
        _ => Ok((first, all, tensors)),
    }
}

fn open_part(part: &Path, named_by: &Path) -> Result<Source, Error> {
    if part.is_file() {
        return Source::open(part);
    }
    let what = format!("its other part {}; was all of it downloaded?", part.display());
    Err(Error::missing(named_by, what))
}

fn number(header: &Header, key: &str) -> Option<u64> {
    match header.get(key) {
        Some(Value::Unsigned(n)) => Some(*n),
        Some(Value::Signed(n)) => u64::try_from(*n).ok(),
        _ => None,
    }
}
