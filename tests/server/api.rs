//! What OpenAI's and vLLM's clients expect, and errors that name their field.

use serde_json::{Value, json};

use crate::harness::Server;

fn chat(more: Value) -> Value {
    let mut body = json!({
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 12,
        "temperature": 0,
        "ignore_eos": true,
    });
    merge(&mut body, more);
    body
}

fn completion(more: Value) -> Value {
    let mut body = json!({"prompt": "abc", "max_tokens": 8, "temperature": 0, "ignore_eos": true});
    merge(&mut body, more);
    body
}

fn merge(body: &mut Value, more: Value) {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
}

fn content(reply: &Value, choice: usize) -> &str {
    reply["choices"][choice]["message"]["content"].as_str().unwrap()
}

#[test]
fn answers_are_as_the_apis_say() {
    let server = Server::start(&[]);
    chats(&server);
    completions(&server);
    others(&server);
    refusals(&server);
    server.until("the engine is idle in the end", |s| {
        s.metric("vllm:num_requests_running", "") == 0.0
            && s.metric("vllm:num_requests_waiting", "") == 0.0
            && s.metric("vllm:kv_cache_usage_perc", "") == 0.0
    });
    assert!(server.metric("vllm:cache_config_info", "block_size=\"16\",num_gpu_blocks=") == 1.0);
    assert!(server.metric("vllm:cache_config_info", "cache_dtype=\"f16\"") == 1.0);
}

fn chats(server: &Server) {
    let whole = server.post("/v1/chat/completions", &chat(json!({})));
    assert_eq!(whole.status, 200, "{}", whole.body);
    let whole = whole.json();
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["usage"]["completion_tokens"], 12);
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert!(whole["timings"]["predicted_per_second"].as_f64().unwrap() > 0.0);

    let body = chat(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let streamed = server.post("/v1/chat/completions", &body);
    assert!(streamed.head.contains("text/event-stream"), "{}", streamed.head);
    assert!(streamed.body.trim_end().ends_with("data: [DONE]"), "{}", streamed.body);
    let events = streamed.events();
    let text: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, content(&whole, 0));
    assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], 12);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");

    let several =
        server.post("/v1/chat/completions", &chat(json!({"n": 3, "logprobs": true, "top_logprobs": 2})));
    let several = several.json();
    assert_eq!(several["choices"].as_array().unwrap().len(), 3);
    for choice in 0..3 {
        // Greedy: all alike.
        assert_eq!(content(&several, choice), content(&whole, 0));
        let listed = several["choices"][choice]["logprobs"]["content"].as_array().unwrap();
        assert_eq!(listed.len(), 12);
        assert_eq!(listed[0]["top_logprobs"].as_array().unwrap().len(), 2);
        assert_eq!(listed[0]["token"], listed[0]["top_logprobs"][0]["token"]);
    }
    let stop: String = content(&whole, 0).chars().skip(2).take(2).collect();
    let stopped = server.post("/v1/chat/completions", &chat(json!({"stop": stop}))).json();
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop", "{stopped}");
    assert_eq!(stopped["choices"][0]["stop_reason"], stop);
    assert!(!content(&stopped, 0).contains(&stop));

    let seeded = |seed| {
        let body = chat(json!({"temperature": 1.0, "seed": seed}));
        server.post("/v1/chat/completions", &body).json()["choices"][0]["message"]["content"].clone()
    };
    assert_eq!(seeded(7), seeded(7));
    assert_ne!(seeded(7), seeded(8));
}

