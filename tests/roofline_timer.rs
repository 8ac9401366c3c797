//! The timer's self-test on clocks that lie in the ways that drivers were seen to, and on the
//! adapter that is there.

use ridgepoint::gpu::{AdapterChoice, Checks, Error, Gpu};
use ridgepoint::profile::timer::{Clock, Findings, Found, GpuClock, examine};
use ridgepoint::profile::{Counts, Stamps};
use ridgepoint::roofline::report::{Grade, Timer};
use ridgepoint::roofline::{grade, graded};
use ridgepoint::units::Nanos;
use wgpu::Features;

/// A device of 1 ms a unit, whose stamps say what `lie` makes of them.
struct Lying<F> {
    counts: Counts,
    empty: u64,
    lie: F,
    /// What the stamps inside passes say, if there are any.
    inside: Option<fn(usize, Pair) -> Pair>,
    runs: u64,
}

/// What a lie is told: the interval's place, its true begin and end.
type Pair = [u64; 2];

fn lying<F: Fn(usize, Pair) -> Pair>(empty: u64, lie: F) -> Lying<F> {
    Lying { counts: Counts::default(), empty, lie, inside: Some(|_, s| s), runs: 0 }
}

impl<F: Fn(usize, Pair) -> Pair> Clock for Lying<F> {
    fn intervals(&mut self, stamps: Stamps, units: &[u32]) -> Result<(Vec<Option<f64>>, Nanos), Error> {
        let mut now = 1_000_000;
        let mut spans = Vec::new();
        // No two runs take the same to the nanosecond.
        self.runs += 1;
        let odd = self.runs * 7 % 13;
        for (i, &n) in units.iter().enumerate() {
            let end = now + odd + if n == 0 { self.empty } else { 1_000_000 * u64::from(n) };
            let pair = match (stamps, self.inside) {
                (Stamps::Inside, Some(lie)) => lie(i, [now, end]),
                _ => (self.lie)(i, [now, end]),
            };
            spans.push(self.counts.interval(pair, 1.0));
            now = end;
        }
        Ok((spans, Nanos(now - 1_000_000 + 200_000)))
    }

