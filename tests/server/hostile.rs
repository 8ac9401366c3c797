//! Clients that break rules, go away, or don't read: the server answers or closes, and serves the
//! next.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Reply, Server, read_reply, request};

/// As long as the context lets it be.
fn long(stream: bool) -> Value {
    json!({"prompt": "abc", "max_tokens": 240, "ignore_eos": true, "temperature": 0, "stream": stream, "n": 4})
}

fn still_serves(server: &Server, after: &str) {
    let reply =
        server.post("/v1/completions", &json!({"prompt": "abc", "max_tokens": 2, "ignore_eos": true}));
    assert_eq!(reply.status, 200, "after {after}: {}", reply.body);
}

/// Sends bytes piece by piece; a server may close before all are sent.
fn push(server: &Server, pieces: impl Iterator<Item = Vec<u8>>) -> Reply {
    let mut stream = server.connect();
    for piece in pieces {
        if stream.write_all(&piece).is_err() {
            break;
        }
    }
    read_reply(&mut stream)
}

#[test]
fn malformed_and_oversized_requests_are_answered_or_closed() {
    let server = Server::start(&["--cap", "body-bytes=100000"]);
    let once = |text: &str| push(&server, std::iter::once(text.as_bytes().to_vec()));
    for text in ["\r\n\r\n", "GET\r\n\r\n", "\0\u{1}\u{2}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "get"] {
        // Nothing but silence on a line that may yet go on: end our side, so that it can't.
        let mut stream = server.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let reply = read_reply(&mut stream);
        assert!(matches!(reply.status, 0 | 400..=505), "{text:?}: {}", reply.head);
        still_serves(&server, text);
    }
    let headers = push(
        &server,
        std::iter::once(b"GET /health HTTP/1.1\r\nX: ".to_vec()).chain((0..160).map(|_| vec![b'a'; 1 << 16])),
    );
    assert!(matches!(headers.status, 0 | 431), "{}", headers.head);
    still_serves(&server, "10 MB of headers");
    let many: String = (0..5000).map(|i| format!("X-{i}: y\r\n")).collect();
    let reply = once(&format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"));
    assert!(matches!(reply.status, 0 | 431), "{}", reply.head);

    let post = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let large = push(
        &server,
        std::iter::once(format!("{post}Content-Length: 10000000\r\n\r\n").into_bytes())
            .chain((0..160).map(|_| vec![b' '; 1 << 16])),
    );
    assert!(matches!(large.status, 0 | 413), "{}", large.head);
    still_serves(&server, "a body of 10 MB");
    for body in ["", "{", "[]", "\"x\"", "{\"prompt\": \"\\ud800\"}", "\u{0}", &"[".repeat(50_000)] {
        let reply = once(&format!("{post}Content-Length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(reply.status, 400, "{}: {}", &body[..body.len().min(20)], reply.body);
    }
    // Cut in the middle of the body.
    let mut stream = server.connect();
    stream.write_all(format!("{post}Content-Length: 100\r\n\r\n{{\"prompt\"").as_bytes()).unwrap();
    drop(stream);
    still_serves(&server, "half a body");
    assert_eq!(server.get("/nothing/here").status, 404);
    assert_eq!(server.get("/v1/completions").status, 405);
}

#[test]
fn clients_that_go_away_free_their_blocks() {
    let server = Server::start(&["--max-num-seqs", "8"]);
    let aborted = |s: &Server| s.metric("vllm:request_success_total", "finished_reason=\"abort\"");
    // Mid-stream.
    let mut stream = server.connect();
    stream.write_all(request("/v1/completions", &long(true), "").as_bytes()).unwrap();
    stream.read_exact(&mut [0; 64]).unwrap();
    drop(stream);
    server.until("a stream was not aborted", |s| aborted(s) >= 1.0);
    // While a whole answer is waited for.
    let before = aborted(&server);
    let mut stream = server.connect();
    stream.write_all(request("/v1/completions", &long(false), "").as_bytes()).unwrap();
    server.until("it did not start", |s| {
        s.metric("vllm:num_requests_running", "") > 0.0 || aborted(s) > before
    });
    drop(stream);
    server.until("a whole answer was not aborted", |s| aborted(s) > before);
    server.until("blocks stay in use", |s| {
        s.metric("vllm:kv_cache_usage_perc", "") == 0.0 && s.metric("vllm:num_requests_running", "") == 0.0
    });
    // One that has closed its side, as some do once they have asked: answered or not, nothing is left of it.
    let mut half = server.connect();
    half.write_all(request("/v1/completions", &long(false), "").as_bytes()).unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    assert!(matches!(read_reply(&mut half).status, 0 | 200));
    still_serves(&server, "a half-closed client");
    server.until("a half-closed client's blocks stay in use", |s| {
        s.metric("vllm:kv_cache_usage_perc", "") == 0.0
    });
    // One that does not read holds up nobody.
    let mut slow = server.connect();
    slow.write_all(request("/v1/completions", &long(true), "").as_bytes()).unwrap();
    still_serves(&server, "a client that does not read");
    drop(slow);
    still_serves(&server, "it went");
}

/// Pipelines requests and reads none of the answers.
fn stuck(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let asked = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
    // As much as goes: the server stops reading once its answers lie.
    let _ = stream.write_all(asked.as_bytes());
    stream
}

#[test]
fn clients_that_do_not_read_lose_their_places() {
    let server = Server::start(&["--max-connections", "4", "--stall-timeout", "1"]);
    let readers: Vec<TcpStream> = (0..4).map(|_| stuck(&server)).collect();
    let mut next = server.connect();
    next.write_all(b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut next).status, 200);
    drop(readers);
    still_serves(&server, "clients that do not read");
}

#[test]
fn a_stream_that_is_not_read_is_aborted() {
    let server = Server::start(&["--stall-timeout", "1", "--max-num-seqs", "4"]);
    let aborted = |s: &Server| s.metric("vllm:request_success_total", "finished_reason=\"abort\"");
    // More than the system keeps for a connection, 64 MB (each token lists its alternatives), and still at
    // work a second after those buffers are full.
    let body = json!({
        "prompt": vec!["abc"; 4], "max_tokens": 240, "ignore_eos": true, "temperature": 0, "stream": true,
        "n": 32, "logprobs": 64,
    });
    let mut stream = server.connect();
    stream.write_all(request("/v1/completions", &body, "").as_bytes()).unwrap();
    server.until("a stream that is not read was not aborted", |s| aborted(s) >= 1.0);
    server.until("its blocks stay in use", |s| s.metric("vllm:kv_cache_usage_perc", "") == 0.0);
    still_serves(&server, "a stream that was not read");
}

#[test]
fn connections_are_bounded_and_those_beyond_wait() {
    let server = Server::start(&["--max-connections", "2"]);
    let idle = [server.connect(), server.connect()];
    // Time for both to be accepted.
    std::thread::sleep(Duration::from_millis(200));
    let mut third = server.connect();
    third.write_all(b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(third.read(&mut [0; 1]).is_err(), "a third connection was served beside two");
    drop(idle);
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(read_reply(&mut third).status, 200);
    still_serves(&server, "too many connections");
}

#[test]
fn names_of_strangers_do_not_lead_here() {
    let asks = |server: &Server, host: &str| {
        server.raw(format!("GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
    };
    let server = Server::start(&["--allowed-hosts", "llm.example"]);
    for host in ["localhost", "127.0.0.1:1", "[::1]", "llm.example:443"] {
        assert_eq!(asks(&server, host).status, 200, "{host}");
    }
    let refused = asks(&server, "rebound.example");
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (403, Some("unknown_host")));
    // A name that leads to this machine alone needs no key; and what is asked for is said, and what is taken.
    let template = "{% for m in messages %}({{ m.content }}){% endfor %}";
    let named = Server::start(&["--host", "localhost", "--max-num-seqs", "2", "--chat-template", template]);
    for line in ["32 blocks of 16 tokens", "of the asked --kv-cache-memory 4.0 MiB the cache takes 128.0 KiB"]
    {
        named.until(line, |s| s.log.lock().unwrap().contains(line));
    }
    let shown = named.post("/apply-template", &json!({"messages": [{"role": "user", "content": "x"}]}));
    assert_eq!(shown.json()["prompt"], "(x)", "{}", shown.body);
    // With a key the name tells nothing.
    let keyed = Server::start(&["--api-key", "secret"]);
    assert_eq!(asks(&keyed, "rebound.example").status, 401);
}

#[test]
fn the_queue_is_bounded() {
    let server = Server::start(&["--max-num-seqs", "1", "--max-queue", "1"]);
    let body =
        request("/v1/completions", &json!({"prompt": "abc", "max_tokens": 240, "ignore_eos": true}), "");
    let mut clients: Vec<_> = (0..12).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(body.as_bytes()).unwrap();
    }
    let replies: Vec<Reply> = clients.iter_mut().map(read_reply).collect();
    let full: Vec<&Reply> = replies.iter().filter(|r| r.status == 429).collect();
    assert!(!full.is_empty() && replies.iter().any(|r| r.status == 200));
    assert!(replies.iter().all(|r| matches!(r.status, 200 | 429)));
    assert!(full[0].head.contains("retry-after: "), "{}", full[0].head);
    assert_eq!(full[0].json()["error"]["code"], "queue_full");
    still_serves(&server, "a full queue");
    // One request's own parts are nobody it has to wait for.
    let prompts = vec!["abc"; 20];
    let many = server.post("/v1/completions", &json!({"prompt": prompts, "max_tokens": 2}));
    assert_eq!(
        (many.status, many.json()["choices"].as_array().map(Vec::len)),
        (200, Some(20)),
        "{}",
        many.body
    );
}

#[test]
fn a_body_that_says_that_it_is_too_large_is_not_waited_for() {
    let server = Server::start(&[]);
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Content-Length: 99999999999\r\n\r\n{";
    let mut client = server.connect();
    client.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_reply(&mut client).status, 413);
    still_serves(&server, "a body that is too large");
}

#[test]
fn an_open_address_needs_a_key() {
    let run = |flags: &[&str]| {
        let mut all = vec!["serve", "tests/data/tiny/llama", "--host", "0.0.0.0", "--port", "0"];
        all.extend(flags);
        Command::new(env!("CARGO_BIN_EXE_ridgepoint")).args(all).output().unwrap()
    };
    let refused = run(&[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("--api-key") && said.contains("--no-auth"), "{said}");
    for (flags, expected) in [
        (&["--api-key", ""][..], "empty"),
        (&["--no-auth", "--cap", "stops"], "stops=8"),
        (&["--no-auth", "--cap", "nothing=1"], "answers"),
        (&["--api-key-file", "/nonexistent"], "/nonexistent"),
        (&["--no-auth", "--chat-template", "nosuch.jinja"], "expected a file, or a template"),
        (&["--no-auth", "--chat-template", "{% if"], "--chat-template"),
    ] {
        let output = run(flags);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(expected), "{flags:?}: {said}");
    }
}
