//! One more than each cap allows.

use ridgepoint::server::caps::{CAPS, Cap};
use serde_json::{Value, json};

use crate::harness::{Server, request};

/// Small enough to exceed in a test.
fn most(cap: Cap) -> usize {
    match cap {
        Cap::BodyBytes | Cap::HeaderBytes => 4096,
        Cap::TemplateFuel => 1000,
        Cap::TemplateBytes => 80,
        Cap::Headers => 10,
        Cap::PromptBytes => 100,
        Cap::PromptTokens | Cap::NameBytes => 30,
        _ => 3,
    }
}

/// A request that asks for `n` of what a cap bounds. A new cap does not compile without one.
fn asking(cap: Cap, n: usize) -> (&'static str, Value) {
    let said = |content: String| {
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": content}], "max_tokens": 1}))
    };
    let chat = "/v1/chat/completions";
    let message = || json!({"role": "user", "content": "x"});
    let with = |key: &str, value: Value| {
        let mut body = json!({"prompt": "x", "max_tokens": 1});
        body[key] = value;
        ("/v1/completions", body)
    };
    match cap {
        Cap::Answers => with("n", json!(n)),
        Cap::Logprobs => with("logprobs", json!(n)),
        Cap::Stops => with("stop", json!(vec!["@@"; n])),
        Cap::StopBytes => with("stop", json!("@".repeat(n))),
        Cap::Inputs => ("/v1/embeddings", json!({"input": vec!["x"; n]})),
        Cap::PromptLogprobs => {
            let (path, mut body) = with("prompt", json!(vec![5; n]));
            body["echo"] = true.into();
            body["logprobs"] = 1.into();
            (path, body)
        }
        Cap::StopTokens => with("stop_token_ids", json!((0..n).map(|i| i + 5).collect::<Vec<_>>())),
        Cap::LogitBias => {
            let rows = (0..n).map(|i| (i.to_string(), json!(1)));
            with("logit_bias", Value::Object(rows.collect()))
        }
        Cap::Messages => (chat, json!({"messages": vec![message(); n], "max_tokens": 1})),
        Cap::PromptBytes => with("prompt", json!("x".repeat(n))),
        Cap::PromptTokens => with("prompt", json!(vec![5; n])),
        Cap::NameBytes => with("cache_salt", json!("s".repeat(n))),
        // Their headers ask.
        Cap::Headers | Cap::HeaderBytes => with("n", json!(1)),
        // A template can't be made to take an exact number of instructions.
        Cap::TemplateFuel => said(if n > most(cap) { "spin" } else { "x" }.into()),
        Cap::TemplateBytes => said("x".repeat(n - "<|im_start|>user: \nassistant: ".len())),
        Cap::BodyBytes => {
            // An unknown field is passed over, whatever its length.
            let (path, body) = with("padding", json!(""));
            let padding = n - body.to_string().len();
            (path, with("padding", json!("p".repeat(padding))).1)
        }
    }
}

/// Headers that ask for `n` of what a cap bounds, beside those of every request.
fn headers(cap: Cap, n: usize, path: &str, body: &Value) -> String {
    let plain = request(path, body, "");
    let usual: Vec<(&str, &str)> = plain.lines().skip(1).map_while(|line| line.split_once(": ")).collect();
    match cap {
        Cap::Headers => (usual.len()..n).map(|i| format!("X-{i}: y\r\n")).collect(),
        Cap::HeaderBytes => {
            let bytes: usize = usual.iter().map(|(name, value)| name.len() + value.len()).sum();
            format!("X: {}\r\n", "y".repeat(n - bytes - path.len() - 1))
        }
        _ => String::new(),
    }
}

