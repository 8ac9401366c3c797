//! Weight formats: decode against numbers of another implementation, and the GPU layout read back
//! as the WGSL loaders read it.

use half::f16;
use proptest::prelude::*;
use ridgepoint::quant::{FORMATS, Format, Layout, RowWriter, Section, UNIT, by_ggml_type, by_name};

/// What the loaders read: the buffers and sizes of one matrix.
struct Matrix {
    layout: Layout,
    sections: &'static [Section],
    q: Vec<[u32; 4]>,
    aux: Vec<u32>,
}

impl Matrix {
    fn new(format: &dyn Format, rows: &[Vec<u8>], k: usize) -> Self {
        let layout = Layout::new(format, rows.len(), k);
        let mut q = vec![[0; 4]; layout.q_words];
        let mut aux = vec![0; layout.aux_words];
        for (row, blocks) in rows.iter().enumerate() {
            format.repack(
                blocks,
                &mut RowWriter { layout, sections: format.sections(), row, q: &mut q, aux: &mut aux },
            );
        }
        Self { layout, sections: format.sections(), q, aux }
    }

    /// `wq[...]` of a unit: word `i`.
    fn q(&self, words: usize, unit: usize, i: usize, row: usize) -> [u32; 4] {
        self.q[place(unit * words + i, self.layout.units * words, row)]
    }

    /// `waux[...]`: word `index` of a section.
    fn aux(&self, section: usize, index: usize, row: usize) -> u32 {
        let s = self.sections[section];
        let count = self.layout.units.div_ceil(s.units) * s.words;
        self.aux[self.layout.starts[section] + place(index, count, row)]
    }

    /// The two f16 that a word of a section holds.
    fn halves(&self, section: usize, index: usize, row: usize) -> [f32; 2] {
        unpack2x16float(self.aux(section, index, row))
    }

    /// The 16 bits of a unit in a section that serves two units an entry.
    fn half_word(&self, section: usize, unit: usize, row: usize) -> u32 {
        self.aux(section, unit >> 1, row) >> ((unit & 1) * 16)
    }
}

/// `place` of shaders/lib/weights.wgsl.
fn place(index: usize, count: usize, row: usize) -> usize {
    (row / 32) * (count * 32) + index * 32 + row % 32
}

fn unpack2x16float(word: u32) -> [f32; 2] {
    [word as u16, (word >> 16) as u16].map(|bits| f16::from_bits(bits).to_f32())
}

fn unpack4x_u8(word: u32) -> [f32; 4] {
    word.to_le_bytes().map(f32::from)
}

fn unpack4x_i8(word: u32) -> [f32; 4] {
    word.to_le_bytes().map(|byte| f32::from(byte as i8))
}

/// What a loader's `block_load` and `block_weights` hand out for one unit.
struct Unit {
    scale: [f32; 2],
    min: f32,
    raw: [[f32; 4]; 8],
}

impl Unit {
    /// As the kernels put it together: `scale * raw + min`.
    fn weights(&self) -> impl Iterator<Item = f32> {
        let each = self.raw.as_flattened().iter().enumerate();
        each.map(|(e, raw)| self.scale[e / 16] * raw + self.min)
    }
}

/// The loaders of `shaders/quant/`, line by line.
fn load(format: &dyn Format, a: &Matrix, unit: usize, row: usize) -> Unit {
    let i = std::array::from_fn::<usize, 8, _>(|i| i);
    let plain = |raw: [[f32; 4]; 8]| Unit { scale: [1.0; 2], min: 0.0, raw };
    let pair = |i: usize| {
        let v = a.q(4, unit, i >> 1, row);
        let odd = i & 1 == 1;
        if odd { [v[2], v[3]] } else { [v[0], v[1]] }
    };
    // A word of nibbles with those of block_weights(b, i) moved to bit `to` of each byte.
    let nibbles = |i: usize, to: u32| {
        let word = a.q(1, unit, 0, row)[i & 3];
        let moved = if i < 4 { word << to } else { word >> (4 - to) };
        moved & (0x0f0f_0f0f << to)
    };
    let k_scales = |section: usize| {
        let pair = a.half_word(section, unit, row);
        let [d, dmin] = a.halves(section + 1, unit >> 3, row);
        let (sc, m) = (pair & 0xff, pair >> 8 & 0xff);
        (d * sc as f32, -(dmin * m as f32))
    };
    let fifth = || a.aux(0, unit, row);
    match format.name() {
        "F32" => plain(i.map(|i| a.q(8, unit, i, row).map(f32::from_bits))),
        "F16" => plain(i.map(|i| {
            let [a, b] = pair(i).map(unpack2x16float);
            [a[0], a[1], b[0], b[1]]
        })),
        "BF16" => plain(i.map(|i| {
            let [a, b] = pair(i);
            [a << 16, a & 0xffff_0000, b << 16, b & 0xffff_0000].map(f32::from_bits)
        })),
        "Q4_0" => Unit {
            scale: [unpack2x16float(a.half_word(0, unit, row))[0] * 0.0625; 2],
            min: 0.0,
            raw: i.map(|i| unpack4x_i8(nibbles(i, 4))),
        },
        "Q4_1" => {
            let [d, min] = a.halves(0, unit, row);
            let raw = i.map(|i| unpack4x_u8(nibbles(i, 0)));
            Unit { scale: [d; 2], min, raw }
        }
        "Q5_0" => Unit {
            scale: [unpack2x16float(a.half_word(1, unit, row))[0] * 0.125; 2],
            min: 0.0,
            raw: i.map(|i| unpack4x_i8(nibbles(i, 3) | fifth() << (7 - i) & 0x8080_8080)),
        },
        "Q5_1" => {
            let [d, min] = a.halves(1, unit, row);
            let raw = i.map(|i| unpack4x_u8(nibbles(i, 0) | (fifth() >> i & 0x0101_0101) << 4));
            Unit { scale: [d; 2], min, raw }
        }
        "Q8_0" => Unit {
            scale: [unpack2x16float(a.half_word(0, unit, row))[0]; 2],
            min: 0.0,
            raw: i.map(|i| unpack4x_i8(a.q(2, unit, i >> 2, row)[i & 3])),
        },
        "Q4_K" => {
            let (step, min) = k_scales(0);
            let raw = i.map(|i| unpack4x_u8(nibbles(i, 0)));
            Unit { scale: [step; 2], min, raw }
        }
        "Q5_K" => {
            let (step, min) = k_scales(1);
            let raw = i.map(|i| unpack4x_u8(nibbles(i, 0) | (fifth() >> i & 0x0101_0101) << 4));
            Unit { scale: [step; 2], min, raw }
        }
        "Q6_K" => {
            let d = f32::from_bits(a.aux(2, unit >> 3, row));
            let [sc0, sc1, ..] = unpack4x_i8(a.half_word(1, unit, row));
            let raw = i.map(|i| {
                let upper = a.aux(0, 2 * unit + (i >> 2), row) << (6 - 2 * (i & 3));
                unpack4x_i8(nibbles(i, 2) | upper & 0xc0c0_c0c0)
            });
            Unit { scale: [d * sc0 * 0.25, d * sc1 * 0.25], min: 0.0, raw }
        }
        other => panic!("no model of the loader of {other}"),
    }
}

