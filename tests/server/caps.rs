//! One more than each cap allows.

use ridgepoint::server::caps::{CAPS, Cap};
use serde_json::{Value, json};

use crate::harness::Server;

/// Small enough to exceed in a test.
fn most(cap: Cap) -> usize {
    match cap {
        Cap::BodyBytes => 4096,
        Cap::PromptBytes => 100,
        Cap::PromptTokens | Cap::NameBytes => 30,
        _ => 3,
    }
}

/// A request that asks for `n` of what a cap bounds. A new cap does not compile without one.
fn asking(cap: Cap, n: usize) -> (&'static str, Value) {
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
        Cap::BodyBytes => {
            // An unknown field is passed over, whatever its length.
            let (path, body) = with("padding", json!(""));
            let padding = n - body.to_string().len();
            (path, with("padding", json!("p".repeat(padding))).1)
        }
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
        let allowed = server.post(path, &body);
        assert_eq!(allowed.status, 200, "{name}: {}", allowed.body);
        let (path, body) = asking(*cap, most(*cap) + 1);
        let refused = server.post(path, &body);
        assert_eq!(refused.status, status.as_u16(), "{name}: {}", refused.body);
        let error = &refused.json()["error"];
        assert_eq!(error["code"], "cap_exceeded", "{name}: {error}");
        assert!(error["message"].as_str().unwrap().contains(&format!("--cap {name}=")), "{error}");
    }
}
