//! Connections: accepted, bounded in number, in the size of headers and in time, ended in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower_service::Service;

use super::caps::{Cap, Caps};
use super::stall::Impatient;

/// Least bytes that hyper's buffer may hold.
const LEAST_BUFFER: usize = 8192;
/// How long a client may take to send its headers, and stay idle between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long connections may take to end once nothing is generated any more.
const FAREWELL: Duration = Duration::from_secs(5);
/// A pause after the system gave no connection, such as for want of file descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What one connection may take up: before a request is read, beyond it the answer is a bare 431; and how long
/// what is sent may lie unread.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    buffer: usize,
    headers: usize,
    stall: Duration,
}

impl Bounds {
    /// Twice what the caps allow, so that whatever is a little beyond them is refused in words.
    pub fn new(caps: &Caps, stall: Duration) -> Self {
        let twice = |cap| caps.get(cap).saturating_mul(2);
        let buffer = twice(Cap::HeaderBytes).max(LEAST_BUFFER);
        Self { buffer, headers: twice(Cap::Headers).max(16), stall }
    }
}

/// Serves connections until `stop` turns true, then lets them end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    most: usize,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    loop {
        // Those beyond the bound wait in the system's queue.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = raised(&mut stop) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    connection(stream, peer, router, bounds, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, all).await.is_err() {
        tracing::warn!("some connections did not end in time and are cut");
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
) {
    // Tokens are small and must not wait for each other; without it they are only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().call(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(bounds.buffer)
        .max_headers(bounds.headers)
        .serve_connection(TokioIo::new(Impatient::new(stream, bounds.stall)), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = raised(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!("connection with {peer}: {error}");
    }
}

/// Resolves once the flag is true, or nobody can raise it any more.
async fn raised(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
