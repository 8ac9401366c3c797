//! A Hugging Face endpoint: the list of a repository's files, and the files themselves, at
//! `{endpoint}/{repo}/resolve/{revision}/{file}`.
//!
//! Redirects are followed here, not by the HTTP client: large files lie on other hosts, and the token
//! goes to the endpoint alone (its scheme, host and port).

use std::fmt::Write as _;
use std::io::Read;
use std::time::{Duration, Instant};

use ureq::Body;
use ureq::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, IF_RANGE, LOCATION, RANGE,
};
use ureq::http::{Response, Uri};

use super::cache::{FetchError, Lock};
use super::part::{Expected, Part, clean_up};
use super::{Progress, Sha256, SourceError};
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

/// Redirects followed before the address is taken for a circle.
const MAX_REDIRECTS: usize = 8;
/// A list of files may not be longer.
const MAX_LISTING: u64 = 16 << 20;
/// How long a list of files may take to come.
const LISTED: Duration = Duration::from_secs(60);
/// How often a broken connection is taken up again, if something came each time.
const RESUMPTIONS: usize = 5;

/// The files of a repository at one commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    /// Paths, and what is known of each.
    pub(super) files: Vec<(String, Expected)>,
}

impl Remote<'_> {
    /// The address of a file.
    pub(super) fn url(&self, repo: &str, revision: &str, file: &str) -> String {
        let mut url = format!("{}/{repo}/resolve/{revision}/", self.endpoint);
        for byte in file.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                url.push(char::from(byte));
            } else {
                // Writing to a String can't fail.
                let _ = write!(url, "%{byte:02X}");
            }
        }
        url
    }

    /// The files of the repository's main branch.
    pub(super) fn list(&self, repo: &str) -> Result<Listing, SourceError> {
        #[derive(serde::Deserialize)]
        struct Answer {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(serde::Deserialize)]
        struct Sibling {
            rfilename: String,
            size: Option<u64>,
            lfs: Option<Lfs>,
        }
        #[derive(serde::Deserialize)]
        struct Lfs {
            sha256: Option<String>,
        }
        let url = format!("{}/api/models/{repo}/revision/main?blobs=true", self.endpoint);
        let response = self.ask(&url, &[])?;
        if response.status() != 200 {
            return Err(status(&response, &url));
        }
        let mut text = Vec::new();
        let mut reader = response.into_body().into_reader().take(MAX_LISTING);
        let begun = Instant::now();
        let mut chunk = [0; 8192];
        loop {
            let read =
                reader.read(&mut chunk).map_err(|error| SourceError::Http(format!("{url}: {error}")))?;
            text.extend_from_slice(&chunk[..read]);
            if read == 0 {
                break;
            }
            // A byte now and then would keep any single read from stalling.
            if begun.elapsed() > LISTED {
                let what = format!("{url}: the list of files did not end within {} s", LISTED.as_secs());
                return Err(SourceError::Answer(what));
            }
        }
        let wrong =
            |what: String| SourceError::Answer(format!("{url}: expected a list of files, found {what}"));
        let answer: Answer = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if !super::snapshot::is_commit(&answer.sha) {
            return Err(wrong(format!("the commit {:?}", answer.sha)));
        }
        let mut files = Vec::new();
        for sibling in answer.siblings {
            let climbs =
                |part: &str| part.is_empty() || part.starts_with('.') && part.trim_matches('.').is_empty();
            let name = sibling.rfilename;
            if name.split('/').any(climbs) || name.contains(['\\', ':']) || name.contains(char::is_control) {
                return Err(wrong(format!("a file called {name:?}, which is no path inside a folder")));
            }
            let sha256 = sibling.lfs.and_then(|lfs| lfs.sha256).map(Sha256::try_from).transpose();
            files.push((name, Expected { size: sibling.size, sha256: sha256.map_err(wrong)? }));
        }
        Ok(Listing { commit: answer.sha, files })
    }

    /// Fetches `url` to where the lock says, taking up what an earlier fetch left.
    pub(super) fn fetch(
        &self,
        url: &str,
        expected: Expected,
        lock: &Lock,
        progress: &dyn Progress,
    ) -> Result<(), FetchError> {
        let fetched = Part::open(lock, expected).map_err(FetchError::Cache).and_then(|mut part| {
            progress
                .begin(&format!("fetching {} from {}", lock.file, self.endpoint), expected.size.map(Bytes));
            let received = self.receive(url, expected, &mut part, progress);
            progress.end();
            received?;
            part.finish()
        });
        fetched.inspect_err(|error| clean_up(lock, error))
    }

    /// Asks until all is there, or nothing more comes.
    fn receive(
        &self,
        url: &str,
        expected: Expected,
        part: &mut Part<'_>,
        progress: &dyn Progress,
    ) -> Result<(), FetchError> {
        let mut most = part.got;
        let mut left = RESUMPTIONS;
        let mut broken = None;
        while !part.is_whole() {
            match (self.attempt(url, expected, part, progress), broken.take()) {
                (Ok(()), _) => return Ok(()),
                // Who can't be reached any more broke off before, and that is what happened.
                (Err(FetchError::Source(SourceError::Http(_))), Some(before)) => return Err(before),
                (Err(FetchError::Source(error @ SourceError::Read { .. })), _)
                    if left > 0 && part.got > most =>
                {
                    progress.note(&format!("{error}: asking for the rest"));
                    most = part.got;
                    left -= 1;
                    broken = Some(FetchError::Source(error));
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(())
    }

    fn attempt(
        &self,
        url: &str,
        expected: Expected,
        part: &mut Part<'_>,
        progress: &dyn Progress,
    ) -> Result<(), FetchError> {
        let mut headers = Vec::new();
        if part.got > 0 {
            headers.push((RANGE, format!("bytes={}-", part.got)));
            headers.extend(part.etag.clone().map(|tag| (IF_RANGE, tag)));
        }
        let mut response = self.ask(url, &headers)?;
        if response.status() == 416 {
            // What is there reaches beyond the server's file.
            part.restart(None)?;
            response = self.ask(url, &[])?;
        }
        match response.status().as_u16() {
            200 => part.restart(header(&response, &ETAG))?,
            206 if part.got > 0 => {
                let range = header(&response, &CONTENT_RANGE).unwrap_or_default();
                if !range.starts_with(&format!("bytes {}-", part.got)) {
                    let what = format!("{url}: expected the bytes from {} on, found '{range}'", part.got);
                    return Err(SourceError::Answer(what).into());
                }
            }
            _ => return Err(status(&response, url).into()),
        }
        // Another length is known to be wrong before anything is read.
        let left = expected.size.map(|size| size - part.got);
        if let (Some(left), Some(found)) = (left, header(&response, &CONTENT_LENGTH))
            && found.parse() != Ok(left)
        {
            return Err(SourceError::Size { expected: Bytes(left), found: found.to_owned() }.into());
        }
        part.append(&mut response.into_body().into_reader(), progress)
    }

    /// Asks once and follows redirects.
    fn ask(&self, url: &str, headers: &[(HeaderName, String)]) -> Result<Response<Body>, SourceError> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(self.timeouts.connect))
            .timeout_connect(Some(self.timeouts.connect))
            .timeout_recv_response(Some(self.timeouts.answer))
            .timeout_per_read(Some(self.timeouts.stall))
            .user_agent(concat!("ridgepoint/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let mut at = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = agent.get(&at);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(token) =
                self.token.filter(|_| origin(&at).is_some_and(|o| Some(o) == origin(self.endpoint)))
            {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| SourceError::Http(format!("{at}: {error}")))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let to = header(&response, &LOCATION).unwrap_or_default();
            at = redirected(&at, to).ok_or_else(|| {
                SourceError::Answer(format!(
                    "{at}: it redirects to '{to}': expected an address, no less secure"
                ))
            })?;
        }
        Err(SourceError::Answer(format!("{url}: it redirects more than {MAX_REDIRECTS} times")))
    }
}

fn header<'a>(response: &'a Response<Body>, name: &HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

fn status(response: &Response<Body>, url: &str) -> SourceError {
    SourceError::Status { status: response.status().as_u16(), url: url.to_owned() }
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let url: Uri = url.parse().ok()?;
    let scheme = url.scheme_str()?.to_ascii_lowercase();
    let port = url.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, url.host()?.to_ascii_lowercase(), port))
}

