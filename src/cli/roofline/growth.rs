//! How decodes grow with their sequences and their contexts, measured in turn at sizes near the knobs'.

use std::time::Instant;

use super::meter::{Config, Meter};
use crate::model::Profile;
use crate::profile::stats::{Interval, Samples};

/// A decode's wall clock over its sizes: `fixed + each sequences + key sequences context`, ns.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sizes {
    fixed: f64,
    each: f64,
    key: f64,
}

impl Sizes {
    /// From the walls of a decode, of one with an eighth of its context, and of one with more or fewer sequences.
    fn fitted(base: Config, [wall, shorter]: [f64; 2], other: Option<(usize, f64)>) -> Self {
        let (n, context) = (base.sequences as f64, base.context as f64);
        let key = (wall - shorter) / (n * (context - (base.context / SHORTER) as f64));
        let grown =
            |(sequences, other): (usize, f64)| (other - wall) / (sequences as f64 - n) - key * context;
        // Where a batch has no neighbour, nobody asks how it grows.
        let each = other.map_or(0.0, grown);
        Self { fixed: wall - n * (each + key * context), each, key }
    }

    /// Of a token.
    fn token(&self, config: Config) -> f64 {
        self.fixed / config.sequences as f64 + self.each + self.key * config.context as f64
    }
}

/// The part of the context that tells how a decode grows: between the two that are knobs, since a step does
/// not grow evenly (what half a context saves is not saved again by the rest).
const SHORTER: usize = 8;

/// Rounds at least and at most: of 8 the bootstrap leaves out the fastest and the slowest.
const ROUNDS: [usize; 2] = [8, 200];
/// Rounds that warm up.
const WARM: usize = 2;

/// What is saved, and what is left, may be uncertain by this part of itself: predictions aim at no better.
const SURE: f64 = 0.3;
/// An interval that stays within this of no saving is of a knob that saves nothing.
const NOTHING: f64 = 0.03;

/// How a decode grows, by each of several rounds.
#[derive(Clone, Debug)]
pub struct Growth {
    base: Config,
    rounds: Vec<Sizes>,
}

impl Growth {
    /// Of a decode; none where no context is shorter.
    pub fn measure(meter: &mut Meter<'_>, base: Config) -> anyhow::Result<Option<Self>> {
        let shorter = Config { context: base.context / SHORTER, ..base };
        if base.tokens != 1 || shorter.context == 0 {
            return Ok(None);
        }
        let fits = |n: &usize| *n > 0 && *n <= meter.runner.limits.sequences;
        let other = [2 * base.sequences, base.sequences / 2].into_iter().find(fits);
        let mut configs = vec![base, shorter];
        configs.extend(other.map(|sequences| Config { sequences, ..base }));
        let rounds = meter.rounds(&configs)?;
        let fitted = rounds
            .iter()
            .map(|walls| Sizes::fitted(base, [walls[0], walls[1]], other.zip(walls.get(2).copied())));
        Ok(Some(Self { base, rounds: fitted.collect() }))
    }

    /// The part of a token's time that other sizes leave, or why that can't be told. Within a round the
    /// machine's pace cancels.
    pub fn left(&self, to: Config) -> Result<f64, String> {
        let left = self.rounds.iter().map(|round| round.token(to) / round.token(self.base));
        let Some(left) = Samples::new(left.collect()) else { return Err("no round has a time".into()) };
        let (value, Interval { low, high }) = (left.median(), left.median_interval());
        // Each sequence's time would be less than nothing.
        let more = to.sequences > self.base.sequences;
        if more && to.sequences as f64 * high < self.base.sequences as f64 {
            return Err("more sequences took less time here than fewer, which is noise".to_string());
        }
        let within = |part: f64| (high - value).max(value - low) <= SURE * part;
        let nothing = low >= 1.0 - NOTHING && high <= 1.0 + NOTHING;
        if nothing || within(value) && within((1.0 - value).abs()) {
            return Ok(value);
        }
        let saved = |left: f64| 100.0 * (1.0 - left);
        Err(format!(
            "what it saves is lost in noise ({:.0} to {:.0} % of a token's time)",
            saved(high),
            saved(low)
        ))
    }
}

impl Meter<'_> {
    /// Wall clocks of steps in turn, by round, ns.
    fn rounds(&mut self, configs: &[Config]) -> anyhow::Result<Vec<Vec<f64>>> {
        let mut rounds = Vec::new();
        let start = Instant::now();
        while rounds.len() < WARM + ROUNDS[0]
            || (start.elapsed() < self.budget / 2 && rounds.len() < WARM + ROUNDS[1])
        {
            let mut walls = vec![0.0; configs.len()];
            let mut order: Vec<usize> = (0..configs.len()).collect();
            // The other way round next time, so that a pace that changes favours no place.
            if rounds.len() % 2 == 1 {
                order.reverse();
            }
            for i in order {
                walls[i] = self.step(configs[i], Profile::default())?.wall().0 as f64;
            }
            rounds.push(walls);
        }
        rounds.drain(..WARM);
        Ok(undisturbed(rounds))
    }
}

