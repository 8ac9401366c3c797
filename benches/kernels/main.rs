//! Every kernel at the shapes of real layers: models of 135 M, 1 B and 8 B parameters.
//!
//! `cargo bench --bench kernels -- [WORD]... [--json] [--baseline FILE]`. The bench walks `KERNELS`;
//! `shapes` has real shapes for those that take most of a step, and the others run their largest case.
//! A kernel is proved right at its shape before it is timed, and so is what the last timed dispatch left.
//! Dispatches go through copies of their buffers that are larger together than any cache, since a
//! step's weights are cold; clocks are warmed by time; a sample is the wall time of 2 n dispatches less
//! that of n, over n; the figure is the median with its 95 % interval.

mod product;
#[path = "../report/mod.rs"]
mod report;
mod shapes;
mod timing;

use anyhow::Context;
use clap::Parser;
use report::{Flags, Row, Run, quick, short};
use ridgepoint::gpu::Gpu;
use ridgepoint::kernels::{Case, KERNELS, Kernel, Outcome, judge, run_outputs};
use shapes::{LAYERS, Subject};
use timing::Timed;

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let gpu = flags.open()?;
    let mut run = Run::new("kernels", &gpu);
    eprintln!(
        "{}{}",
        run.device,
        if gpu.adapter.is_software() { ": a software adapter, no GPU" } else { "" }
    );
    for kernel in KERNELS {
        for subject in subjects(*kernel, &gpu) {
            if flags.want(&subject.name) {
                match bench(&gpu, &subject).with_context(|| subject.name.clone())? {
                    Some(row) => run.push(&flags, row),
                    None => eprintln!("{}: this adapter lacks what it needs", subject.name),
                }
            }
        }
    }
    anyhow::ensure!(!run.rows.is_empty(), "no row has all of '{}' in its name", flags.words.join(" "));
    run.finish(&flags)
}

/// What a kernel is timed on; made one at a time, since weights are large.
fn subjects<'a>(kernel: &'static dyn Kernel, gpu: &'a Gpu) -> Box<dyn Iterator<Item = Subject> + 'a> {
    let layers = if quick() { &LAYERS[..1] } else { &LAYERS[..] };
    if shapes::has(kernel.name()) {
        return Box::new(layers.iter().flat_map(move |layer| shapes::of(kernel.name(), layer, gpu)));
    }
    let bytes = |case: &Case| case.cost.bytes().1.0;
    let largest = kernel.cases().filter(|case| case.needs.met_by(gpu)).max_by_key(bytes);
    let subject =
        |case: Case| Subject { name: format!("{} largest case: {}", kernel.name(), case.label), case };
    Box::new(largest.map(subject).into_iter())
}

fn bench(gpu: &Gpu, subject: &Subject) -> anyhow::Result<Option<Row>> {
    let case = &subject.case;
    let Some(before) = run_outputs(gpu, case)? else { return Ok(None) };
    if let Outcome::Wrong(what) = judge(case, &before) {
        anyhow::bail!("wrong before it was timed: {what}");
    }
    let mut timed = Timed::new(gpu, case)?;
    let figures = timed.measure()?;
    if let Outcome::Wrong(what) = judge(case, &timed.last()?) {
        anyhow::bail!("wrong when it was timed: {what}");
    }
    let seconds = figures.median();
    let interval = figures.median_interval();
    let bytes = case.cost.bytes().0.0 as f64;
    let most = case.cost.work.pipes().into_iter().max_by_key(|(_, work)| work.0);
    let ops = most
        .filter(|(_, work)| work.0 > 0)
        .map(|(pipe, work)| format!("{} GOP/s {}, ", short(work.0 as f64 / seconds * 1e-9), pipe.name()));
    Ok(Some(Row {
        name: subject.name.clone(),
        unit: "ns".into(),
        value: seconds * 1e9,
        low: interval.low * 1e9,
        high: interval.high * 1e9,
        samples: figures.count(),
        note: format!(
            "{} GB/s, {}{} copies of {}",
            short(bytes / seconds * 1e-9),
            ops.unwrap_or_default(),
            timed.copies(),
            timed.bytes()
        ),
    }))
}
