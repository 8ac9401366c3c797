//! GGUF, versions 2 and 3: one file of key-values, tensor descriptions and tensors.
//!
//! After the specification in ggml's docs/gguf.md. Nothing is allocated on the header's word:
//! counts and lengths are compared with the bytes left first, and vectors grow as they are read.

mod foreign;
mod value;

use std::collections::HashSet;
use std::path::Path;

pub use foreign::Foreign;
pub use value::{Array, Integers, Value};

use super::{Error, Source, TensorInfo};
use crate::quant;

/// Key-values and tensor descriptions together may not be longer (large vocabularies take 20 MB).
pub const MAX_HEADER: u64 = 256 << 20;
/// Tensors of more dimensions don't exist in ggml.
const MAX_DIMS: u32 = 4;
/// Arrays may nest this deep.
const MAX_NESTING: usize = 4;
/// The specification allows 65,535 bytes of key, ggml 63 of a tensor's name.
const MAX_NAME: u64 = 65_535;
/// Bytes fetched at a time while the header is read.
const CHUNK: usize = 1 << 20;
/// Elements reserved at most before any has been read.
const RESERVE: u64 = 4096;

/// The header of one GGUF file.
#[derive(Debug)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// Key-values in the file's order.
    pub values: Vec<(String, Value)>,
    /// Tensors in the file's order, their offsets from the file's start.
    pub tensors: Vec<TensorInfo>,
    /// Tensors in formats that aren't known here.
    pub foreign: Vec<Foreign>,
}

/// One tensor's description.
enum Described {
    Known(TensorInfo),
    Foreign(Foreign),
}

impl Described {
    fn name(&self) -> &str {
        match self {
            Self::Known(tensor) => &tensor.name,
            Self::Foreign(tensor) => &tensor.name,
        }
    }
}

impl Header {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// Reads and checks the header; `file` is the number that tensors carry in [`TensorInfo`].
    ///
    /// # Errors
    /// Names the first contradiction: see the module's text.
    pub fn read(source: &Source, file: usize) -> Result<Self, Error> {
        Reader { source, at: 0, buffer: Vec::new(), used: 0 }.header(file)
    }
}

