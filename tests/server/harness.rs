//! A server process over a tiny model, and a plain HTTP client that trusts nothing.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}\n{% endfor %}\
                        {% if messages[0].content == \"spin\" %}{% for i in range(2000) %}{% endfor %}{% endif %}\
                        {% if messages[0].content[:5] == \"flood\" %}{% for i in range(99999) %}\
                        {{ messages[0].content }}{% endfor %}{% endif %}\
                        {% if add_generation_prompt %}assistant: {% endif %}";
/// How long anything may take, on a machine under load.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running server; killed when dropped.
pub struct Server {
    pub child: Child,
    pub address: String,
    /// What it has written to stderr.
    pub log: Arc<Mutex<String>>,
    _model: tempfile::TempDir,
}

/// What came back.
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The data of each server-sent event, without the last `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

impl Server {
    /// Starts one with these flags and waits until it is ready.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, &[])
    }

    /// As [`Server::start`], with variables of the environment.
    pub fn start_with(flags: &[&str], variables: &[(&str, &Path)]) -> Self {
        let server = Self::begin(flags, variables);
        server.until("the server did not become ready", |s| s.get("/health").status == 200);
        server
    }

    /// Starts one that may still be loading.
    pub fn begin(flags: &[&str], variables: &[(&str, &Path)]) -> Self {
        let model = tempfile::tempdir().unwrap();
        let from = Path::new("tests/data/tiny/llama");
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            fs::copy(from.join(file), model.path().join(file)).unwrap();
        }
        fs::write(model.path().join("chat_template.jinja"), TEMPLATE).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
            .args(["serve", "--port", "0", "--kv-cache-memory", "4MiB", "--served-model-name", "tiny,alias"])
            .args(flags)
            .arg(model.path())
            .env("HF_HUB_OFFLINE", "1")
            .envs(variables.iter().copied())
            .env_remove("RIDGEPOINT_LOG")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let address = loop {
            let line = lines.next().expect("the server ended before it served").unwrap();
            seen += &format!("{line}\n");
            if let Some((_, rest)) = line.split_once(" at http://") {
                break rest.split('/').next().unwrap().to_string();
            }
        };
        // What it logs is shown, and its pipe never fills.
        let log = Arc::new(Mutex::new(seen));
        let shared = log.clone();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| {
                eprintln!("server: {line}");
                *shared.lock().unwrap() += &(line + "\n");
            });
        });
        Self { child, address, log, _model: model }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> Reply {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.raw(request(path, body, "").as_bytes())
    }

    /// Sends bytes and reads to the end.
    pub fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        read_reply(&mut stream)
    }

    /// The value of a series, summed over its labels that contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let page = self.get("/metrics").body;
        let rows = page.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') && rest.contains(label))
        });
        let values: Vec<f64> = rows.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
        assert!(!values.is_empty(), "no series {name}{{{label}}} in\n{page}");
        values.iter().sum()
    }

    /// Waits until a condition holds.
    pub fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(unix)]
impl Server {
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for its end; its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "it did not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bytes of a POST.
pub fn request(path: &str, body: &Value, headers: &str) -> String {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads what a server sends until it closes.
pub fn read_reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    // A server that answers and closes while we still send may reset the connection.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(body) } else { body.to_string() };
    Reply { status, head: head.to_string(), body }
}

/// Texts here are ASCII, so that sizes in bytes are sizes in characters.
fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    body
}
