//! Figures that can't be mixed up: a byte is not a flop, a nanosecond is neither.

use std::fmt;
use std::ops::{Add, AddAssign};

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);
        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }
        impl std::iter::Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                iter.fold(Self(0), Add::add)
            }
        }
    };
}

unit!(
    /// Bytes of memory or of traffic.
    Bytes
);
unit!(
    /// Arithmetic operations; a fused multiply-add counts as two.
    Flops
);
unit!(
    /// Nanoseconds.
    Nanos
);
unit!(
    /// Tokens.
    Tokens
);

impl Nanos {
    /// The same span in seconds.
    pub fn seconds(self) -> f64 {
        self.0 as f64 * 1e-9
    }
}

impl From<std::time::Duration> for Nanos {
    fn from(d: std::time::Duration) -> Self {
        Self(d.as_nanos().min(u128::from(u64::MAX)) as u64)
    }
}

impl fmt::Display for Bytes {
    /// Binary units, one decimal: `93.8 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut unit = "B";
        for next in ["KiB", "MiB", "GiB", "TiB"] {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        if unit == "B" { write!(f, "{} B", self.0) } else { write!(f, "{value:.1} {unit}") }
    }
}

impl Bytes {
    /// Reads `1048576`, `12MiB`, `1GiB`, `2GB`, `64k`: binary for `KiB`/`K`, decimal for `KB`.
    ///
    /// # Errors
    /// Says what was expected when the text is no size or too large.
    pub fn parse(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let bad =
            || format!("'{text}' is no size: expected bytes or a number with a unit, as in 12MiB or 1GiB");
        let value: f64 = number.parse().map_err(|_| bad())?;
        let scale: f64 = match suffix.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kib" => 1024.0,
            "kb" => 1e3,
            "m" | "mib" => 1024.0 * 1024.0,
            "mb" => 1e6,
            "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
            "gb" => 1e9,
            "t" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            "tb" => 1e12,
            _ => return Err(bad()),
        };
        let bytes = value * scale;
        if bytes.is_finite() && bytes < 9e18 { Ok(Self(bytes as u64)) } else { Err(bad()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Bytes;

    #[test]
    fn sizes_are_read_and_printed() {
        assert_eq!(Bytes::parse("12MiB"), Ok(Bytes(12 << 20)));
        assert_eq!(Bytes::parse("1.5g"), Ok(Bytes(3 << 29)));
        assert_eq!(Bytes::parse("77"), Ok(Bytes(77)));
        assert_eq!(Bytes::parse("100TiB"), Ok(Bytes(100 << 40)));
        assert_eq!(Bytes::parse("2tb"), Ok(Bytes(2_000_000_000_000)));
        assert!(Bytes::parse("twelve").is_err());
        assert!(Bytes::parse("1e400GiB").is_err());
        assert_eq!(Bytes(98_362_432).to_string(), "93.8 MiB");
    }
}
