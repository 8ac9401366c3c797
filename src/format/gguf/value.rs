//! Values of a GGUF header.

use std::fmt;

/// A value of the header.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned integer type.
    Unsigned(u64),
    /// Any signed integer type.
    Signed(i64),
    /// Either float type.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// UTF-8 text; in vocabularies of old files not always valid, then with U+FFFD.
    Text(String),
    /// Values of one type.
    Array(Array),
}

/// An array of the header, compact where vocabularies need it.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// Integers of any type that fit (u64 beyond i64 are refused).
    Integers(Integers),
    /// Floats.
    Floats(Vec<f32>),
    /// Truth values.
    Bools(Vec<bool>),
    /// Texts.
    Texts(Vec<String>),
    /// Arrays.
    Arrays(Vec<Array>),
}

/// Integers as wide as they lie in the file: a header of them is no larger in memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Integers {
    /// Of 8 bits.
    U8(Vec<u8>),
    /// Of 8 bits, signed.
    I8(Vec<i8>),
    /// Of 16 bits.
    U16(Vec<u16>),
    /// Of 16 bits, signed.
    I16(Vec<i16>),
    /// Of 32 bits.
    U32(Vec<u32>),
    /// Of 32 bits, signed.
    I32(Vec<i32>),
    /// Of 64 bits.
    I64(Vec<i64>),
}

impl Integers {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them.
    pub fn get(&self, at: usize) -> Option<i64> {
        match self {
            Self::U8(v) => v.get(at).map(|n| (*n).into()),
            Self::I8(v) => v.get(at).map(|n| (*n).into()),
            Self::U16(v) => v.get(at).map(|n| (*n).into()),
            Self::I16(v) => v.get(at).map(|n| (*n).into()),
            Self::U32(v) => v.get(at).map(|n| (*n).into()),
            Self::I32(v) => v.get(at).map(|n| (*n).into()),
            Self::I64(v) => v.get(at).copied(),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.len()).map_while(|at| self.get(at))
    }
}

impl Array {
    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Integers(v) => v.len(),
            Self::Floats(v) => v.len(),
            Self::Bools(v) => v.len(),
            Self::Texts(v) => v.len(),
            Self::Arrays(v) => v.len(),
        }
    }

    /// No elements?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Value {
    /// Arrays with their first elements and their length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn some<T: fmt::Debug>(
            f: &mut fmt::Formatter<'_>,
            all: impl Iterator<Item = T>,
            len: usize,
        ) -> fmt::Result {
            let shown: Vec<String> = all.take(4).map(|v| format!("{v:?}")).collect();
            write!(f, "[{}", shown.join(", "))?;
            if len <= 4 { write!(f, "]") } else { write!(f, ", ... {len} in all]") }
        }
        match self {
            Self::Unsigned(v) => write!(f, "{v}"),
            Self::Signed(v) => write!(f, "{v}"),
            Self::Float(v) => write!(f, "{v}"),
            Self::Bool(v) => write!(f, "{v}"),
            Self::Text(v) => write!(f, "{v}"),
            Self::Array(Array::Integers(v)) => some(f, v.iter(), v.len()),
            Self::Array(Array::Floats(v)) => some(f, v.iter(), v.len()),
            Self::Array(Array::Bools(v)) => some(f, v.iter(), v.len()),
            Self::Array(Array::Texts(v)) => some(f, v.iter(), v.len()),
            Self::Array(Array::Arrays(v)) => write!(f, "[{} arrays]", v.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_abbreviated() {
        let show = |a| Value::Array(a).to_string();
        assert_eq!(show(Array::Integers(Integers::I8(vec![1, -2]))), "[1, -2]");
        assert_eq!(show(Array::Integers(Integers::U8(vec![7; 9]))), "[7, 7, 7, 7, ... 9 in all]");
        assert_eq!(show(Array::Texts(vec!["a\n".into()])), "[\"a\\n\"]");
        assert_eq!(show(Array::Arrays(vec![Array::Floats(vec![])])), "[1 arrays]");
        assert_eq!(Value::Float(0.5).to_string(), "0.5");
    }
}
