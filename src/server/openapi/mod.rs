//! `/openapi.json`: what is served, for tools that read such documents.

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::caps::{ABOUT, CAPS};
use super::reply;

/// Method, path, what it does, fields that must be there.
const PATHS: &[(&str, &str, &str, &[&str])] = &[
    ("post", "/v1/chat/completions", "Answers a conversation (OpenAI's chat).", &["messages"]),
    ("post", "/v1/completions", "Continues prompts (OpenAI's completions).", &["prompt"]),
    ("post", "/v1/embeddings", "Texts to vectors (OpenAI's embeddings; pooling: mean or last).", &["input"]),
    ("post", "/v1/responses", "Answers a conversation (OpenAI's responses, stateless).", &["input"]),
    ("post", "/v1/messages", "Answers a conversation (Anthropic's messages).", &["messages", "max_tokens"]),
    ("post", "/v1/messages/count_tokens", "Counts a conversation's tokens.", &["messages"]),
    ("get", "/v1/models", "Lists the model's names.", &[]),
    ("post", "/tokenize", "Text, or a conversation, to token ids.", &[]),
    ("post", "/detokenize", "Token ids to text.", &["tokens"]),
    ("post", "/apply-template", "A conversation to the text that the model reads.", &["messages"]),
    ("post", "/reset_prefix_cache", "Forgets cached prefixes.", &[]),
    ("get", "/health", "200 when requests are taken, 503 with the progress while loading.", &[]),
    ("get", "/version", "The server's version.", &[]),
    ("get", "/metrics", "Prometheus metrics, by vLLM's names.", &[]),
    (
        "post",
        "/debug/profile",
        "Profiles the next ?steps= steps, those that come within ?wait= seconds.",
        &[],
    ),
    ("get", "/debug/roofline", "The last profiled window's roofline report (?format=json or html).", &[]),
    ("get", "/debug/steps", "The latest steps' spans on the GPU, with the ceilings.", &[]),
    ("get", "/openapi.json", "This document.", &[]),
];

/// The document.
pub async fn document() -> Response {
    let mut paths = Map::new();
    for (method, path, summary, required) in PATHS {
        let mut operation = json!({
            "summary": summary,
            "responses": {
                "200": {"description": "The answer."},
                "default": {
                    "description": "An error.",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                },
            },
        });
        if *method == "post" {
            let properties: Map<String, Value> =
                required.iter().map(|name| ((*name).to_string(), json!({}))).collect();
            let schema = json!({"type": "object", "required": required, "properties": properties});
            operation["requestBody"] =
                json!({"required": true, "content": {"application/json": {"schema": schema}}});
        }
        paths.insert((*path).to_string(), json!({*method: operation}));
    }
    let caps: Map<String, Value> = CAPS
        .iter()
        .zip(ABOUT)
        .map(|((_, name, most, _), (_, about))| {
            ((*name).to_string(), json!({"default": most, "description": about.trim()}))
        })
        .collect();
    reply::json(&json!({
        "openapi": "3.1.0",
        "info": {"title": "Ridgepoint", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {
            "schemas": {"Error": {
                "type": "object",
                "properties": {"error": {"type": "object", "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "integer"]},
                }}},
            }},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "x-caps": caps,
    }))
}