#[test]
fn one_more_than_each_cap_is_refused() {
    let flags: Vec<String> = CAPS
        .iter()
        .flat_map(|(cap, name, ..)| ["--cap".to_string(), format!("{name}={}", most(*cap))])
        .collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Server::start(&flags);
    for (cap, name, _, status) in CAPS {
        let (path, body) = asking(*cap, most(*cap));
        let send = |n, body| server.raw(request(path, body, &headers(*cap, n, path, body)).as_bytes());
        let allowed = send(most(*cap), &body);
        assert_eq!(allowed.status, 200, "{name}: {}", allowed.body);
        let refused = send(most(*cap) + 1, &asking(*cap, most(*cap) + 1).1);
        assert_eq!(refused.status, status.as_u16(), "{name}: {}", refused.body);
        let error = &refused.json()["error"];
        assert_eq!(error["code"], "cap_exceeded", "{name}: {error}");
        assert!(error["message"].as_str().unwrap().contains(&format!("--cap {name}=")), "{error}");
    }
}

/// Short texts, wherever they come in.
#[test]
fn names_are_bounded_on_every_path() {
    let server = Server::start(&["--cap", "name-bytes=30", "--any-model-name"]);
    let messages = json!([{"role": "user", "content": "x"}]);
    let chat = json!({"messages": messages, "max_tokens": 1});
    let names = ["user", "safety_identifier", "prompt_cache_key", "request_id"];
    for (path, body, more) in [
        ("/v1/chat/completions", chat.clone(), &names[..]),
        ("/v1/completions", json!({"prompt": "x", "max_tokens": 1}), &names),
        ("/v1/responses", json!({"input": "x", "max_output_tokens": 1}), &names),
        ("/v1/embeddings", json!({"input": "x"}), &names),
        ("/v1/messages", chat.clone(), &[]),
        ("/v1/messages/count_tokens", chat.clone(), &[]),
        ("/tokenize", json!({"prompt": "x"}), &[]),
        ("/detokenize", json!({"tokens": [5]}), &[]),
        ("/apply-template", json!({"messages": messages}), &[]),
    ] {
        for name in ["model"].iter().chain(more) {
            for (bytes, status) in [(30, 200), (31, 400)] {
                let mut body = body.clone();
                body[*name] = "n".repeat(bytes).into();
                let reply = server.post(path, &body);
                assert_eq!(reply.status, status, "{path}, {name}: {}", reply.body);
                assert!(status == 200 || reply.body.contains("--cap name-bytes="), "{}", reply.body);
            }
        }
    }
}

/// A template that writes without end meets the cap as it stands, long before it runs out of fuel; the
/// server serves the next.
#[test]
fn a_template_that_writes_without_end_is_refused() {
    let server = Server::start(&[]);
    // Spaces, which a prompt may lose: a text so long would be refused before the template sees it.
    let said = format!("flood{}", " ".repeat(4096));
    let messages = json!([{"role": "user", "content": said}]);
    for (path, body) in [
        ("/v1/chat/completions", json!({"messages": messages, "max_tokens": 1})),
        ("/v1/chat/completions", json!({"messages": messages, "max_tokens": 1, "stream": true})),
        ("/v1/messages", json!({"model": "tiny", "messages": messages, "max_tokens": 1})),
        ("/v1/responses", json!({"input": messages, "max_output_tokens": 1})),
        ("/apply-template", json!({"messages": messages})),
    ] {
        let refused = server.post(path, &body);
        assert_eq!(refused.status, 400, "{path}: {}", refused.body);
        let message = refused.json()["error"]["message"].as_str().unwrap().to_string();
        assert!(
            message.contains("at most 8388608") && message.contains("--cap template-bytes="),
            "{message}"
        );
        let next = server.post(path, &asking_for_little(&body));
        assert_eq!(next.status, 200, "{path}: {}", next.body);
    }
}

/// The same request with a word as what is said.
fn asking_for_little(body: &Value) -> Value {
    let mut body = body.clone();
    for key in ["messages", "input"] {
        if body.get(key).is_some() {
            body[key] = json!([{"role": "user", "content": "x"}]);
        }
    }
    body
}
