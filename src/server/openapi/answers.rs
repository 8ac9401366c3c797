//! More of the table: what the answers of Responses, Messages and the profile hold.

use super::schemas::Schema;

/// What these answers hold.
pub const REPLIES: &[Schema] = &[
    (
        "Response",
        &[],
        &[
            ("id", "string", "of this response"),
            ("object", "string", "response"),
            ("created_at", "integer", "Unix time"),
            ("model", "string", "as asked for"),
            ("status", "string", "completed, or incomplete where it was cut"),
            ("incomplete_details", "#Incomplete | null", "why it was cut"),
            ("error", "null", "always: errors have a status of their own"),
            ("output", "[#OutputItem]", "one message"),
            ("parallel_tool_calls", "boolean", "false"),
            ("previous_response_id", "null", "always: nothing is stored"),
            ("store", "boolean", "false"),
            ("tool_choice", "string", "none"),
            ("tools", "[object]", "none"),
            ("usage", "#ResponseUsage", "tokens used"),
            ("timings", "#Timings", "of the answer"),
            ("instructions", "string | null", "as asked for"),
            ("metadata", "object", "as asked for"),
            ("temperature", "number | null", "as asked for"),
            ("top_p", "number | null", "as asked for"),
            ("max_output_tokens", "integer | null", "as asked for"),
        ],
    ),
    ("Incomplete", &[], &[("reason", "string", "max_output_tokens")]),
    (
        "OutputItem",
        &[],
        &[
            ("id", "string", "of this message"),
            ("type", "string", "message"),
            ("role", "string", "assistant"),
            ("status", "string", "completed, or incomplete where it was cut"),
            ("content", "[#OutputText]", "its one part"),
        ],
    ),
    (
        "OutputText",
        &[],
        &[
            ("type", "string", "output_text"),
            ("text", "string", "what is said"),
            ("annotations", "[object]", "none"),
            ("logprobs", "[object]", "none"),
        ],
    ),
    (
        "ResponseUsage",
        &[],
        &[
            ("input_tokens", "integer", "of the conversation"),
            ("input_tokens_details", "#CachedTokens", "of these"),
            ("output_tokens", "integer", "of the answer"),
            ("output_tokens_details", "#ReasoningTokens", "of these"),
            ("total_tokens", "integer", "of both"),
        ],
    ),
    ("ReasoningTokens", &[], &[("reasoning_tokens", "integer", "0")]),
    (
        "Message",
        &[],
        &[
            ("id", "string", "of this message"),
            ("type", "string", "message"),
            ("role", "string", "assistant"),
            ("model", "string", "as asked for"),
            ("content", "[#TextBlock]", "its one block"),
            ("stop_reason", "string", "end_turn, max_tokens or stop_sequence"),
            ("stop_sequence", "string | null", "the one that ended it"),
            ("usage", "#MessageUsage", "tokens used"),
            ("timings", "#Timings", "of the answer"),
        ],
    ),
    (
        "MessagesError",
        &[],
        &[("type", "string", "error"), ("error", "#MessagesErrorBody", "what went wrong")],
    ),
    (
        "MessagesErrorBody",
        &[],
        &[
            ("type", "string", "Anthropic's name for errors of this status"),
            ("message", "string", "what was expected, what was found, what to do"),
        ],
    ),
    ("TextBlock", &[], &[("type", "string", "text"), ("text", "string", "what is said")]),
    (
        "MessageUsage",
        &[],
        &[
            ("input_tokens", "integer", "computed of the conversation"),
            ("cache_creation_input_tokens", "integer", "0"),
            ("cache_read_input_tokens", "integer", "found in the prefix cache"),
            ("output_tokens", "integer", "of the answer"),
        ],
    ),
    (
        "Window",
        &[],
        &[
            ("steps", "integer", "that were watched"),
            ("kinds", "integer", "of steps among them"),
            ("summary", "string", "what bounds them"),
        ],
    ),
    (
        "Steps",
        &[],
        &[
            ("ceilings", "{number | null}", "bytes and operations a nanosecond"),
            ("steps", "[#Step]", "the latest"),
            (
                "no_spans",
                "string | null",
                "why no step has a span here: a timer that tells nothing, or stamps of which none was of use",
            ),
        ],
    ),
    (
        "Step",
        &[],
        &[
            ("tokens", "integer", "computed"),
            ("sequences", "integer", "that took part"),
            ("gpu_ns", "number", "the step's span on the GPU"),
            ("ops", "number", "operations"),
            ("bytes", "number", "bytes that have to be moved at least"),
            ("gops", "number", "operations a nanosecond"),
            ("gbytes", "number", "bytes a nanosecond"),
        ],
    ),
];