    fn stamps_inside(&self) -> bool {
        self.inside.is_some()
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn period(&self) -> f64 {
        1.0
    }
}

/// Of a device whose dispatch costs 5 us by slope.
fn timer(mut clock: impl Clock) -> Timer {
    grade(Some(&examine(&mut clock).unwrap()), Some(5_000.0))
}

fn of(empty: u64, lie: impl Fn(usize, Pair) -> Pair) -> (Grade, String) {
    let timer = timer(lying(empty, lie));
    (timer.grade, timer.reason)
}

/// The second interval's begin is the first's, as where a begin is stamped at the top of the pipe.
fn leaking(place: usize, [begin, end]: Pair) -> Pair {
    if place > 0 { [1_000_000, end] } else { [begin, end] }
}

/// Stamps in steps of 65,536 ns.
fn coarse(_: usize, pair: Pair) -> Pair {
    pair.map(|t| t >> 16 << 16)
}

#[test]
fn an_honest_clock_is_trusted() {
    assert_eq!(of(6_000, |_, s| s).0, Grade::Trusted);
}

#[test]
fn wrong_units_zeros_swaps_and_coarse_stamps_are_found() {
    // A period of 1 where it is 41.67: ticks are taken for nanoseconds.
    let (grade, why) = of(6_000, |_, s| s.map(|t| (t as f64 / 41.67) as u64));
    assert_eq!(grade, Grade::WallOnly);
    assert!(why.contains("units"), "{why}");
    let (grade, why) = of(6_000, |_, s| s.map(|t| (t as f64 * 41.67) as u64));
    assert_eq!(grade, Grade::WallOnly, "{why}");
    let (grade, why) = of(6_000, |_, _| [0, 0]);
    assert_eq!(grade, Grade::WallOnly);
    assert!(why.contains("zeros"), "{why}");
    let (grade, why) = of(6_000, |_, [a, b]| [b, a]);
    assert_eq!(grade, Grade::WallOnly);
    assert!(why.contains("before they begin"), "{why}");
    // All stamps alike: a driver that writes them when it likes.
    assert_eq!(of(6_000, |_, [a, _]| [a, a]).0, Grade::WallOnly);
}

#[test]
fn a_pass_that_holds_the_one_before_is_good_for_batches_only() {
    let (grade, why) = of(6_000, leaking);
    assert_eq!(grade, Grade::BatchOnly);
    assert!(why.contains("heavy"), "{why}");
}

#[test]
fn stamps_that_cost_more_than_a_dispatch_are_good_for_batches_only() {
    let (grade, why) = of(110_000, |_, s| s);
    assert_eq!(grade, Grade::BatchOnly);
    assert!(why.contains("empty dispatch"), "{why}");
}

#[test]
fn stamps_of_unknown_cost_are_good_for_batches_only() {
    let findings = examine(&mut lying(6_000, |_, s| s)).unwrap();
    // No ceiling of a launch, or one that says nothing, or no interval around nothing.
    let silent = Findings { passes: Found { null: None, ..findings.passes }, ..findings };
    for (findings, launch, says) in [
        (findings, None, "costs by slope"),
        (findings, Some(0.0), "costs by slope"),
        (silent, Some(5_000.0), "reads"),
    ] {
        let timer = grade(Some(&findings), launch);
        assert_eq!((timer.grade, timer.stamp_cost), (Grade::BatchOnly, None), "{launch:?}");
        assert!(timer.reason.contains(says), "{}", timer.reason);
    }
}

#[test]
fn no_timestamps_are_the_wall_clock_alone() {
    let timer = grade(None, Some(5_000.0));
    assert_eq!((timer.grade, timer.samples), (Grade::WallOnly, 0));
    assert_eq!(timer.wall_agreement, None, "null, not 0");
}

#[test]
fn stamps_go_where_the_grade_and_the_device_allow() {
    let inside = Features::TIMESTAMP_QUERY | Features::TIMESTAMP_QUERY_INSIDE_PASSES;
    let ends = Features::TIMESTAMP_QUERY;
    let trusted = timer(lying(6_000, |_, s| s));
    assert_eq!(trusted.around_a_dispatch(inside), Some(Stamps::Inside));
    assert_eq!(trusted.around_a_dispatch(ends), Some(Stamps::Passes));
    assert_eq!(trusted.around_a_dispatch(Features::empty()), None);
    // Costly stamps are taken off an interval inside a pass, and drown a dispatch with a pass of its own.
    let costly = timer(lying(110_000, |_, s| s));
    assert_eq!(
        (costly.around_a_dispatch(inside), costly.around_a_dispatch(ends)),
        (Some(Stamps::Inside), None)
    );
    let wrong = timer(lying(6_000, |_, [a, b]| [a, a + (b - a) / 40]));
    assert_eq!(wrong.around_a_dispatch(inside), None);
    assert!(
        wrong.refusal().contains("wall_only") && wrong.refusal().contains("units"),
        "{}",
        wrong.refusal()
    );
}

#[test]
fn stamps_inside_passes_are_judged_by_themselves() {
    let inside = Features::TIMESTAMP_QUERY | Features::TIMESTAMP_QUERY_INSIDE_PASSES;
    // Sound at the ends of passes, and leaking or slow inside.
    let slow: fn(usize, Pair) -> Pair = |_, [a, b]| [a, if b - a > 100_000_000 { b + (b - a) } else { b }];
    for (lie, says) in [(leaking as fn(usize, Pair) -> Pair, "heavy"), (slow, "twice the work")] {
        let found = timer(Lying { inside: Some(lie), ..lying(6_000, |_, s| s) });
        assert_eq!((found.grade, found.around_a_dispatch(inside)), (Grade::Trusted, Some(Stamps::Passes)));
        assert!(found.inside.unwrap().reason.contains(says));
        let found = timer(Lying { inside: Some(lie), ..lying(110_000, |_, s| s) });
        assert_eq!(found.around_a_dispatch(inside), None);
        let why = found.refusal();
        assert!(why.contains("batch_only") && why.contains(says) && why.contains("empty dispatch"), "{why}");
    }
    // The other way round.
    let found = timer(lying(6_000, leaking));
    assert_eq!((found.grade, found.around_a_dispatch(inside)), (Grade::BatchOnly, Some(Stamps::Inside)));
    // What was never tested is not used.
    let untested = timer(Lying { inside: None, ..lying(6_000, |_, s| s) });
    assert_eq!((untested.inside.clone(), untested.grade), (None, Grade::Trusted));
    assert_eq!(untested.around_a_dispatch(inside), Some(Stamps::Passes));
}

#[test]
fn stamps_coarser_than_a_dispatch_are_good_for_batches_only() {
    let inside = Features::TIMESTAMP_QUERY | Features::TIMESTAMP_QUERY_INSIDE_PASSES;
    let found = timer(Lying { inside: Some(coarse), ..lying(6_000, coarse) });
    // An empty dispatch reads nothing at all, which is no sign of cheap stamps.
    assert_eq!((found.grade, found.stamp_cost), (Grade::BatchOnly, Some(0.0)));
    assert!(found.reason.contains("65536 ns"), "{}", found.reason);
    assert_eq!(found.around_a_dispatch(inside), None);
    // A quarter of a dispatch is fine enough.
    let fine = |_: usize, pair: Pair| pair.map(|t| t / 1_000 * 1_000);
    assert_eq!(of(6_000, fine).0, Grade::Trusted);
}

/// A sound clock of which the first heavy runs are disturbed.
struct Busy<C> {
    clock: C,
    runs: usize,
    disturbed: usize,
}

impl<C: Clock> Clock for Busy<C> {
    fn intervals(&mut self, stamps: Stamps, units: &[u32]) -> Result<(Vec<Option<f64>>, Nanos), Error> {
        let (mut spans, wall) = self.clock.intervals(stamps, units)?;
        self.runs += 1;
        // Light work after heavy takes longer.
        if let (true, [_, Some(after)]) = (self.runs < self.disturbed, &mut spans[..]) {
            *after *= 1.5;
        }
        Ok((spans, wall))
    }

