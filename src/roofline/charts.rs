//! Bandwidth over the working set, and the waterfall of a step.

use super::predict::COVERED;
use super::report::{Report, Step};
use super::svg::{Anchor, Canvas, Scale, around, short, size, time};

/// Bandwidth over the working set: where the levels of memory begin and end.
pub fn bandwidth(report: &Report) -> Option<Canvas> {
    let curves: Vec<_> = report.curves.iter().filter(|c| c.x_unit == "bytes").collect();
    let points = || curves.iter().flat_map(|c| &c.points);
    let x_ends = around(points().map(|p| p.x), 1.3)?;
    let most = points().map(|p| p.value).fold(0.0, f64::max);
    let mut canvas = Canvas::new(920.0, 340.0);
    let x = Scale::sizes(x_ends, [64.0, 904.0]);
    let y = Scale::linear([0.0, most * 1.15], [292.0, 34.0]);
    canvas.axes(&x, &y, ["working set", "GB/s"], [size, short]);
    for (i, curve) in curves.iter().enumerate() {
        let places: Vec<[f64; 2]> = curve.points.iter().map(|p| [x.at(p.x), y.at(p.value)]).collect();
        canvas.path(&format!("series c{i}"), &places);
        for (point, [px, py]) in curve.points.iter().zip(&places) {
            let spread = point.low.zip(point.high);
            let spread = spread.map(|(low, high)| format!(" [{} .. {}]", short(low), short(high)));
            let (rate, spread) = (rate(point.value, &curve.unit), spread.unwrap_or_default());
            let about = format!("{}: {rate}{spread} at {}", curve.name, size(point.x));
            canvas.bar(&format!("c{i}"), [px - 2.5, py - 2.5], [5.0, 5.0], &about);
            canvas.take([*px, *py], 4.0);
        }
        places.windows(2).for_each(|w| canvas.keep_off_line(w[0], w[1]));
        for plateau in &curve.plateaus {
            let level = y.at(plateau.value);
            let [from, to] = [plateau.from, plateau.to].map(|at| [x.at(at), level]);
            canvas.line(&format!("plateau c{i}"), from, to);
            canvas.keep_off_line(from, to);
        }
    }
    for (i, curve) in curves.iter().enumerate() {
        // Names in the free corner: at their ends, curves of one memory come together.
        let at = [904.0 - 56.0 * (curves.len() - 1 - i) as f64, 18.0];
        canvas.text(&format!("head ink{i}"), at, Anchor::End, &curve.name);
        for plateau in &curve.plateaus {
            let stretch = [plateau.from, plateau.to].map(|at| x.at(at));
            let text = rate(plateau.value, &curve.unit);
            canvas.label_along(&format!("note ink{i}"), stretch, y.at(plateau.value), &text);
        }
    }
    Some(canvas)
}

fn rate(value: f64, unit: &str) -> String {
    format!("{}\u{a0}{unit}", short(value))
}

/// What kernels that were timed one by one take more than all of them together: overlap, or an error.
const TOO_MUCH: &str = "kernels beyond the span";

/// Where noise has swallowed all of them.
const LOST_KERNELS: &str = "kernels: lost in noise";

/// A part of a step: its name, its class, and how long it takes.
fn parts(report: &Report, step: &Step) -> Vec<(&'static str, &'static str, f64)> {
    let (span, rest) = (step.gpu_ns.unwrap_or(step.wall_ns), step.gpu_ns.map(|gpu| step.wall_ns - gpu));
    let idle = rest.map(|rest| ("GPU idle", "idle", rest));
    if step.kernels_ns <= 0.0 {
        return [(LOST_KERNELS, "gap", span)].into_iter().chain(idle).collect();
    }
    let rows = report.kernels.iter().filter(|row| row.step == step.name);
    let floor: f64 = rows.map(|row| row.calls as f64 * row.floor_ns).sum();
    let mut parts = vec![
        ("kernels at their ceilings", "floor", floor),
        ("kernels, above that", "excess", step.kernels_ns - floor),
    ];
    let covered = step.coverage.is_some_and(|part| (COVERED[0]..=COVERED[1]).contains(&part));
    let name = match step.gpu_ns {
        _ if step.kernels_ns > span => TOO_MUCH,
        Some(_) => "between kernels",
        None => "not in kernels",
    };
    parts.push((name, if covered { "gap" } else { "gap astray" }, span - step.kernels_ns));
    parts.extend(idle);
    parts
}

/// Width of a waterfall, and of the names at its left.
const WIDTH: f64 = 490.0;
const NAMES: f64 = 190.0;

/// A step from what it must take to what it takes, and below, what the host does meanwhile.
pub fn waterfall(report: &Report, step: &Step) -> Canvas {
    let parts = parts(report, step);
    let host = [
        ("host: plan", step.host.plan_ns),
        ("host: record", step.host.record_ns),
        ("host: submit", step.host.submit_ns),
        ("host: wait", step.host.wait_ns),
    ];
    let host: Vec<_> = host.into_iter().filter(|(_, ns)| *ns > 0.0).collect();
    let row = 19.0;
    let height = 50.0 + row * (parts.len() + host.len()) as f64;
    let mut canvas = Canvas::new(WIDTH, height);
    let starts = parts.iter().scan(0.0, |sum, (.., ns)| {
        *sum += ns;
        Some(*sum)
    });
    let most = starts.fold(step.wall_ns, f64::max);
    let x = Scale::linear([0.0, most.max(1.0)], [NAMES + 8.0, WIDTH - 100.0]);
    canvas.text("head", [8.0, 18.0], Anchor::Start, &step.name);
    let wall = format!("{} wall", time(step.wall_ns));
    canvas.text("head", [WIDTH - 8.0, 18.0], Anchor::End, &wall);
    let mut at = 0.0;
    let mut top = 32.0;
    for (name, class, ns) in parts {
        bar(&mut canvas, &x, (name, class), [at, at + ns], step.wall_ns, top);
        at += ns;
        top += row;
    }
    canvas.line("axis", [x.at(step.wall_ns), 28.0], [x.at(step.wall_ns), top]);
    top += row / 2.0;
    at = 0.0;
    for (name, ns) in host {
        bar(&mut canvas, &x, (name, "host"), [at, at + ns], step.wall_ns, top);
        at += ns;
        top += row;
    }
    canvas
}