fn completions(server: &Server) {
    let one = server.post("/v1/completions", &completion(json!({"logprobs": 1}))).json();
    let text = one["choices"][0]["text"].as_str().unwrap();
    let listed = &one["choices"][0]["logprobs"];
    for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(listed[key].as_array().unwrap().len(), 8, "{key}");
    }
    let echoed = server.post("/v1/completions", &completion(json!({"echo": true}))).json();
    assert_eq!(echoed["choices"][0]["text"], format!("abc{text}"));
    // A list of texts, and of ids, with several answers to each: in order.
    let ids = server.post("/tokenize", &json!({"prompt": "abc"})).json()["tokens"].clone();
    let many = server.post("/v1/completions", &completion(json!({"prompt": [ids, ids], "n": 2}))).json();
    let choices = many["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4);
    for (at, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], at);
        assert_eq!(choice["text"], text);
    }
    let best =
        server.post("/v1/completions", &completion(json!({"best_of": 3, "temperature": 1, "seed": 1})));
    let best = best.json();
    assert_eq!(best["choices"].as_array().unwrap().len(), 1, "{best}");
    // What was made is what was used.
    assert_eq!(best["usage"]["completion_tokens"], 3 * 8, "{best}");
    let mixed = server.post("/v1/completions", &completion(json!({"prompt": ["abc", ids]}))).json();
    assert_eq!((&mixed["choices"][0]["text"], &mixed["choices"][1]["text"]), (&json!(text), &json!(text)));
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    for (path, body) in [
        ("/v1/completions", completion(json!({"stream": true, "stream_options": options, "logprobs": 1}))),
        ("/v1/chat/completions", chat(json!({"stream": true, "stream_options": options, "logprobs": true}))),
    ] {
        let events = server.post(path, &body).events();
        let used = |event: &Value| event["usage"]["completion_tokens"].as_u64().expect("it says no usage");
        let said: Vec<u64> = events.iter().map(used).collect();
        let most = body["max_tokens"].as_u64().unwrap();
        let rising: Vec<u64> = (1..=most).collect();
        let mut seen = said.clone();
        seen.dedup();
        assert!(seen.ends_with(&rising) && said.last() == Some(&most), "{said:?}");
    }
}

