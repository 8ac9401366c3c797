//! Timing by the wall clock alone: n repeats against 2n.
//!
//! T(n) = round trip + n t, so t = (T(2n) - T(n)) / n. Both times are the least of several draws,
//! taken in turn: whatever disturbs a draw makes it longer, and a mean would keep that. What luck makes shorter,
//! too, has its lower quartile, and n against 8n.

use std::time::Duration;

use crate::gpu::{Error, Gpu};
use crate::units::Nanos;

/// Something that can be repeated within one submission, and the clock that times it.
pub trait Repeat {
    /// The wall time from the submission of `repeats` repeats until they are done.
    ///
    /// # Errors
    /// Whatever keeps them from being done.
    fn run(&mut self, repeats: u32) -> Result<Nanos, Error>;

    /// How it is timed.
    fn timing(&self) -> Timing;
}

/// How long runs are, and which of them count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// The shortest T(n) that is worth timing: hundreds of round trips.
    pub least: Nanos,
    /// The repeats of a long run are so many times n.
    pub long: u32,
    /// The part of all runs that luck may have made too short: of what is left the shortest count.
    pub luck: f64,
}

impl Timing {
    /// Of a GPU, whose clocks and queues settle within 50 ms.
    pub const GPU: Self = Self { least: Nanos(50_000_000), long: 2, luck: 0.0 };
    /// Of a processor: a neighbour on the same core leaves gaps of some milliseconds, and a round trip is a call.
    pub const PROCESSOR: Self = Self { least: Nanos(10_000_000), long: 2, luck: 0.0 };
    /// Of launches on a processor. Each wakes workers, sooner or later by where they happen to lie, and that lasts
    /// for many launches; in T(2n) - T(n) what it makes of T(2n) would count twice.
    pub const WAKING: Self = Self { least: Nanos(10_000_000), long: 8, luck: 0.25 };

    /// Of most that run on this device.
    pub fn of(gpu: &Gpu) -> Self {
        if gpu.adapter.is_software() { Self::PROCESSOR } else { Self::GPU }
    }

    /// Draws of the shortest T(n), as many as take the time of so many of 50 ms.
    pub fn draws(self, long: usize) -> usize {
        draws(self.least, long)
    }
}

/// Draws of a T(n) that takes so long, as many as take the time of `long` of 50 ms.
pub fn draws(once: Nanos, long: usize) -> usize {
    long * (Timing::GPU.least.0 / once.0.max(1)).max(1) as usize
}

/// How much time a measurement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// For figures to be kept: 16 to 40 rounds. Each variant takes 3 to 6 seconds of a processor (launches 7 to
    /// 18), 5 to 12 of a GPU.
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

/// No round trip takes this part of T(n), nor less than nothing: what looks like one is a T(n) that was disturbed in
/// every draw, which would make the device look faster than it is, or a longer run that was, which would make
/// it look slower.
const ROUND_TRIP: f64 = 0.1;

/// The most repeats of a T(n): each is recorded anew in every draw.
const MOST_REPEATS: u32 = 1 << 15;

/// The time of one repeat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Seconds from the draws that count.
    pub seconds: f64,
    /// From the next of the short runs.
    pub least: f64,
    /// From the next of the long ones.
    pub most: f64,
}

impl Slope {
    /// Of nothing.
    pub(super) const UNKNOWN: Self =
        Self { seconds: f64::INFINITY, least: f64::INFINITY, most: f64::INFINITY };
}

/// How many repeats make a batch, and what it took: doubled until it takes [`Timing::least`], then scaled to it.
///
/// # Errors
/// Whatever a run fails with.
pub fn batch(what: &mut dyn Repeat) -> Result<(u32, Nanos), Error> {
    let least = what.timing().least;
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

/// Run times of n repeats and of twice as many, or as many times more as the timing says, taken in turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Draws {
    repeats: u32,
    timing: Timing,
    once: Vec<Nanos>,
    more: Vec<Nanos>,
}

impl Draws {
    /// So many of each, two at least.
    ///
    /// # Errors
    /// Whatever a run fails with.
    pub fn take(what: &mut dyn Repeat, repeats: u32, draws: usize) -> Result<Self, Error> {
        let timing = what.timing();
        let mut taken = Self { repeats, timing, once: Vec::new(), more: Vec::new() };
        for _ in 0..draws.max(2) {
            taken.once.push(what.run(repeats)?);
            taken.more.push(what.run(repeats.saturating_mul(timing.long))?);
        }
        Ok(taken)
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.once.extend(&others.once);
        self.more.extend(&others.more);
        self
    }

