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
    /// Unsigned bytes, as tables of characters have.
    Bytes(Vec<u8>),
    /// Integers of any other type that fit (u64 beyond i64 are refused).
    Integers(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Truth values.
    Bools(Vec<bool>),
    /// Texts.
    Texts(Vec<String>),
    /// Arrays.
    Arrays(Vec<Array>),
}

impl Array {
    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(v) => v.len(),
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
        fn some<T: fmt::Debug>(f: &mut fmt::Formatter<'_>, all: &[T]) -> fmt::Result {
            let (head, rest) = all.split_at(all.len().min(4));
            let shown: Vec<String> = head.iter().map(|v| format!("{v:?}")).collect();
            write!(f, "[{}", shown.join(", "))?;
            if rest.is_empty() { write!(f, "]") } else { write!(f, ", ... {} in all]", all.len()) }
        }
        match self {
            Self::Unsigned(v) => write!(f, "{v}"),
            Self::Signed(v) => write!(f, "{v}"),
            Self::Float(v) => write!(f, "{v}"),
            Self::Bool(v) => write!(f, "{v}"),
            Self::Text(v) => write!(f, "{v}"),
            Self::Array(Array::Bytes(v)) => some(f, v),
            Self::Array(Array::Integers(v)) => some(f, v),
            Self::Array(Array::Floats(v)) => some(f, v),
            Self::Array(Array::Bools(v)) => some(f, v),
            Self::Array(Array::Texts(v)) => some(f, v),
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
        assert_eq!(show(Array::Integers(vec![1, -2])), "[1, -2]");
        assert_eq!(show(Array::Bytes(vec![7; 9])), "[7, 7, 7, 7, ... 9 in all]");
        assert_eq!(show(Array::Texts(vec!["a\n".into()])), "[\"a\\n\"]");
        assert_eq!(show(Array::Arrays(vec![Array::Floats(vec![])])), "[1 arrays]");
        assert_eq!(Value::Float(0.5).to_string(), "0.5");
    }
}
