//! Timing in rounds: whatever is asked takes its turn in each, so that what slows a machine down for seconds
//! spoils rounds and not ceilings.

use std::fmt;
use std::time::Instant;

use super::ceiling::{CLOSE, Ceiling, Rounds};
use super::probe::{Error, Unit};
use super::slope::{Budget, Draws, Repeat, Slope, batch, draws};

/// Rounds agree when leaving any one out changes the figure by no more than this part.
const AGREE: f64 = 0.05;
/// And their halves when the largest of four is no more than this part above the smallest: what a ceiling is to
/// repeat within.
const HALVES_AGREE: f64 = 0.1;

/// A round takes the time of so many T(n) of 50 ms, and of as many longer runs, but two draws of each at least.
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

/// Variants of one ceiling, of which the fastest counts.
#[derive(Debug)]
pub struct Contest<'a> {
    /// The variants.
    pub variants: Vec<Asked<'a>>,
    /// Its turn comes every so many rounds.
    pub every: usize,
}

/// A variant that is not [`CLOSE`] to the fastest after so many turns has no more.
const TURNS: usize = 4;

/// One that is being timed.
struct Timed<'a> {
    asked: Asked<'a>,
    repeats: u32,
    /// Of a round.
    each: usize,
    draws: Vec<Draws>,
    slope: Slope,
    rounds: Rounds,
}

impl<'a> Timed<'a> {
    fn new(mut asked: Asked<'a>) -> Result<Self, Error> {
        let (repeats, took) = batch(&mut *asked.what)?;
        let each = draws(took.max(asked.what.timing().least), DRAWS);
        let (slope, rounds) = (Slope::UNKNOWN, Rounds::Scattered(0));
        Ok(Self { asked, repeats, each, draws: Vec::new(), slope, rounds })
    }

    /// What the work takes, of which less is faster whatever the unit.
    fn seconds(&self) -> f64 {
        self.slope.seconds / self.asked.work
    }

    fn turn(&mut self) -> Result<(), Error> {
        self.draws.push(Draws::take(&mut *self.asked.what, self.repeats, self.each)?);
        (self.slope, self.rounds) = settled(&self.draws);
        Ok(())
    }
}

/// The fastest of some variants.
fn fastest<'a, 'b>(variants: &'b [Timed<'a>]) -> Option<&'b Timed<'a>> {
    variants.iter().min_by(|a, b| a.seconds().total_cmp(&b.seconds()))
}