/// Without decimals, but for a surplus that would be no more than a zero then.
fn rounded(percent: f64) -> String {
    if percent > -0.5 && percent <= -0.05 {
        return format!("{percent:.1}");
    }
    // A sum with 0 is never -0.
    format!("{:.0}", percent.round() + 0.0)
}

fn bar(
    canvas: &mut Canvas,
    x: &Scale,
    (name, class): (&str, &str),
    [from, to]: [f64; 2],
    wall: f64,
    top: f64,
) {
    let (left, right) = (x.at(from.min(to)), x.at(from.max(to)));
    let part = 100.0 * (to - from) / wall.max(1.0);
    let words = if class.ends_with("astray") { "note astray" } else { "note" };
    canvas.text(words, [NAMES, top + 11.0], Anchor::End, name);
    canvas.bar(
        class,
        [left, top],
        [right - left, 14.0],
        &format!("{name}: {} ({part:.1} %)", time(to - from)),
    );
    canvas.text(
        "tick",
        [WIDTH - 8.0, top + 11.0],
        Anchor::End,
        &format!("{}  {} %", time(to - from), rounded(part)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofline::sample;

    #[test]
    fn the_parts_of_a_step_are_its_wall_clock() {
        let report = sample::report();
        for step in &report.steps {
            let sum: f64 = parts(&report, step).iter().map(|(.., ns)| ns).sum();
            assert!((sum - step.wall_ns).abs() < 1e-6 * step.wall_ns, "{}: {sum}", step.name);
            let unstamped = Step { gpu_ns: None, ..step.clone() };
            let sum: f64 = parts(&report, &unstamped).iter().map(|(.., ns)| ns).sum();
            assert!((sum - step.wall_ns).abs() < 1e-6 * step.wall_ns, "{}: {sum}", step.name);
        }
    }

    #[test]
    fn kernels_that_overlap_draw_a_bar_backwards() {
        let report = sample::report();
        let step = Step { gpu_ns: Some(0.997 * report.steps[0].kernels_ns), ..report.steps[0].clone() };
        let markup = waterfall(&report, &step).element("step");
        assert!(
            markup.contains("kernels beyond the span: -") && !markup.contains("between kernels"),
            "{markup}"
        );
        assert!(!markup.contains("-0 %") && markup.contains("-0.3 %"), "{markup}");
        assert!(!markup.contains("width=\"-"), "{markup}");
    }

    #[test]
    fn kernels_that_add_up_to_too_much_or_too_little_are_drawn_as_a_warning() {
        let report = sample::report();
        let drawn = |coverage: f64| {
            let gpu_ns = Some(report.steps[0].kernels_ns / coverage);
            let step = Step { gpu_ns, coverage: Some(coverage), ..report.steps[0].clone() };
            waterfall(&report, &step).element("step").contains("gap astray")
        };
        assert!(!drawn(0.96) && !drawn(1.04) && drawn(0.94) && drawn(1.06));
        let nothing = Step { kernels_ns: -5.0, coverage: None, ..report.steps[0].clone() };
        let markup = waterfall(&report, &nothing).element("step");
        assert!(markup.contains("kernels: lost in noise: ") && !markup.contains(">-"), "{markup}");
    }

    #[test]
    fn no_plateau_runs_through_a_word() {
        let mut report = sample::report();
        // Curves that come close, as reads, writes and copies of one memory do.
        let first = report.curves.iter().find(|c| c.x_unit == "bytes").unwrap().clone();
        let near = |part: f64| {
            let mut curve = first.clone();
            curve.points.iter_mut().for_each(|p| p.value *= part);
            curve.plateaus.iter_mut().for_each(|p| p.value *= part);
            curve
        };
        report.curves = vec![near(1.0), near(0.93), near(0.4)];
        let markup = bandwidth(&report).unwrap().element("");
        let number = |line: &str, name: &str| {
            let rest = line.split_once(&format!(" {name}=\"")).unwrap().1;
            rest.split_once('"').unwrap().0.parse::<f64>().unwrap()
        };
        let words: Vec<&str> = markup.lines().filter(|l| l.starts_with("<text class=\"note")).collect();
        assert_eq!(words.len(), 3 * first.plateaus.len(), "{markup}");
        for word in words {
            let half =
                3.1 * word.split_once('>').unwrap().1.split_once('<').unwrap().0.chars().count() as f64;
            let (x, y) = (number(word, "x"), number(word, "y"));
            for dash in markup.lines().filter(|l| l.starts_with("<line class=\"plateau")) {
                let level = number(dash, "y1");
                let apart = number(dash, "x2") < x - half || number(dash, "x1") > x + half;
                assert!(apart || level < y - 9.0 || level > y + 2.0, "{dash} strikes {word}");
            }
        }
    }

    #[test]
    fn every_point_of_a_curve_is_drawn() {
        let report = sample::report();
        let points: usize = report.curves.iter().map(|c| c.points.len()).sum();
        assert_eq!(bandwidth(&report).unwrap().element("").matches("<rect").count(), points);
        let bare = Report { curves: vec![], ..report };
        assert!(bandwidth(&bare).is_none());
    }
}
