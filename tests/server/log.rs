//! What a server writes about what it does.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::harness::{Server, request};

/// The lines of the access log for a path.
fn lines(server: &Server, path: &str) -> Vec<Value> {
    let log = server.log.lock().unwrap().clone();
    let objects =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    let of_path = |line: &Value| line["target"] == "ridgepoint::access" && line["path"] == path;
    objects.filter(of_path).collect()
}

#[test]
fn every_line_is_an_object_and_every_request_has_one() {
    let server = Server::start(&["--log-format", "json"]);
    let path = "/v1/completions";
    let body = |stream: bool| json!({"prompt": "abc", "max_tokens": 200, "ignore_eos": true, "n": 8, "stream": stream});
    assert_eq!(server.post(path, &body(true)).status, 200);
    server.until("a stream has no line", |s| lines(s, path).len() == 1);
    let line = lines(&server, path).remove(0);
    let (headers, total) = (line["ms"].as_f64().unwrap(), line["total_ms"].as_f64().unwrap());
    assert!(headers * 2.0 < total, "a stream lasts longer than its headers: {line}");
    assert_eq!((&line["status"], &line["whole"]), (&json!(200), &json!(true)), "{line}");
    // One whose client leaves in the middle, and one before anything is there.
    for (stream, status) in [(true, 200), (false, 499)] {
        let before = lines(&server, path).len();
        let mut client = server.connect();
        client.write_all(request(path, &body(stream), "").as_bytes()).unwrap();
        if stream {
            client.read_exact(&mut [0; 64]).unwrap();
        } else {
            server.until("it did not start", |s| s.metric("vllm:num_requests_running", "") > 0.0);
        }
        drop(client);
        server.until("a client that left has no line", |s| lines(s, path).len() > before);
        let line = lines(&server, path).pop().unwrap();
        assert_eq!((&line["status"], &line["whole"]), (&json!(status), &json!(false)), "{line}");
    }
    assert_eq!(server.get("/version").status, 200);
    server.until("a whole answer has no line", |s| lines(s, "/version").len() == 1);
    assert_eq!(lines(&server, "/version")[0]["whole"], true);
}

#[test]
fn an_error_at_the_start_is_an_object_too() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
        .args(["serve", "/nonexistent/model.gguf", "--log-format", "json", "--port", "0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert!(last["level"] == "ERROR" && last["message"].as_str().unwrap().contains("/nonexistent"), "{last}");
}

/// What would be another answer is refused, what agents send beside is tolerated and logged.
#[test]
fn what_messages_can_not_honour_is_refused_or_logged() {
    let server = Server::start(&[]);
    let ask = |more: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 2});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.post("/v1/messages?beta=true", &body)
    };
    let schema = json!({"type": "json_schema", "schema": {}});
    for (more, field) in [
        (json!({"output_format": schema}), "output_format"),
        (json!({"output_config": {"format": schema}}), "output_config.format"),
        (json!({"mcp_servers": [{"type": "url", "url": "x", "name": "x"}]}), "mcp_servers"),
        (json!({"container": "x"}), "container"),
        (json!({"stop_sequences": [""]}), "stop_sequences"),
    ] {
        let refused = ask(more);
        let message = refused.json()["error"]["message"].clone();
        let named = message.as_str().is_some_and(|m| m.starts_with(field));
        assert!(refused.status == 400 && named, "{field}: {message}");
    }
    let agent = json!({
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        "metadata": {"user_id": "x"},
        "tools": [{"name": "x", "input_schema": {}}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"effort": "high"},
        "mcp_servers": [],
    });
    let reply = ask(agent);
    assert_eq!(reply.status, 200, "{}", reply.body);
    server.until("what was ignored is not logged", |s| {
        let log = s.log.lock().unwrap();
        let line = log.lines().find(|line| line.contains("unknown fields were ignored"));
        line.is_some_and(|line| line.contains("thinking") && line.contains("output_config.effort"))
    });
    let head = server.raw(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(head.status, 200);
}
