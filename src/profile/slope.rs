//! Timing by the wall clock alone: n repeats against 2n.
//!
//! T(n) = round trip + n t, so t = (T(2n) - T(n)) / n. Both times are the least of several draws,
//! taken in turn: whatever disturbs a draw makes it longer, and a mean would keep that.

use std::time::Duration;

use crate::gpu::Error;
use crate::units::Nanos;

/// Something that can be repeated within one submission, and the clock that times it.
pub trait Repeat {
    /// The wall time from the submission of `repeats` repeats until they are done.
    ///
    /// # Errors
    /// Whatever keeps them from being done.
    fn run(&mut self, repeats: u32) -> Result<Nanos, Error>;

    /// The shortest T(n) that is worth timing: hundreds of round trips.
    fn least(&self) -> Nanos {
        BATCH
    }

    /// Draws of a T(n) that takes as long as [`Repeat::least`], as many as take the time of so many of 50 ms.
    fn draws(&self, long: usize) -> usize {
        draws(self.least(), long)
    }
}

/// Draws of a T(n) that takes so long, as many as take the time of `long` of 50 ms.
pub fn draws(once: Nanos, long: usize) -> usize {
    long * (BATCH.0 / once.0.max(1)).max(1) as usize
}

/// How much time a measurement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// For figures to be kept: 16 to 40 rounds. Each variant takes 3 to 6 seconds of a processor, 5 to 12 of a
    /// GPU.
    Full,
    /// For tests: 3 to 8 rounds.
    Quick,
}

impl Budget {
    /// How long to warm up: some clocks take 400 ms to ramp.
    pub fn warm_up(self) -> Duration {
        Duration::from_millis(match self {
            Self::Full => 500,
            Self::Quick => 200,
        })
    }

    /// Rounds of a window each, at least and at most.
    pub fn rounds(self) -> [usize; 2] {
        match self {
            Self::Full => [16, 40],
            Self::Quick => [3, 8],
        }
    }
}

/// The shortest batch of a GPU, whose clocks and queues settle within it.
pub const BATCH: Nanos = Nanos(50_000_000);
/// The shortest batch of a processor: a neighbour on the same core leaves gaps of some milliseconds, and a
/// round trip is a call.
pub const SHORT: Nanos = Nanos(10_000_000);

/// No round trip takes this part of T(n): what looks like one is a T(n) that was disturbed in
/// every draw, which would make the device look faster than it is.
const ROUND_TRIP: f64 = 0.1;

/// The most repeats of a T(n): each is recorded anew in every draw.
const MOST_REPEATS: u32 = 1 << 15;

/// The time of one repeat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Seconds from the best draws.
    pub seconds: f64,
    /// The least that it is with any one draw left out.
    pub least: f64,
    /// The most that it is with any one draw left out.
    pub most: f64,
}

/// How many repeats make a batch, and what it took: doubled until it takes [`Repeat::least`], then scaled to it.
///
/// # Errors
/// Whatever a run fails with.
pub fn batch(what: &mut dyn Repeat) -> Result<(u32, Nanos), Error> {
    let least = what.least();
    let mut repeats = 1;
    loop {
        let mut took = what.run(repeats)?;
        if took >= least {
            // A first run may compile, and any may be disturbed: only twice is long enough.
            took = took.min(what.run(repeats)?);
        }
        if took >= least || repeats >= MOST_REPEATS {
            return Ok((repeats, took));
        }
        // At most eight times as many: none may trip a driver's watchdog.
        let scale = (least.0 as f64 * 1.1 / took.0.max(1) as f64).clamp(2.0, 8.0);
        repeats = (f64::from(repeats) * scale).ceil().min(f64::from(MOST_REPEATS)) as u32;
    }
}

/// Run times of n repeats and of 2n, taken in turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draws {
    once: Vec<Nanos>,
    twice: Vec<Nanos>,
}

impl Draws {
    /// So many of each, two at least.
    ///
    /// # Errors
    /// Whatever a run fails with.
    pub fn take(what: &mut dyn Repeat, repeats: u32, draws: usize) -> Result<Self, Error> {
        let mut taken = Self::default();
        for _ in 0..draws.max(2) {
            taken.once.push(what.run(repeats)?);
            taken.twice.push(what.run(repeats.saturating_mul(2))?);
        }
        Ok(taken)
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.once.extend(&others.once);
        self.twice.extend(&others.twice);
        self
    }

