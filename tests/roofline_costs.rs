//! Costs against hand counts, and against plain loops that count what they touch.

use std::collections::{BTreeMap, HashSet};

use ridgepoint::cost::{Cost, Role};
use ridgepoint::kernels::attention::{self, Intake, Tile, merge};
use ridgepoint::kernels::linear::{self, Activation, Form};
use ridgepoint::kernels::rope_cache::{self, CacheType, Heads, QkNorm};
use ridgepoint::kernels::{argmax, embed, gated, top_k};
use ridgepoint::quant::{Layout, UNIT, by_name};

/// Counts what a plain loop does.
#[derive(Default)]
struct Counter {
    /// f32 operations, a multiply-add as two.
    f32: u64,
    int: u64,
    special: u64,
    /// Distinct things touched, by role.
    touched: HashSet<(Role, u64)>,
    /// What the workgroup that runs has loaded, by role: its lanes' loads of one thing are one.
    loaded: HashSet<(Role, u64)>,
    /// Loads of all workgroups before it.
    loads: BTreeMap<Role, u64>,
}

impl Counter {
    fn touch(&mut self, role: Role, thing: usize) {
        self.touched.insert((role, thing as u64));
    }

    fn load(&mut self, role: Role, thing: usize) {
        self.touch(role, thing);
        self.loaded.insert((role, thing as u64));
    }

    /// Ends a workgroup: the next has nothing of what it loaded.
    fn end_workgroup(&mut self) {
        for (role, _) in std::mem::take(&mut self.loaded) {
            *self.loads.entry(role).or_default() += 1;
        }
    }

    /// Things of a role that all workgroups load, of so many bytes each.
    fn issued(&self, role: Role, each: u64) -> u64 {
        each * self.loads.get(&role).copied().unwrap_or(0)
    }

    /// Distinct things of a role, of so many bytes each.
    fn bytes(&self, role: Role, each: u64) -> u64 {
        each * self.touched.iter().filter(|(r, _)| *r == role).count() as u64
    }
}

fn floor(cost: &Cost, role: Role) -> u64 {
    cost.traffic.iter().filter(|t| t.role == role).map(|t| t.floor.0).sum()
}

fn issued(cost: &Cost, role: Role) -> u64 {
    cost.traffic.iter().filter(|t| t.role == role).map(|t| t.issued.0).sum()
}

/// The linear layer as plain loops, norm and gate included: each workgroup of `tile` rows of `y` and columns.
fn run_linear(form: Form, [m, k, n]: [usize; 3], tile: [usize; 2]) -> Counter {
    let mut c = Counter::default();
    let out = form.out_rows(m);
    for first in (0..out).step_by(tile[0]) {
        for left in (0..n).step_by(tile[1]) {
            for column in left..n.min(left + tile[1]) {
                for row in first..out.min(first + tile[0]) {
                    // A gated output has a row of the gate and one of up.
                    for row in [Some(row), form.gate.map(|_| out + row)].into_iter().flatten() {
                        for i in 0..k {
                            c.load(Role::Weights, row * k + i);
                            c.load(Role::Input, column * k + i);
                            c.f32 += 2;
                        }
                    }
                    c.touch(Role::Output, column * m + row);
                    c.special += if form.gate.is_some() { 2 } else { 0 };
                }
            }
            c.end_workgroup();
        }
    }
    if form.norm {
        for _column in 0..n {
            // A square and a sum, and the gain.
            c.f32 += 3 * k as u64;
            c.special += 1;
        }
    }
    c
}

