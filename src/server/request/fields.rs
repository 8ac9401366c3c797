//! A JSON object, taken apart field by field, so that every refusal names its field.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::server::error::ApiError;

/// Unknown fields that a line of the log names at most.
const LISTED: usize = 16;
/// Bytes of a value that an error shows; of a longer one it says the kind.
const SHOWN: usize = 60;

/// What becomes of fields that nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// They are logged.
    #[default]
    Log,
    /// They are refused (`--strict`).
    Refuse,
}

/// A field that is known but can't be honoured, and values that ask for nothing.
pub struct Refused {
    /// Its name.
    pub name: &'static str,
    /// JSON texts of values that are as good as none, beside null.
    pub neutral: &'static [&'static str],
    /// Why not, and what to do.
    pub why: &'static str,
}

/// What a field may hold.
pub trait Expected: DeserializeOwned {
    /// It in a client's words.
    const EXPECTED: &'static str;

    /// The value, if it is one.
    fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok().or_else(|| Self::deserialize(&whole(value)?).ok())
    }
}

/// Whole numbers that are written as others are (`16.0`, `1e9`), in a list too.
fn whole(value: &Value) -> Option<Value> {
    match value {
        Value::Number(number) => {
            // Beyond this, floats leave whole numbers out.
            let float = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 2_f64.powi(53))?;
            Some(Value::from(float as i64))
        }
        Value::Array(items) => items.iter().map(whole).collect(),
        _ => None,
    }
}

/// Kinds of values that need no more than their words.
macro_rules! expected {
    ($($kind:ty: $words:literal,)*) => {
        $(impl Expected for $kind {
            const EXPECTED: &'static str = $words;
        })*
    };
}

expected! {
    bool: "true or false",
    String: "a string",
    u32: "a whole number from 0 to 4294967295",
    usize: "a whole number of at least 0",
    i32: "a whole number from -2147483648 to 2147483647",
    i64: "a whole number from -9223372036854775808 to 9223372036854775807",
    Vec<u32>: "a list of whole numbers from 0 to 4294967295",
    Vec<Value>: "a list",
    Value: "a value",
}

impl Expected for f32 {
    const EXPECTED: &'static str = "a number from -3.4e38 to 3.4e38";

    // What is beyond reads as infinite.
    fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok().filter(|number| number.is_finite())
    }
}

impl Expected for BTreeMap<String, f32> {
    const EXPECTED: &'static str = "an object of numbers";

    fn read(value: &Value) -> Option<Self> {
        let rows = value.as_object()?.iter();
        rows.map(|(name, value)| Some((name.clone(), f32::read(value)?))).collect()
    }
}

/// The fields of an object that are still to be looked at.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Value>,
    /// Put before names in errors: the path to this object.
    path: String,
}

impl Fields {
    /// The fields of a request's body.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self { map, path: String::new() }),
            Ok(other) => Err(ApiError::bad(format!("the body is {}: expected a JSON object", kind(&other)))),
            Err(error) => Err(ApiError::bad(format!("the body is no JSON: {error}"))),
        }
    }

    /// The fields of an object inside another.
    ///
    /// # Errors
    /// When it is no object.
    pub fn nested(value: Value, path: String) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => Ok(Self { map, path: format!("{path}.") }),
            other => Err(ApiError::found(path, &other, "an object")),
        }
    }

    /// The full name of a field.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// Takes a field out; null is as good as absent.
    ///
    /// # Errors
    /// When its value is of another kind.
    pub fn take<T: Expected>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        self.take_as(name, T::EXPECTED)
    }

    fn take_as<T: Expected>(&mut self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        match self.map.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                T::read(&value).map(Some).ok_or_else(|| ApiError::found(self.name(name), &value, expected))
            }
        }
    }

    /// Takes the value of the first of several names for one thing.
    ///
    /// # Errors
    /// When a value is of another kind.
    pub fn take_any<T: Expected>(&mut self, names: &[&str]) -> Result<Option<T>, ApiError> {
        let mut found = None;
        for name in names {
            let value = self.take(name)?;
            found = found.or(value);
        }
        Ok(found)
    }

    /// Takes a field that must be there.
    ///
    /// # Errors
    /// When it is absent or of another kind.
    pub fn require<T: Expected>(&mut self, name: &str, expected: &str) -> Result<T, ApiError> {
        self.take_as(name, expected)?
            .ok_or_else(|| ApiError::field(self.name(name), format!("it is missing: expected {expected}")))
    }

    /// Which of several names for one thing is used; the first where none is.
    pub fn used<'a>(&self, names: &[&'a str]) -> &'a str {
        let used = names.iter().find(|name| self.map.get(**name).is_some_and(|value| !value.is_null()));
        used.or(names.first()).copied().unwrap_or_default()
    }

    /// Copies of fields, null where one is absent.
    pub fn copied(&self, names: &[&str]) -> Map<String, Value> {
        let copy = |name: &&str| ((*name).to_string(), self.map.get(*name).cloned().unwrap_or_default());
        names.iter().map(copy).collect()
    }

    /// Drops fields that are known and change nothing.
    pub fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.map.remove(*name);
        }
    }

    /// Refuses fields that are known and can't be honoured.
    ///
    /// # Errors
    /// For the first whose value asks for something.
    pub fn refuse(&mut self, table: &[Refused]) -> Result<(), ApiError> {
        for row in table {
            let Some(value) = self.map.remove(row.name) else { continue };
            if !value.is_null() && !row.neutral.contains(&value.to_string().as_str()) {
                return Err(ApiError::field(self.name(row.name), row.why).code("unsupported"));
            }
        }
        Ok(())
    }

    /// Takes over what is left of an object inside this one, to be dealt with in the end.
    pub fn keep_rest(&mut self, inner: Self) {
        let Self { map, path } = inner;
        let rest = map.into_iter().filter(|(_, value)| !value.is_null());
        self.map.extend(rest.map(|(name, value)| (format!("{path}{name}"), value)));
    }

    /// Deals with what is left.
    ///
    /// # Errors
    /// If it is to be refused.
    pub fn finish(self, unknown: Unknown) -> Result<(), ApiError> {
        let Some(name) = self.map.keys().next() else { return Ok(()) };
        if unknown == Unknown::Refuse {
            return Err(ApiError::field(self.name(name), "no such field is known here (--strict)")
                .code("unknown_field"));
        }
        let names: Vec<String> = self.map.keys().take(LISTED).map(|name| self.name(name)).collect();
        tracing::info!("{} unknown fields were ignored: {names:?}", self.map.len());
        Ok(())
    }
}

