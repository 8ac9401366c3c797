//! Weight formats: what encoding may lose, by the size of a step.

use proptest::prelude::*;
use ridgepoint::quant::{FORMATS, Format, UNIT};

fn decoded(format: &dyn Format, blocks: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; blocks.len() / format.block_bytes() * format.block_len()];
    format.decode_row(blocks, &mut out);
    out
}

fn encoded(format: &dyn Format, numbers: &[f32]) -> Vec<u8> {
    let mut out = vec![0; numbers.len() / format.block_len() * format.block_bytes()];
    format.encode_row(numbers, &mut out);
    out
}

/// The most by which encoding may change a number of a block. With a step of `s`, half of it;
/// where the codes of one side are fewer by one (-8..=7), the far end of the other side moves by
/// a whole step; where the step itself is rounded, to a multiple of `d`, the far end moves by
/// half of that for each of its steps. `slack` is what f16 rounding of a scale does to it.
fn encode_bound(format: &dyn Format, block: &[f32], e: usize) -> f32 {
    let peak = |x: &[f32]| x.iter().fold(0.0, |peak: f32, x| peak.max(x.abs()));
    let span = |x: &[f32], with_zero: bool| {
        let start = if with_zero { 0.0 } else { x[0] };
        let low = x.iter().copied().fold(start, f32::min);
        x.iter().copied().fold(f32::NEG_INFINITY, f32::max) - low
    };
    let most = peak(block);
    let slack = most / 1024.0;
    let k_quant = |levels: f32| {
        let unit = &block[e / UNIT * UNIT..][..UNIT];
        let spans = block.chunks_exact(UNIT).map(|unit| span(unit, true));
        let d = spans.fold(0.0, f32::max) / levels / 63.0;
        let dmin = block.iter().fold(0.0, |m: f32, &x| m.max(-x)) / 63.0;
        let step = span(unit, true) / levels + d / 2.0;
        (step + levels * d + dmin) / 2.0 + slack
    };
    match format.name() {
        "F32" => 0.0,
        "F16" => (most / 2048.0).max(2_f32.powi(-25)),
        "BF16" => most / 256.0,
        "Q4_0" => most / 8.0 + slack,
        "Q5_0" => most / 16.0 + slack,
        "Q8_0" => most / 127.0 / 2.0 + slack,
        "Q4_1" => span(block, false) / 15.0 / 2.0 + 2.0 * slack,
        "Q5_1" => span(block, false) / 31.0 / 2.0 + 2.0 * slack,
        "Q4_K" => k_quant(15.0),
        "Q5_K" => k_quant(31.0),
        "Q6_K" => peak(&block[e / 16 * 16..][..16]) / 32.0 + most / 128.0 + slack,
        other => panic!("no bound for {other}"),
    }
}

/// The root mean square error, relative to the numbers', allowed for normally distributed ones:
/// a uniform error of half a step of a peak of 2.2 deviations in 32 (2 in 16), and a fifth more.
fn encode_rms(format: &dyn Format) -> f32 {
    match format.name() {
        "F32" => 0.0,
        "F16" => 3e-4,
        "BF16" => 2e-3,
        "Q8_0" => 0.006,
        "Q6_K" => 0.022,
        "Q5_0" | "Q5_1" | "Q5_K" => 0.048,
        "Q4_0" | "Q4_1" | "Q4_K" => 0.099,
        other => panic!("no bound for {other}"),
    }
}

/// Numbers of a normal distribution (twelve uniform ones summed), the same ones each time.
fn normal(count: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let mut one = || (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
    (0..count).map(|_| one()).collect()
}

#[test]
fn encode_spends_its_bits_well_on_normal_numbers() {
    let numbers = normal(256 * 64);
    for &format in FORMATS {
        let got = decoded(format, &encoded(format, &numbers));
        let error: f32 = numbers.iter().zip(&got).map(|(x, y)| (x - y).powi(2)).sum();
        let all: f32 = numbers.iter().map(|x| x.powi(2)).sum();
        let (rms, bound) = ((error / all).sqrt(), encode_rms(format));
        assert!(rms <= bound, "{format:?}: {rms}, allowed {bound}");
    }
}

#[test]
fn zeros_stay_zeros_and_odd_numbers_do_no_harm() {
    for &format in FORMATS {
        assert!(decoded(format, &encoded(format, &[0.0; 256])).iter().all(|&x| x == 0.0));
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE] {
            let mut numbers = [1.0; 256];
            numbers[7] = odd;
            assert_eq!(decoded(format, &encoded(format, &numbers)).len(), 256);
            assert_eq!(decoded(format, &encoded(format, &[odd; 256])).len(), 256);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    })]

    #[test]
    fn encode_stays_within_its_step(
        numbers in prop::collection::vec(-1.0_f32..1.0, 256),
        power in 4_i32..10, offset in prop::sample::select(vec![0.0_f32, 0.1, -0.1, 1.0, -1.0]),
        quiet in prop::collection::vec(prop::sample::select(vec![1.0_f32, 0.1, 0.0]), 8),
    ) {
        // Units of unequal range, and off the middle; large enough for normal f16 scales.
        let each = numbers.iter().enumerate();
        let numbers: Vec<f32> =
            each.map(|(e, x)| (x * quiet[e / 32] + offset) * 2_f32.powi(power)).collect();
        for &format in FORMATS {
            let got = decoded(format, &encoded(format, &numbers));
            for (e, (x, y)) in numbers.iter().zip(&got).enumerate() {
                let length = format.block_len();
                let block = &numbers[e / length * length..][..length];
                let bound = encode_bound(format, block, e % length);
                prop_assert!(
                    (x - y).abs() <= bound,
                    "{format:?} element {e}: {x} became {y}, allowed {bound}"
                );
            }
        }
    }
}
