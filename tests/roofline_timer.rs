//! The timer's self-test on clocks that lie in the ways that drivers were seen to, and on the
//! adapter that is there.

use ridgepoint::gpu::{AdapterChoice, Checks, Error, Gpu};
use ridgepoint::profile::timer::{Clock, Findings, GpuClock, examine};
use ridgepoint::profile::{Counts, Stamps};
use ridgepoint::roofline::grade;
use ridgepoint::roofline::report::Grade;
use ridgepoint::units::Nanos;
use wgpu::Features;

/// A device of 1 ms a unit, whose stamps say what `lie` makes of them.
struct Lying<F> {
    counts: Counts,
    empty: u64,
    lie: F,
}

/// What a lie is told: the pass's place, its true begin and end, the end of the submission.
type Pair = [u64; 2];

impl<F: Fn(usize, Pair) -> Pair> Clock for Lying<F> {
    fn passes(&mut self, units: &[u32]) -> Result<(Vec<Option<f64>>, Nanos), Error> {
        let mut now = 1_000_000;
        let mut spans = Vec::new();
        for (i, &n) in units.iter().enumerate() {
            let end = now + if n == 0 { self.empty } else { 1_000_000 * u64::from(n) };
            spans.push(self.counts.interval((self.lie)(i, [now, end]), 1.0));
            now = end;
        }
        Ok((spans, Nanos(now - 1_000_000 + 200_000)))
    }

    fn counts(&self) -> Counts {
        self.counts
    }
}

fn graded(empty: u64, lie: impl Fn(usize, Pair) -> Pair) -> (Grade, String) {
    let mut clock = Lying { counts: Counts::default(), empty, lie };
    let findings = examine(&mut clock).unwrap();
    let timer = grade(Some(&findings), Some(5_000.0));
    (timer.grade, timer.reason)
}

#[test]
fn an_honest_clock_is_trusted() {
    assert_eq!(graded(6_000, |_, s| s).0, Grade::Trusted);
}

#[test]
fn wrong_units_zeros_swaps_and_coarse_stamps_are_found() {
    // A period of 1 where it is 41.67: ticks are taken for nanoseconds.
    let (grade, why) = graded(6_000, |_, s| s.map(|t| (t as f64 / 41.67) as u64));
    assert_eq!(grade, Grade::WallOnly);
    assert!(why.contains("units"), "{why}");
    let (grade, why) = graded(6_000, |_, s| s.map(|t| (t as f64 * 41.67) as u64));
    assert_eq!(grade, Grade::WallOnly, "{why}");
    let (grade, why) = graded(6_000, |_, _| [0, 0]);
    assert_eq!(grade, Grade::WallOnly);
    assert!(why.contains("zeros"), "{why}");
    let (grade, why) = graded(6_000, |_, [a, b]| [b, a]);
    assert_eq!(grade, Grade::WallOnly);
    assert!(why.contains("before they begin"), "{why}");
    // All stamps alike: a driver that writes them when it likes.
    assert_eq!(graded(6_000, |_, [a, _]| [a, a]).0, Grade::WallOnly);
}

#[test]
fn a_pass_that_holds_the_one_before_is_good_for_batches_only() {
    // The second pass's begin is the first's, as where a begin is stamped at the top of the pipe.
    let (grade, why) = graded(6_000, |i, [a, b]| if i > 0 { [1_000_000, b] } else { [a, b] });
    assert_eq!(grade, Grade::BatchOnly);
    assert!(why.contains("heavy"), "{why}");
}

#[test]
fn stamps_that_cost_more_than_a_dispatch_are_good_for_batches_only() {
    let (grade, why) = graded(110_000, |_, s| s);
    assert_eq!(grade, Grade::BatchOnly);
    assert!(why.contains("empty dispatch"), "{why}");
}

#[test]
fn stamps_of_unknown_cost_are_good_for_batches_only() {
    let mut clock = Lying { counts: Counts::default(), empty: 6_000, lie: |_, s| s };
    let findings = examine(&mut clock).unwrap();
    // No ceiling of a launch, or one that says nothing, or no interval around nothing.
    let silent = Findings { null: None, ..findings };
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
    let timer = |empty, lie: fn(usize, [u64; 2]) -> [u64; 2]| {
        let mut clock = Lying { counts: Counts::default(), empty, lie };
        grade(Some(&examine(&mut clock).unwrap()), Some(5_000.0))
    };
    let trusted = timer(6_000, |_, s| s);
    assert_eq!(trusted.around_a_dispatch(inside), Some(Stamps::Inside));
    assert_eq!(trusted.around_a_dispatch(ends), Some(Stamps::Passes));
    assert_eq!(trusted.around_a_dispatch(Features::empty()), None);
    // Costly stamps are taken off an interval inside a pass, and drown a dispatch with a pass of its own.
    let costly = timer(110_000, |_, s| s);
    assert_eq!(
        (costly.around_a_dispatch(inside), costly.around_a_dispatch(ends)),
        (Some(Stamps::Inside), None)
    );
    let leaking = timer(6_000, |i, [a, b]| if i > 0 { [1_000_000, b] } else { [a, b] });
    assert_eq!(leaking.around_a_dispatch(inside), None);
    let wrong = timer(6_000, |_, [a, b]| [a, a + (b - a) / 40]);
    assert_eq!(wrong.around_a_dispatch(inside), None);
    assert!(
        wrong.refusal().contains("wall_only") && wrong.refusal().contains("units"),
        "{}",
        wrong.refusal()
    );
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
