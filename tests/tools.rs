//! The parity tools as a script meets them: `logits`, `tokenize`, `detokenize`, `perplexity`, on
//! small models.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde::Deserialize;

const LLAMA: &str = "tests/data/tiny/llama";
const QUANT: &str = "tests/data/quant-models/tiny-Q4_K_M.gguf";

/// Runs the binary with `input` on stdin, without settings from outside, and offline.
fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ridgepoint"));
    for name in ["RIDGEPOINT_LOG", "RIDGEPOINT_MODEL"] {
        command.env_remove(name);
    }
    let mut child = command
        .env("HF_HUB_OFFLINE", "1")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Stdout of a run that must succeed.
fn stdout(arguments: &[&str], input: &[u8]) -> String {
    let output = run(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json<T: for<'a> Deserialize<'a>>(arguments: &[&str], input: &[u8]) -> T {
    serde_json::from_str(&stdout(arguments, input)).unwrap()
}

/// Stderr of a run that must exit with `code` and print no result.
fn refused(code: i32, arguments: &[&str], input: &[u8]) -> String {
    let output = run(arguments, input);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn list(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    ids.join(",")
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Step {
    id: u32,
    logprob: f32,
    top: Vec<(u32, f32)>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Logits {
    ids: Vec<u32>,
    logits: Vec<f32>,
    greedy: Vec<u32>,
    steps: Vec<Step>,
}

fn logits(model: &str, ids: &[u32], flags: &[&str]) -> Logits {
    let ids = list(ids);
    let mut arguments = vec!["logits", "-m", model, "--ids", &ids, "--json"];
    arguments.extend(flags);
    json(&arguments, b"")
}

#[derive(Deserialize)]
struct Case {
    prompt: Vec<u32>,
    last_logits: Vec<f32>,
    greedy: Vec<u32>,
    greedy_margin: Vec<f32>,
}

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

fn llama_cases() -> Vec<Case> {
    let text = include_str!("data/tiny/llama/expected.json");
    serde_json::from_str::<Cases>(text).unwrap().cases
}

fn quant_cases() -> Vec<Case> {
    #[derive(Deserialize)]
    struct Files {
        files: BTreeMap<String, Cases>,
    }
    let text = include_str!("data/quant-models/expected.json");
    let mut files = serde_json::from_str::<Files>(text).unwrap().files;
    files.remove("tiny-Q4_K_M.gguf").unwrap().cases
}

/// Largest difference, relative to the largest expected number.
fn difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let off = got.iter().zip(want).map(|(a, b)| (a - b).abs());
    off.fold(0.0, f32::max) / largest
}

#[test]
fn logits_and_continuations_are_the_references() {
    for (model, cases) in [(LLAMA, llama_cases()), (QUANT, quant_cases())] {
        let longest = cases.last().unwrap();
        let steps = longest.greedy.len().to_string();
        for (cache, tolerance) in [("f32", 0.0005), ("f16", 0.005)] {
            for chunk in ["1", "5", "16", "512"] {
                let flags = ["--kv-cache-dtype", cache, "--chunk", chunk, "--greedy", &steps];
                let got = logits(model, &longest.prompt, &flags);
                let off = difference(&got.logits, &longest.last_logits);
                assert!(off <= tolerance, "{model} {flags:?}: off by {off:e}");
                assert_eq!(got.ids, longest.prompt);
                let largest = longest.last_logits.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                let sure = longest.greedy_margin.iter();
                let sure = sure.take_while(|&&m| m > 2.0 * tolerance * largest).count();
                assert!(sure > 0, "the fixture's margins are too small to compare anything");
                assert_eq!(got.greedy[..sure], longest.greedy[..sure], "{model} {flags:?}");
                assert_eq!(got.steps.len(), longest.greedy.len());
                assert!(got.steps.iter().map(|s| s.id).eq(got.greedy.iter().copied()));
            }
        }
    }
}

#[test]
fn forced_steps_are_what_longer_prompts_predict() {
    let (prompt, then) = ([3, 5, 8, 13, 21], [34, 55, 89]);
    let forced = list(&then);
    let flags = ["--kv-cache-dtype", "f32", "--top", "4", "--then", &forced];
    let got = logits(LLAMA, &prompt, &flags);
    assert_eq!(got.steps.len(), 3);
    for (i, step) in got.steps.iter().enumerate() {
        let longer: Vec<u32> = prompt.iter().chain(&then[..i]).copied().collect();
        let row = logits(LLAMA, &longer, &["--kv-cache-dtype", "f32"]);
        assert!(row.steps.is_empty() && row.greedy.is_empty());
        let norm: f64 = row.logits.iter().map(|&v| f64::from(v).exp()).sum();
        let logprob = |id: u32| (f64::from(row.logits[id as usize]) - norm.ln()) as f32;
        assert_eq!(step.id, then[i]);
        assert!((step.logprob - logprob(step.id)).abs() < 1e-3, "{step:?}");
        let mut order: Vec<u32> = (0..row.logits.len() as u32).collect();
        order.sort_by(|a, b| logprob(*b).total_cmp(&logprob(*a)));
        assert_eq!(got.greedy[i], order[0]);
        assert_eq!(step.top.len(), 4);
        for (&(id, found), expected) in step.top.iter().zip(order) {
            assert_eq!(id, expected);
            assert!((found - logprob(id)).abs() < 1e-3, "step {i}, token {id}");
        }
    }
    // The greedy continuation, forced, is itself.
    let free = logits(LLAMA, &prompt, &["--greedy", "3"]);
    let forced = logits(LLAMA, &prompt, &["--then", &list(&free.greedy)]);
    assert_eq!(free, forced);
    assert_eq!(free.steps[0].top.len(), 10);
}

#[test]
fn a_prompt_may_be_text_and_the_result_a_table() {
    let ids: Tokens = json(&["tokenize", "-m", LLAMA, "--json", "abc de"], b"");
    let text: Logits = json(&["logits", "-m", LLAMA, "--prompt", "abc de", "--json"], b"");
    assert_eq!(text.ids, ids.ids);
    let table = stdout(&["logits", "-m", LLAMA, "--prompt", "abc de", "--greedy", "2"], b"");
    for id in logits(LLAMA, &text.ids, &["--greedy", "2"]).greedy {
        assert!(table.contains(&format!("  {id}  ")), "{table}");
    }
}

#[test]
fn logits_of_what_is_not_there_are_refused() {
    let ask = |code, flags: &[&str]| {
        let mut arguments = vec!["logits", "-m", LLAMA, "--json"];
        arguments.extend(flags);
        refused(code, &arguments, b"")
    };
    assert!(ask(1, &["--ids", ""]).contains("--ids holds no tokens"));
    assert!(ask(1, &["--prompt", ""]).contains("--prompt holds no tokens"));
    assert!(ask(1, &["--ids", "1,320"]).contains("id 320 is not below the model's vocabulary of 320"));
    assert!(ask(1, &["--ids", "1", "--then", "4294967295"]).contains("--then: the token id"));
    assert!(ask(1, &["--ids", "1", "--then", ""]).contains("--then holds no tokens"));
    // The model's own context is 256.
    let long = list(&[1; 257]);
    assert!(ask(1, &["--ids", &long]).contains("context of 256 tokens"));
    assert!(ask(1, &["--ids", "1", "--greedy", "256"]).contains("context of 256 tokens"));
    assert!(ask(1, &["--ids", "1", "--greedy", "18446744073709551615"]).contains("context of"));
    assert!(ask(2, &["--ids", "1,x"]).contains("'x' is no token id"));
    assert!(ask(2, &["--ids", "1", "--chunk", "0"]).contains("--chunk"));
    assert!(ask(2, &["--ids", "1", "--prompt", "a"]).contains("cannot be used with"));
    assert!(ask(2, &["--ids", "1", "--then", "1", "--greedy", "1"]).contains("cannot be used with"));
    assert!(ask(2, &[]).contains("required"));
    let error = refused(1, &["logits", "-m", "tests/data/none", "--ids", "1"], b"");
    assert!(error.contains("tests/data/none"), "{error}");
    // The whole context is fine.
    assert_eq!(logits(LLAMA, &[1; 255], &["--greedy", "1"]).steps.len(), 1);
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Tokens {
    ids: Vec<u32>,
    pieces: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

const TEXT: &str = "  Hello, world!\n\tIt's 12345 caf\u{e9}s \u{1f600}\n";

#[test]
fn texts_come_back() {
    // No computing: an adapter that is not there does not matter.
    let offline = ["--adapter", "no such adapter"];
    for model in [LLAMA, QUANT] {
        let mut arguments = vec!["tokenize", "-m", model, "--json", "-"];
        arguments.extend(offline);
        let tokens: Tokens = json(&arguments, TEXT.as_bytes());
        assert_eq!(tokens.ids.len(), tokens.pieces.len());
        let argument: Tokens = json(&["tokenize", "-m", model, "--json", "--", TEXT], b"");
        assert_eq!(argument, tokens);
        let ids = list(&tokens.ids);
        let mut arguments = vec!["detokenize", "-m", model, "--ids", &ids];
        arguments.extend(offline);
        assert_eq!(stdout(&arguments, b""), TEXT);
        arguments.push("--json");
        assert_eq!(json::<Text>(&arguments, b"").text, TEXT);
        let words: Vec<String> = tokens.ids.iter().map(u32::to_string).collect();
        let mut arguments = vec!["detokenize", "-m", model];
        arguments.extend(words.iter().map(String::as_str));
        assert_eq!(stdout(&arguments, b""), TEXT);
    }
    let table = stdout(&["tokenize", "-m", LLAMA, "!"], b"");
    let one: Tokens = json(&["tokenize", "-m", LLAMA, "--json", "!"], b"");
    assert_eq!(table, format!("{:>8}  \"!\"\n", one.ids[0]));
    let nothing: Tokens = json(&["tokenize", "-m", LLAMA, "--json", "-"], b"");
    assert!(nothing.ids.is_empty() && nothing.pieces.is_empty());
}

/// The small llama model, with a BOS that every prompt begins with.
fn with_bos() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(format!("{LLAMA}/{name}"), dir.path().join(name)).unwrap();
    }
    let settings = r#"{"bos_token": "<s>", "add_bos_token": true}"#;
    std::fs::write(dir.path().join("tokenizer_config.json"), settings).unwrap();
    dir
}

#[test]
fn special_tokens_are_parsed_unless_told_otherwise() {
    let text = "a<s>b";
    let parsed: Tokens = json(&["tokenize", "-m", LLAMA, "--json", text], b"");
    assert_eq!((parsed.ids[1], parsed.pieces[1].as_str()), (0, "<s>"));
    let plain: Tokens = json(&["tokenize", "-m", LLAMA, "--json", "--no-special", text], b"");
    assert!(!plain.ids.contains(&0), "{plain:?}");
    assert_eq!(plain.pieces.concat(), text);
    let ids = list(&parsed.ids);
    assert_eq!(stdout(&["detokenize", "-m", LLAMA, &ids], b""), text);
    assert_eq!(stdout(&["detokenize", "-m", LLAMA, "--skip-special", &ids], b""), "ab");
    // No BOS unless asked for, whatever the model's prompts begin with.
    let dir = with_bos();
    let model = dir.path().to_str().unwrap();
    let bare: Tokens = json(&["tokenize", "-m", model, "--json", text], b"");
    assert_eq!(bare, parsed);
    let bos: Tokens = json(&["tokenize", "-m", model, "--json", "--bos", text], b"");
    assert_eq!((bos.ids[0], &bos.ids[1..]), (0, &parsed.ids[..]));
    let prompt: Logits = json(&["logits", "-m", model, "--prompt", text, "--json"], b"");
    assert_eq!(prompt.ids, bos.ids);
    assert!(refused(1, &["tokenize", "-m", LLAMA, "--bos", text], b"").contains("no BOS token"));
}

#[test]
fn texts_that_are_none_are_refused() {
    let tokenize = ["tokenize", "-m", LLAMA, "-"];
    let error = refused(1, &tokenize, b"ab\xff");
    assert!(error.contains("standard input is not UTF-8 text: byte 2"), "{error}");
    assert!(refused(1, &["detokenize", "-m", LLAMA, "999"], b"").contains("id 999"));
    assert!(refused(1, &["detokenize", "-m", LLAMA, "--ids", ""], b"").contains("holds no tokens"));
    assert!(refused(2, &["detokenize", "-m", LLAMA], b"").contains("required"));
    assert!(refused(2, &["detokenize", "-m", LLAMA, "1", "--ids", "1"], b"").contains("cannot"));
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Perplexity {
    ppl: f64,
    chunks: Vec<f64>,
}

/// The perplexity of a text after each of its chunks, from the log-probabilities of `logits --then`.
fn by_hand(model: &str, bos: Option<u32>, text: &str, context: usize) -> Vec<f64> {
    let arguments = ["tokenize", "-m", model, "--no-special", "--json", "-"];
    let tokens: Tokens = json(&arguments, text.as_bytes());
    let ids: Vec<u32> = bos.into_iter().chain(tokens.ids).collect();
    let (mut nll, mut scored, mut running) = (0.0, 0, Vec::new());
    for chunk in ids.chunks_exact(context) {
        let (before, after) = chunk.split_at(context / 2 + 1);
        let mut before = before.to_vec();
        before[0] = bos.unwrap_or(before[0]);
        let then = list(after);
        let steps = logits(model, &before, &["--kv-cache-dtype", "f32", "--then", &then]).steps;
        nll -= steps.iter().map(|s| f64::from(s.logprob)).sum::<f64>();
        scored += steps.len();
        running.push((nll / scored as f64).exp());
    }
    running
}

#[test]
fn perplexity_is_what_the_log_probabilities_say() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let text = "The quick brown fox jumps over the lazy dog; 1 2 3, and <s> is no token.\n".repeat(6);
    std::fs::write(path, &text).unwrap();
    let ask = |model: &str, flags: &[&str]| -> Perplexity {
        let mut arguments = vec!["perplexity", "-m", model, path, "--kv-cache-dtype", "f32"];
        arguments.extend(flags);
        arguments.push("--json");
        json(&arguments, b"")
    };
    let dir = with_bos();
    let bos = dir.path().to_str().unwrap();
    // 150: a second half of more than one step's rows; 33: an odd length.
    for (model, id, context, least) in [(LLAMA, None, 150, 2), (LLAMA, None, 33, 8), (bos, Some(0), 33, 8)] {
        let want = by_hand(model, id, &text, context);
        assert!(want.len() >= least, "{} chunks of {context}", want.len());
        let got = ask(model, &["-c", &context.to_string()]);
        assert_eq!(got.chunks.len(), want.len());
        assert_eq!(got.chunks.last(), Some(&got.ppl));
        for (a, b) in got.chunks.iter().zip(&want) {
            assert!((a / b - 1.0).abs() < 1e-4, "context {context}: {got:?}, expected {want:?}");
        }
        let two = ask(model, &["--ctx-size", &context.to_string(), "--chunks", "2"]);
        assert_eq!(two.chunks, got.chunks[..2]);
    }
    let chunks = |model| ask(model, &["-c", "33"]).chunks;
    assert_ne!(chunks(LLAMA), chunks(bos), "BOS makes no difference");
    // The model's own context, 256, is below the default of 512.
    let own = ask(LLAMA, &[]);
    assert_eq!(own.chunks, ask(LLAMA, &["-c", "256"]).chunks);
    let base = ["perplexity", "-m", LLAMA, path, "--kv-cache-dtype", "f32"];
    let line = stdout(&base, b"");
    assert!(line.starts_with(&format!("perplexity {:.4}, of ", own.ppl)), "{line}");
    let piped = ["perplexity", "-m", LLAMA, "-", "--kv-cache-dtype", "f32"];
    assert_eq!(stdout(&piped, &std::fs::read(path).unwrap()), line);
    let notes = String::from_utf8(run(&base, b"").stderr).unwrap();
    assert!(notes.contains(&format!("chunk 1/{}: ", own.chunks.len())), "{notes}");
}

#[test]
fn perplexity_of_too_little_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(path, "Short.").unwrap();
    let ask = |code, path: &str, flags: &[&str]| {
        let mut arguments = vec!["perplexity", "-m", LLAMA, path, "--json"];
        arguments.extend(flags);
        refused(code, &arguments, b"")
    };
    assert!(ask(1, path, &[]).contains("fewer than one chunk of 256"));
    assert!(ask(1, path, &["-c", "257"]).contains("expected 3 to 256"));
    assert!(ask(1, path, &["-c", "2"]).contains("expected 3 to 256"));
    assert!(ask(2, path, &["--chunks", "0"]).contains("--chunks"));
    std::fs::write(path, b"\xc3").unwrap();
    assert!(ask(1, path, &[]).contains("not UTF-8"));
    assert!(ask(1, "tests/data/none.txt", &[]).contains("opening tests/data/none.txt"));
}
