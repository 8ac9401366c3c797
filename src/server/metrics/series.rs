//! The histograms, by vLLM's names, and their buckets.
//!
//! Buckets are vLLM's, with finer ones below them: a small model's token takes milliseconds.

macro_rules! series {
    ($($variant:ident $name:literal $bounds:ident $help:literal;)*) => {
        /// A histogram.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Series { $(#[doc = $help] $variant,)* }

        /// Every histogram's name, buckets and help.
        pub const SERIES: &[(&str, &[f64], &str)] = &[$(($name, $bounds, $help),)*];
    };
}

series! {
    Ttft "vllm:time_to_first_token_seconds" TTFT "From a request's arrival to its first token.";
    Itl "vllm:inter_token_latency_seconds" TOKEN "Between two tokens of a sequence.";
    // Its name in dashboards of 2025.
    ItlOld "vllm:time_per_output_token_seconds" TOKEN "As vllm:inter_token_latency_seconds, by its older name.";
    Tpot "vllm:request_time_per_output_token_seconds" TOKEN "A sequence's mean time per token after its first.";
    E2e "vllm:e2e_request_latency_seconds" WHOLE "From a request's arrival to its end.";
    Queue "vllm:request_queue_time_seconds" WHOLE "Waiting for the first step.";
    Inference "vllm:request_inference_time_seconds" WHOLE "From the first step to the end.";
    Prefill "vllm:request_prefill_time_seconds" WHOLE "From the first step to the first token.";
    Decode "vllm:request_decode_time_seconds" WHOLE "From the first token to the end.";
    PromptTokens "vllm:request_prompt_tokens" TOKENS "Tokens of a prompt.";
    GenerationTokens "vllm:request_generation_tokens" TOKENS "Tokens generated for a sequence.";
    MaxGenerationTokens "vllm:request_max_num_generation_tokens" TOKENS "Tokens of a request's longest sequence.";
    ParamsN "vllm:request_params_n" FEW "The parameter n.";
    ParamsMaxTokens "vllm:request_params_max_tokens" TOKENS "The parameter max_tokens.";
    IterationTokens "vllm:iteration_tokens_total" STEP "Tokens computed in a step.";
    PrefillComputed "vllm:request_prefill_kv_computed_tokens" TOKENS "Prompt tokens that no cache had.";
}

const TTFT: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0, 160.0, 640.0, 2560.0,
];
const TOKEN: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
    5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
const WHOLE: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0,
    20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
];
const TOKENS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0,
    100_000.0,
];
const FEW: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
const STEP: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];
