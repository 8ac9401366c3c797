//! The engine on a thread of its own.
//!
//! [`Service::start`] gives one thread the engine: it alone steps. Requests go in through a
//! channel; what comes of them goes out through one channel per submission, which any async runtime
//! can await. A submission whose receiver is gone is aborted before the next step, and one whose
//! receiver does not keep up is aborted as well, so that no client holds up the others.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

pub use super::state::{Loading, Phase, State, describe};
use super::{Engine, Error, Event, GenerationRequest, RequestId};
use crate::profile::{Stamps, Watched};

/// How often in a row a step may fail before the service gives up.
const MAX_FAILURES: u32 = 3;
/// How long an idle thread sleeps at most.
const IDLE: Duration = Duration::from_millis(500);

/// What came of a submission.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Something happened to one of its requests.
    Event {
        /// The request's index in the submission.
        part: usize,
        /// What.
        event: Event,
    },
    /// The whole submission is over, through no fault of its own.
    Failed(String),
}

/// Why a submission was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The engine refused one of its requests; none of them runs.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The service takes none.
    #[error("the engine takes no requests: {}", describe(.0))]
    Unavailable(State),
}

/// Why no steps were watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Others are being watched.
    #[error("a window is open already: one at a time is watched")]
    Busy,
    /// The engine can't watch them.
    #[error(transparent)]
    Failed(#[from] Error),
    /// The service takes no requests.
    #[error("the engine takes no requests: {}", describe(.0))]
    Unavailable(State),
}

/// Sees what the engine does, on the engine's thread: it must be quick.
pub trait Observer: Send {
    /// A request was taken.
    fn taken(&mut self, id: RequestId, request: &GenerationRequest);
    /// A step is over and these are its events.
    fn stepped(&mut self, engine: &Engine, events: &[Event]);
    /// A request ended without a last event.
    fn aborted(&mut self, id: RequestId);
}

/// Loads an engine: told how to report how far it is.
pub type Load = Box<dyn FnOnce(&mut dyn FnMut(Loading)) -> Result<Engine, String> + Send>;

enum Command {
    Submit {
        requests: Vec<GenerationRequest>,
        sink: mpsc::Sender<Delivery>,
        reply: oneshot::Sender<Result<(), SubmitError>>,
    },
    ResetPrefixCache(oneshot::Sender<u32>),
    Watch(usize, Stamps, Window),
    Drain(Instant),
}

/// A handle on the engine's thread. Dropping it ends the thread once nothing runs.
#[derive(Debug)]
pub struct Service {
    commands: Sender<Command>,
    state: watch::Receiver<State>,
}