/// Reads forward through the header in chunks.
struct Reader<'a> {
    source: &'a Source,
    /// Position in the file of the buffer's end.
    at: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl Reader<'_> {
    fn path(&self) -> &Path {
        &self.source.path
    }

    fn bad<T>(&self, what: impl Into<String>) -> Result<T, Error> {
        Err(Error::malformed(self.path(), what))
    }

    fn position(&self) -> u64 {
        self.at - (self.buffer.len() - self.used) as u64
    }

    /// Bytes that the header may still take.
    fn left(&self) -> u64 {
        self.source.len.min(MAX_HEADER).saturating_sub(self.position())
    }

    fn bytes(&mut self, into: &mut [u8]) -> Result<(), Error> {
        if into.len() as u64 > self.left() {
            let at = self.position();
            return self.bad(if self.source.len > MAX_HEADER {
                format!("its header is longer than {MAX_HEADER} bytes")
            } else {
                format!("it ends inside its header, at byte {at}; was it downloaded completely?")
            });
        }
        let mut done = 0;
        while done < into.len() {
            if self.used == self.buffer.len() {
                let next = (self.source.len - self.at).min(CHUNK as u64) as usize;
                self.buffer.resize(next, 0);
                self.source.read_at(&mut self.buffer, self.at)?;
                self.at += next as u64;
                self.used = 0;
            }
            let n = (into.len() - done).min(self.buffer.len() - self.used);
            into[done..done + n].copy_from_slice(&self.buffer[self.used..self.used + n]);
            self.used += n;
            done += n;
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.bytes(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A count whose items take at least `each` bytes.
    fn count(&mut self, each: u64, of: &str) -> Result<u64, Error> {
        let n = self.u64()?;
        let left = self.left();
        if n > left / each {
            return self.bad(format!(
                "it announces {n} {of}, more than its {left} bytes can hold; was it downloaded completely?"
            ));
        }
        Ok(n)
    }

    fn text(&mut self) -> Result<String, Error> {
        let n = self.count(1, "bytes of text")?;
        let mut bytes = vec![0; n as usize];
        self.bytes(&mut bytes)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    fn name(&mut self, of: &str) -> Result<String, Error> {
        let at = self.position();
        let text = self.text()?;
        if text.is_empty() || text.len() as u64 > MAX_NAME {
            let n = text.len();
            return self
                .bad(format!("expected a {of} of 1 to {MAX_NAME} bytes at byte {at}, found {n} bytes"));
        }
        Ok(text)
    }

    fn header(mut self, file: usize) -> Result<Header, Error> {
        let magic: [u8; 4] = self.array()?;
        if &magic != b"GGUF" {
            return self.bad(format!("expected the magic bytes 'GGUF', found {magic:02x?}"));
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            let what = if (2..=3).contains(&version.swap_bytes()) {
                "it is big-endian GGUF; expected little-endian".to_string()
            } else {
                format!("it is GGUF version {version}; versions 2 and 3 are known")
            };
            return Err(Error::unsupported(self.path(), what));
        }
        // A tensor takes 33 bytes at least, a key-value 14.
        let tensor_count = self.count(33, "tensors")?;
        let value_count = self.count(14, "key-values")?;
        let mut values = Vec::new();
        let mut keys = HashSet::new();
        for _ in 0..value_count {
            let key = self.name("key")?;
            let kind = self.u32()?;
            let value = self.value(kind, &key)?;
            if !keys.insert(key.clone()) {
                return self.bad(format!("the key '{key}' occurs twice"));
            }
            values.push((key, value));
        }
        drop(keys);
        let mut header = Header { version, values, tensors: Vec::new(), foreign: Vec::new() };
        let align = match header.get("general.alignment") {
            None => 32,
            Some(Value::Unsigned(a)) if a.is_power_of_two() && *a <= 1 << 20 => *a,
            Some(other) => {
                return self.bad(format!(
                    "expected general.alignment to be a power of two up to 2^20, found {other}"
                ));
            }
        };
        let mut names = HashSet::new();
        for _ in 0..tensor_count {
            let tensor = self.tensor(file, align)?;
            if !names.insert(tensor.name().to_string()) {
                return self.bad(format!("the tensor '{}' occurs twice", tensor.name()));
            }
            match tensor {
                Described::Known(tensor) => header.tensors.push(tensor),
                Described::Foreign(tensor) => header.foreign.push(tensor),
            }
        }
        let start = self.position().next_multiple_of(align);
        for t in &mut header.tensors {
            let end = t.offset.checked_add(start).and_then(|o| o.checked_add(t.bytes));
            match end {
                Some(end) if end <= self.source.len => t.offset += start,
                _ => {
                    return self.bad(format!(
                        "the tensor '{}' ({} bytes at {start} + {}) lies beyond the file's end at \
                         {}; was it downloaded completely?",
                        t.name, t.bytes, t.offset, self.source.len
                    ));
                }
            }
        }
        Ok(header)
    }

    fn tensor(&mut self, file: usize, align: u64) -> Result<Described, Error> {
        let name = self.name("tensor name")?;
        let dims = self.u32()?;
        if !(1..=MAX_DIMS).contains(&dims) {
            return self.bad(format!("the tensor '{name}' has {dims} dimensions, not 1 to 4"));
        }
        // The file lists the innermost dimension first.
        let mut shape = Vec::with_capacity(dims as usize);
        for _ in 0..dims {
            let d = self.u64()?;
            match usize::try_from(d) {
                Ok(d) if d >= 1 => shape.insert(0, d),
                _ => return self.bad(format!("the tensor '{name}' has a dimension of {d}")),
            }
        }
        let kind = self.u32()?;
        let offset = self.u64()?;
        if offset % align != 0 {
            return self.bad(format!(
                "the tensor '{name}' starts at {offset}, no multiple of the alignment {align}"
            ));
        }
        let Some(format) = quant::by_ggml_type(kind) else {
            return Ok(Described::Foreign(Foreign::new(name, kind, shape)));
        };
        let tensor = TensorInfo::new(name, format, shape, file, offset);
        tensor.map(Described::Known).map_err(|what| Error::malformed(self.path(), what))
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<Value, Error> {
        Ok(match kind {
            0 => Value::Unsigned(self.array::<1>()?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.truth(key)?),
            8 => Value::Text(self.text()?),
            9 => Value::Array(self.values(key, 0)?),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            _ => {
                return self.bad(format!("the key '{key}' has value type {kind}; 0 to 12 are known"));
            }
        })
    }

    fn truth(&mut self, key: &str) -> Result<bool, Error> {
        match self.array::<1>()?[0] {
            0 => Ok(false),
            1 => Ok(true),
            b => self.bad(format!("the key '{key}' has the truth value {b}; expected 0 or 1")),
        }
    }

    fn values(&mut self, key: &str, depth: usize) -> Result<Array, Error> {
        let kind = self.u32()?;
        let each = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => 12,
            _ => {
                return self.bad(format!("the key '{key}' has elements of type {kind}, unknown"));
            }
        };
        let n = self.count(each, "array elements")?;
        let room = n.min(RESERVE) as usize;
        Ok(match kind {
            0 => Array::Integers(Integers::U8(self.all(n, u8::from_le_bytes)?)),
            1 => Array::Integers(Integers::I8(self.all(n, i8::from_le_bytes)?)),
            2 => Array::Integers(Integers::U16(self.all(n, u16::from_le_bytes)?)),
            3 => Array::Integers(Integers::I16(self.all(n, i16::from_le_bytes)?)),
            4 => Array::Integers(Integers::U32(self.all(n, u32::from_le_bytes)?)),
            5 => Array::Integers(Integers::I32(self.all(n, i32::from_le_bytes)?)),
            6 => Array::Floats(self.all(n, f32::from_le_bytes)?),
            10 => {
                let all = self.all(n, i64::from_le_bytes)?;
                if let Some(v) = all.iter().find(|v| **v < 0) {
                    return self.bad(format!("the key '{key}' holds {}, too large", v.cast_unsigned()));
                }
                Array::Integers(Integers::I64(all))
            }
            11 => Array::Integers(Integers::I64(self.all(n, i64::from_le_bytes)?)),
            12 => Array::Floats(self.all(n, |bytes| f64::from_le_bytes(bytes) as f32)?),
            7 => {
                let mut all = Vec::with_capacity(room);
                for _ in 0..n {
                    all.push(self.truth(key)?);
                }
                Array::Bools(all)
            }
            8 => {
                let mut all = Vec::with_capacity(room);
                for _ in 0..n {
                    all.push(self.text()?);
                }
                Array::Texts(all)
            }
            9 if depth >= MAX_NESTING => {
                return self.bad(format!("the key '{key}' nests arrays deeper than {MAX_NESTING}"));
            }
            9 => {
                let mut all = Vec::with_capacity(room);
                for _ in 0..n {
                    all.push(self.values(key, depth + 1)?);
                }
                Array::Arrays(all)
            }
            _ => return self.bad(format!("the key '{key}' has elements of type {kind}, unknown")),
        })
    }

    /// `n` numbers of one type.
    fn all<T, const N: usize>(&mut self, n: u64, number: fn([u8; N]) -> T) -> Result<Vec<T>, Error> {
        let mut all = Vec::with_capacity(n.min(RESERVE) as usize);
        for _ in 0..n {
            all.push(number(self.array()?));
        }
        Ok(all)
    }
}