#[test]
fn a_linear_layer_costs_what_its_loops_do() {
    let forms = [
        Form::default(),
        Form { norm: true, ..Form::default() },
        Form { norm: true, gate: Some(Activation::Silu), ..Form::default() },
    ];
    // Rows of y and columns of a workgroup, as the kernels' own words have it.
    let variants = [
        (linear::Variant::Split { columns: 1 }, [16, 1], [16, 1]),
        (linear::Variant::Split { columns: 4 }, [16, 4], [16, 4]),
        (linear::Variant::Lanes { columns: 4 }, [32, 4], [32, 4]),
        (linear::Variant::Tiled { f16: false }, [64, 32], [32, 32]),
    ];
    for (variant, plain, gated) in variants {
        for form in forms {
            for [m, k, n] in [[64, 256, 1], [96, 256, 3], [64, 256, 9]] {
                let tile = if form.gate.is_some() { gated } else { plain };
                let counted = run_linear(form, [m, k, n], tile);
                for name in ["F32", "Q4_1", "Q6_K"] {
                    let what = format!("{name} {form:?} {variant:?} {m}x{k} x {n}");
                    let format = by_name(name).unwrap();
                    let cost = linear::cost(format, form, m, k, n, variant);
                    // Each unit once, whatever the columns: the numbers that a format's words stand for.
                    let units = (m * k.div_ceil(UNIT)) as u64;
                    let unpacking = format.unpacking();
                    let expected =
                        [counted.f32 + units * unpacking.float, units * unpacking.int, counted.special];
                    let work = [cost.work.f32.0, cost.work.int.0, cost.work.special.0];
                    assert_eq!(work, expected, "{what}");
                    assert_eq!(floor(&cost, Role::Input), counted.bytes(Role::Input, 4), "{what}");
                    assert_eq!(floor(&cost, Role::Output), counted.bytes(Role::Output, 4), "{what}");
                    assert_eq!(issued(&cost, Role::Input), counted.issued(Role::Input, 4), "{what}");
                    // A format's words hold many weights.
                    let row: u64 = Layout::row_bytes(format, k).iter().sum();
                    let bytes = |numbers: u64| numbers * row / k as u64;
                    assert_eq!(floor(&cost, Role::Weights), bytes(counted.bytes(Role::Weights, 1)), "{what}");
                    assert_eq!(
                        issued(&cost, Role::Weights),
                        bytes(counted.issued(Role::Weights, 1)),
                        "{what}"
                    );
                }
            }
        }
    }
}

#[test]
fn hand_counted_quantized_layer() {
    // 64 rows of 64: two units a row, each one vec4<u32> and one word of scale and minimum.
    let q4_1 = by_name("Q4_1").unwrap();
    let variant = linear::Variant::Split { columns: 4 };
    let cost = linear::cost(q4_1, Form { residual: true, ..Form::default() }, 64, 64, 4, variant);
    assert_eq!(floor(&cost, Role::Weights), 64 * 2 * (16 + 4));
    // A product and a sum for each; each unit once: 12 shifts and masks and 32 bytes taken out of words;
    // scale, minimum and 32 bytes made floats, 32 multiply-adds.
    assert_eq!(cost.work.f32.0, 2 * 64 * 64 * 4 + 64 * 2 * (2 + 32 + 64));
    assert_eq!(cost.work.int.0, 64 * 2 * (12 + 32));
    // The residual is read and written.
    assert_eq!(floor(&cost, Role::Output), 2 * 64 * 4 * 4);
    let intensity = cost.intensity();
    assert!(intensity.0 < intensity.1, "x is read by each of four groups of rows: {intensity:?}");
}

/// Attention as plain loops over the tiles' tokens: a workgroup has a tile and `together` heads.
fn run_attention(h: &Heads, window: usize, tiles: &[Tile], together: usize) -> Counter {
    let mut c = Counter::default();
    for tile in tiles {
        for first in (0..h.heads).step_by(together) {
            for t in 0..tile.tokens as usize {
                let position = tile.position as usize + t;
                let low = if window == 0 { 0 } else { (position + 1).saturating_sub(window) };
                for head in first..first + together {
                    let token = (tile.first as usize + t) * h.heads + head;
                    (0..h.dim).for_each(|i| c.touch(Role::Input, token * h.dim + i));
                    (0..h.dim).for_each(|i| c.touch(Role::Output, token * h.dim + i));
                    for key in low..=position {
                        let kv_head = head / (h.heads / h.kv_heads);
                        // A row of K and one of V, of this sequence.
                        c.load(Role::Cache, ((tile.table as usize) << 32) + key * h.kv_heads + kv_head);
                        c.f32 += 4 * h.dim as u64;
                        c.special += 1;
                    }
                }
            }
            c.end_workgroup();
        }
    }
    c
}

