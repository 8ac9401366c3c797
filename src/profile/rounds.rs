//! Timing in rounds: whatever is asked takes its turn in each, so that what slows a machine down for seconds
//! spoils rounds and not ceilings.

use std::fmt;
use std::time::Instant;

use super::ceiling::{Ceiling, Rounds};
use super::probe::{Error, Unit};
use super::slope::{Budget, Draws, Repeat, Slope, batch};

/// Rounds agree when leaving any one out changes the figure by no more than this part.
pub const AGREE: f64 = 0.05;

/// Draws of T(n) and of T(2n) in a round, on a device with long batches.
const DRAWS: usize = 1;

/// A ceiling that is asked: something to repeat, and what a repeat is worth.
pub struct Asked<'a> {
    /// Its name.
    pub name: &'static str,
    /// The unit of its figure.
    pub unit: Unit,
    /// What runs.
    pub probe: String,
    /// Operations, bytes or dispatches of a repeat.
    pub work: f64,
    /// What is repeated.
    pub what: Box<dyn Repeat + 'a>,
}

impl fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asked").field(&self.name).finish()
    }
}

/// One that is being timed.
struct Timed<'a> {
    asked: Asked<'a>,
    repeats: u32,
    draws: Vec<Draws>,
    settled: bool,
}

/// Measures each again after all others, from the fewest rounds until leaving any one out changes its
/// figure by no more than 5 %, and to the most. Gives them in their order.
///
/// # Errors
/// A device that fails.
pub fn in_rounds(
    asked: Vec<Asked<'_>>,
    budget: Budget,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Ceiling>, Error> {
    let mut timed = Vec::new();
    for mut asked in asked {
        let repeats = batch(&mut *asked.what)?;
        timed.push(Timed { asked, repeats, draws: Vec::new(), settled: false });
    }
    if let Some(first) = timed.first_mut() {
        let start = Instant::now();
        while start.elapsed() < budget.warm_up() {
            first.asked.what.run(first.repeats)?;
        }
    }
    let [least, most] = budget.rounds();
    for round in 0..most {
        let open: Vec<&mut Timed<'_>> = timed.iter_mut().filter(|t| round < least || !t.settled).collect();
        if open.is_empty() {
            break;
        }
        if round % 4 == 0 {
            progress(&format!(
                "round {} of {least} to {most}, probes still measured: {}",
                round + 1,
                open.len()
            ));
        }
        for t in open {
            let draws = t.asked.what.draws(DRAWS);
            t.draws.push(Draws::take(&mut *t.asked.what, t.repeats, draws)?);
            t.settled = matches!(settled(&t.draws, t.repeats).1, Rounds::Agreed(_));
        }
    }
    let ceiling = |t: Timed<'_>| {
        let (slope, rounds) = settled(&t.draws, t.repeats);
        Ceiling::new(&t.asked, slope, rounds)
    };
    Ok(timed.into_iter().map(ceiling).collect())
}

/// The slope of the shortest runs of all rounds, and whether any of them could be left out.
///
/// Whatever disturbs a run makes it longer, so the shortest of all is the nearest to the truth, and
/// more rounds can only bring it nearer; the spread is what leaving any one out does.
fn settled(all: &[Draws], repeats: u32) -> (Slope, Rounds) {
    let pool = pooled(all, None);
    let Some(best) = pool.slope(repeats) else { return (pool.bound(repeats), Rounds::Scattered(all.len())) };
    let without: Vec<Option<Slope>> = (0..all.len()).map(|i| pooled(all, Some(i)).slope(repeats)).collect();
    let lost = without.iter().any(Option::is_none);
    // Where a round can't be left out, how far the figure would move is told by its draws.
    let draws = [best.least, best.most].into_iter().filter(|_| lost);
    let seconds = without.iter().flatten().map(|slope| slope.seconds);
    let kept: Vec<f64> = seconds.chain(draws).chain([best.seconds]).collect();
    let least = kept.iter().copied().fold(best.seconds, f64::min);
    let most = kept.iter().copied().fold(best.seconds, f64::max);
    let agreed = all.len() > 1 && most <= least * (1.0 + AGREE) && !lost;
    let rounds = if agreed { Rounds::Agreed(all.len()) } else { Rounds::Scattered(all.len()) };
    (Slope { seconds: best.seconds, least, most }, rounds)
}