/// A value as errors show it.
pub fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= SHOWN { text } else { kind(value).to_string() }
}

/// A value's kind in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_field() {
        let mut fields = Fields::parse(br#"{"a": "x", "b": null, "c": [], "d": 1}"#).unwrap();
        assert_eq!(fields.take::<u32>("a").unwrap_err().param.as_deref(), Some("a"));
        assert_eq!(fields.take::<u32>("b").unwrap(), None);
        assert_eq!(fields.require::<u32>("e", "a number").unwrap_err().param.as_deref(), Some("e"));
        let mut odd = Fields::parse(br#"{"a": -1, "b": 1.5, "c": 1e40, "d": {"5": 1e40}, "e": 5}"#).unwrap();
        for (error, said) in [
            (odd.take::<u32>("a").unwrap_err(), "a: found -1, expected a whole number from 0 to 4294967295"),
            (odd.take::<i32>("b").unwrap_err(), "b: found 1.5, expected a whole number from"),
            (odd.take::<f32>("c").unwrap_err(), "c: found 1e+40, expected a number from"),
            (odd.take::<BTreeMap<String, f32>>("d").unwrap_err(), "d: found {\"5\":1e+40}, expected"),
            (odd.require::<String>("e", "a name").unwrap_err(), "e: found 5, expected a name"),
        ] {
            assert!(error.message.starts_with(said), "{}", error.message);
        }
        let mut floats =
            Fields::parse(br#"{"a": 16.0, "b": [5.0, 6], "c": 1e9, "d": -0.0, "e": 1e300}"#).unwrap();
        assert_eq!(floats.take::<u32>("a").unwrap(), Some(16));
        assert_eq!(floats.take::<Vec<u32>>("b").unwrap(), Some(vec![5, 6]));
        assert_eq!(floats.take::<usize>("c").unwrap(), Some(1_000_000_000));
        assert_eq!(floats.take::<i64>("d").unwrap(), Some(0));
        assert!(floats.take::<i64>("e").is_err());
        let inner = Fields::nested(serde_json::json!({"x": 1, "y": null}), "in[0]".into()).unwrap();
        odd.keep_rest(inner);
        assert_eq!(odd.finish(Unknown::Refuse).unwrap_err().param.as_deref(), Some("in[0].x"));
        let row = |neutral| [Refused { name: "c", neutral, why: "no" }];
        fields.map.insert("c".into(), serde_json::json!([1]));
        assert_eq!(fields.refuse(&row(&["[]"])).unwrap_err().param.as_deref(), Some("c"));
        fields.map.insert("c".into(), serde_json::json!([]));
        assert!(fields.refuse(&row(&["[]"])).is_ok());
        assert_eq!(fields.finish(Unknown::Refuse).unwrap_err().param.as_deref(), Some("d"));
        for body in ["", "[]", "{", "nul", "{\"a\":1}x"] {
            assert_eq!(Fields::parse(body.as_bytes()).unwrap_err().status, 400, "{body}");
        }
        assert!(Fields::parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
