//! What dashboards query is there and moves: vLLM's public one, and ours.

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{Server, read_reply, request};

/// Every series of vLLM's public Grafana dashboard (examples/observability/prometheus_grafana), the name of
/// 2025 for the latency between tokens, and what vLLM's router reads.
const DASHBOARD: &[&str] = &[
    "vllm:e2e_request_latency_seconds_bucket",
    "vllm:e2e_request_latency_seconds_sum",
    "vllm:e2e_request_latency_seconds_count",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:inter_token_latency_seconds_bucket",
    "vllm:inter_token_latency_seconds_sum",
    "vllm:inter_token_latency_seconds_count",
    "vllm:time_per_output_token_seconds_bucket",
    "vllm:time_per_output_token_seconds_sum",
    "vllm:time_per_output_token_seconds_count",
    "vllm:time_to_first_token_seconds_bucket",
    "vllm:time_to_first_token_seconds_sum",
    "vllm:time_to_first_token_seconds_count",
    "vllm:request_prompt_tokens_bucket",
    "vllm:request_generation_tokens_bucket",
    "vllm:request_success_total",
    "vllm:request_queue_time_seconds_sum",
    "vllm:request_prefill_time_seconds_sum",
    "vllm:request_decode_time_seconds_sum",
    "vllm:request_max_num_generation_tokens_sum",
    "vllm:iteration_tokens_total_bucket",
    "vllm:request_params_n_bucket",
    "vllm:request_params_max_tokens_bucket",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "ridgepoint:steps_total",
    "ridgepoint:step_tokens_total",
    "ridgepoint:dispatches_total",
    "ridgepoint:requests_total",
];

/// Figures of the moment: seen above 0 while there is more work than room.
const GAUGES: &[&str] = &[
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "ridgepoint:gpu_busy_share",
];

/// The parts of a step.
const PARTS: &[&str] = &["schedule", "record", "submit", "gpu", "read_back", "sample", "detokenise"];

/// The names of series in an expression.
fn series(expression: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    expression.split(|c| !is_name(c)).filter(|word| word.contains(':')).collect()
}

#[test]
fn every_series_of_the_dashboards_is_there_and_moves() {
    let server = Server::start(&["--max-num-seqs", "2"]);
    // Longer than a block of the cache, so that its prefix is found again.
    let prompt = "abc ".repeat(12);
    let body = json!({"prompt": prompt, "max_tokens": 150, "ignore_eos": true, "stream": true});
    let busy = || {
        let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.write_all(request("/v1/completions", &body, "").as_bytes()).unwrap();
        }
        clients
    };
    let mut clients = busy();
    for name in GAUGES {
        let mut rounds = 0;
        while server.metric(name, "") == 0.0 {
            assert!(rounds < 200, "{name} stays at 0");
            // Those that came may not have been begun yet.
            let left = ["vllm:num_requests_running", "vllm:num_requests_waiting"]
                .map(|name| server.metric(name, ""));
            if left == [0.0; 2] {
                clients.extend(busy());
                rounds += 1;
            }
        }
    }
    for mut client in clients {
        assert_eq!(read_reply(&mut client).status, 200);
    }
    for name in DASHBOARD {
        assert!(server.metric(name, "") > 0.0, "{name} did not move");
    }
    for part in PARTS {
        let label = format!("part=\"{part}\"");
        assert!(server.metric("ridgepoint:step_seconds_total", &label) > 0.0, "no time for {part}");
    }
    // Nothing was preempted; the others say what is.
    for name in ["vllm:num_preemptions_total", "vllm:gpu_cache_usage_perc", "vllm:cache_config_info"] {
        server.metric(name, "");
    }
    let per_step =
        server.metric("ridgepoint:dispatches_total", "") / server.metric("ridgepoint:steps_total", "");
    assert!(per_step > 10.0, "{per_step} dispatches a step: more than two layers have");
}

#[test]
fn our_dashboard_queries_only_what_is_there() {
    let server = Server::start(&[]);
    let asked = server.post("/v1/completions", &json!({"prompt": "abc", "max_tokens": 2}));
    assert_eq!(asked.status, 200);
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string("docs/grafana.json").unwrap()).unwrap();
    let mut found = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            for name in series(target["expr"].as_str().unwrap()) {
                server.metric(name, "model_name=\"tiny\"");
                found += 1;
            }
        }
    }
    assert!(found > 20, "{found}");
}
