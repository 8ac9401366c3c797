//! `--quantize` from a directory of safetensors to the logits.

use std::process::{Command, Output};

use serde_json::Value;

fn logits(model: &str, quantize: &[&str]) -> Output {
    let model = format!("{}/tests/data/{model}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ridgepoint"));
    command.env_remove("RIDGEPOINT_LOG").env("HF_HUB_OFFLINE", "1");
    command.args(["logits", "-m", &model, "--ids", "5,6,7,8", "--json"]).args(quantize).output().unwrap()
}

fn row(output: &Output) -> Vec<f64> {
    assert!(output.status.success(), "{output:?}");
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    value["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn logits_stay_near_those_of_the_floats() {
    for model in ["tiny/llama", "tiny/qwen3"] {
        let exact = row(&logits(model, &[]));
        let largest = exact.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let mut distances = Vec::new();
        for format in ["q8_0", "q4_1", "q4_0"] {
            let output = logits(model, &["--quantize", format]);
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(stderr.contains(&format!("matrices become {}", format.to_uppercase())), "{stderr}");
            let distance = exact.iter().zip(row(&output)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            distances.push(distance / largest);
        }
        // 8 bits keep a weight within 0.4 % of its block's largest, 4 bits within 13 %.
        assert!(distances[0] > 0.0 && distances[0] < 0.05, "{model}: {distances:?}");
        assert!(distances[1..].iter().all(|d| *d > distances[0] && *d < 0.7), "{model}: {distances:?}");
    }
}

#[test]
fn what_is_quantized_already_is_refused() {
    let output = logits("quant-models/tiny-Q4_0.gguf", &["--quantize", "q8_0"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("expected matrices of F32, F16, BF16"), "{stderr}");
}
