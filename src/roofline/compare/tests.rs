//! On reports of simulated devices: `simulated.json`; the same with half the cold bandwidth; the same
//! with `attention_tiled` taking twice as long. Each kernel's time has 1 % of noise.

use super::*;
use crate::roofline::report::{Range, Verdict};

fn report(name: &str) -> Report {
    let text = match name {
        "half-bandwidth" => include_str!("../../../tests/data/roofline/half-bandwidth.json"),
        "slow-kernel" => include_str!("../../../tests/data/roofline/slow-kernel.json"),
        _ => include_str!("../../../tests/data/roofline/simulated.json"),
    };
    Report::from_json(text).unwrap()
}

fn against(name: &str) -> Comparison {
    Comparison::new(("simulated", &report("simulated")), &[(name, &report(name))])
}

/// Changes a row's time and its interval.
fn takes(row: &mut KernelRow, median: f64, interval: f64) {
    row.time_ns.as_mut().unwrap().p50 *= median;
    let range = row.interval_ns.as_mut().unwrap();
    (range.low, range.high) = (interval * range.low, interval * range.high);
}

#[test]
fn what_has_no_time_has_no_ratio() {
    let (a, mut b) = (report("simulated"), report("simulated"));
    takes(&mut b.kernels[1], -1.0, -1.0);
    (b.kernels[2].time_ns, b.kernels[2].interval_ns) = (None, None);
    b.steps[0].kernels_ns = -5.0;
    let comparison = Comparison::new(("a", &a), &[("b", &b)]);
    let other = &comparison.others[0];
    for k in &other.kernels[1..3] {
        assert!(k.ratio.is_none() && k.factors.is_none() && k.p.is_none() && !k.significant, "{k:?}");
    }
    assert_eq!(other.steps[0].ratio, None);
    assert_eq!(comparison.slower(0.0), Vec::<String>::new());
    let page = html(&comparison, &[&a, &b]);
    assert_eq!(page.matches("<thead>").count(), page.matches("<table").count(), "print repeats heads");
    assert!(!page.contains("NaN") && !page.contains("-1.00 ×"), "{page}");
}

#[test]
fn the_nearest_ceiling_is_the_one_that_binds() {
    let comparison = against("simulated");
    let of = |kernel: &str| {
        let found = comparison.others[0].kernels.iter().find(|k| k.kernel == kernel).unwrap();
        found.here.nearest().unwrap()
    };
    assert!(of("linear_split").0 == "memory" && of("linear_split").1 > 0.6);
    assert!(
        of("linear_tiled").0.starts_with("fma") && of("linear_tiled").1 > 0.6,
        "{:?}",
        of("linear_tiled")
    );
}

#[test]
fn half_the_bandwidth_is_blamed_on_the_device() {
    let comparison = against("half-bandwidth");
    let other = &comparison.others[0];
    let read = other.ceilings.iter().find(|c| c.name == "read_cold").unwrap();
    assert!((read.ratio - 0.5).abs() < 1e-9);
    // Memory-bound in both: twice the time, by the device, none by the kernel.
    let bound = |k: &&KernelRatio| k.baseline.verdict == Verdict::MemoryBound;
    let mut seen = 0;
    for k in other.kernels.iter().filter(bound).filter(|k| k.step == "decode x1 at 512") {
        let f = k.factors.unwrap();
        assert!(k.significant && k.blame == Blame::Device, "{k:?}");
        assert!((f.device - 2.0).abs() < 0.05 && (f.kernel - 1.0).abs() < 0.05, "{k:?}");
        seen += 1;
    }
    assert!(seen >= 4, "{seen}");
    // What arithmetic bounds doesn't care.
    let prefill = other.kernels.iter().filter(|k| k.kernel == "linear_tiled");
    for k in prefill {
        assert!((k.ratio.unwrap() - 1.0).abs() < 0.1 && k.blame != Blame::Device, "{k:?}");
    }
    // Launching adds to the time of the smallest, where a floor is the greatest of its parts.
    let mut large = other.kernels.iter().filter(|k| k.here.share >= LEAST_SHARE);
    assert!(large.all(|k| k.blame != Blame::Kernel), "no kernel is to blame");
}