#[test]
fn attention_costs_what_its_loops_do() {
    let h = Heads { heads: 6, kv_heads: 2, dim: 16, block: 16, cache: CacheType::F16 };
    let run = |first, tokens, position, table| Tile { first, tokens, position, table };
    // A prefill of 40, a chunk of 5 at 21, decodes at 0 and 99.
    let runs = [run(0, 40, 0, 0), run(40, 5, 21, 3), run(45, 1, 0, 5), run(46, 1, 99, 6)];
    for window in [0, 7, 30] {
        let variant = attention::Variant::Tiled;
        let tiles: Vec<Tile> = runs.iter().flat_map(|r| r.cut(variant.tile_tokens(&h))).collect();
        assert!(tiles.len() > runs.len());
        let rows = attention::distinct_rows(h.block, window, &tiles, &Vec::from_iter(0..13));
        let cost = attention::cost(&h, window, &tiles, variant, Intake::Cached, 1, rows);
        let together = h.heads / variant.grid(&h, tiles.len(), 1)[1] as usize;
        let counted = run_attention(&h, window, &tiles, together);
        assert_eq!(cost.work.f32.0, counted.f32, "window {window}");
        assert_eq!(cost.work.special.0, counted.special, "window {window}");
        let row = 2 * h.dim as u64 * 2;
        assert_eq!(floor(&cost, Role::Cache), counted.bytes(Role::Cache, row), "window {window}");
        assert_eq!(floor(&cost, Role::Input), counted.bytes(Role::Input, 4));
        assert_eq!(floor(&cost, Role::Output), counted.bytes(Role::Output, 4));
        assert_eq!(issued(&cost, Role::Cache), counted.issued(Role::Cache, row), "window {window}");
        assert!(issued(&cost, Role::Cache) > floor(&cost, Role::Cache), "tiles read rows again");
    }
}

/// What a launch that also rotates and caches does besides, as plain loops: tokens of their own, each a tile.
fn run_projected(h: &Heads, tiles: &[Tile]) -> Counter {
    let mut c = run_attention(h, 0, tiles, 1);
    // Q comes as it was projected, and with it K and V: one row of all heads per token.
    c.touched.retain(|(role, _)| *role != Role::Input);
    let row = (h.heads + 2 * h.kv_heads) * h.dim;
    for tile in tiles {
        let token = tile.first as usize;
        for head in 0..h.heads + 2 * h.kv_heads {
            for i in 0..h.dim {
                c.touch(Role::Input, token * row + head * h.dim + i);
                // V is not rotated. A number of a pair is x cos - y sin.
                c.f32 += if head < h.heads + h.kv_heads { 3 } else { 0 };
            }
        }
        // The new rows of K and V are written to the place that the loop above has as the last key's.
        for kv_head in 0..h.kv_heads {
            let key = tile.position as usize;
            c.touch(Role::Cache, ((tile.table as usize) << 32) + key * h.kv_heads + kv_head);
        }
    }
    c
}

#[test]
fn attention_that_rotates_costs_what_its_loops_do() {
    let h = Heads { heads: 6, kv_heads: 2, dim: 16, block: 16, cache: CacheType::F16 };
    let tile = |first, position, table| Tile { first, tokens: 1, position, table };
    let tiles = [tile(0, 0, 0), tile(1, 40, 2), tile(2, 99, 9)];
    let variant = attention::Variant::Keys;
    let rows = 1 + 41 + 100;
    let cost = attention::cost(&h, 0, &tiles, variant, Intake::Projected(QkNorm::Off), 1, rows);
    let counted = run_projected(&h, &tiles);
    assert_eq!(cost.work.f32.0, counted.f32);
    assert_eq!(cost.work.special.0, counted.special);
    assert_eq!(floor(&cost, Role::Cache), counted.bytes(Role::Cache, 2 * h.dim as u64 * 2));
    assert_eq!(floor(&cost, Role::Input), counted.bytes(Role::Input, 4));
    assert_eq!(floor(&cost, Role::Output), counted.bytes(Role::Output, 4));
    // Beside the same launch over what is cached already, it reads and rotates more, and no less.
    let cached = attention::cost(&h, 0, &tiles, variant, Intake::Cached, 1, rows);
    assert!(cost.work.f32.0 > cached.work.f32.0 && cost.bytes().0 > cached.bytes().0);
}

