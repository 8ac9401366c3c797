//! Multiply-adds by the host itself: what bounds a software adapter's.
//!
//! The same chains x = x * x + 1/4 as in the probe of f32, in as many vector registers as hide their
//! latency, on as many threads as there are cores, with the widest vectors that this processor has
//! (crate pulp chooses). No shader that a driver compiles for the same cores does more.

use std::thread;
use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};

use super::probe::{Error, Unit};
use super::rounds::Asked;
use super::slope::{Repeat, Timing};
use crate::gpu;
use crate::units::Nanos;

/// Chains of a thread: a latency of 4 on two units needs 8, and 16 registers hold no more.
const CHAINS: usize = 12;
/// Rounds of a repeat.
const ROUNDS: usize = 4096;

/// Some rounds of the chains; gives their sum, and the lanes of a vector.
struct Chains {
    rounds: usize,
    start: f32,
}

impl WithSimd for Chains {
    type Output = (f32, usize);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let c = simd.splat_f32s(0.25);
        let mut x: [S::f32s; CHAINS] = std::array::from_fn(|k| simd.splat_f32s(start(self.start, k)));
        for _ in 0..self.rounds {
            for x in &mut x {
                *x = simd.mul_add_e_f32s(*x, *x, c);
            }
        }
        let sum = x.iter().fold(simd.splat_f32s(0.0), |sum, x| simd.add_f32s(sum, *x));
        (simd.reduce_sum_f32s(sum), S::F32_LANES)
    }
}

fn start(first: f32, chain: usize) -> f32 {
    first + chain as f32 / (4 * CHAINS) as f32
}

/// Threads that run the chains.
struct Threads {
    arch: Arch,
    count: usize,
    /// Lanes of a vector.
    lanes: usize,
}

impl Threads {
    fn all() -> Self {
        let arch = Arch::new();
        let count = thread::available_parallelism().map_or(1, usize::from);
        Self { arch, count, lanes: arch.dispatch(Chains { rounds: 0, start: 0.0 }).1 }
    }

    /// What one thread computes against plain arithmetic: the part that it is off.
    fn off(&self) -> f32 {
        let first = 0.125;
        let (sum, lanes) = self.arch.dispatch(Chains { rounds: ROUNDS, start: first });
        let chain = |k| (0..ROUNDS).fold(start(first, k), |x: f32, _| x.mul_add(x, 0.25));
        let expected = lanes as f32 * (0..CHAINS).map(chain).sum::<f32>();
        (sum - expected).abs() / expected
    }
}

impl Repeat for Threads {
    fn run(&mut self, repeats: u32) -> Result<Nanos, gpu::Error> {
        let (arch, rounds) = (self.arch, ROUNDS * repeats as usize);
        let start = Instant::now();
        thread::scope(|scope| {
            for i in 0..self.count {
                scope.spawn(move || {
                    let start = i as f32 / 64.0;
                    std::hint::black_box(arch.dispatch(Chains { rounds, start }))
                });
            }
        });
        Ok(start.elapsed().into())
    }

    fn timing(&self) -> Timing {
        Timing::PROCESSOR
    }
}

/// The host's multiply-adds a second, all cores: `native_f32`.
///
/// # Errors
/// When the loop computes something else than plain arithmetic.
pub fn native() -> Result<Asked<'static>, Error> {
    let threads = Threads::all();
    let probe = format!("a loop on the host, {} threads, {} lanes", threads.count, threads.lanes);
    let off = threads.off();
    // As the probe's tolerance: half the rounds would be off by more.
    if off.is_nan() || off > 1e-4 {
        let what = format!("its sum is off by {off}");
        return Err(Error::Wrong { probe, adapter: "the host".into(), what });
    }
    let work = (2 * threads.count * threads.lanes * CHAINS * ROUNDS) as f64;
    Ok(Asked { name: "native_f32", unit: Unit::GigaflopsPerSecond, probe, work, what: Box::new(threads) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_computes_what_plain_arithmetic_does() {
        let threads = Threads::all();
        assert!(threads.off() < 1e-5, "{}", threads.off());
        assert!(threads.lanes.is_power_of_two() && threads.count > 0);
    }
}