#[test]
fn a_kernel_that_takes_twice_as_long_is_blamed_itself_and_alone() {
    let comparison = against("slow-kernel");
    for k in &comparison.others[0].kernels {
        if k.kernel == "attention_tiled" {
            assert!(k.significant && k.blame == Blame::Kernel, "{k:?}");
            let f = k.factors.unwrap();
            assert!((f.device - 1.0).abs() < 1e-9 && (f.kernel - 2.0).abs() < 0.1, "{k:?}");
        } else {
            assert!((k.ratio.unwrap() - 1.0).abs() < 0.03, "{k:?}");
        }
    }
    let slower = comparison.slower(0.1);
    assert!(slower.iter().any(|s| s.contains("attention_tiled") && s.contains("(the kernel)")), "{slower:?}");
    assert!(!slower.iter().any(|s| s.contains("linear") || s.contains("argmax")), "{slower:?}");
}

#[test]
fn a_report_is_no_slower_than_itself() {
    let comparison = against("simulated");
    assert_eq!(comparison.slower(0.0), Vec::<String>::new());
    let other = &comparison.others[0];
    assert!(other.kernels.iter().all(|k| k.ratio == Some(1.0) && k.blame == Blame::None && !k.significant));
    assert!(other.only_here.is_empty() && other.only_in_baseline.is_empty());
}

#[test]
fn more_bytes_are_blamed_on_the_work() {
    let (a, mut b) = (report("simulated"), report("simulated"));
    for row in b.kernels.iter_mut().filter(|r| r.kernel == "linear_split" && r.step.starts_with("decode x1"))
    {
        // Weights of twice the size take twice the time.
        (row.bytes.low, row.bytes.high) = (2.0 * row.bytes.low, 2.0 * row.bytes.high);
        takes(row, 2.0, 2.0);
    }
    let comparison = Comparison::new(("a", &a), &[("b", &b)]);
    let changed: Vec<_> = comparison.others[0].kernels.iter().filter(|k| k.significant).collect();
    assert!(changed.len() >= 4 && changed.iter().all(|k| k.blame == Blame::Work), "{changed:?}");
}

#[test]
fn rows_of_one_report_are_listed_and_not_compared() {
    let (a, mut b) = (report("simulated"), report("simulated"));
    b.kernels[1].kernel = "gather".into();
    let comparison = Comparison::new(("a", &a), &[("b", &b)]);
    let other = &comparison.others[0];
    assert_eq!(other.kernels.len(), a.kernels.len() - 1);
    assert!(other.only_here[0].contains("gather") && other.only_in_baseline[0].contains("linear_split"));
}

#[test]
fn two_formats_are_compared_place_by_place_and_the_work_is_blamed() {
    let (a, mut b) = (report("simulated"), report("simulated"));
    for row in b.kernels.iter_mut().filter(|r| r.kernel == "linear_split" && r.shape.contains("Q4_0")) {
        // Twice the bytes a weight, by another kernel of the family.
        row.shape = row.shape.replace("Q4_0", "Q8_0");
        row.kernel = "linear_lanes".into();
        (row.bytes.low, row.bytes.high) = (2.0 * row.bytes.low, 2.0 * row.bytes.high);
        takes(row, 2.0, 2.0);
    }
    let comparison = Comparison::new(("a", &a), &[("b", &b)]);
    let other = &comparison.others[0];
    assert_eq!(other.kernels.len(), a.kernels.len());
    assert!(other.only_here.is_empty() && other.only_in_baseline.is_empty());
    let changed: Vec<_> = other.kernels.iter().filter(|k| k.became.is_some()).collect();
    assert_eq!(changed.len(), 8);
    assert!(changed.iter().all(|k| k.significant && k.blame == Blame::Work), "{changed:?}");
    assert_eq!(changed[0].title(), "linear_split->linear_lanes qkv 3072x2048 Q4_0->Q8_0");
    assert!(comparison.slower(0.1).iter().any(|s| s.contains("Q4_0->Q8_0") && s.contains("(more work)")));
    assert!(html(&comparison, &[&a, &b]).contains("→ linear_lanes qkv 3072x2048 Q8_0"));
}

