//! The one table of what requests and answers hold, field by field.
//!
//! A field's kind is a text: names of JSON's types with `|` between them, `[KIND]` for a list, `{KIND}` for
//! an object of such values, `#NAME` for another row of the table.

/// Name (with `?` where it may be absent), kind, and what it says.
pub type Field = (&'static str, &'static str, &'static str);

/// Name, whose fields it has as well, its own fields.
pub type Schema = (&'static str, &'static [&'static str], &'static [Field]);

/// What requests hold. A field that may be absent may be null as well.
pub const REQUESTS: &[Schema] = &[
    ("Named", &[], &[("model?", "string", "a name from /v1/models; absent means the first")]),
    (
        "Tagged",
        &["Named"],
        &[
            ("user?", "string", "changes nothing here"),
            ("request_id?", "string", "changes nothing here"),
            ("safety_identifier?", "string", "changes nothing here"),
            ("prompt_cache_key?", "string", "changes nothing here: see cache_salt"),
            ("metadata?", "object", "changes nothing here"),
            ("service_tier?", "string", "auto, default or standard_only: there is one tier"),
            (
                "priority?",
                "integer",
                "lower is served first; other than 0 only under --scheduling-policy priority",
            ),
        ],
    ),
    (
        "Generation",
        &["Tagged"],
        &[
            ("stream?", "boolean", "answer by server-sent events"),
            ("stream_options?", "#StreamOptions", "what a stream tells beside the text"),
            ("cache_salt?", "string", "only requests with equal salts share cached prefixes"),
            ("n?", "integer", "answers to each prompt"),
            ("best_of?", "integer", "answers to make, of which the n most probable come back"),
            ("temperature?", "number", "how evenly tokens are drawn; 0 takes the most probable"),
            ("top_p?", "number", "draw from the most probable tokens that make up this share"),
            ("top_k?", "integer", "draw from so many tokens; 0 or -1 for all"),
            ("min_p?", "number", "draw from tokens at least so probable, relative to the most probable"),
            ("repetition_penalty?", "number", "above 1 makes tokens of prompt and answer less probable"),
            ("repeat_penalty?", "number", "llama.cpp's name for repetition_penalty"),
            ("presence_penalty?", "number", "taken off the logits of tokens that the answer has"),
            ("frequency_penalty?", "number", "taken off for each time that the answer has a token"),
            ("logit_bias?", "{number}", "added to the logits of token ids"),
            ("seed?", "integer", "the same seed gives the same answer"),
            ("min_tokens?", "integer", "no end before so many tokens"),
            ("stop?", "string | [string]", "texts that end the answer"),
            ("include_stop_str_in_output?", "boolean", "the text that ended it stays in the answer"),
            ("stop_token_ids?", "[integer]", "tokens that end the answer"),
            ("ignore_eos?", "boolean", "the model's own end is no end"),
        ],
    ),
    (
        "StreamOptions",
        &[],
        &[
            ("include_usage?", "boolean", "the stream ends with the tokens used"),
            ("continuous_usage_stats?", "boolean", "every event says the tokens used so far"),
            ("include_obfuscation?", "boolean", "changes nothing here"),
        ],
    ),
    (
        "MessageIn",
        &[],
        &[
            ("role", "string", "system, developer, user or assistant"),
            ("content", "string | [object]", "text, or parts of type text"),
        ],
    ),
    (
        "ChatRequest",
        &["Generation"],
        &[
            ("messages", "[#MessageIn]", "the conversation"),
            ("max_completion_tokens?", "integer", "most tokens of an answer"),
            ("max_tokens?", "integer", "the older name of max_completion_tokens"),
            ("logprobs?", "boolean", "list each token's log-probability"),
            ("top_logprobs?", "integer", "and so many alternatives"),
            ("add_generation_prompt?", "boolean", "false: the prompt ends with the last message"),
        ],
    ),
    (
        "CompletionRequest",
        &["Generation"],
        &[
            ("prompt", "string | [integer] | [string | [integer]]", "a text, token ids, or a list of either"),
            ("max_tokens?", "integer", "most tokens of an answer, 16 unless given"),
            ("n_predict?", "integer", "llama.cpp's name for max_tokens"),
            ("logprobs?", "integer", "list each token's log-probability, and so many alternatives"),
            ("echo?", "boolean", "put the prompt before the answer"),
        ],
    ),
    (
        "EmbeddingsRequest",
        &["Tagged"],
        &[
            ("input", "string | [integer] | [string | [integer]]", "a text, token ids, or a list of either"),
            ("encoding_format?", "string", "float or base64"),
            ("pooling?", "string", "mean or last"),
            ("dimensions?", "integer", "may only name the size of the model's states"),
        ],
    ),
    (
        "ResponsesRequest",
        &["Generation"],
        &[
            ("input", "string | [object]", "a text, or messages"),
            ("instructions?", "string", "a system message before them"),
            ("max_output_tokens?", "integer", "most tokens of the answer"),
            ("text?", "object", "its format may be of type text"),
        ],
    ),
    (
        "CountRequest",
        &["Named"],
        &[
            ("messages", "[#MessageIn]", "the conversation; an assistant's last message is gone on with"),
            ("system?", "string | [object]", "what comes before it"),
        ],
    ),
    (
        "MessagesRequest",
        &["CountRequest"],
        &[
            ("max_tokens", "integer", "most tokens of the answer"),
            ("stream?", "boolean", "answer by server-sent events"),
            ("temperature?", "number", "how evenly tokens are drawn; 0 takes the most probable"),
            ("top_p?", "number", "draw from the most probable tokens that make up this share"),
            ("top_k?", "integer", "draw from so many tokens"),
            ("stop_sequences?", "[string]", "texts that end the answer"),
            ("output_config?", "object", "its format may be of type text"),
        ],
    ),
    (
        "TokenizeRequest",
        &["Named"],
        &[
            ("prompt?", "string", "the text, with what a prompt begins with"),
            ("content?", "string", "the text alone"),
            ("messages?", "[#MessageIn]", "or a conversation"),
            ("add_generation_prompt?", "boolean", "false: it ends with the last message"),
            ("add_special_tokens?", "boolean", "whether to put before it what a prompt begins with"),
            ("add_special?", "boolean", "llama.cpp's name for add_special_tokens"),
            ("parse_special?", "boolean", "read special tokens in the text as such"),
            ("return_token_strs?", "boolean", "list the tokens' texts"),
            ("with_pieces?", "boolean", "list ids with their texts"),
        ],
    ),
    ("DetokenizeRequest", &["Named"], &[("tokens", "[integer]", "token ids")]),
    (
        "TemplateRequest",
        &["Named"],
        &[
            ("messages", "[#MessageIn]", "the conversation"),
            ("add_generation_prompt?", "boolean", "false: the prompt ends with the last message"),
        ],
    ),
];

/// What answers hold.
pub const REPLIES: &[Schema] = &[
    ("Error", &[], &[("error", "#ErrorBody", "what went wrong")]),
    (
        "ErrorBody",
        &[],
        &[
            ("message", "string", "what was expected, what was found, what to do"),
            ("type", "string", "OpenAI's name for errors of this status"),
            ("param", "string | null", "the field at fault"),
            ("code", "string | null", "a name for programs"),
        ],
    ),
    (
        "Usage",
        &[],
        &[
            ("prompt_tokens", "integer", "of all prompts"),
            ("completion_tokens", "integer", "of all answers that were made"),
            ("total_tokens", "integer", "of both"),
            ("prompt_tokens_details", "#CachedTokens", "of the prompts"),
        ],
    ),
    ("CachedTokens", &[], &[("cached_tokens", "integer", "found in the prefix cache")]),
    (
        "Timings",
        &[],
        &[
            ("cache_n", "integer", "tokens of the prompt found in the prefix cache"),
            ("prompt_n", "integer", "those computed"),
            ("prompt_ms", "number", "how long that took"),
            ("prompt_per_token_ms", "number", "for each"),
            ("prompt_per_second", "number", "the rate"),
            ("predicted_n", "integer", "tokens of the answer"),
            ("predicted_ms", "number", "from the first to the last"),
            ("predicted_per_token_ms", "number", "for each after the first"),
            ("predicted_per_second", "number", "the rate"),
            ("queue_ms", "number", "before its first step"),
            ("ttft_ms", "number", "to its first token"),
            ("total_ms", "number", "to its end"),
        ],
    ),
    (
        "Chat",
        &[],
        &[
            ("id", "string", "of this answer"),
            ("object", "string", "chat.completion"),
            ("created", "integer", "Unix time"),
            ("model", "string", "as asked for"),
            ("choices", "[#ChatChoice]", "the answers"),
            ("usage", "#Usage", "tokens used"),
            ("timings", "#Timings", "of the first answer"),
        ],
    ),
    (
        "ChatChoice",
        &[],
        &[
            ("index", "integer", "which answer"),
            ("message", "#ChatMessage", "what is said"),
            ("logprobs", "#ChatLogprobs | null", "if asked for"),
            ("finish_reason", "string", "stop or length"),
            ("stop_reason", "string | integer | null", "the stop text or token that ended it"),
        ],
    ),
    (
        "ChatMessage",
        &[],
        &[("role", "string", "assistant"), ("content", "string", "the text"), ("refusal", "null", "always")],
    ),
    ("ChatLogprobs", &[], &[("content", "[#TokenLogprob]", "for each token"), ("refusal", "null", "always")]),
    (
        "TokenLogprob",
        &[],
        &[
            ("token", "string", "its text"),
            ("logprob", "number", "its log-probability"),
            ("bytes", "[integer]", "its bytes"),
            ("top_logprobs?", "[#TokenLogprob]", "the alternatives"),
        ],
    ),
    (
        "Completion",
        &[],
        &[
            ("id", "string", "of this answer"),
            ("object", "string", "text_completion"),
            ("created", "integer", "Unix time"),
            ("model", "string", "as asked for"),
            ("choices", "[#CompletionChoice]", "the answers"),
            ("usage", "#Usage", "tokens used"),
            ("timings", "#Timings", "of the first answer"),
        ],
    ),
    (
        "CompletionChoice",
        &[],
        &[
            ("index", "integer", "which answer"),
            ("text", "string", "what is said"),
            ("logprobs", "#CompletionLogprobs | null", "if asked for"),
            ("finish_reason", "string", "stop or length"),
            ("stop_reason", "string | integer | null", "the stop text or token that ended it"),
        ],
    ),
    (
        "CompletionLogprobs",
        &[],
        &[
            ("tokens", "[string]", "their texts; a part of a character as bytes:\\x.."),
            ("token_logprobs", "[number | null]", "none for a prompt's first token"),
            ("top_logprobs", "[{number} | null]", "the alternatives"),
            ("text_offset", "[integer]", "where each token's text begins, in characters"),
        ],
    ),
    (
        "Embeddings",
        &[],
        &[
            ("object", "string", "list"),
            ("data", "[#Embedding]", "a vector for each text"),
            ("model", "string", "as asked for"),
            ("usage", "#EmbeddingsUsage", "tokens used"),
        ],
    ),
    (
        "Embedding",
        &[],
        &[
            ("object", "string", "embedding"),
            ("index", "integer", "which text"),
            ("embedding", "[number] | string", "the vector, or base64 of its little-endian f32s"),
        ],
    ),
    (
        "EmbeddingsUsage",
        &[],
        &[("prompt_tokens", "integer", "of all texts"), ("total_tokens", "integer", "the same")],
    ),
    (
        "Models",
        &[],
        &[("object", "string", "list"), ("data", "[#Model]", "a row for each name of the model")],
    ),
    (
        "Model",
        &[],
        &[
            ("id", "string", "its name"),
            ("object", "string", "model"),
            ("created", "integer", "when it began to be served, in Unix time"),
            ("owned_by", "string", "ridgepoint"),
            ("root", "string", "its first name"),
            ("parent", "null", "always"),
            ("max_model_len", "integer", "most tokens of prompt and answer together"),
        ],
    ),
    (
        "Tokens",
        &[],
        &[
            ("tokens", "[integer | #Piece]", "ids, or ids with texts"),
            ("count", "integer", "how many"),
            ("max_model_len", "integer", "most tokens of prompt and answer together"),
            ("token_strs?", "[string]", "their texts, if asked for"),
        ],
    ),
    (
        "Piece",
        &[],
        &[
            ("id", "integer", "a token"),
            ("piece", "string | [integer]", "its text, or its bytes if it is none"),
        ],
    ),
    (
        "Text",
        &[],
        &[("prompt", "string", "the text"), ("content?", "string", "the same, by llama.cpp's name")],
    ),
    ("InputTokens", &[], &[("input_tokens", "integer", "of the conversation")]),
    ("Forgotten", &[], &[("forgotten_blocks", "integer", "blocks that could be found before")]),
    ("Health", &[], &[("status", "string", "ok")]),
    ("Version", &[], &[("version", "string", "this server's")]),
];