fn others(server: &Server) {
    let ids = |body: Value| server.post("/tokenize", &body).json();
    let vllm = ids(json!({"prompt": "abc"}));
    let llama = ids(json!({"content": "abc"}));
    let count = vllm["count"].as_u64().unwrap();
    assert_eq!(count as usize, vllm["tokens"].as_array().unwrap().len());
    assert!(llama["count"].as_u64().unwrap() <= count);
    let shown = ids(json!({"content": "hé", "with_pieces": true, "return_token_strs": true}));
    let pieces = shown["tokens"].as_array().unwrap();
    assert_eq!(pieces.len(), shown["token_strs"].as_array().unwrap().len());
    assert!(
        pieces.iter().all(|t| t["id"].is_u64() && (t["piece"].is_string() || t["piece"].is_array())),
        "{shown}"
    );
    let text = server.post("/detokenize", &json!({"tokens": llama["tokens"]})).json();
    assert_eq!(text["prompt"], "abc");
    assert_eq!(text["content"], "abc");
    let shown =
        server.post("/apply-template", &json!({"messages": [{"role": "user", "content": "x"}]})).json();
    assert_eq!(shown["prompt"], "<|im_start|>user: x\nassistant: ");
    let models = server.get("/v1/models").json();
    let names: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["tiny", "alias"]);
    assert_eq!(server.get("/v1/models/alias").status, 200);
    assert_eq!(server.get("/v1/models/other").status, 404);
    assert_eq!(server.get("/version").json()["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(server.post("/reset_prefix_cache", &json!({})).status, 200);
    let document = server.get("/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 10);
    // What waits for a window of steps has tests of its own.
    for (path, methods) in paths.iter().filter(|(path, _)| !path.starts_with("/debug/")) {
        let path = &path.replace("{name}", "tiny");
        let status =
            if methods.get("get").is_some() { server.get(path) } else { server.post(path, &json!({})) };
        assert!(!matches!(status.status, 404 | 405), "{path}: {}", status.head);
    }
    let page = server.get("/");
    assert!(page.head.contains("text/html") && page.body.contains("<title>Ridgepoint</title>"));
}

/// Path, what is sent, the status, the field that the error must name.
fn refusals(server: &Server) {
    for (path, body, status, param) in [
        ("chat/completions", json!({}), 400, "messages"),
        ("chat/completions", chat(json!({"messages": []})), 400, "messages"),
        (
            "chat/completions",
            chat(json!({"messages": [{"role": "robot", "content": ""}]})),
            400,
            "messages[0].role",
        ),
        (
            "chat/completions",
            chat(json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})),
            400,
            "messages[0].content[0].type",
        ),
        ("chat/completions", chat(json!({"model": "gpt-9"})), 404, "model"),
        ("chat/completions", chat(json!({"temperature": "hot"})), 400, "temperature"),
        ("chat/completions", chat(json!({"temperature": -1})), 400, "temperature"),
        ("chat/completions", chat(json!({"top_logprobs": 2})), 400, "top_logprobs"),
        ("chat/completions", chat(json!({"tools": [{"type": "function"}]})), 400, "tools"),
        (
            "chat/completions",
            chat(json!({"response_format": {"type": "json_object"}})),
            400,
            "response_format",
        ),
        ("chat/completions", chat(json!({"chat_template": "x"})), 400, "chat_template"),
        ("chat/completions", chat(json!({"max_tokens": 0})), 400, "max_tokens"),
        ("chat/completions", chat(json!({"n": 0})), 400, "n"),
        ("chat/completions", chat(json!({"logit_bias": {"x": 1}})), 400, "logit_bias"),
        ("chat/completions", chat(json!({"logit_bias": {"99999": 1}})), 400, "logit_bias"),
        ("chat/completions", chat(json!({"stream_options": {}})), 400, "stream_options"),
        (
            "chat/completions",
            chat(json!({"stream": true, "stream_options": {"continuous_usage_stats": true}})),
            400,
            "stream_options.continuous_usage_stats",
        ),
        ("completions", completion(json!({"prompt": []})), 400, "prompt"),
        ("completions", completion(json!({"prompt": [[]]})), 400, "prompt"),
        ("completions", completion(json!({"prompt": 5})), 400, "prompt"),
        ("completions", completion(json!({"suffix": "x"})), 400, "suffix"),
        ("completions", completion(json!({"echo": true, "max_tokens": 0, "n": 2})), 400, "n"),
        ("completions", completion(json!({"prompt_logprobs": 1})), 400, "prompt_logprobs"),
        ("embeddings", json!({}), 400, "input"),
        ("embeddings", json!({"input": []}), 400, "input"),
        ("embeddings", json!({"input": ["x", 5]}), 400, "input"),
        ("embeddings", json!({"input": "x", "model": "gpt-9"}), 404, "model"),
        ("embeddings", json!({"input": "x", "dimensions": 7}), 400, "dimensions"),
        ("embeddings", json!({"input": "x", "encoding_format": "hex"}), 400, "encoding_format"),
        ("embeddings", json!({"input": "x", "pooling": "cls"}), 400, "pooling"),
        ("completions", completion(json!({"n": 2, "best_of": 1})), 400, "best_of"),
        ("completions", completion(json!({"best_of": 3, "stream": true})), 400, "best_of"),
        ("messages", json!({"messages": [{"role": "user", "content": "x"}]}), 400, ""),
        ("responses", json!({"input": "x", "previous_response_id": "y"}), 400, "previous_response_id"),
        ("responses", json!({"input": "x", "store": true}), 400, "store"),
        ("responses", json!({"input": "x", "reasoning_effort": "high"}), 400, "reasoning_effort"),
        ("responses", json!({"input": "x", "include": ["message.output_text.logprobs"]}), 400, "include"),
        ("responses", json!({"input": "x", "max_output_tokens": 0}), 400, "max_output_tokens"),
        ("responses", json!({"input": "x", "text": {"format": {"type": "json_object"}}}), 400, "text.format"),
        ("responses", json!({"input": "word ".repeat(400)}), 400, "input"),
        ("embeddings", json!({"input": ""}), 400, "input"),
        ("embeddings", json!({"input": vec![5; 400]}), 400, "input"),
        ("completions", completion(json!({"prompt": [70000]})), 400, "prompt"),
        ("completions", completion(json!({"prompt": vec![5; 400]})), 400, "prompt"),
        ("completions", completion(json!({"repetition_penalty": 1e-38})), 400, "repetition_penalty"),
        ("completions", completion(json!({"length_penalty": 2.0})), 400, "length_penalty"),
        ("completions", completion(json!({"repeat_penalty": 0.0})), 400, "repeat_penalty"),
        ("chat/completions", chat(json!({"max_completion_tokens": 0})), 400, "max_completion_tokens"),
        ("responses", json!({"input": "x", "metadata": [1]}), 400, "metadata"),
        ("responses", json!({"input": "x", "reasoning": {"effort": "high"}}), 400, "reasoning"),
        ("chat/completions", chat(json!({"reasoning": {"effort": "low"}})), 400, "reasoning"),
        ("chat/completions", chat(json!({"verbosity": "low"})), 400, "verbosity"),
        ("chat/completions", chat(json!({"priority": 3})), 400, "priority"),
        ("embeddings", json!({"input": "x", "priority": 3}), 400, "priority"),
        ("completions", completion(json!({"max_completion_tokens": 3})), 400, "max_completion_tokens"),
        ("completions", completion(json!({"add_special_tokens": false})), 400, "add_special_tokens"),
        ("completions", completion(json!({"top_logprobs": 3})), 400, "top_logprobs"),
        (
            "completions",
            completion(json!({"return_tokens_as_token_ids": true})),
            400,
            "return_tokens_as_token_ids",
        ),
        ("embeddings", json!({"input": "x", "truncate_prompt_tokens": 8}), 400, "truncate_prompt_tokens"),
        ("embeddings", json!({"input": "x", "normalize": false}), 400, "normalize"),
        ("embeddings", json!({"input": "x", "embd_normalize": -1}), 400, "embd_normalize"),
        ("embeddings", json!({"input": "x", "add_special_tokens": false}), 400, "add_special_tokens"),
        ("embeddings", json!({"input": "x", "instruction": "find"}), 400, "instruction"),
        ("chat/completions", chat(json!({"messages": [{"role": "user"}]})), 400, "messages[0].content"),
        (
            "chat/completions",
            chat(json!({"messages": [{"role": "user", "content": "word ".repeat(400)}]})),
            400,
            "messages",
        ),
    ] {
        let reply = server.post(&format!("/v1/{path}"), &body);
        assert_eq!(reply.status, status, "{body}: {}", reply.body);
        let error = &reply.json()["error"];
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{error}");
        assert!(param.is_empty() || error["param"] == param, "{body}: {error}");
        // Clients with types read a text or nothing.
        assert!(error["code"].is_string() || error["code"].is_null(), "{error}");
    }
    // Longer than the context: the engine's own refusal.
    let long = server.post("/v1/completions", &completion(json!({"prompt": vec![5; 400]})));
    assert_eq!((long.status, long.json()["error"]["code"].as_str()), (400, Some("context_length_exceeded")));
    let hello = json!([{"role": "user", "content": "hello"}]);
    for (name, value) in [
        ("chat_template", json!("x")),
        ("tools", json!([{}])),
        ("chat_template_kwargs", json!({"x": 1})),
        ("continue_final_message", json!(true)),
    ] {
        for path in ["/tokenize", "/apply-template"] {
            let refused = server.post(path, &json!({"messages": hello, name: value}));
            assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(name)), "{path}");
        }
    }
    // What is asked for anyway.
    for (path, body) in [
        ("v1/embeddings", json!({"input": "x", "normalize": true, "embd_normalize": 2, "priority": 0})),
        ("v1/completions", completion(json!({"add_special_tokens": true, "top_logprobs": 0}))),
        ("v1/chat/completions", chat(json!({"reasoning": {"effort": "none"}, "verbosity": "medium"}))),
        ("tokenize", json!({"messages": hello, "tools": [], "continue_final_message": false})),
    ] {
        let reply = server.post(&format!("/{path}"), &body);
        assert_eq!(reply.status, 200, "{body}: {}", reply.body);
    }
    // What was expected and found, in a client's words.
    for (path, body, said) in [
        ("completions", completion(json!({"prompt": 5})), "prompt: found 5, expected a string, a list"),
        (
            "completions",
            completion(json!({"max_tokens": -1})),
            "max_tokens: found -1, expected a whole number",
        ),
        ("completions", completion(json!({"seed": 1.5})), "seed: found 1.5, expected a whole number"),
        ("completions", completion(json!({"temperature": 1e40})), "temperature: found 1e"),
        (
            "embeddings",
            json!({"input": "x", "pooling": "cls"}),
            "pooling: found \"cls\", expected mean or last",
        ),
        (
            "chat/completions",
            chat(json!({"messages": [{"role": "robot", "content": ""}]})),
            "messages[0].role: found \"robot\", expected system",
        ),
    ] {
        let message = server.post(&format!("/v1/{path}"), &body).json()["error"]["message"].clone();
        assert!(message.as_str().is_some_and(|m| m.starts_with(said)), "{said}: {message}");
    }
    // Unknown fields are passed over.
    assert_eq!(server.post("/v1/completions", &completion(json!({"colour": "red"}))).status, 200);
}

