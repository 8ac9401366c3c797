//! Gated activation, argmax, embedding and the choice of candidates.

use ridgepoint::cost::Role;
use ridgepoint::kernels::linear::Activation;
use ridgepoint::kernels::{argmax, embed, gated, top_k};
use ridgepoint::quant::{Layout, UNIT, by_name};

use super::linear::gates;
use super::{Counter, floor, issued, work};

#[test]
fn a_gate_costs_what_its_loops_do() {
    for activation in [Activation::Silu, Activation::GeluTanh] {
        for (width, n) in [(10, 3), (64, 1), (100, 2)] {
            let mut c = Counter::default();
            for token in 0..n {
                for first in (0..width).step_by(64) {
                    for i in first..width.min(first + 64) {
                        c.load(Role::Input, token * 2 * width + i);
                        c.load(Role::Input, token * 2 * width + width + i);
                        gates(&mut c, activation);
                        c.touch(Role::Output, token * width + i);
                    }
                    c.end_workgroup();
                }
            }
            let cost = gated::cost(activation, width, n);
            assert_eq!(work(&cost), c.work());
            assert_eq!(cost.of(Role::Input), c.both(Role::Input, 4));
            assert_eq!(floor(&cost, Role::Output), c.bytes(Role::Output, 4));
        }
    }
}

#[test]
fn argmax_costs_what_its_loops_do() {
    for (vocab, rows) in [(1000, 2), (63, 1)] {
        let mut c = Counter::default();
        for row in 0..rows {
            for i in 0..vocab {
                c.load(Role::Input, row * vocab + i);
                // A comparison.
                c.f32 += 1;
            }
            (0..2).for_each(|i| c.touch(Role::Output, 2 * row + i));
            c.end_workgroup();
        }
        let cost = argmax::cost(vocab, rows);
        assert_eq!(work(&cost), c.work());
        assert_eq!(cost.of(Role::Input), c.both(Role::Input, 4));
        assert_eq!(floor(&cost, Role::Output), c.bytes(Role::Output, 4));
    }
}

/// Tokens of rows of their own; a workgroup has 32 units of one.
#[test]
fn an_embedding_costs_what_its_loops_do() {
    for name in ["F32", "F16", "Q4_1", "Q6_K"] {
        let format = by_name(name).unwrap();
        for (k, n) in [(256, 3), (2048, 2), (1280, 1)] {
            let mut c = Counter::default();
            let units = k / UNIT;
            for token in 0..n {
                for first in (0..units).step_by(32) {
                    for unit in first..units.min(first + 32) {
                        c.load(Role::Tables, token);
                        c.load(Role::Weights, token * units + unit);
                        c.int += format.unpacking().int;
                        // Each number is scaled.
                        c.f32 += format.unpacking().float + UNIT as u64;
                        (0..UNIT).for_each(|i| c.touch(Role::Output, (token * units + unit) * UNIT + i));
                    }
                    c.end_workgroup();
                }
            }
            let ids: Vec<u32> = (0..n as u32).collect();
            let cost = embed::cost(format, k, 0..n, &ids);
            let row: u64 = Layout::row_bytes(format, k).iter().sum();
            assert_eq!(work(&cost), c.work(), "{name} {k}");
            let (low, high) = c.both(Role::Weights, row);
            assert_eq!(cost.of(Role::Weights), (low / units as u64, high / units as u64));
            assert_eq!(cost.of(Role::Tables), c.both(Role::Tables, 4), "{name} {k} x {n}");
            assert_eq!(floor(&cost, Role::Output), c.bytes(Role::Output, 4));
        }
    }
}

