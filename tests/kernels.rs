//! Every kernel in every variant that this adapter supports, against its reference.

use ridgepoint::gpu::{AdapterChoice, Checks, Gpu, SHADERS};
use ridgepoint::kernels::{KERNELS, Outcome, run_case};

#[test]
fn every_case_is_within_its_tolerance() {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted).expect("an adapter");
    let mut failures = Vec::new();
    let only = std::env::var("RIDGEPOINT_KERNEL").unwrap_or_default();
    for kernel in KERNELS.iter().filter(|k| k.name().contains(&only)) {
        let (mut ran, mut skipped, mut worst) = (0, 0, 0.0_f64);
        for case in kernel.cases() {
            let t0 = std::time::Instant::now();
            let outcome = run_case(&gpu, &case);
            if std::env::var("T").is_ok() { eprintln!("{:.2}s {}", t0.elapsed().as_secs_f64(), case.label); }
            match outcome {
                Ok(Outcome::Right { worst: w }) => {
                    ran += 1;
                    worst = worst.max(w);
                }
                Ok(Outcome::Unsupported) => skipped += 1,
                Ok(Outcome::Wrong(what)) => failures.push(format!("{} {}: {what}", kernel.name(), case.label)),
                Err(e) => failures.push(format!("{} {}: {e}", kernel.name(), case.label)),
            }
        }
        println!("{:<16} {ran} cases, {skipped} unsupported here, worst {worst:.3} of the tolerance", kernel.name());
    }
    assert!(failures.is_empty(), "{} cases are wrong:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn shaders_and_kernels_are_the_same_list() {
    let files: Vec<&str> = SHADERS.iter().map(|(name, _)| *name).filter(|n| !n.contains('/')).collect();
    let mut kernels: Vec<&str> = KERNELS.iter().map(|k| k.name()).collect();
    kernels.sort_unstable();
    assert_eq!(files, kernels);
}