/// The rounds in which nothing disturbed any step, if they are enough to tell an interval.
fn undisturbed(rounds: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let steps = rounds.first().map_or(0, Vec::len);
    let limit = |i: usize| Samples::new(rounds.iter().map(|walls| walls[i]).collect()).map(|s| s.calm());
    let Some(limits) = (0..steps).map(limit).collect::<Option<Vec<f64>>>() else { return rounds };
    let is_calm = |walls: &&Vec<f64>| walls.iter().zip(&limits).all(|(wall, limit)| wall <= limit);
    let found: Vec<Vec<f64>> = rounds.iter().filter(is_calm).cloned().collect();
    if found.len() >= ROUNDS[0] { found } else { rounds }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Config = Config { tokens: 1, sequences: 1, context: 1000 };

    /// Of rounds of a decode, of an eighth of its context, and of twice its sequences.
    fn growth(rounds: &[[f64; 3]]) -> Growth {
        let fitted = |[wall, shorter, other]: &[f64; 3]| {
            Sizes::fitted(BASE, [*wall, *shorter], Some((2 * BASE.sequences, *other)))
        };
        Growth { base: BASE, rounds: rounds.iter().map(fitted).collect() }
    }

    fn batch(sequences: usize) -> Config {
        Config { sequences, ..BASE }
    }

    #[test]
    fn growth_is_told_from_three_sizes() {
        // 30 fixed, 10 a sequence, 0.02 a key.
        let wall = |n: f64, context: f64| 30.0 + n * (10.0 + 0.02 * context);
        let near = |s: Sizes, config: Config| {
            let expected = wall(config.sequences as f64, config.context as f64) / config.sequences as f64;
            assert!((s.token(config) - expected).abs() < 1e-9, "{s:?} {config:?}");
        };
        let s = Sizes::fitted(BASE, [wall(1.0, 1000.0), wall(1.0, 125.0)], Some((2, wall(2.0, 1000.0))));
        near(s, batch(8));
        near(s, Config { context: 62, ..BASE });
        // The largest batch is told from half of it, and without either a context is.
        let s = Sizes::fitted(batch(8), [wall(8.0, 1000.0), wall(8.0, 125.0)], Some((4, wall(4.0, 1000.0))));
        near(s, BASE);
        let s = Sizes::fitted(BASE, [wall(1.0, 1000.0), wall(1.0, 125.0)], None);
        near(s, Config { context: 250, ..BASE });
    }

    #[test]
    fn a_pace_that_changes_between_rounds_cancels() {
        let rounds =
            [1.0, 2.1, 1.4, 1.0, 2.6, 1.1, 1.9, 1.2].map(|pace| [60.0, 42.5, 90.0].map(|w| pace * w));
        // 4 sequences take 60 + 3 x 30.
        assert!((growth(&rounds).left(batch(4)).unwrap() - 150.0 / 60.0 / 4.0).abs() < 1e-9);
    }

    #[test]
    fn disturbed_rounds_do_not_count_where_enough_are_calm() {
        let mut rounds = vec![vec![60.0, 42.0]; 8];
        rounds.extend([vec![90.0, 42.0], vec![60.0, 63.0]]);
        assert_eq!(undisturbed(rounds.clone()), vec![vec![60.0, 42.0]; 8]);
        rounds.drain(..4);
        assert_eq!(undisturbed(rounds.clone()), rounds);
        assert_eq!(undisturbed(Vec::new()), Vec::<Vec<f64>>::new());
    }

    #[test]
    fn what_noise_may_have_made_is_withheld() {
        // An eighth of the context takes 10 % less, give or take as much.
        let spread = |by: f64| {
            let rounds =
                [-1.0, 1.0, -0.8, 0.8, -0.5, 0.5, -0.2, 0.2, 0.0].map(|x| [60.0, 54.0 + by * x, 90.0]);
            growth(&rounds).left(Config { context: 62, ..BASE })
        };
        assert!((spread(1.0).unwrap() - 0.893).abs() < 1e-3);
        let why = spread(6.0).unwrap_err();
        assert!(why.contains("lost in noise"), "{why}");
    }

    #[test]
    fn what_surely_saves_nothing_is_no_gain() {
        let rounds = [59.0, 60.9, 59.9, 60.4, 60.0, 59.2, 60.3, 59.6].map(|shorter| [60.0, shorter, 90.0]);
        let left = growth(&rounds).left(Config { context: 250, ..BASE }).unwrap();
        assert!((left - 1.0).abs() < 0.01, "{left}");
    }

    #[test]
    fn more_work_in_less_time_is_noise() {
        let rounds = [50.0, 50.2, 49.9, 50.1, 50.0, 50.3, 49.8, 50.0].map(|twice| [60.0, 42.5, twice]);
        let why = growth(&rounds).left(batch(4)).unwrap_err();
        assert!(why.contains("took less time"), "{why}");
        // No more than noise allows: eight sequences for the price of one.
        let rounds = [60.1, 59.9, 60.2, 59.8, 60.0, 60.1, 59.9, 60.0].map(|twice| [60.0, 42.5, twice]);
        assert!((growth(&rounds).left(batch(8)).unwrap() - 0.125).abs() < 0.01);
    }
}
