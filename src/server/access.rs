//! Each request's id, in and out, and a line of log.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

use super::listen::Peer;
use super::openai::token;

const ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ids of clients are replaced.
const ID_BYTES: usize = 128;
/// The status in the log of a request whose client left before it was answered, as other servers write it.
const LEFT: u16 = 499;

/// What is logged of a request, once nothing of it is left: at the end of its answer, or when its client goes.
struct Line {
    start: Instant,
    method: Method,
    path: String,
    id: Option<HeaderValue>,
    peer: String,
    /// The answer's status, and when its headers were there.
    answered: Option<(u16, Duration)>,
    /// Whether the answer came to its end.
    whole: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let total = self.start.elapsed();
        let (status, headers) = self.answered.unwrap_or((LEFT, total));
        tracing::info!(
            target: "ridgepoint::access",
            method = %self.method,
            // Escaped: a path is whatever a client likes.
            path = %self.path.escape_debug(),
            status,
            ms = ms(headers),
            total_ms = ms(total),
            whole = self.whole,
            id = self.id.as_ref().and_then(|id| id.to_str().ok()),
            peer = self.peer,
        );
    }
}

/// An answer's body, with the line that is logged at its end.
struct Logged {
    body: Body,
    line: Line,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // A body that knows its length is not asked again after its last piece.
        self.line.whole |= matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Names the request, runs it, and logs it with the times to the answer's headers and to its end.
pub async fn log(request: Request<Body>, next: Next) -> Response {
    let given = request.headers().get(&ID).filter(|id| id.len() <= ID_BYTES && id.to_str().is_ok());
    let id = given.cloned().or_else(|| HeaderValue::try_from(format!("req-{}", token())).ok());
    let mut line = Line {
        start: Instant::now(),
        method: request.method().clone(),
        path: request.uri().path().to_string(),
        id: id.clone(),
        peer: request.extensions().get::<Peer>().map(|peer| peer.0.to_string()).unwrap_or_default(),
        answered: None,
        whole: false,
    };
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(ID, id);
    }
    line.answered = Some((response.status().as_u16(), line.start.elapsed()));
    response.map(|body| {
        // Of an answer to HEAD nothing but headers is sent.
        line.whole = body.is_end_stream() || line.method == Method::HEAD;
        Body::new(Logged { body, line })
    })
}
