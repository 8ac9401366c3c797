//! HTTP around the engine: OpenAI's API and what its users expect beside it.
//!
//! Every API's request becomes one [`request::Generation`]; every API writes answers by its
//! [`reply::Shape`]; between the two there is one path. Handlers never touch the engine: it has a
//! thread of its own ([`crate::engine::service`]).

mod access;
mod anthropic;
pub mod app;
pub mod auth;
mod body;
pub mod caps;
pub mod debug;
pub mod error;
mod health;
mod listen;
pub mod metrics;
pub mod openai;
mod openapi;
mod page;
pub mod reply;
pub mod request;
mod routes;
pub mod running;
mod stall;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use app::App;
use auth::Guard;

use crate::engine::service::State;

/// How the server behaves towards connections.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may ask.
    pub guard: Guard,
    /// How long running requests may take to finish once the server is told to end.
    pub shutdown_timeout: Duration,
    /// How long a client may leave what it is sent unread.
    pub stall_timeout: Duration,
    /// Most connections at once.
    pub connections: usize,
}

/// How serving came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What ran has finished, or was cut at the end of its time.
    Drained,
    /// Before the model was loaded, which still goes on.
    WhileLoading,
}

/// Serves until `ended` resolves, then drains: what runs may finish within the shutdown timeout,
/// a second `ended` cuts it short. While the model is loaded there is nothing to drain.
///
/// # Errors
/// When the model can't be loaded or the engine fails for good.
pub async fn serve<F: Future<Output = ()>>(
    listener: TcpListener,
    app: Arc<App>,
    config: Config,
    ended: impl Fn() -> F,
) -> Result<End, String> {
    let (stop, stopped) = watch::channel(false);
    let router = routes::router(app.clone(), config.guard);
    let bounds = listen::Bounds::new(&app.caps, config.stall_timeout);
    let connections = tokio::spawn(listen::serve(listener, router, bounds, config.connections, stopped));
    let mut state = app.service.watch();
    let outcome = tokio::select! {
        failed = failure(&mut state) => Err(failed),
        () = ended() => Ok(if matches!(app.service.state(), State::Loading(_)) {
            End::WhileLoading
        } else {
            End::Drained
        }),
    };
    match outcome {
        Ok(End::WhileLoading) => tracing::info!("ended while the model was being loaded"),
        Ok(End::Drained) => {
            tracing::info!("draining: no new requests; running ones have {:?}", config.shutdown_timeout);
            app.service.drain(config.shutdown_timeout);
            tokio::select! {
                _ = state.wait_for(|s| matches!(s, State::Stopped | State::Failed(_))) => {}
                () = ended() => {}
            }
        }
        Err(_) => {}
    }
    stop.send_replace(true);
    // Only a panic of the accept loop could be reported here, and it has been logged.
    let _ = connections.await;
    outcome
}

/// Resolves when the engine can't go on.
async fn failure(state: &mut watch::Receiver<State>) -> String {
    match state.wait_for(|state| matches!(state, State::Failed(_))).await.as_deref() {
        Ok(State::Failed(why)) => why.clone(),
        _ => "the engine's thread is gone".into(),
    }
}