    /// The slope of the shortest runs. None when the draws were disturbed too much: when one less
    /// would change the sign, or when the round trip that they tell of is none.
    pub fn slope(&self, repeats: u32) -> Option<Slope> {
        let sorted = |draws: &[Nanos]| {
            let mut sorted = draws.to_vec();
            sorted.sort_unstable();
            sorted
        };
        let (once, twice) = (sorted(&self.once), sorted(&self.twice));
        let ([once, next, ..], [twice, after, ..]) = (&once[..], &twice[..]) else { return None };
        let per_repeat =
            |long: &Nanos, short: &Nanos| (long.seconds() - short.seconds()) / f64::from(repeats);
        let slope = Slope {
            seconds: per_repeat(twice, once),
            least: per_repeat(twice, next),
            most: per_repeat(after, once),
        };
        let round_trip = 2.0 * once.seconds() - twice.seconds();
        (slope.least > 0.0 && round_trip <= ROUND_TRIP * once.seconds()).then_some(slope)
    }

    /// A repeat by the shortest T(2n) alone, the round trip in it: what can only be too long. For draws
    /// whose T(n) were all disturbed.
    pub fn bound(&self, repeats: u32) -> Slope {
        let mut sorted: Vec<f64> =
            self.twice.iter().map(|t| t.seconds() / (2.0 * f64::from(repeats))).collect();
        sorted.sort_by(f64::total_cmp);
        let seconds = sorted.first().copied().unwrap_or(f64::INFINITY);
        Slope { seconds, least: seconds, most: sorted.get(1).copied().unwrap_or(seconds) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that knows the truth: a round trip, a time per repeat, and disturbances in turn.
    struct Simulated {
        round_trip: u64,
        repeat: u64,
        disturbances: Vec<u64>,
        runs: usize,
    }

    impl Repeat for Simulated {
        fn run(&mut self, repeats: u32) -> Result<Nanos, Error> {
            let extra = self.disturbances.get(self.runs).copied().unwrap_or(0);
            self.runs += 1;
            Ok(Nanos(self.round_trip + self.repeat * u64::from(repeats) + extra))
        }
    }

    fn slope(what: &mut Simulated, draws: usize) -> Option<Slope> {
        Draws::take(what, 50, draws).unwrap().slope(50)
    }

    fn simulated(round_trip: u64, repeat: u64, disturbances: &[u64]) -> Simulated {
        Simulated { round_trip, repeat, disturbances: disturbances.to_vec(), runs: 0 }
    }

    #[test]
    fn the_round_trip_cancels() {
        for round_trip in [0, 100_000, 5_000_000] {
            let s = slope(&mut simulated(round_trip, 1_000_000, &[]), 3).unwrap();
            assert!((s.seconds - 1e-3).abs() < 1e-12, "{s:?}");
            assert!((s.least - s.most).abs() < 1e-12, "{s:?}");
        }
    }

    #[test]
    fn one_disturbed_draw_widens_the_interval_and_leaves_the_figure() {
        // The second T(2n) takes 10 ms longer: the best two draws don't see it.
        let s = slope(&mut simulated(1000, 1_000_000, &[0, 0, 0, 10_000_000]), 2).unwrap();
        assert!((s.seconds - 1e-3).abs() < 1e-12, "{s:?}");
        assert!((s.most - 1.2e-3).abs() < 1e-12, "{s:?}");
        // The first T(n) does.
        let s = slope(&mut simulated(1000, 1_000_000, &[10_000_000]), 2).unwrap();
        assert!((s.least - 0.8e-3).abs() < 1e-12, "{s:?}");
    }

    #[test]
    fn noise_above_the_signal_is_no_figure() {
        let mut noisy = simulated(1000, 1000, &[0, 0, 90_000, 0]);
        assert_eq!(slope(&mut noisy, 2), None);
    }

    #[test]
    fn a_window_that_would_flatter_the_device_is_no_figure() {
        // Every T(n) was disturbed and no T(2n): the slope would be a third too fast.
        let late = 17_000_000;
        let mut flattering = simulated(1000, 1_000_000, &[late, 0, late, 0, late, 0]);
        assert_eq!(slope(&mut flattering, 3), None);
    }

    #[test]
    fn what_takes_long_is_drawn_less_often() {
        assert_eq!([5, 10, 20, 50, 140].map(|ms| draws(Nanos(ms * 1_000_000), 1)), [10, 5, 2, 1, 1]);
    }

    #[test]
    fn batches_last_long_enough_and_not_much_longer() {
        for repeat in [100, 40_000, 3_000_000, 49_000_000, 200_000_000] {
            // The first run compiles: its time says nothing about the next.
            let (repeats, _) = batch(&mut simulated(200_000, repeat, &[30_000_000])).unwrap();
            let took = 200_000 + repeat * u64::from(repeats);
            assert!(took >= BATCH.0 || repeats == MOST_REPEATS, "{repeat}: {repeats}");
            assert!(took <= 8 * BATCH.0 || repeats == 1, "{repeat}: {repeats}");
        }
    }
}