/// The rows that attention's splits leave are those that are put together: tokens x heads x splits of them.
#[test]
fn splits_of_attention_cost_their_rows() {
    let h = Heads { heads: 6, kv_heads: 2, dim: 16, block: 16, cache: CacheType::F16 };
    let tiles = [Tile { first: 0, tokens: 1, position: 99, table: 0 }];
    let variant = attention::Variant::Keys;
    let [whole, split] = [1, 5].map(|n| attention::cost(&h, 0, &tiles, variant, Intake::Cached, n, 100));
    assert_eq!(
        (split.work, split.of(Role::Cache)),
        (whole.work, whole.of(Role::Cache)),
        "each key is read once"
    );
    assert_eq!(issued(&split, Role::Input), 5 * issued(&whole, Role::Input));
    assert_eq!(floor(&split, Role::Input), floor(&whole, Role::Input));
    // A head's 16 numbers, its maximum, its sum, and two of padding.
    assert_eq!(floor(&split, Role::Output), 4 * 5 * 6 * (16 + 4));
    let merged = merge::cost(h.heads, h.dim, 5, 1);
    assert_eq!(floor(&merged, Role::Input), floor(&split, Role::Output));
    assert_eq!(floor(&merged, Role::Output), floor(&whole, Role::Output));
    // Four lanes a head: each reads its vec4 and twice the maximum's, of each row.
    assert_eq!(issued(&merged, Role::Input), 6 * 5 * 4 * 3 * 16);
    // A weight for each row and a division for each head; multiply-adds of the numbers and of the sum.
    assert_eq!((merged.work.special.0, merged.work.f32.0), (6 * 5 + 6, 6 * 5 * 2 * 17));
}

#[test]
fn hand_counted_small_kernels() {
    let h = Heads { heads: 3, kv_heads: 1, dim: 8, block: 16, cache: CacheType::F32 };
    let cost = rope_cache::cost(&h, QkNorm::Off, 2);
    // Q and K, four heads of 8, two tokens: two products and a sum a number.
    assert_eq!(cost.work.f32.0, 3 * 4 * 8 * 2);
    assert_eq!(floor(&cost, Role::Input), 4 * 5 * 8 * 2);
    assert_eq!(floor(&cost, Role::Output), 4 * 3 * 8 * 2);
    assert_eq!(floor(&cost, Role::Cache), 4 * 2 * 8 * 2);

    let cost = gated::cost(10, 3);
    assert_eq!((cost.work.f32.0, cost.work.special.0), (90, 60));
    assert_eq!((floor(&cost, Role::Input), floor(&cost, Role::Output)), (240, 120));

    let cost = argmax::cost(1000, 2);
    assert_eq!((floor(&cost, Role::Input), floor(&cost, Role::Output)), (8000, 16));

    // A comparison each.
    assert_eq!(cost.work.f32.0, 2000);

    // Two tokens of two units of Q4_1 each, unpacked and scaled.
    let cost = embed::cost(by_name("Q4_1").unwrap(), 64, 0..9, &[3, 5]);
    assert_eq!((cost.work.int.0, cost.work.f32.0), (4 * 44, 4 * 98 + 2 * 64));
    assert_eq!(floor(&cost, Role::Weights), 4 * (16 + 4));
    // Each of a token's two units asks for its id.
    assert_eq!(issued(&cost, Role::Tables), 4 * 4);

    let cost = embed::cost(by_name("F32").unwrap(), 64, 0..9, &[3, 5]);
    assert_eq!((cost.work.int.0, cost.work.f32.0), (0, 2 * 64));
    assert_eq!((floor(&cost, Role::Output), floor(&cost, Role::Tables)), (512, 8));
}

/// Radix selection of the `k` largest as plain loops; but for the first, digits of numbers that have all of the
/// last key's before are left out: how many those are depends on the data.
fn run_top_k(row: &[f32], k: usize) -> Counter {
    let mut c = Counter::default();
    let mut largest = f32::NEG_INFINITY;
    for (i, v) in row.iter().enumerate() {
        c.load(Role::Input, i);
        largest = largest.max(*v);
        c.f32 += 1;
    }
    c.end_workgroup();
    for i in 0..row.len() {
        c.load(Role::Input, i);
        // The difference to the largest, its exp, the sum.
        c.f32 += 2;
        c.special += 1;
    }
    c.end_workgroup();
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
        c.end_workgroup();
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
        let work = [cost.work.f32.0, cost.work.int.0, cost.work.special.0];
        assert_eq!(work, [counted.f32, counted.int, counted.special], "{k} of {vocab}");
        assert_eq!(floor(&cost, Role::Input), counted.bytes(Role::Input, 4));
        assert_eq!(issued(&cost, Role::Input), counted.issued(Role::Input, 4));
        // An id and a logit of each of the k, beside the largest and the sum.
        assert_eq!(floor(&cost, Role::Output), counted.bytes(Role::Output, 8) + 8);
    }
}

#[test]
fn issued_bytes_are_never_below_the_floor() {
    for kernel in ridgepoint::kernels::KERNELS {
        for case in kernel.cases().take(40) {
            let (low, high) = case.cost.bytes();
            assert!(low <= high && low.0 > 0, "{} {}", kernel.name(), case.label);
        }
    }
}
