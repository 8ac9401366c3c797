//! Every sampling option in every mode of the API: streamed or whole, several answers, log-probabilities,
//! an echo. What is streamed is what comes whole.

use serde_json::{Value, json};

use crate::harness::Server;

fn options() -> Vec<Value> {
    vec![
        json!({"temperature": 0}),
        json!({"temperature": 1.5}),
        json!({"top_k": 4}),
        json!({"top_p": 0.6}),
        json!({"min_p": 0.1}),
        json!({"repetition_penalty": 1.4}),
        json!({"presence_penalty": 1.2}),
        json!({"frequency_penalty": 1.2}),
        json!({"logit_bias": {"7": 3, "9": -100}}),
        json!({"min_tokens": 5}),
        json!({"stop": ["a", "e", "o"]}),
        json!({"stop": ["a", "e", "o"], "include_stop_str_in_output": true}),
        json!({"stop_token_ids": (10..90).collect::<Vec<u32>>()}),
        json!({"ignore_eos": false}),
        json!({"cache_salt": "salt"}),
        json!({"priority": -3}),
    ]
}

fn modes() -> Vec<Value> {
    vec![
        json!({}),
        json!({"n": 3}),
        json!({"logprobs": 2}),
        json!({"n": 2, "logprobs": 1}),
        json!({"echo": true}),
        json!({"echo": true, "logprobs": 1, "n": 2}),
    ]
}

fn merged(parts: &[&Value]) -> Value {
    let mut body = json!({"prompt": "abc abc abc abc", "max_tokens": 8, "ignore_eos": true, "seed": 5});
    for part in parts {
        body.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    }
    body
}

/// Text, tokens with log-probabilities, and end of each answer.
fn whole(reply: &Value) -> Vec<(String, Vec<Value>, Value)> {
    let choices = reply["choices"].as_array().unwrap().iter().map(|choice| {
        let listed = choice["logprobs"]["token_logprobs"].as_array().cloned().unwrap_or_default();
        (choice["text"].as_str().unwrap().to_string(), listed, choice["finish_reason"].clone())
    });
    choices.collect()
}

/// The same out of a stream.
fn streamed(events: &[Value], answers: usize) -> Vec<(String, Vec<Value>, Value)> {
    let mut found = vec![(String::new(), Vec::new(), Value::Null); answers];
    for choice in events.iter().filter_map(|event| event["choices"].get(0)) {
        let answer = &mut found[choice["index"].as_u64().unwrap() as usize];
        answer.0 += choice["text"].as_str().unwrap();
        answer.1.extend(choice["logprobs"]["token_logprobs"].as_array().cloned().unwrap_or_default());
        if !choice["finish_reason"].is_null() {
            answer.2 = choice["finish_reason"].clone();
        }
    }
    found
}

#[test]
fn every_option_streams_what_it_gives_whole() {
    let server = Server::start(&["--batch-invariant", "--scheduling-policy", "priority"]);
    for option in options() {
        for mode in modes() {
            let body = merged(&[&option, &mode]);
            let reply = server.post("/v1/completions", &body);
            assert_eq!(reply.status, 200, "{body}: {}", reply.body);
            let whole = whole(&reply.json());
            let stream = server.post("/v1/completions", &merged(&[&body, &json!({"stream": true})]));
            assert!(stream.body.trim_end().ends_with("data: [DONE]"), "{body}: {}", stream.body);
            let streamed = streamed(&stream.events(), whole.len());
            assert_eq!(streamed, whole, "{body}");
        }
    }
    server.until("blocks stay in use", |s| s.metric("vllm:kv_cache_usage_perc", "") == 0.0);
    assert_eq!(server.metric("vllm:request_success_total", "finished_reason=\"error\""), 0.0);
}
