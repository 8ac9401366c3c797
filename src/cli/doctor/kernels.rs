//! One kernel: every case that this adapter supports against its reference.

use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::report::KernelReport;
use super::status::Status;
use crate::gpu::{Error, Gpu};
use crate::kernels::{Case, Kernel, Outcome, judge, run_outputs};

/// Cases in flight: most of the time is the driver's compiler.
const THREADS: usize = 2;
/// A case that takes longer is named, again and again: some shaders take a compiler minutes.
const SLOW: Duration = Duration::from_secs(30);

/// Runs the kernel's cases, a second time on `checked` where there is one.
///
/// # Errors
/// When the device is lost: nothing after that means anything. Every other failure is a result.
pub fn examine(
    kernel: &dyn Kernel,
    gpu: &Gpu,
    checked: Option<&Gpu>,
    status: &Status,
) -> Result<KernelReport, Error> {
    let began = Instant::now();
    let name = kernel.name();
    let cases = Mutex::new(kernel.cases());
    let report = Mutex::new(KernelReport::new(name, kernel.summary(), checked.is_some()));
    let lost = Mutex::new(None);
    let work = || {
        while lock(&lost).is_none() {
            let Some(case) = lock(&cases).next() else { break };
            status.now(&format!("{name}: {} cases done, now {}", lock(&report).cases(), case.label));
            let (first, second) =
                naming_if_slow(name, &case, status, || (run(gpu, &case), checked.map(|gpu| run(gpu, &case))));
            let mut report = lock(&report);
            for error in
                [Some(&first), second.as_ref()].into_iter().flatten().filter_map(|r| r.as_ref().err())
            {
                if let Error::Lost(reason) = error {
                    lock(&lost).get_or_insert(Error::Lost(format!("{reason} (at {name}, {})", case.label)));
                }
            }
            report.add(&case.label, first, second);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    if let Some(error) = lost.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.seconds = began.elapsed().as_secs_f64();
    status.line(&format!("{name}: {} cases in {:.1} s, {}", report.cases(), report.seconds, report.so_far()));
    Ok(report)
}

/// Does the work while another thread says how long it is taking.
fn naming_if_slow<T>(name: &str, case: &Case, status: &Status, work: impl FnOnce() -> T) -> T {
    let (done, waiting) = mpsc::channel::<()>();
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while waiting.recv_timeout(SLOW) == Err(mpsc::RecvTimeoutError::Timeout) {
                status.line(&format!(
                    "{name}: still at {} after {} s",
                    case.label,
                    began.elapsed().as_secs()
                ));
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn run(gpu: &Gpu, case: &Case) -> Result<(Outcome, Vec<Vec<u8>>), Error> {
    Ok(match run_outputs(gpu, case)? {
        Some(outputs) => (judge(case, &outputs), outputs),
        None => (Outcome::Unsupported, Vec::new()),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
