//! Progress on stderr: a bar on a terminal, a line at the start and at the end elsewhere.

use std::io::{self, IsTerminal};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Global, NOTES};
use crate::hub::Progress;
use crate::units::Bytes;

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// A bar that moves.
    Bar,
    /// Plain lines.
    Lines,
    /// Lines of the log.
    Log,
    /// Nothing.
    Nothing,
}

impl Show {
    /// A bar if stderr is a terminal, lines if not.
    pub fn for_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Bar } else { Self::Lines }
    }
}

/// Shows a fetch on stderr.
#[derive(Debug)]
pub struct Bar {
    show: Show,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    /// Shows that much.
    pub fn new(show: Show) -> Self {
        Self { show, bar: Mutex::new(None) }
    }

    fn line(&self, text: &str) {
        match self.show {
            Show::Nothing => {}
            Show::Bar | Show::Lines => eprintln!("{text}"),
            Show::Log => tracing::info!(target: NOTES, "{text}"),
        }
    }

    /// Does something with the bar in use, if one is.
    fn with_bar(&self, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            act(bar);
        }
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, total: Option<Bytes>) {
        match self.show {
            Show::Nothing => {}
            Show::Lines | Show::Log => {
                self.line(&format!("{what}{}", total.map(|t| format!(" ({t})")).unwrap_or_default()));
            }
            Show::Bar => {
                let (bar, template) = match total {
                    Some(total) => (
                        ProgressBar::new(total.0),
                        "{msg} [{bar:24}] {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
                    ),
                    None => (ProgressBar::new_spinner(), "{spinner} {msg}: {binary_bytes}, {elapsed}"),
                };
                // A bad template falls back to indicatif's own, which shows the same figures.
                let style = ProgressStyle::with_template(template);
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
                bar.set_message(what.to_owned());
                bar.enable_steady_tick(Duration::from_millis(200));
                *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
            }
        }
    }

    fn at(&self, done: Bytes) {
        self.with_bar(|bar| bar.set_position(done.0));
    }

    fn end(&self) {
        self.with_bar(ProgressBar::finish_and_clear);
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note(&self, text: &str) {
        self.line(&format!("note: {text}"));
    }
}

/// Start-up's silence before it says what it waits for.
const SILENCE: Duration = Duration::from_secs(1);

/// Does `work`, and names what is waited for on stderr if that takes more than a second.
pub fn while_slow<T>(global: &Global, what: &str, work: impl FnOnce() -> T) -> T {
    if global.quiet {
        return work();
    }
    let (done, waiting) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if waiting.recv_timeout(SILENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                global.note(&format!("waiting for {what}"));
            }
        });
        let result = work();
        drop(done);
        result
    })
}
