//! A small server that speaks the hub's API: the list of a repository's files, `resolve` with a
//! redirect to another host, ranges, and what goes wrong in life.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What it has and how it behaves; tests change it while it runs.
#[derive(Default)]
pub struct State {
    /// Files of `user/repo`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Answers to paths (without what follows `?`) instead of the usual: a status line, headers and a body.
    pub instead: BTreeMap<String, (String, String, Vec<u8>)>,
    /// The connection is cut after so many bytes of a body, once for each item.
    pub cuts: Vec<usize>,
    /// What files' versions are called; none if empty.
    pub etag: String,
    /// Whether ranges are ignored.
    pub whole_only: bool,
    /// Whether the list says sizes and checksums.
    pub bare_list: bool,
    /// Every request: its first line and its headers, in lower case.
    pub requests: Vec<String>,
}

/// Two hosts with one state: the hub, and the store that it redirects to.
pub struct Server {
    pub state: Arc<Mutex<State>>,
    /// The hub's address.
    pub hub: String,
}

impl Server {
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let state = State { files, etag: "\"v1\"".to_owned(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let store = listen(&state, None);
        let hub = listen(&state, Some(store));
        Self { state, hub }
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

fn listen(state: &Arc<Mutex<State>>, store: Option<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (state, store) = (Arc::clone(&state), store.clone());
            // A client may hang up as soon as it has seen enough.
            thread::spawn(move || drop(serve(stream, &state, store.as_deref())));
        }
    });
    address
}

fn serve(stream: TcpStream, state: &Mutex<State>, store: Option<&str>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let head = head.to_lowercase();
    let (answer, body, cut) = {
        let mut state = state.lock().unwrap();
        state.requests.push(format!("{} {head}", if store.is_some() { "hub" } else { "store" }));
        let (status, headers, body) = answer(&state, &path, &head, store);
        let is_file = store.is_none() && status.starts_with('2') && !state.cuts.is_empty();
        let cut = if is_file { state.cuts.remove(0) } else { usize::MAX };
        let length = body.len();
        (
            format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"),
            body,
            cut,
        )
    };
    let stream = reader.get_mut();
    stream.write_all(answer.as_bytes())?;
    stream.write_all(&body[..cut.min(body.len())])
}

/// Status line, headers and body.
fn answer(state: &State, path: &str, head: &str, store: Option<&str>) -> (String, String, Vec<u8>) {
    let path = path.split('?').next().unwrap_or_default();
    let plain = |status: &str, body: &[u8]| (status.to_owned(), String::new(), body.to_vec());
    if let Some(answer) = state.instead.get(path) {
        return answer.clone();
    }
    if path == "/api/models/user/repo/revision/main" {
        return plain("200 OK", listing(state).as_bytes());
    }
    let resolve = format!("/user/repo/resolve/{COMMIT}/");
    let Some(file) = path.strip_prefix(&resolve) else { return plain("404 Not Found", b"{}") };
    let Some(bytes) = state.files.get(file) else { return plain("404 Not Found", b"Entry not found") };
    if let Some(store) = store {
        return ("302 Found".to_owned(), format!("Location: {store}{path}?signature=x\r\n"), Vec::new());
    }
    let etag = match state.etag.as_str() {
        "" => String::new(),
        tag => format!("ETag: {tag}\r\n"),
    };
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let is_current = value("if-range:").is_none_or(|tag| tag == state.etag);
    let range = value("range:").filter(|_| is_current && !state.whole_only);
    let Some(start) = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
    else {
        return ("200 OK".to_owned(), etag, bytes.clone());
    };
    if start >= bytes.len() {
        return plain("416 Range Not Satisfiable", b"");
    }
    let range = format!("{etag}Content-Range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len());
    ("206 Partial Content".to_owned(), range, bytes[start..].to_vec())
}

fn listing(state: &State) -> String {
    let hex =
        |bytes: &[u8]| -> String { Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect() };
    let sibling = |(name, bytes): (&String, &Vec<u8>)| {
        if state.bare_list {
            return serde_json::json!({ "rfilename": name });
        }
        let lfs = serde_json::json!({ "sha256": hex(bytes), "size": bytes.len(), "pointerSize": 130 });
        serde_json::json!({ "rfilename": name, "size": bytes.len(), "lfs": lfs })
    };
    let siblings: Vec<_> = state.files.iter().map(sibling).collect();
    serde_json::json!({ "id": "user/repo", "sha": COMMIT, "siblings": siblings }).to_string()
}
