//! What the doctor is waiting for, on stderr: a line that moves on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two plain lines about the same kernel.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where progress goes.
#[derive(Debug)]
pub struct Status {
    show: Show,
}

#[derive(Debug)]
enum Show {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Mutex<Instant> },
}

impl Status {
    /// Silent if `quiet`, else what fits stderr.
    pub fn new(quiet: bool) -> Self {
        let show = if quiet {
            Show::Nothing
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            // A bad template falls back to indicatif's own spinner, which shows the message too.
            let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(200));
            Show::Bar(bar)
        } else {
            Show::Lines { last: Mutex::new(Instant::now()) }
        };
        Self { show }
    }

    /// Something that a log should hold.
    pub fn line(&self, text: &str) {
        match &self.show {
            Show::Nothing => {}
            Show::Bar(bar) => bar.println(text),
            Show::Lines { last } => {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                eprintln!("{text}");
            }
        }
    }

    /// What is being done now; in a log only when nothing was said for a while.
    pub fn now(&self, text: &str) {
        match &self.show {
            Show::Nothing => {}
            Show::Bar(bar) => bar.set_message(text.to_owned()),
            Show::Lines { last } => {
                let waited = last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
                if waited > PATIENCE {
                    self.line(text);
                }
            }
        }
    }

    /// Leaves the terminal clean for the results.
    pub fn clear(&self) {
        if let Show::Bar(bar) = &self.show {
            bar.finish_and_clear();
        }
    }
}