#[test]
fn hand_counted_small_kernels() {
    let cost = |activation| gated::cost(activation, 10, 3);
    assert_eq!(work(&cost(Activation::Silu)), [30 * 3, 0, 60]);
    assert_eq!(work(&cost(Activation::GeluTanh)), [30 * 10, 0, 60]);
    let cost = cost(Activation::Silu);
    assert_eq!((floor(&cost, Role::Input), floor(&cost, Role::Output)), (240, 120));

    let cost = argmax::cost(1000, 2);
    assert_eq!((floor(&cost, Role::Input), floor(&cost, Role::Output)), (8000, 16));

    // A comparison each.
    assert_eq!(cost.work.f32.0, 2000);

    // Two tokens of two units of Q4_1, unpacked, and each number scaled.
    let cost = embed::cost(by_name("Q4_1").unwrap(), 64, 0..9, &[3, 5]);
    assert_eq!((cost.work.int.0, cost.work.f32.0), (4 * 44, 4 * 98 + 2 * 64));
    assert_eq!(floor(&cost, Role::Weights), 4 * (16 + 4));
    // A token's two units are one workgroup's, which asks for the id.
    assert_eq!(issued(&cost, Role::Tables), 2 * 4);

    let cost = embed::cost(by_name("F32").unwrap(), 64, 0..9, &[3, 5]);
    assert_eq!((cost.work.int.0, cost.work.f32.0), (0, 2 * 64));
    assert_eq!((floor(&cost, Role::Output), floor(&cost, Role::Tables)), (512, 8));
}

/// Radix selection of the `k` largest as plain loops of one workgroup; but for the first, digits of numbers that have all of the
/// last key's before are left out: how many those are depends on the data.
fn run_top_k(row: &[f32], k: usize) -> Counter {
    let mut c = Counter::default();
    let mut largest = f32::NEG_INFINITY;
    for (i, v) in row.iter().enumerate() {
        c.load(Role::Input, i);
        largest = largest.max(*v);
        c.f32 += 1;
    }
    for i in 0..row.len() {
        c.load(Role::Input, i);
        // The difference to the largest, its exp, the sum.
        c.f32 += 2;
        c.special += 1;
    }
    let keys: Vec<u32> = row
        .iter()
        .map(|v| {
            // The sign taken out, compared; one key and the other, the choice.
            c.int += 5;
            let bits = v.to_bits();
            if bits & 1 << 31 == 0 { bits | 1 << 31 } else { !bits }
        })
        .collect();
    let (mut known, mut missing) = (0, k);
    for (pass, shift) in [24, 16, 8, 0].into_iter().enumerate() {
        let mut counts = [0; 256];
        for (i, key) in keys.iter().enumerate() {
            c.load(Role::Input, i);
            if pass == 0 {
                // A shift, a mask, the count.
                c.int += 3;
            } else {
                // A shift and a comparison.
                c.int += 2;
                if key >> (shift + 8) != known {
                    continue;
                }
            }
            counts[(key >> shift & 255) as usize] += 1;
        }
        let mut digit = 255;
        while counts[digit] < missing {
            missing -= counts[digit];
            digit -= 1;
        }
        known = known << 8 | digit as u32;
    }
    for (i, key) in keys.iter().enumerate() {
        c.load(Role::Input, i);
        c.int += 2;
        if *key > known || (*key == known && missing > 0) {
            missing -= usize::from(*key == known);
            c.touch(Role::Output, i);
        }
    }
    c.end_workgroup();
    c
}

#[test]
fn top_k_costs_what_its_loops_do() {
    for (vocab, k) in [(300, 7), (5000, 64)] {
        let row = ridgepoint::kernels::Noise::new(vocab as u64).floats(vocab);
        let cost = top_k::cost(vocab, k, 1);
        let counted = run_top_k(&row, k);
        assert_eq!(work(&cost), counted.work(), "{k} of {vocab}");
        assert_eq!(cost.of(Role::Input), counted.both(Role::Input, 4), "seven passes, one workgroup");
        // An id and a logit of each of the k, beside the largest and the sum.
        assert_eq!(floor(&cost, Role::Output), counted.bytes(Role::Output, 8) + 8);
    }
}
