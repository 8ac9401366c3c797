//! Every kernel in every variant that this adapter supports, against its reference.

use std::sync::Mutex;
use std::time::Instant;

use ridgepoint::gpu::{AdapterChoice, Checks, Gpu, SHADERS};
use ridgepoint::kernels::{Case, KERNELS, Outcome, run_case};

/// Cases go to two threads: most of the time is the driver's compiler.
#[test]
fn every_case_is_within_its_tolerance() {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted).expect("an adapter");
    let mut failures = Vec::new();
    let (mut total, mut lacking) = (0, 0);
    for kernel in KERNELS {
        let began = Instant::now();
        let cases = Mutex::new(kernel.cases());
        let results = Mutex::new((0, 0, 0.0_f64, Vec::new()));
        let next = || -> Option<Case> { cases.lock().unwrap().next() };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(case) = next() {
                        let outcome = run_case(&gpu, &case);
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
            gpu.adapter.name
        );
        total += right + wrong.len();
        lacking += unsupported;
        failures.extend(wrong);
    }
    println!(
        "{total} cases ran on {} (subgroups of {} to {}), {lacking} need what it lacks",
        gpu.adapter.name, gpu.adapter.subgroup_size[0], gpu.adapter.subgroup_size[1]
    );
    assert!(total + lacking >= 3000, "only {} cases", total + lacking);
    assert!(total > lacking, "more cases need what this device lacks than ran");
    assert!(failures.is_empty(), "{} cases are wrong:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn shaders_and_kernels_are_the_same_list() {
    let files: Vec<&str> = SHADERS.iter().map(|(name, _)| *name).filter(|n| !n.contains('/')).collect();
    let mut kernels: Vec<&str> = KERNELS.iter().map(|k| k.name()).collect();
    kernels.sort_unstable();
    assert_eq!(files, kernels);
}