/// The draws of all rounds but one.
fn pooled(all: &[Draws], without: Option<usize>) -> Draws {
    let kept = all.iter().enumerate().filter(|(i, _)| Some(*i) != without);
    kept.fold(Draws::default(), |joined, (_, draws)| joined.and(draws))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu;
    use crate::units::Nanos;

    /// A device whose clock changes from run to run: nanoseconds of a repeat, in turn.
    struct Clocked(Vec<u64>);

    impl Repeat for Clocked {
        fn run(&mut self, repeats: u32) -> Result<Nanos, gpu::Error> {
            let each = if self.0.len() > 1 { self.0.remove(0) } else { self.0[0] };
            Ok(Nanos(50_000 + each * u64::from(repeats)))
        }
    }

    /// So many rounds of two draws each, four runs in all.
    fn rounds(clocks: Vec<u64>, rounds: usize) -> (Slope, Rounds) {
        let mut device = Clocked(clocks);
        let draws: Vec<Draws> = (0..rounds).map(|_| Draws::take(&mut device, 1000, 2).unwrap()).collect();
        settled(&draws, 1000)
    }

    #[test]
    fn a_round_at_a_low_clock_is_left_behind() {
        let (slope, agreement) = rounds(vec![2000, 2000, 2000, 2000, 1000], 3);
        assert_eq!(agreement, Rounds::Agreed(3));
        assert!((slope.seconds - 1e-6).abs() < 1e-12 && slope.most - slope.least < 1e-12, "{slope:?}");
    }

    #[test]
    fn one_fast_round_is_no_agreement_until_another_repeats_it() {
        // Rounds of 1500 ns a repeat, one of 1000, again 1500: leaving that one out would matter.
        let clocks: Vec<u64> = [1500, 1000, 1500].into_iter().flat_map(|c| [c; 4]).collect();
        let (slope, agreement) = rounds(clocks, 8);
        assert_eq!(agreement, Rounds::Scattered(8));
        assert!((slope.seconds - 1e-6).abs() < 1e-12 && (slope.most - 1.5e-6).abs() < 1e-12, "{slope:?}");
        let clocks: Vec<u64> = [1500, 1000, 1500, 1000].into_iter().flat_map(|c| [c; 4]).collect();
        let (slope, agreement) = rounds(clocks, 4);
        assert_eq!(agreement, Rounds::Agreed(4));
        assert!((slope.seconds - 1e-6).abs() < 1e-12, "{slope:?}");
    }

    #[test]
    fn one_round_alone_agrees_with_nothing() {
        assert_eq!(rounds(vec![1000], 1).1, Rounds::Scattered(1));
    }

    #[test]
    fn a_round_that_can_not_be_left_out_leaves_a_spread() {
        // The first round alone has a sound T(n) and T(2n): all others' T(n) are as long as their T(2n).
        let sound = [1000, 1000, 1100, 1100];
        let clocks = sound.into_iter().chain([4000, 2000].into_iter().cycle().take(4 * 8 - 4));
        let (slope, agreement) = rounds(clocks.collect(), 8);
        assert_eq!(agreement, Rounds::Scattered(8));
        assert!(slope.most > 1.1 * slope.least, "{slope:?}");
    }

    #[test]
    fn where_every_short_run_was_disturbed_the_long_ones_bound_it() {
        // Each T(n) takes as long as each T(2n), of 1000 ns a repeat and 50 us: a slope would be nothing.
        let (slope, agreement) = rounds([2000, 1000].into_iter().cycle().take(4 * 8).collect(), 8);
        assert_eq!(agreement, Rounds::Scattered(8));
        assert!((slope.seconds - 1.025e-6).abs() < 1e-12, "{slope:?}");
    }

    fn asked(name: &'static str, clocks: Vec<u64>) -> Asked<'static> {
        let unit = Unit::GigabytesPerSecond;
        Asked { name, unit, probe: String::new(), work: 1000.0, what: Box::new(Clocked(clocks)) }
    }

    #[test]
    fn all_take_their_turns_and_only_what_differs_goes_on() {
        let mut told = Vec::new();
        let noise = [2_000_000, 1_000_000].into_iter().cycle().take(10_000).collect();
        let all = vec![asked("quiet", vec![1000]), asked("noise", noise)];
        let found = in_rounds(all, Budget::Quick, &mut |what| told.push(what.to_string())).unwrap();
        let [quiet, noise] = &found[..] else { panic!("{found:?}") };
        assert!((quiet.value - 1.0).abs() < 1e-9 && quiet.rounds == Rounds::Agreed(3), "{quiet:?}");
        assert_eq!((noise.name, noise.rounds), ("noise", Rounds::Scattered(8)));
        assert_eq!(
            told,
            ["round 1 of 3 to 8, probes still measured: 2", "round 5 of 3 to 8, probes still measured: 1"]
        );
    }
}
