//! A request's events as an async stream: for programs that bring their own runtime.
//!
//! [`Service::stream`] hands one request to the engine's thread. The stream ends after the last event;
//! dropping it earlier aborts the request before the next step. A stream that is not read for a thousand
//! events is aborted as well, so that it holds up nobody.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;

use super::service::{Delivery, Observer, Service, SubmitError};
use super::{Engine, Event, GenerationRequest, RequestId};

/// How many events a reader may be behind.
const BEHIND: usize = 1024;

/// Why a stream ended before its request did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The engine could not go on.
    #[error("{0}")]
    Failed(String),
    /// The request was aborted.
    #[error("the answer was cut off: the engine shuts down, or its events were not read")]
    CutOff,
}

/// The events of one request.
#[derive(Debug)]
pub struct EventStream {
    inbox: mpsc::Receiver<Delivery>,
    /// Choices that haven't ended.
    open: u32,
}

impl Stream for EventStream {
    type Item = Result<Event, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.open == 0 {
            return Poll::Ready(None);
        }
        let item = match std::task::ready!(self.inbox.poll_recv(context)) {
            Some(Delivery::Event { event, .. }) => {
                self.open -= u32::from(matches!(event, Event::Finished { .. }));
                Ok(event)
            }
            Some(Delivery::Failed(why)) => Err(StreamError::Failed(why)),
            None => Err(StreamError::CutOff),
        };
        if item.is_err() {
            self.open = 0;
        }
        Poll::Ready(Some(item))
    }
}

impl Service {
    /// Hands one request over; its events come out of the stream.
    ///
    /// # Errors
    /// When the engine refuses it or takes none at present.
    pub async fn stream(&self, request: GenerationRequest) -> Result<EventStream, SubmitError> {
        let open = request.params.n;
        let (sink, inbox) = mpsc::channel(BEHIND * open.max(1) as usize);
        self.submit(vec![request], sink).await?;
        Ok(EventStream { inbox, open })
    }
}

/// Sees nothing.
impl Observer for () {
    fn taken(&mut self, _: RequestId, _: &GenerationRequest) {}
    fn stepped(&mut self, _: &Engine, _: &[Event]) {}
    fn aborted(&mut self, _: RequestId) {}
}
