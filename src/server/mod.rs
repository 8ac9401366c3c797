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
    /// Most connections at once.
    pub connections: usize,
}

/// Serves until `ended` resolves, then drains: what runs may finish within the shutdown timeout,
/// a second `ended` cuts it short.
///
/// # Errors
/// When the model can't be loaded or the engine fails for good.
pub async fn serve<F: Future<Output = ()>>(
    listener: TcpListener,
    app: Arc<App>,
    config: Config,
    ended: impl Fn() -> F,
) -> Result<(), String> {
    let (stop, stopped) = watch::channel(false);
    let router = routes::router(app.clone(), config.guard);
    let bounds = listen::Bounds::new(&app.caps);
    let connections = tokio::spawn(listen::serve(listener, router, bounds, config.connections, stopped));
    let mut state = app.service.watch();
    let failed = tokio::select! {
        failed = failure(&mut state) => Err(failed),
        () = ended() => Ok(()),
    };
    if failed.is_ok() {
        tracing::info!("draining: no new requests; running ones have {:?}", config.shutdown_timeout);
        app.service.drain(config.shutdown_timeout);
        tokio::select! {
            _ = state.wait_for(|s| matches!(s, State::Stopped | State::Failed(_))) => {}
            () = ended() => {}
        }
    }
    stop.send_replace(true);
    // Only a panic of the accept loop could be reported here, and it has been logged.
    let _ = connections.await;
    failed
}

/// Resolves when the engine can't go on.
async fn failure(state: &mut watch::Receiver<State>) -> String {
    match state.wait_for(|state| matches!(state, State::Failed(_))).await.as_deref() {
        Ok(State::Failed(why)) => why.clone(),
        _ => "the engine's thread is gone".into(),
    }
}