#[test]
fn a_place_with_two_formats_pairs_the_same_names_first() {
    let (mut a, mut b) = (report("simulated"), report("simulated"));
    // The baseline's layers have Q4_0 and then Q6_K; the other's all have Q6_K.
    let mut half = a.kernels[1].clone();
    half.shape = half.shape.replace("Q4_0", "Q6_K");
    b.kernels[1].shape.clone_from(&half.shape);
    a.kernels.insert(2, half);
    let comparison = Comparison::new(("a", &a), &[("b", &b)]);
    let other = &comparison.others[0];
    assert!(other.kernels.iter().all(|k| k.became.is_none()));
    assert_eq!(other.only_in_baseline.len(), 1);
    assert!(other.only_in_baseline[0].contains("Q4_0"), "{:?}", other.only_in_baseline);
}

#[test]
fn noise_as_large_as_the_difference_raises_no_alarm() {
    let (mut a, mut b) = (report("simulated"), report("slow-kernel"));
    for row in a.kernels.iter_mut().chain(&mut b.kernels) {
        row.timed_by = crate::roofline::report::TimedBy::InsidePass;
        let median = row.time().unwrap();
        row.interval_ns = Some(Range { low: median / 2.5, high: median * 2.5 });
    }
    let comparison = Comparison::new(("a", &a), &[("b", &b)]);
    assert_eq!(comparison.slower(0.1), Vec::<String>::new());
}

#[test]
fn the_page_has_every_kernel_and_both_roofs() {
    let (a, b) = (report("simulated"), report("half-bandwidth"));
    let comparison = Comparison::new(("a.json", &a), &[("b.json", &b)]);
    let page = html(&comparison, &[&a, &b]);
    for k in &comparison.others[0].kernels {
        assert!(page.contains(&format!("<td>{}<br><span class=\"small\">{}", k.kernel, k.shape)), "{k:?}");
    }
    assert!(page.contains("\"roof c0\"") && page.contains("\"roof c1\""));
    assert!(!page.contains("NaN"));
}

#[test]
fn what_a_report_can_not_tell_raises_no_alarm() {
    let (a, mut b) = (report("simulated"), report("simulated"));
    let (weak, sound) = (a.steps[0].name.clone(), a.steps[1].name.clone());
    // One step does not add up, and of another one row is unknown; both take twice as long.
    b.steps[0].coverage = Some(1.19);
    b.kernels.iter_mut().filter(|row| row.step == weak).for_each(|row| takes(row, 2.0, 2.0));
    let row = b.kernels.iter_mut().find(|row| row.step == sound).unwrap();
    takes(row, 2.0, 2.0);
    row.verdict = Verdict::Unknown;
    for (a, b) in [(&a, &b), (&b, &a)] {
        let comparison = Comparison::new(("a", a), &[("b", b)]);
        assert_eq!(comparison.slower(0.0), Vec::<String>::new());
        let other = &comparison.others[0];
        for k in &other.kernels {
            let dark = k.step == weak || k.baseline.verdict != k.here.verdict;
            assert_eq!((k.p.is_none(), k.not_judged.is_some()), (dark, dark), "{k:?}");
        }
        assert!(other.steps[0].not_judged.as_ref().unwrap().contains("add up to 119.0 %"));
        assert!(other.steps[1].not_judged.is_none() && other.steps[2].not_judged.is_none());
        let rows = a.kernels.iter().filter(|row| row.step == weak).count();
        assert_eq!(comparison.not_judged(), (rows + 1, a.kernels.len()));
        let page = html(&comparison, &[a, b]);
        assert!(page.contains("(not judged: ") && page.contains(">not judged<"), "{page}");
        let headline = page.lines().find(|l| l.contains(&format!(">{weak}: kernels"))).unwrap();
        assert!(!headline.contains("within noise"), "{headline}");
    }
}

#[test]
fn a_row_that_is_lost_is_left_out_of_its_step_s_test() {
    let (a, mut b) = (report("simulated"), report("simulated"));
    let step = a.steps[0].name.clone();
    for row in b.kernels.iter_mut().filter(|row| row.step == step) {
        takes(row, 2.0, 2.0);
    }
    b.steps[0].kernels_ns *= 2.0;
    let least = b.kernels.iter_mut().filter(|r| r.step == step).min_by(|x, y| x.share.total_cmp(&y.share));
    let range = least.unwrap().interval_ns.as_mut().unwrap();
    range.low = -range.high;
    let comparison = Comparison::new(("a", &a), &[("b", &b)]);
    let tested = &comparison.others[0].steps[0];
    assert!(tested.significant && tested.left_out == 1 && tested.not_judged.is_none(), "{tested:?}");
    assert!((tested.tested_ns[1] / tested.tested_ns[0] - 2.0).abs() < 1e-9, "{tested:?}");
    assert!(comparison.slower(0.1).iter().any(|s| s.contains("kernels take 2.00 times")));
    let page = html(&comparison, &[&a, &b]);
    assert!(page.contains("tested without 1 row)") && page.contains("<td>lost in noise<td>"), "{page}");
}

