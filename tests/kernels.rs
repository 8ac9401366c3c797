//! Every kernel in every variant that this adapter supports, against its reference.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use ridgepoint::gpu::{AdapterChoice, Checks, Gpu, Program, SHADERS};
use ridgepoint::kernels::{Case, Cases, Input, KERNELS, Kernel, Outcome, argmax, gated, run_case};

fn open() -> Arc<Gpu> {
    Gpu::open(&AdapterChoice::Best, Checks::Trusted).expect("an adapter")
}

/// A kernel's cases in runs of one program.
struct Runs {
    cases: std::iter::Peekable<Cases>,
    /// Only the first program and every so manieth after it.
    one_in: usize,
    programs: usize,
}

impl Iterator for Runs {
    type Item = Vec<Case>;

    fn next(&mut self) -> Option<Vec<Case>> {
        loop {
            let program: Program = self.cases.peek()?.program.clone();
            let mut run = Vec::new();
            while let Some(case) = self.cases.next_if(|c| c.program == program) {
                run.push(case);
            }
            self.programs += 1;
            if (self.programs - 1).is_multiple_of(self.one_in) {
                return Some(run);
            }
        }
    }
}

/// On two devices side by side, a program on one of them: most of the time is the driver's compiler, which
/// takes one program of a device at a time. `ONE_PROGRAM_IN=7` leaves most programs out, for a driver that
/// needs half a minute for each.
#[test]
fn every_case_is_within_its_tolerance() {
    let one_in = std::env::var("ONE_PROGRAM_IN").map_or(1, |n| n.parse().expect("ONE_PROGRAM_IN: a number"));
    let gpus = [open(), open()];
    let mut failures = Vec::new();
    let (mut total, mut lacking) = (0, 0);
    for kernel in KERNELS {
        let began = Instant::now();
        let runs = Mutex::new(Runs { cases: kernel.cases().peekable(), one_in, programs: 0 });
        let results = Mutex::new((0, 0, 0.0_f64, Vec::new()));
        let next = || runs.lock().unwrap().next();
        std::thread::scope(|scope| {
            for gpu in &gpus {
                let (next, results) = (&next, &results);
                scope.spawn(move || {
                    while let Some(run) = next() {
                        for case in run {
                            let outcome = run_case(gpu, &case);
                            let mut r = results.lock().unwrap();
                            match outcome {
                                Ok(Outcome::Right { worst }) => {
                                    r.0 += 1;
                                    r.2 = r.2.max(worst);
                                }
                                Ok(Outcome::Unsupported) => r.1 += 1,
                                Ok(Outcome::Wrong(what)) => {
                                    r.3.push(format!("{} {}: {what}", kernel.name(), case.label))
                                }
                                Err(e) => r.3.push(format!("{} {}: {e}", kernel.name(), case.label)),
                            }
                        }
                    }
                });
            }
        });
        let (right, unsupported, worst, wrong) = results.into_inner().unwrap();
        println!(
            "{:<16} {right:>5} cases right, {unsupported} unsupported here, worst {worst:.3} of the tolerance, {:.1} s",
            kernel.name(),
            began.elapsed().as_secs_f64()
        );
        // A kernel that needs what this device lacks has others to stand in for it; the rest must run.
        assert!(
            right + wrong.len() + unsupported > 0,
            "{}: no case ran on {}",
            kernel.name(),
            gpus[0].adapter.name
        );
        total += right + wrong.len();
        lacking += unsupported;
        failures.extend(wrong);
    }
    let adapter = &gpus[0].adapter;
    println!(
        "{total} cases ran on {} (subgroups of {} to {}), {lacking} need what it lacks",
        adapter.name, adapter.subgroup_size[0], adapter.subgroup_size[1]
    );
    assert!(total + lacking >= 3000 / one_in, "only {} cases", total + lacking);
    // SwiftShader, which has neither f16 nor subgroups of 8, still runs 2,000.
    assert!(total >= 1500 / one_in, "only {total} cases ran");
    assert!(failures.is_empty(), "{} cases are wrong:\n{}", failures.len(), failures.join("\n"));
}

/// A watched kernel with half of its input missing says which array it left; with all of it, nothing.
#[test]
fn an_index_that_strays_is_found() {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Checked).expect("an adapter");
    let mut case = gated::Gated.cases().next().expect("a case");
    assert!(matches!(run_case(&gpu, &case), Ok(Outcome::Right { .. })));
    let Input::Storage(gate_up) = &mut case.inputs[2] else { panic!("gate and up are no storage buffer") };
    *gate_up = vec![0; 4 * 4];
    case.inputs[0] = Input::Uniform(gated::params(64, 64));
    let error = run_case(&gpu, &case).unwrap_err().to_string();
    assert!(error.contains("goes beyond gate_up"), "{error}");
}

/// A loop over a vocabulary of 4 billion is ended, and named.
#[test]
fn a_loop_that_does_not_end_is_found() {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Checked).expect("an adapter");
    let mut case = argmax::Argmax.cases().next().expect("a case");
    assert!(matches!(run_case(&gpu, &case), Ok(Outcome::Right { .. })));
    case.inputs[0] = Input::Uniform(argmax::params(u32::MAX as usize));
    let error = run_case(&gpu, &case).unwrap_err().to_string();
    assert!(error.contains("a loop that does not end"), "{error}");
}

#[test]
fn shaders_and_kernels_are_the_same_list() {
    let files: Vec<&str> = SHADERS.iter().map(|(name, _)| *name).filter(|n| !n.contains('/')).collect();
    let mut kernels: Vec<&str> = KERNELS.iter().map(|k| k.name()).collect();
    kernels.sort_unstable();
    assert_eq!(files, kernels);
}