    fn stamps_inside(&self) -> bool {
        self.clock.stamps_inside()
    }

    fn counts(&self) -> Counts {
        self.clock.counts()
    }

    fn period(&self) -> f64 {
        self.clock.period()
    }
}

#[test]
fn a_clock_is_examined_until_it_passes() {
    let busy = |disturbed| Busy { clock: lying(6_000, |_, s| s), runs: 0, disturbed };
    let (timer, _) = graded(&mut busy(80), Some(5_000.0)).unwrap();
    assert_eq!((timer.grade, timer.doubt()), (Grade::Trusted, None));
    let mut never = busy(usize::MAX);
    let (timer, _) = graded(&mut never, Some(5_000.0)).unwrap();
    assert_eq!(timer.grade, Grade::BatchOnly);
    assert!(timer.doubt().is_some_and(|doubt| doubt.contains("batch_only") && doubt.contains("--remeasure")));
    assert!((180..300).contains(&never.runs), "three times: {}", never.runs);
}

/// A clock whose stamps are zeros within these runs, counted over all examinations.
struct Fading {
    runs: usize,
    lost: std::ops::Range<usize>,
    counts: Counts,
}

impl Clock for Fading {
    fn intervals(&mut self, _: Stamps, units: &[u32]) -> Result<(Vec<Option<f64>>, Nanos), Error> {
        self.runs += 1;
        let lost = self.lost.contains(&self.runs);
        let mut span = |n: u32| {
            // No two runs take the same to the nanosecond.
            let took = self.runs as u64 * 7 % 13 + if n == 0 { 6_000 } else { 1_000_000 * u64::from(n) };
            self.counts.interval(if lost { [0, 0] } else { [1_000_000, 1_000_000 + took] }, 1.0)
        };
        let spans = units.iter().map(|&n| span(n)).collect();
        let wall = units.iter().map(|&n| 1_000_000 * u64::from(n)).sum();
        Ok((spans, Nanos(wall)))
    }

    fn stamps_inside(&self) -> bool {
        false
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn period(&self) -> f64 {
        1.0
    }
}

#[test]
fn each_examination_is_judged_by_its_own_stamps_and_the_best_counts() {
    let examined =
        |lost| graded(&mut Fading { runs: 0, lost, counts: Counts::default() }, Some(5_000.0)).unwrap().0;
    // An examination is some forty runs: the first has zeros, and the second, which is sound, is not held to them.
    let timer = examined(1..20);
    assert_eq!(timer.grade, Grade::Trusted, "{}", timer.reason);
    assert!(timer.zeros > 0 && timer.samples > timer.zeros);
    assert_eq!(examined(1..10_000).grade, Grade::WallOnly);
}

#[test]
fn a_report_counts_its_own_stamps_with_those_of_the_self_test() {
    let mut timer = grade(None, None);
    timer.count(Counts { pairs: 10, zeros: 2, negatives: 1 });
    timer.count(Counts { pairs: 5, zeros: 0, negatives: 1 });
    assert_eq!((timer.samples, timer.zeros, timer.negatives), (15, 2, 2));
}

#[test]
fn the_adapter_s_stamps_agree_with_the_wall_clock() {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted).expect("an adapter");
    let Some(mut clock) = GpuClock::new(&gpu).expect("probes that run") else { return };
    // Others may run beside us: of several tries one must be undisturbed. Wrong units are wrong in each.
    let mut tries = Vec::new();
    for _ in 0..8 {
        let findings = examine(&mut clock).expect("a device that runs");
        println!("{findings:?}");
        assert_eq!((findings.counts.zeros, findings.counts.negatives), (0, 0));
        tries.push(findings.agreement.expect("stamps"));
        if tries.iter().any(|agreement| (agreement - 1.0).abs() <= 0.05) {
            return;
        }
    }
    panic!("stamps over the wall clock on 50 ms and more, in each try: {tries:.3?}");
}