/// Blocks and numbers of `tests/data/quant`.
fn fixture(format: &dyn Format) -> (Vec<u8>, Vec<f32>) {
    let path = |kind: &str| {
        let name = format.name().to_lowercase();
        format!("{}/tests/data/quant/{name}.{kind}", env!("CARGO_MANIFEST_DIR"))
    };
    let blocks = std::fs::read(path("blocks")).unwrap();
    let numbers = std::fs::read(path("f32")).unwrap();
    let numbers = numbers.as_chunks::<4>().0.iter();
    (blocks, numbers.map(|b| f32::from_le_bytes(*b)).collect())
}

fn decoded(format: &dyn Format, blocks: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; blocks.len() / format.block_bytes() * format.block_len()];
    format.decode_row(blocks, &mut out);
    out
}

#[test]
fn decode_gives_the_numbers_of_another_implementation() {
    for &format in FORMATS {
        let (blocks, numbers) = fixture(format);
        assert_eq!(numbers.len(), 768);
        assert_eq!(decoded(format, &blocks), numbers, "{format:?}");
    }
}

#[test]
fn formats_are_found_by_number_and_name() {
    for &format in FORMATS {
        assert_eq!(by_ggml_type(format.ggml_type()), Some(format));
        assert_eq!(by_name(format.name()), Some(format));
    }
    assert_eq!(by_ggml_type(4), None);
    assert_eq!(by_name("q4_1"), None);
}

#[test]
fn sections_serve_one_two_or_eight_units() {
    for &format in FORMATS {
        assert!(format.sections().len() <= 3, "{format:?}");
        for section in format.sections() {
            assert!([1, 2, 8].contains(&section.units), "{format:?}");
        }
    }
}

/// Repacks rows of random bits and reads them back: every weight, to the last bit.
fn check_layout(format: &dyn Format, m: usize, k: usize, bits: &mut dyn FnMut() -> u8) {
    let blocks = k / format.block_len();
    let row = |_| (0..blocks * format.block_bytes()).map(|_| bits()).collect();
    let rows: Vec<Vec<u8>> = (0..m).map(row).collect();
    let matrix = Matrix::new(format, &rows, k);
    for (row, blocks) in rows.iter().enumerate() {
        let expected = decoded(format, blocks);
        let units = 0..k.div_ceil(UNIT);
        let got = units.flat_map(|unit| load(format, &matrix, unit, row).weights().collect::<Vec<_>>());
        let got: Vec<f32> = got.collect();
        for (e, (x, y)) in expected.iter().zip(&got).enumerate() {
            // Random bits hold infinities and NaN; zeros may differ in sign (-0 + 0).
            assert!(
                x == y || (x.is_nan() && y.is_nan()),
                "{format:?} {m}x{k} row {row} element {e}: {x} in the file, {y} on the GPU"
            );
        }
        assert!(got[k..].iter().all(|&x| x == 0.0), "padding of {format:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(24)
    })]

    /// Ragged rows; odd and even numbers of units; for plain formats a ragged last unit too.
    #[test]
    fn the_gpu_layout_holds_what_the_file_holds(
        m in 1_usize..9, length in 1_usize..300, seed: u64,
    ) {
        let mut state = seed;
        let mut bits = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        for &format in FORMATS {
            let k = length.div_ceil(format.block_len()) * format.block_len();
            check_layout(format, m, k, &mut bits);
        }
    }
}

#[test]
fn a_layout_counts_every_word() {
    // A band of 32 rows, of which 3 count, of 72 plain numbers: 3 units, the last of 8; of 96 bytes: 2 scales in one entry.
    let plain = Layout::new(by_name("F16").unwrap(), 3, 72);
    assert_eq!((plain.units, plain.q_words, plain.aux_words), (3, 12 * 32, 1));
    let bytes = Layout::new(by_name("Q8_0").unwrap(), 3, 96);
    assert_eq!((bytes.units, bytes.q_words, bytes.aux_words), (3, 6 * 32, 2 * 32));
    assert_eq!(bytes.bytes(), 32 * (6 * 16 + 2 * 4));
}
