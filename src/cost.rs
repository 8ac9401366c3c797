//! What a dispatch must do: arithmetic by pipe, traffic by role. Closed forms, no measurements.
//!
//! Bytes have a floor (each distinct byte once) and a ceiling (what the loads ask for), so that
//! arithmetic intensity is an interval. Counts of operations are those of the algorithm, padding
//! and recomputation left out, so that a kernel can't look better by doing more.

use crate::units::{Bytes, Flops};

/// Arithmetic by the unit that does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// f32 operations; a fused multiply-add is two.
    pub f32: Flops,
    /// f16 operations; a fused multiply-add is two.
    pub f16: Flops,
    /// Operations of packed 8-bit dot products; a multiply-add is two, so a `dot4` is eight.
    pub dot4_i8: Flops,
    /// Integer operations, unpacking of weights mostly.
    pub int: Flops,
    /// Special functions: exp, reciprocal square root, division.
    pub special: Flops,
}

/// A unit of a device that does arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pipe {
    /// Multiply-adds in f32.
    F32,
    /// Multiply-adds in f16.
    F16,
    /// Packed dot products of 8-bit integers.
    Dot4I8,
    /// Integers: shifts, masks, sums.
    Int,
    /// exp, reciprocal square root, division.
    Special,
}

impl Pipe {
    /// The name of its ceiling.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "fma_f32",
            Self::F16 => "fma_f16",
            Self::Dot4I8 => "dot4_i8",
            Self::Int => "int_alu",
            Self::Special => "special",
        }
    }
}

impl Work {
    /// The work of each pipe.
    pub fn pipes(&self) -> [(Pipe, Flops); 5] {
        [
            (Pipe::F32, self.f32),
            (Pipe::F16, self.f16),
            (Pipe::Dot4I8, self.dot4_i8),
            (Pipe::Int, self.int),
            (Pipe::Special, self.special),
        ]
    }
}

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Weights with their scales.
    Weights,
    /// Activations read.
    Input,
    /// Activations written.
    Output,
    /// The KV cache, read or written.
    Cache,
    /// What is looked up: gains, biases, angles, block tables, places, ids.
    Tables,
}

impl Role {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Input => "input",
            Self::Output => "output",
            Self::Cache => "cache",
            Self::Tables => "tables",
        }
    }
}

/// Bytes of one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// What for.
    pub role: Role,
    /// Each distinct byte once.
    pub floor: Bytes,
    /// What the loads and stores ask for.
    pub issued: Bytes,
}

/// The cost of one dispatch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Arithmetic.
    pub work: Work,
    /// Traffic, one entry per role.
    pub traffic: Vec<Traffic>,
}

impl Cost {
    /// Adds traffic of a role, if there is any. Nothing is raised to the floor here: a ceiling below it is a count that
    /// misses loads.
    #[must_use]
    pub fn moves(mut self, role: Role, floor: u64, issued: u64) -> Self {
        if floor.max(issued) > 0 {
            self.traffic.push(Traffic { role, floor: Bytes(floor), issued: Bytes(issued) });
        }
        self
    }

    /// Bytes of one role: floor and ceiling.
    pub fn of(&self, role: Role) -> (u64, u64) {
        let of = || self.traffic.iter().filter(|t| t.role == role);
        (of().map(|t| t.floor.0).sum(), of().map(|t| t.issued.0).sum())
    }

    /// Bytes: floor and ceiling over all roles.
    pub fn bytes(&self) -> (Bytes, Bytes) {
        (self.traffic.iter().map(|t| t.floor).sum(), self.traffic.iter().map(|t| t.issued).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_an_interval_over_all_roles() {
        let cost = Cost::default().moves(Role::Weights, 100, 100).moves(Role::Input, 100, 500);
        assert_eq!(cost.bytes(), (Bytes(200), Bytes(600)));
        assert_eq!(cost.of(Role::Input), (100, 500));
        // A count that misses loads shows.
        assert_eq!(Cost::default().moves(Role::Output, 8, 0).of(Role::Output), (8, 0));
    }
}