    /// The slope of the shortest runs. None when the draws were disturbed too much: when one less
    /// would change the sign, or when the round trip that they tell of is none.
    pub fn slope(&self) -> Option<Slope> {
        let ([once, next], [more, after]) = (self.counted(&self.once)?, self.counted(&self.more)?);
        let longer = f64::from(self.timing.long) - 1.0;
        let per_repeat = |long: f64, short: f64| (long - short) / (longer * f64::from(self.repeats));
        let slope = Slope {
            seconds: per_repeat(more, once),
            least: per_repeat(more, next),
            most: per_repeat(after, once),
        };
        let round_trip = once - (more - once) / longer;
        (slope.least > 0.0 && round_trip.abs() <= ROUND_TRIP * once).then_some(slope)
    }

    /// A repeat by the runs of one length alone, the round trip in it: what can only be too long. For draws
    /// of which all of the other length were disturbed.
    pub fn bound(&self) -> Slope {
        let by = |runs, times: u32| {
            let each = f64::from(times) * f64::from(self.repeats);
            self.counted(runs).unwrap_or([f64::INFINITY; 2]).map(|t| t / each)
        };
        let (short, long) = (by(&self.once, 1), by(&self.more, self.timing.long));
        let [seconds, most] = if short[0] < long[0] { short } else { long };
        Slope { seconds, least: seconds, most }
    }

    /// Whether luck makes some of them shorter.
    pub fn has_luck(&self) -> bool {
        self.timing.luck > 0.0
    }

    /// The shortest run but for those of luck, and the next; none of fewer than two.
    fn counted(&self, runs: &[Nanos]) -> Option<[f64; 2]> {
        let mut sorted = runs.to_vec();
        sorted.sort_unstable();
        let lucky = (self.timing.luck * runs.len() as f64) as usize;
        match sorted.get(lucky..)? {
            [shortest, next, ..] => Some([shortest.seconds(), next.seconds()]),
            _ => None,
        }
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

        fn timing(&self) -> Timing {
            Timing::GPU
        }
    }

    /// The same, timed so.
    struct Timed(Simulated, Timing);

    impl Repeat for Timed {
        fn run(&mut self, repeats: u32) -> Result<Nanos, Error> {
            self.0.run(repeats)
        }

        fn timing(&self) -> Timing {
            self.1
        }
    }

    fn slope(what: &mut Simulated, draws: usize) -> Option<Slope> {
        Draws::take(what, 50, draws).unwrap().slope()
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
    fn lucky_runs_do_not_count_where_luck_is_told() {
        // A quarter of all runs took 10 ms less, on a device of 1 ms a repeat; or was disturbed.
        let mut device = Timed(simulated(2_000_000, 1_000_000, &[]), Timing::WAKING);
        let all = Draws::take(&mut device, 50, 8).unwrap();
        let off = |by: i64, all: &[Nanos]| {
            let (few, rest) = all.split_at(2);
            let few = few.iter().map(|t| Nanos(t.0.saturating_add_signed(by)));
            few.chain(rest.iter().copied()).collect::<Vec<_>>()
        };
        for by in [0, -10_000_000, 10_000_000] {
            let draws = Draws { once: off(by, &all.once), more: off(by, &all.more), ..all.clone() };
            let s = draws.slope().unwrap();
            assert!((s.seconds - 1e-3).abs() < 1e-12 && s.most - s.least < 1e-12, "{by}: {s:?}");
            // The round trip of 2 ms is in 400 repeats.
            assert!((draws.bound().seconds - 1.005e-3).abs() < 1e-12, "{:?}", draws.bound());
        }
        // Where none is told the shortest count.
        let timing = Timing { luck: 0.0, ..Timing::WAKING };
        let draws = Draws { once: all.once.clone(), more: off(-10_000_000, &all.more), repeats: 50, timing };
        assert!(draws.slope().unwrap().seconds < 0.98e-3);
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
            assert!(took >= Timing::GPU.least.0 || repeats == MOST_REPEATS, "{repeat}: {repeats}");
            assert!(took <= 8 * Timing::GPU.least.0 || repeats == 1, "{repeat}: {repeats}");
        }
    }
}