/// Where `to`, an address or a path on the same host, leads from `from`. Not from HTTPS to HTTP.
fn redirected(from: &str, to: &str) -> Option<String> {
    let (scheme, _, _) = origin(from)?;
    if to.starts_with('/') && !to.starts_with("//") {
        let authority = from.parse::<Uri>().ok()?.authority()?.to_string();
        return Some(format!("{scheme}://{authority}{to}"));
    }
    let (new, _, _) = origin(to)?;
    (new == "https" || new == scheme && new == "http").then(|| to.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_and_origins() {
        let same = |a, b| origin(a).is_some() && origin(a) == origin(b);
        assert!(same("https://Hub.co", "https://hub.co:443/x"));
        for other in
            ["http://hub.co", "https://hub.co:444", "https://hub.co.evil", "https://hub.co@evil", "nonsense"]
        {
            assert!(!same("https://hub.co", other), "{other}");
        }
        let to = |from, to| redirected(from, to);
        assert_eq!(to("https://a:8/x?y", "/z").as_deref(), Some("https://a:8/z"));
        assert_eq!(to("https://a/x", "https://b/z").as_deref(), Some("https://b/z"));
        assert_eq!(to("http://a/x", "https://b/z").as_deref(), Some("https://b/z"));
        for bad in ["http://b/z", "//b/z", "z", "", "file:///x"] {
            assert_eq!(to("https://a/x", bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_are_escaped() {
        let remote = Remote { endpoint: "http://h", token: None, timeouts: Timeouts::default() };
        assert_eq!(
            remote.url("a/b", "main", "s/x y+1?.gguf"),
            "http://h/a/b/resolve/main/s/x%20y%2B1%3F.gguf"
        );
    }
}