impl Service {
    /// Starts the thread, which loads first.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(load: Load, observer: Box<dyn Observer>) -> std::io::Result<Self> {
        let (commands, inbox) = channel();
        let (report, state) = watch::channel(State::Loading(Loading::weights(0, 0)));
        std::thread::Builder::new().name("engine".into()).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let engine = load(&mut |loading| {
                    report.send_replace(State::Loading(loading));
                })?;
                Worker {
                    engine,
                    observer,
                    inbox,
                    report: &report,
                    owners: HashMap::new(),
                    until: None,
                    window: None,
                    windows: 0,
                }
                .run();
                Ok(())
            }));
            // A panic has dropped every sink, and so told every client.
            let outcome = outcome.unwrap_or_else(|_| Err("a bug made it panic; see the log".to_string()));
            report.send_replace(match outcome {
                Ok(()) => State::Stopped,
                Err(why) => State::Failed(why),
            });
        })?;
        Ok(Self { commands, state })
    }

    /// Where it stands now.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Follows where it stands.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Hands requests over, all or none. Their events come out of `sink`'s receiver, which must
    /// keep up: when `sink` is full the submission is aborted.
    ///
    /// # Errors
    /// When the engine refuses one of them or takes none at present.
    pub async fn submit(
        &self,
        requests: Vec<GenerationRequest>,
        sink: mpsc::Sender<Delivery>,
    ) -> Result<(), SubmitError> {
        let state = self.state();
        if state != State::Ready {
            return Err(SubmitError::Unavailable(state));
        }
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Submit { requests, sink, reply });
        let gone = || SubmitError::Unavailable(self.state());
        sent.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Forgets every cached prefix; how many blocks could be found before.
    ///
    /// # Errors
    /// When the service takes no requests at present.
    pub async fn reset_prefix_cache(&self) -> Result<u32, SubmitError> {
        let gone = || SubmitError::Unavailable(self.state());
        if !matches!(self.state(), State::Ready) {
            return Err(gone());
        }
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::ResetPrefixCache(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// Watches the next `steps` steps, or those that come within `patience`: dispatch by dispatch, one
    /// at a time. Nothing is watched any more once the future is dropped. Gives them with the window's number:
    /// later windows have greater ones.
    ///
    /// # Errors
    /// When the service takes no requests at present, watches others' steps, or can't watch them.
    pub async fn watch_steps(
        &self,
        steps: usize,
        stamps: Stamps,
        patience: Duration,
    ) -> Result<(u64, Vec<Watched>), WatchError> {
        let gone = || WatchError::Unavailable(self.state());
        (self.state() == State::Ready).then_some(()).ok_or_else(gone)?;
        let (reply, answer) = oneshot::channel();
        let window = Window { until: Instant::now() + patience, reply };
        self.commands.send(Command::Watch(steps, stamps, window)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Takes nothing more, lets what runs finish within `patience`, then ends.
    pub fn drain(&self, patience: Duration) {
        // A thread that is gone has nothing to drain.
        let _ = self.commands.send(Command::Drain(Instant::now() + patience));
    }
}

/// Whose request it is.
struct Owner {
    part: usize,
    /// Choices that haven't ended.
    open: u32,
    sink: mpsc::Sender<Delivery>,
}

/// Who waits for watched steps.
struct Window {
    /// When it has to do with those that came.
    until: Instant,
    reply: oneshot::Sender<Result<(u64, Vec<Watched>), WatchError>>,
}

struct Worker<'a> {
    engine: Engine,
    observer: Box<dyn Observer>,
    inbox: Receiver<Command>,
    report: &'a watch::Sender<State>,
    owners: HashMap<RequestId, Owner>,
    /// When draining must be over.
    until: Option<Instant>,
    window: Option<Window>,
    /// Windows that are over.
    windows: u64,
}

impl Worker<'_> {
    fn run(&mut self) {
        let mut events = Vec::new();
        let mut failures = 0;
        self.observer.stepped(&self.engine, &events);
        self.report.send_replace(State::Ready);
        loop {
            if self.take_commands().is_err() {
                return;
            }
            // Whoever went away leaves nothing slowed.
            if self.window.as_ref().is_some_and(|w| w.reply.is_closed() || Instant::now() >= w.until) {
                let seen = self.engine.unwatch();
                self.hand_over(Ok(seen));
            }
            let gone = self.abort_where(|owner| owner.sink.is_closed());
            if let Some(until) = self.until {
                if Instant::now() >= until {
                    self.abort_where(|_| true);
                }
                if self.owners.is_empty() {
                    return;
                }
            }
            if !self.engine.has_work() {
                if gone > 0 {
                    self.observer.stepped(&self.engine, &[]);
                }
                continue;
            }
            let owned = self.owners.len();
            let outcome = self.engine.step(&mut events);
            self.observer.stepped(&self.engine, &events);
            self.deliver(&mut events);
            // Who went away during the last step is in nobody's figures any more.
            if self.owners.len() < owned && !self.engine.has_work() {
                self.observer.stepped(&self.engine, &[]);
            }
            if let Some(seen) = self.engine.watched() {
                self.hand_over(seen.map_err(WatchError::Failed));
            }
            match outcome {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    self.fail(&error.to_string());
                    if failures >= MAX_FAILURES {
                        self.report.send_replace(State::Failed(error.to_string()));
                    }
                }
            }
        }
    }

    /// Handles what has come in; waits for something while there is nothing to compute. `Err` when
    /// every handle is gone.
    fn take_commands(&mut self) -> Result<(), RecvError> {
        if !self.engine.has_work() && self.owners.is_empty() && self.until.is_none() {
            let idle =
                self.window.as_ref().map_or(IDLE, |w| w.until.saturating_duration_since(Instant::now()));
            match self.inbox.recv_timeout(idle.min(IDLE)) {
                Ok(command) => self.handle(command),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => self.observer.stepped(&self.engine, &[]),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Err(RecvError),
            }
        }
        while let Ok(command) = self.inbox.try_recv() {
            self.handle(command);
        }
        Ok(())
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Submit { requests, sink, reply } => {
                let answer = self.submit(requests, &sink);
                // A client that is gone by now is swept up before the step.
                let _ = reply.send(answer);
            }
            Command::ResetPrefixCache(reply) => {
                let _ = reply.send(self.engine.reset_prefix_cache());
            }
            Command::Watch(_, _, window) if self.window.as_ref().is_some_and(|w| !w.reply.is_closed()) => {
                let _ = window.reply.send(Err(WatchError::Busy));
            }
            Command::Watch(steps, stamps, window) => {
                let begun = self.engine.watch(steps, stamps);
                self.window = Some(window);
                if let Err(error) = begun {
                    self.hand_over(Err(error.into()));
                }
            }
            Command::Drain(until) => {
                self.until = Some(until);
                self.report.send_replace(State::Draining);
            }
        }
    }

    fn hand_over(&mut self, seen: Result<Vec<Watched>, WatchError>) {
        self.windows += 1;
        let seen = seen.map(|seen| (self.windows, seen));
        // A client that is gone by now has no use for it.
        let _ = self.window.take().map(|window| window.reply.send(seen));
    }

    fn submit(
        &mut self,
        requests: Vec<GenerationRequest>,
        sink: &mpsc::Sender<Delivery>,
    ) -> Result<(), SubmitError> {
        let state = self.report.borrow().clone();
        if state != State::Ready {
            return Err(SubmitError::Unavailable(state));
        }
        let taken = self.engine.add_all(&requests)?;
        for (part, (id, request)) in taken.into_iter().zip(&requests).enumerate() {
            self.observer.taken(id, request);
            self.owners.insert(id, Owner { part, open: request.params.n, sink: sink.clone() });
        }
        Ok(())
    }

    fn deliver(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            let id = event.request();
            let last = matches!(event, Event::Finished { .. });
            let Some(owner) = self.owners.get_mut(&id) else { continue };
            owner.open -= u32::from(last);
            let over = owner.open == 0;
            let sent = owner.sink.try_send(Delivery::Event { part: owner.part, event });
            if over {
                self.owners.remove(&id);
            } else if let Err(error) = sent {
                if matches!(error, mpsc::error::TrySendError::Full(_)) {
                    tracing::warn!("a client does not read its answer: its request is aborted");
                }
                self.abort(id);
            }
        }
    }

    fn fail(&mut self, why: &str) {
        tracing::error!("a step failed: {why}");
        for owner in self.owners.values() {
            // Whoever can't be told sees the channel close.
            let _ = owner.sink.try_send(Delivery::Failed(why.to_string()));
        }
        self.abort_where(|_| true);
    }

    /// Gives how many there were.
    fn abort_where(&mut self, condition: impl Fn(&Owner) -> bool) -> usize {
        let ids: Vec<RequestId> =
            self.owners.iter().filter(|(_, owner)| condition(owner)).map(|(id, _)| *id).collect();
        ids.iter().for_each(|id| self.abort(*id));
        ids.len()
    }

    fn abort(&mut self, id: RequestId) {
        self.engine.abort(id);
        self.observer.aborted(id);
        self.owners.remove(&id);
    }
}
