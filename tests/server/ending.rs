//! How a server ends: at once while it loads, else when what runs has finished or its time is up.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Server, request};

/// Streams that last as long as the context lets them.
fn streaming(server: &Server) -> TcpStream {
    let body = json!({
        "prompt": "abc", "max_tokens": 240, "ignore_eos": true, "temperature": 0, "stream": true, "n": 16,
    });
    let mut stream = server.connect();
    stream.write_all(request("/v1/completions", &body, "").as_bytes()).unwrap();
    stream.read_exact(&mut [0; 64]).unwrap();
    stream
}

fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // One that is cut may be reset.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn while_it_loads_it_says_so_and_ends_at_once() {
    let cache = tempfile::tempdir().unwrap();
    let unkept = [("RIDGEPOINT_CACHE", cache.path()), ("MESA_SHADER_CACHE_DISABLE", Path::new("true"))];
    let mut server = Server::begin(&[], &unkept);
    let health = server.get("/health");
    assert_eq!(health.status, 503, "{}", health.body);
    assert!(health.head.contains("retry-after: "), "{}", health.head);
    let health = health.json();
    assert_eq!(health["status"], "loading", "{health}");
    assert!((0.0..=1.0).contains(&health["progress"].as_f64().unwrap()), "{health}");
    assert!(["weights", "kernels"].contains(&health["phase"].as_str().unwrap()), "{health}");
    let refused = server.post("/v1/completions", &json!({"prompt": "abc"}));
    assert_eq!(refused.status, 503, "{}", refused.body);
    server.terminate();
    assert_eq!(server.wait(), Some(0));
    let log = server.log.lock().unwrap().clone();
    assert!(!log.contains("maximum concurrency"), "it was loaded first:\n{log}");
}

#[test]
fn sigterm_lets_what_runs_finish_and_takes_nothing_new() {
    let mut server = Server::start(&["--shutdown-timeout", "100"]);
    // Connected before, as a client that keeps its connection.
    let mut idle = server.connect();
    let mut stream = streaming(&server);
    server.terminate();
    server.until("it does not drain", |s| s.log.lock().unwrap().contains("draining"));
    idle.write_all(request("/v1/completions", &json!({"prompt": "abc"}), "").as_bytes()).unwrap();
    let refused = rest(&mut idle);
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let rest = rest(&mut stream);
    assert!(rest.contains("data: [DONE]"), "the stream was cut: {rest}");
    assert_eq!(rest.matches("\"finish_reason\":\"length\"").count(), 16);
    assert_eq!(server.wait(), Some(0));
}

/// The error that a stream ends with when it is cut.
fn cut(text: &str) -> Value {
    let mut data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let last = data.next_back().unwrap_or_else(|| panic!("no event in {text}"));
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {last}"))
}

#[test]
fn what_does_not_finish_in_time_is_cut() {
    let mut server = Server::start(&["--shutdown-timeout", "0"]);
    let mut stream = streaming(&server);
    server.terminate();
    let last = cut(&rest(&mut stream));
    assert_eq!(last["error"]["type"], "service_unavailable_error", "{last}");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_second_signal_does_not_wait() {
    let mut server = Server::start(&["--shutdown-timeout", "1000", "--max-num-seqs", "2"]);
    let mut streams: Vec<TcpStream> = (0..12).map(|_| streaming(&server)).collect();
    server.terminate();
    server.until("it does not drain", |s| s.log.lock().unwrap().contains("draining"));
    server.terminate();
    let start = Instant::now();
    assert_eq!(server.wait(), Some(0));
    // Connections have five seconds to end; what runs would take longer.
    let done = streams.iter_mut().map(rest).filter(|text| text.contains("[DONE]")).count();
    assert!(done < 12 && start.elapsed() < Duration::from_secs(60), "{done} streams were waited for");
}