/// Measures each again after all others, from the fewest rounds until leaving any one out changes its
/// figure by no more than 5 %, and to the most. Gives the fastest variant of each in their order, and none
/// where there was none.
///
/// # Errors
/// A device that fails.
pub fn in_rounds(
    mut contests: Vec<Contest<'_>>,
    budget: Budget,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Option<Ceiling>>, Error> {
    let mut timed = Vec::new();
    // First, or repeats would be chosen at a clock that has not ramped up.
    if let Some(first) = contests.iter_mut().find_map(|contest| contest.variants.first_mut()) {
        let start = Instant::now();
        while start.elapsed() < budget.warm_up() {
            first.what.run(1)?;
        }
    }
    for contest in contests {
        let variants = contest.variants.into_iter().map(Timed::new).collect::<Result<Vec<_>, _>>()?;
        timed.push((variants, contest.every.max(1)));
    }
    let agreed = |variants: &[Timed<'_>]| {
        fastest(variants).is_none_or(|best| matches!(best.rounds, Rounds::Agreed(_)))
    };
    let [least, most] = budget.rounds();
    for round in 0..most {
        let mut open = timed.iter_mut().filter(|(variants, _)| round < least || !agreed(variants)).peekable();
        if open.peek().is_none() {
            break;
        }
        let mut count = 0;
        let mut turns = Vec::new();
        for (variants, every) in open {
            count += 1;
            turns.extend(round.is_multiple_of(*every).then_some(variants));
        }
        if round % 4 == 0 {
            progress(&format!("round {} of {least} to {most}, probes still measured: {count}", round + 1));
        }
        for variants in turns {
            let best = fastest(variants).map_or(f64::INFINITY, Timed::seconds);
            for t in variants.iter_mut() {
                if t.draws.len() < TURNS || CLOSE * t.seconds() <= best {
                    t.turn()?;
                }
            }
        }
    }
    let ceiling = |best: &Timed<'_>| Ceiling::new(&best.asked, best.slope, best.rounds);
    Ok(timed.iter().map(|(variants, _)| fastest(variants).map(ceiling)).collect())
}

/// The slope of the runs that count of all rounds, and whether any of them could be left out.
///
/// Whatever disturbs a run makes it longer, so the shortest of all is the nearest to the truth, and
/// more rounds can only bring it nearer; the spread is what leaving any one out does. Where luck makes runs shorter,
/// one round more or less moves their quartile by nothing: the spread is what either half of the rounds says alone.
fn settled(all: &[Draws]) -> (Slope, Rounds) {
    let Some(pool) = pooled(all, &|_| true) else { return (Slope::UNKNOWN, Rounds::Scattered(0)) };
    let Some(best) = pool.slope() else { return (pool.bound(), Rounds::Scattered(all.len())) };
    let part = |kept: &dyn Fn(usize) -> bool| pooled(all, kept).and_then(|draws| draws.slope());
    let middle = all.len() / 2;
    let (without, agree): (Vec<Option<Slope>>, f64) = if pool.has_luck() {
        let ends = [part(&|i| i < middle), part(&|i| i >= middle)];
        (ends.into_iter().chain([part(&|i| i % 2 == 0), part(&|i| i % 2 == 1)]).collect(), HALVES_AGREE)
    } else {
        ((0..all.len()).map(|without| part(&|i| i != without)).collect(), AGREE)
    };
    let lost = without.iter().any(Option::is_none);
    // Where a round can't be left out, how far the figure would move is told by its draws.
    let draws = [best.least, best.most].into_iter().filter(|_| lost);
    let seconds = without.iter().flatten().map(|slope| slope.seconds);
    let kept: Vec<f64> = seconds.chain(draws).chain([best.seconds]).collect();
    let least = kept.iter().copied().fold(best.seconds, f64::min);
    let most = kept.iter().copied().fold(best.seconds, f64::max);
    let agreed = all.len() > 1 && most <= least * (1.0 + agree) && !lost;
    let rounds = if agreed { Rounds::Agreed(all.len()) } else { Rounds::Scattered(all.len()) };
    (Slope { seconds: best.seconds, least, most }, rounds)
}

/// The draws of some rounds; none of none.
fn pooled(all: &[Draws], kept: &dyn Fn(usize) -> bool) -> Option<Draws> {
    let mut kept = all.iter().enumerate().filter(|(i, _)| kept(*i)).map(|(_, draws)| draws);
    let first = kept.next()?.clone();
    Some(kept.fold(first, Draws::and))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu;
    use crate::profile::Timing;
    use crate::units::Nanos;

    /// A device whose clock changes from run to run: nanoseconds of a repeat, in turn.
    struct Clocked(Vec<u64>);

    impl Repeat for Clocked {
        fn run(&mut self, repeats: u32) -> Result<Nanos, gpu::Error> {
            let each = if self.0.len() > 1 { self.0.remove(0) } else { self.0[0] };
            Ok(Nanos(50_000 + each * u64::from(repeats)))
        }

        fn timing(&self) -> Timing {
            Timing::GPU
        }
    }

    /// So many rounds of two draws each, four runs in all.
    fn rounds(clocks: Vec<u64>, rounds: usize) -> (Slope, Rounds) {
        let mut device = Clocked(clocks);
        let draws: Vec<Draws> = (0..rounds).map(|_| Draws::take(&mut device, 1000, 2).unwrap()).collect();
        settled(&draws)
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

    /// The same, whose shortest runs are luck.
    struct Lucky(Clocked);

    impl Repeat for Lucky {
        fn run(&mut self, repeats: u32) -> Result<Nanos, gpu::Error> {
            self.0.run(repeats)
        }

        fn timing(&self) -> Timing {
            Timing::WAKING
        }
    }

    #[test]
    fn where_runs_are_lucky_halves_of_the_rounds_have_to_agree() {
        // Of each round's eight runs two in each length were lucky.
        let rounds = |each: &dyn Fn(usize) -> u64| {
            let round = |i: usize| {
                let mut device = Lucky(Clocked([vec![700; 4], vec![each(i)]].concat()));
                Draws::take(&mut device, 1000, 8).unwrap()
            };
            settled(&(0..16).map(round).collect::<Vec<_>>())
        };
        let (slope, agreement) = rounds(&|_| 1000);
        assert_eq!(agreement, Rounds::Agreed(16));
        assert!((slope.seconds - 1e-6).abs() < 1e-12 && slope.most - slope.least < 1e-12, "{slope:?}");
        // A machine that woke its workers sooner for half of the time; any one round could be left out.
        let (slope, agreement) = rounds(&|i| if i < 8 { 1000 } else { 1200 });
        assert_eq!(agreement, Rounds::Scattered(16));
        assert!((slope.least - 1e-6).abs() < 1e-12 && (slope.most - 1.2e-6).abs() < 1e-12, "{slope:?}");
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

    fn contest(variants: Vec<Asked<'static>>, every: usize) -> Contest<'static> {
        Contest { variants, every }
    }

    #[test]
    fn all_take_their_turns_and_only_what_differs_goes_on() {
        let mut told = Vec::new();
        let noise = [2_000_000, 1_000_000].into_iter().cycle().take(10_000).collect();
        let all = vec![contest(vec![asked("quiet", vec![1000])], 1), contest(vec![asked("noise", noise)], 1)];
        let found = in_rounds(all, Budget::Quick, &mut |what| told.push(what.to_string())).unwrap();
        let [Some(quiet), Some(noise)] = &found[..] else { panic!("{found:?}") };
        assert!((quiet.value - 1.0).abs() < 1e-9 && quiet.rounds == Rounds::Agreed(3), "{quiet:?}");
        assert_eq!((noise.name, noise.rounds), ("noise", Rounds::Scattered(8)));
        assert_eq!(
            told,
            ["round 1 of 3 to 8, probes still measured: 2", "round 5 of 3 to 8, probes still measured: 1"]
        );
    }

    #[test]
    fn the_fastest_variant_counts_in_its_contest_s_place() {
        let slow = || asked("slow", vec![2000]);
        let fast = || asked("fast", vec![1000]);
        // Of nothing there is nothing, and what follows keeps its place. A time is better if it is less.
        let time = |name, each| Asked { unit: Unit::Nanoseconds, ..asked(name, vec![each]) };
        let all = vec![
            contest(vec![slow(), fast()], 1),
            contest(vec![], 1),
            contest(vec![time("short", 1000), time("long", 2000)], 2),
        ];
        let found = in_rounds(all, Budget::Quick, &mut |_| {}).unwrap();
        let names: Vec<Option<&str>> = found.iter().map(|c| c.as_ref().map(|c| c.name)).collect();
        assert_eq!(names, [Some("fast"), None, Some("short")]);
        // Rounds 1 and 3 are the turns of what has every second.
        let rounds = |at: usize| found[at].as_ref().map(|c| c.rounds);
        assert_eq!((rounds(0), rounds(2)), (Some(Rounds::Agreed(3)), Some(Rounds::Agreed(2))));
    }

    /// Counts its runs, and never settles.
    struct Counted(std::rc::Rc<std::cell::Cell<usize>>, u64);

    impl Repeat for Counted {
        fn run(&mut self, repeats: u32) -> Result<Nanos, gpu::Error> {
            self.0.set(self.0.get() + 1);
            Ok(Nanos(self.1 * u64::from(repeats)))
        }

        fn timing(&self) -> Timing {
            Timing::GPU
        }
    }

    #[test]
    fn a_variant_that_fell_behind_is_timed_no_further() {
        let runs = |each: u64| {
            let count = std::rc::Rc::new(std::cell::Cell::new(0));
            let what = Box::new(Counted(count.clone(), each));
            let leader = asked("leader", vec![1000]);
            let all = contest(vec![leader, Asked { what, ..asked("other", vec![1]) }], 1);
            in_rounds(vec![all], Budget::Full, &mut |_| {}).unwrap();
            count.get()
        };
        let (close, behind) = (runs(1100), runs(1500));
        assert!(close > 16 * 4 && behind < 4 * 4 + 20, "{close} {behind}");
    }
}
