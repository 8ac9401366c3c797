//! A file from a Hugging Face repository: `{endpoint}/{repo}/resolve/{revision}/{file}`.

use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH};

use super::cache::{FetchError, Lock};
use super::{Entry, Progress, SourceError};
use crate::units::Bytes;

/// Hugging Face's own address.
pub(super) const ENDPOINT: &str = "https://huggingface.co";

/// How long a host may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To look the host up, and again to connect to it.
    pub connect: Duration,
    /// Until the answer's head is there.
    pub answer: Duration,
    /// Between two pieces of the answer; longer, and the connection is taken for broken.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            answer: Duration::from_secs(20),
            stall: Duration::from_secs(30),
        }
    }
}

/// The host that has the repositories, and who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remote<'a> {
    pub(super) endpoint: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) timeouts: Timeouts,
}

impl Remote<'_> {
    /// The address of a file. The catalog has checked that no part needs escaping.
    pub(super) fn url(&self, repo: &str, revision: &str, file: &str) -> String {
        format!("{}/{repo}/resolve/{revision}/{file}", self.endpoint)
    }

    /// Fetches `url`, trying once. Redirects are followed, as large files lie on other hosts; the
    /// token does not follow them there.
    pub(super) fn fetch(
        &self,
        url: &str,
        entry: &Entry,
        lock: &Lock,
        progress: &dyn Progress,
    ) -> Result<(), FetchError> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_resolve(Some(self.timeouts.connect))
            .timeout_connect(Some(self.timeouts.connect))
            .timeout_recv_response(Some(self.timeouts.answer))
            .timeout_per_read(Some(self.timeouts.stall))
            .user_agent(concat!("ridgepoint/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let mut request = agent.get(url);
        if let Some(token) = self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let unreachable = |error: ureq::Error| SourceError::Http(format!("{url}: {error}"));
        let response = request.call().map_err(unreachable)?;
        if response.status() != 200 {
            return Err(
                SourceError::Status { status: response.status().as_u16(), url: url.to_owned() }.into()
            );
        }
        // Another length is known to be wrong before anything is read.
        let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if let Some(found) = length.filter(|length| length.parse() != Ok(entry.size)) {
            return Err(SourceError::Size { expected: Bytes(entry.size), found: found.to_owned() }.into());
        }
        progress.begin(&format!("fetching {} from {}", entry.file, self.endpoint), Some(Bytes(entry.size)));
        let received = lock.receive(entry, &mut response.into_body().into_reader(), progress);
        progress.end();
        received
    }
}