#[test]
fn keys_origins_and_strictness() {
    let server =
        Server::start(&["--api-key", "secret", "--strict", "--allowed-origins", "https://ui.example"]);
    let body = completion(json!({}));
    let send = |headers: &str, body: &Value| {
        server.raw(crate::harness::request("/v1/completions", body, headers).as_bytes())
    };
    let without = send("", &body);
    assert_eq!((without.status, without.json()["error"]["code"].as_str()), (401, Some("invalid_api_key")));
    assert_eq!(send("Authorization: Bearer wrong\r\n", &body).status, 401);
    assert_eq!(send("Authorization: Bearer secret\r\n", &body).status, 200);
    assert_eq!(send("x-api-key: secret\r\n", &body).status, 200);
    let page = send("x-api-key: secret\r\nOrigin: https://ui.example\r\nX-Request-Id: mine\r\n", &body);
    assert_eq!(page.status, 200);
    assert!(page.head.contains("access-control-allow-origin: https://ui.example"), "{}", page.head);
    assert!(page.head.contains("x-request-id: mine"), "{}", page.head);
    assert_eq!(send("x-api-key: secret\r\nOrigin: https://evil.example\r\n", &body).status, 403);
    // Each API's clients read errors of their own shape, wherever these arise.
    let turned_away = server.raw(crate::harness::request("/v1/messages", &body, "").as_bytes());
    assert_eq!((turned_away.status, turned_away.json()["type"].as_str()), (401, Some("error")));
    let nowhere = server
        .raw(crate::harness::request("/v1/messages/batches", &body, "x-api-key: secret\r\n").as_bytes());
    assert_eq!((nowhere.status, nowhere.json()["type"].as_str()), (404, Some("error")));
    let asks = "OPTIONS /v1/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: \
        https://ui.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: \
        x-stainless-os,anthropic-beta\r\n\r\n";
    let preflight = server.raw(asks.as_bytes());
    assert!(
        preflight.head.contains("access-control-allow-headers: x-stainless-os,anthropic-beta"),
        "{}",
        preflight.head
    );
    let strict = send("x-api-key: secret\r\n", &completion(json!({"colour": "red"})));
    assert_eq!((strict.status, strict.json()["error"]["param"].as_str()), (400, Some("colour")));
    for (message, param) in [
        (json!({"role": "user", "content": "x", "colour": "red"}), "messages[0].colour"),
        (
            json!({"role": "user", "content": [{"type": "text", "text": "x", "colour": "red"}]}),
            "messages[0].content[0].colour",
        ),
    ] {
        let body = json!({"messages": [message], "max_tokens": 1});
        let chat = crate::harness::request("/v1/chat/completions", &body, "x-api-key: secret\r\n");
        let strict = server.raw(chat.as_bytes());
        assert_eq!((strict.status, strict.json()["error"]["param"].as_str()), (400, Some(param)));
        // There much is sent that changes no text.
        let tolerated = crate::harness::request("/v1/messages", &body, "x-api-key: secret\r\n");
        assert_eq!(server.raw(tolerated.as_bytes()).status, 200, "{body}");
    }
}

#[test]
fn a_start_keeps_what_the_driver_compiled() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start_with(&[], &[("RIDGEPOINT_CACHE", cache.path())]);
    // The line after it.
    server.until("the log lacks what memory holds", |s| {
        s.log.lock().unwrap().contains("maximum concurrency for")
    });
    crate::pipelines::kept_as_said(&server.log.lock().unwrap(), cache.path());
}