#[test]
fn rows_of_one_report_are_tested_with_their_step_or_not_at_all() {
    let (a, mut b) = (report("simulated"), report("simulated"));
    b.kernels[1].kernel = "gather".into();
    let of = |b: &Report| Comparison::new(("a", &a), &[("b", b)]).others.remove(0).steps.remove(0);
    let step = of(&b);
    let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-6;
    assert!(step.left_out == 0 && near(step.tested_ns[0], step.kernels_ns[0]), "{step:?}");
    // Lost on one side, it would be missing there alone.
    b.kernels[1].interval_ns.as_mut().unwrap().low = -1.0;
    let step = of(&b);
    assert!(step.left_out == 2 && near(step.tested_ns[0], step.tested_ns[1]), "{step:?}");
    assert!(step.tested_ns[0] < 0.95 * step.kernels_ns[0], "{step:?}");
}

#[test]
fn a_wall_clock_that_grows_alone_is_said_and_no_alarm() {
    let (a, mut b) = (report("simulated"), report("simulated"));
    b.steps[1].wall_ns *= 3.0;
    let comparison = Comparison::new(("a", &a), &[("b", &b)]);
    assert_eq!(comparison.slower(0.0), Vec::<String>::new());
    let walls = comparison.walls(0.05);
    assert_eq!(walls.len(), 1);
    let said = format!("{}: the wall clock is 3.00 times as long, its kernels 1.00 times", b.steps[1].name);
    assert!(walls[0].contains(&said), "{walls:?}");
    assert_eq!(comparison.walls(2.5), Vec::<String>::new());
    // Where the kernels grew too, they are the alarm.
    let step = b.steps[1].name.clone();
    b.kernels.iter_mut().filter(|row| row.step == step).for_each(|row| takes(row, 3.0, 3.0));
    assert_eq!(Comparison::new(("a", &a), &[("b", &b)]).walls(0.05), Vec::<String>::new());
}

#[test]
fn doubtful_ceilings_are_named_with_their_report() {
    let (a, mut b) = (report("simulated"), report("simulated"));
    b.ceilings[0].agreed = false;
    let comparison = Comparison::new(("a", &a), &[("b", &b)]);
    assert_eq!(comparison.baseline.doubt, None);
    let doubt = comparison.others[0].subject.doubt.clone().unwrap();
    assert!(doubt.contains("read_cold"), "{doubt}");
    assert!(html(&comparison, &[&a, &b]).contains("The ceilings of b are in doubt"));
    // So are those of other probes: what they differ by is not the device.
    let (mut a, mut b) = (a.clone(), a);
    (a.probes, b.probes) = (Some(5), Some(4));
    let comparison = Comparison::new(("a", &a), &[("b", &b)]);
    let doubt = comparison.others[0].subject.doubt.clone();
    assert_eq!(doubt.as_deref(), Some("probes of version 4 gave them, the baseline's were of version 5"));
}

#[test]
fn factors_have_digits_that_count() {
    for (value, text) in
        [(2.0, "2.00"), (0.5, "0.50"), (0.0041, "0.0041"), (0.096, "0.096"), (142.94, "142.94")]
    {
        assert_eq!(factor(value), text);
    }
    assert_eq!(factor(0.0), "0.00");
}

#[test]
fn intensities_of_both_are_on_the_page_where_they_differ() {
    let (a, mut b) = (report("simulated"), report("simulated"));
    (b.kernels[1].intensity.low, b.kernels[1].intensity.high) = (11.0, 13.0);
    let comparison = Comparison::new(("a", &a), &[("b", &b)]);
    let page = html(&comparison, &[&a, &b]);
    assert!(page.contains("<td>2.65 → 11 to 13<td"), "{page}");
}
