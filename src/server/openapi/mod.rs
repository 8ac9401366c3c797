//! `/openapi.json`: what is served, for tools that read such documents.

mod answers;
mod schemas;

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::anthropic;
use super::auth::Guard;
use super::caps::{ABOUT, CAPS};
use schemas::Schema;

/// What a path answers with.
enum Reply {
    /// JSON of this schema.
    Json(&'static str),
    /// The same, or server-sent events where the request says `stream`.
    Streamed(&'static str),
    /// Something else.
    Other(&'static str),
}

use Reply::{Json, Other, Streamed};

/// A path: method, what it does, the schema of the request's body (empty for none), the answer.
type Path = (Method, &'static str, &'static str, &'static str, Reply);

const PATHS: &[Path] = &[
    (
        Method::POST,
        "/v1/chat/completions",
        "Answers a conversation (OpenAI's chat).",
        "ChatRequest",
        Streamed("Chat"),
    ),
    (
        Method::POST,
        "/v1/completions",
        "Continues prompts (OpenAI's completions).",
        "CompletionRequest",
        Streamed("Completion"),
    ),
    (
        Method::POST,
        "/v1/embeddings",
        "Texts to vectors (OpenAI's embeddings; pooling: mean or last).",
        "EmbeddingsRequest",
        Json("Embeddings"),
    ),
    (
        Method::POST,
        "/v1/responses",
        "Answers a conversation (OpenAI's responses, stateless).",
        "ResponsesRequest",
        Streamed("Response"),
    ),
    (
        Method::POST,
        "/v1/messages",
        "Answers a conversation (Anthropic's messages).",
        "MessagesRequest",
        Streamed("Message"),
    ),
    (
        Method::POST,
        "/v1/messages/count_tokens",
        "Counts a conversation's tokens.",
        "CountRequest",
        Json("InputTokens"),
    ),
    (Method::GET, "/v1/models", "Lists the model's names.", "", Json("Models")),
    (Method::GET, "/v1/models/{name}", "One of them.", "", Json("Model")),
    (Method::POST, "/tokenize", "Text, or a conversation, to token ids.", "TokenizeRequest", Json("Tokens")),
    (Method::POST, "/detokenize", "Token ids to text.", "DetokenizeRequest", Json("Text")),
    (
        Method::POST,
        "/apply-template",
        "A conversation to the text that the model reads.",
        "TemplateRequest",
        Json("Text"),
    ),
    (Method::POST, "/reset_prefix_cache", "Forgets cached prefixes.", "", Json("Forgotten")),
    (
        Method::GET,
        "/health",
        "200 when requests are taken, 503 with the phase and the progress while loading.",
        "",
        Json("Health"),
    ),
    (Method::GET, "/ping", "The same, by another name.", "", Json("Health")),
    (Method::GET, "/version", "The server's version.", "", Json("Version")),
    (Method::GET, "/metrics", "Prometheus metrics, by vLLM's names.", "", Other("text/plain")),
    (
        Method::POST,
        "/debug/profile",
        "Profiles the next ?steps= steps, those that come within ?wait= seconds.",
        "",
        Json("Window"),
    ),
    (
        Method::GET,
        "/debug/roofline",
        "The last profiled window's roofline report (?format=json or html).",
        "",
        Other("application/json"),
    ),
    (
        Method::GET,
        "/debug/steps",
        "The latest steps' spans on the GPU, with the ceilings.",
        "",
        Json("Steps"),
    ),
    (Method::GET, "/openapi.json", "This document.", "", Other("application/json")),
    (Method::GET, "/", "A page: a chat with live figures.", "", Other("text/html")),
];

/// What a path's query may say: name, kind, and what it says.
const QUERIES: &[(&str, &[schemas::Field])] = &[
    (
        "/debug/profile",
        &[
            ("steps", "integer", "steps to watch, 1 to 3000; 30 unless given"),
            ("wait", "integer", "seconds to wait for them, 1 to 600; 60 unless given"),
            ("format", "string", "json for the whole report; in short unless given"),
        ],
    ),
    ("/debug/roofline", &[("format", "string", "json or html")]),
];

/// A kind, as the table of fields writes it, as a schema.
fn kind(text: &str) -> Value {
    let within = |one: &str, open: char, close: char| {
        one.strip_prefix(open).and_then(|rest| rest.strip_suffix(close)).map(kind)
    };
    let mut depth = 0;
    let outer = |c: char| {
        depth += i32::from(matches!(c, '[' | '{')) - i32::from(matches!(c, ']' | '}'));
        c == '|' && depth == 0
    };
    let kinds: Vec<Value> = text
        .split(outer)
        .map(str::trim)
        .map(|one| {
            if let Some(items) = within(one, '[', ']') {
                json!({"type": "array", "items": items})
            } else if let Some(values) = within(one, '{', '}') {
                json!({"type": "object", "additionalProperties": values})
            } else if let Some(name) = one.strip_prefix('#') {
                reference(name)
            } else {
                json!({"type": one})
            }
        })
        .collect();
    match <[Value; 1]>::try_from(kinds) {
        Ok([one]) => one,
        Err(several) => json!({"anyOf": several}),
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The schema of a row; in a request null is as good as absent.
fn schema((_, extends, fields): &Schema, absent: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, text, about) in *fields {
        let mut value = match name.strip_suffix('?') {
            Some(_) => kind(&format!("{text}{absent}")),
            None => kind(text),
        };
        value["description"] = (*about).into();
        let bare = name.trim_end_matches('?');
        if bare == *name {
            required.push(bare);
        }
        properties.insert(bare.to_string(), value);
    }
    let own = json!({"type": "object", "required": required, "properties": properties});
    if extends.is_empty() {
        return own;
    }
    let all: Vec<Value> = extends.iter().map(|name| reference(name)).chain([own]).collect();
    json!({"allOf": all})
}

fn schemas() -> Map<String, Value> {
    let requests = schemas::REQUESTS.iter().map(|row| (row.0.to_string(), schema(row, " | null")));
    let replies = schemas::REPLIES.iter().chain(answers::REPLIES);
    requests.chain(replies.map(|row| (row.0.to_string(), schema(row, "")))).collect()
}

fn parameter((name, text, about): &schemas::Field) -> Value {
    json!({"name": name, "in": "query", "description": about, "schema": kind(text)})
}

fn operation((_, path, summary, request, reply): &Path, guard: &Guard) -> Value {
    let body = |kind: &str, schema: Value| json!({kind: {"schema": schema}});
    let mut content = match reply {
        Json(name) | Streamed(name) => body("application/json", reference(name)),
        Other(kind) => body(kind, json!({})),
    };
    if let Streamed(_) = reply {
        content["text/event-stream"] = json!({"schema": {"type": "string"}});
    }
    let error = if anthropic::serves(path) { "MessagesError" } else { "Error" };
    let mut operation = json!({
        "summary": summary,
        "responses": {
            "200": {"description": "The answer.", "content": content},
            "default": {
                "description": "An error.",
                "content": body("application/json", reference(error)),
            },
        },
    });
    if path.contains("{name}") {
        operation["parameters"] =
            json!([{"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}]);
    }
    if let Some((_, rows)) = QUERIES.iter().find(|(of, _)| of == path) {
        operation["parameters"] = rows.iter().map(parameter).collect();
    }
    if !request.is_empty() {
        operation["requestBody"] =
            json!({"required": true, "content": body("application/json", reference(request))});
    }
    if guard.asks_for_a_key(path) {
        operation["security"] = json!([{"bearer": []}, {"header": []}]);
    }
    operation
}

/// The document of a server that is guarded so.
pub fn document(guard: &Guard) -> Value {
    let mut paths = Map::new();
    for path in PATHS {
        let method = path.0.as_str().to_ascii_lowercase();
        paths.insert(path.1.to_string(), json!({method: operation(path, guard)}));
    }
    let caps: Map<String, Value> = CAPS
        .iter()
        .zip(ABOUT)
        .map(|((_, name, most, _), (_, about))| {
            ((*name).to_string(), json!({"default": most, "description": about.trim()}))
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Ridgepoint", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "x-caps": caps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_read_as_written() {
        assert_eq!(kind("string"), json!({"type": "string"}));
        assert_eq!(
            kind("#A | [{number} | null]"),
            json!({"anyOf": [
                {"$ref": "#/components/schemas/A"},
                {"type": "array", "items": {"anyOf": [
                    {"type": "object", "additionalProperties": {"type": "number"}}, {"type": "null"}
                ]}},
            ]})
        );
    }

    #[test]
    fn every_route_is_in_the_document_and_every_reference_leads_somewhere() {
        let routes = include_str!("../routes.rs").split(".route(\"").skip(1);
        let routes: Vec<String> =
            routes.filter_map(|r| r.split('"').next()).map(|r| r.replace("{*name}", "{name}")).collect();
        assert!(routes.len() > 20, "{routes:?}");
        let document = document(&Guard::default());
        for route in &routes {
            assert!(document["paths"].get(route).is_some(), "{route} is not in the document");
        }
        assert_eq!(document["paths"].as_object().map(Map::len), Some(routes.len()));
        for (path, rows) in QUERIES {
            let mut methods = document["paths"][path].as_object().into_iter().flat_map(Map::values);
            let listed = methods.find_map(|operation| operation["parameters"].as_array());
            assert_eq!(listed.map(Vec::len), Some(rows.len()), "{path}");
        }
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap_or_default();
            assert!(document["components"]["schemas"].get(name).is_some(), "no schema is named {name}");
        }
    }
}
