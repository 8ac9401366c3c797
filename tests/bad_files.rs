//! Bad files, as a person meets them: each ends `run` with one clear error and exit code 1; no panic,
//! no signal, no half an answer.

mod gguf;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gguf::{Gguf, keys, small};
use tempfile::TempDir;

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path)
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ridgepoint"));
    for name in ["RIDGEPOINT_LOG", "RIDGEPOINT_MODEL", "RIDGEPOINT_ADAPTER"] {
        command.env_remove(name);
    }
    command.env("HF_HUB_OFFLINE", "1").args(arguments).stdin(Stdio::null());
    command
}

/// What the error says.
fn refused(what: &str, output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{what}: {:?}: {stderr}", output.status);
    assert!(output.stdout.is_empty(), "{what}: {output:?}");
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{what}: {stderr}");
    assert!(errors[0].len() < 1000, "{what}: {stderr}");
    stderr
}

/// Runs a model that can't be run; gives the parts of `why` that the error lacks.
#[must_use]
fn refuse(what: &str, model: &Path, prompt: &str, why: &[&str]) -> Vec<String> {
    let output = command(&["--quiet", "run", "-m", model.to_str().unwrap(), prompt]).output().unwrap();
    let stderr = refused(what, &output);
    let lacks = why.iter().filter(|part| !stderr.contains(**part));
    lacks.map(|part| format!("{what}: '{}' lacks '{part}'", stderr.trim())).collect()
}

struct Case(&'static str, Vec<u8>, &'static [&'static str]);

/// A header of chosen counts, and nothing after it.
fn counts(version: u32, tensors: u64, values: u64) -> Vec<u8> {
    [&b"GGUF"[..], &version.to_le_bytes(), &tensors.to_le_bytes(), &values.to_le_bytes()].concat()
}

#[test]
fn gguf_files() {
    let whole = fs::read(data("quant-models/tiny-Q8_0.gguf")).unwrap();
    let sound = || small("gpt2");
    let zeros = [0; 64 * 11 * 2];
    let tokens = |tokens: &[&str], kinds: &[i32]| {
        let model = Gguf::default().text("general.architecture", "llama").number("llama.block_count", 1);
        let model = model.number("llama.embedding_length", 64).number("llama.feed_forward_length", 128);
        let model = model.number("llama.attention.head_count", 4).number("llama.context_length", 256);
        let model = model.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
        let model = model.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", tokens);
        let model = model.numbers("tokenizer.ggml.token_type", kinds);
        model.floats("tokenizer.ggml.scores", &vec![0.0; tokens.len()]).bytes()
    };
    let cases = [
        Case(
            "truncated in its tensors",
            whole[..whole.len() / 2].into(),
            &["beyond the file's end", "downloaded completely"],
        ),
        Case("truncated in its header", whole[..1000].into(), &["downloaded completely"]),
        Case("an empty file", vec![], &["does not begin with the bytes 'GGUF'"]),
        Case("a wrong magic", [b"GGML", &whole[4..]].concat(), &["does not begin with the bytes 'GGUF'"]),
        Case("version 1", counts(1, 0, 0), &["GGUF version 1", "2 and 3 are known"]),
        Case("big-endian", counts(3 << 24, 0, 0), &["big-endian"]),
        Case("a huge count of tensors", counts(3, u64::MAX, 0), &["18446744073709551615 tensors"]),
        Case("a huge count of keys", counts(3, 0, 1 << 62), &["key-values, more than its 0 bytes"]),
        Case("no keys and no tensors", counts(3, 0, 0), &["general.architecture"]),
        Case(
            "an empty key",
            sound().number("", 1).bytes(),
            &["expected a key of 1 to 65535 bytes", "found 0"],
        ),
        Case("a key twice", sound().number("general.alignment", 32).bytes(), &["occurs twice"]),
        Case(
            "an alignment of 0",
            Gguf::default().number("general.alignment", 0).bytes(),
            &["power of two", "found 0"],
        ),
        Case(
            "an unknown architecture",
            Gguf::default().text("general.architecture", "mamba\nerror: all is well\x1b[31m").bytes(),
            &["'mamba\n  error: all is well\\u{1b}[31m'"],
        ),
        Case(
            "a long text for a number",
            Gguf::default().text("general.alignment", &"x".repeat(5_000_000)).bytes(),
            &["power of two", "bytes more)"],
        ),
        Case(
            "a tensor outside the file",
            sound().tensor_at("t", &[64, 11], 1, 1 << 40).bytes(),
            &["beyond the file's end"],
        ),
        Case(
            "an offset that wraps",
            sound().tensor_at("t", &[64, 11], 1, u64::MAX - 31).bytes(),
            &["beyond the file's end"],
        ),
        Case("a tensor without rows", sound().tensor_at("t", &[64, 0], 1, 0).bytes(), &["dimension of 0"]),
        Case(
            "sizes that wrap",
            sound().tensor_at("t", &[(1 << 42) + 32, 1 << 42], 1, 0).bytes(),
            &["overflows"],
        ),
        Case("five dimensions", sound().tensor_at("t", &[1; 5], 1, 0).bytes(), &["5 dimensions, not 1 to 4"]),
        Case(
            "an unknown format",
            sound().tensor("t", &[64, 11], 16, &zeros).bytes(),
            &["IQ2_XXS", "known are F32"],
        ),
        Case(
            "a crooked offset",
            sound().tensor_at("t", &[64, 11], 1, 8).bytes(),
            &["no multiple of the alignment"],
        ),
        Case("tensors missing", keys("gpt2").bytes(), &["there is no tensor"]),
        Case(
            "a list longer than the file",
            Gguf::default().raw("k", 9, &[8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]).bytes(),
            &["array elements, more than"],
        ),
        Case(
            "a byte token that is none",
            tokens(&["<0x-1>", "a"], &[6, 1]),
            &["expected a byte as <0xNN>", "<0x-1>"],
        ),
        Case("a token of an unknown type", tokens(&["a", "b"], &[1, 99]), &["the token 1 has the type 99"]),
        Case("more types than tokens", tokens(&["a"], &[1, 1]), &["1 whole numbers, one for each token"]),
        Case(
            "part of a split model under another name",
            sound().number("split.count", 3).number("split.no", 0).bytes(),
            &["-00001-of-00003.gguf"],
        ),
    ];
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("m.gguf");
    let mut wrong = Vec::new();
    for Case(what, bytes, why) in cases {
        fs::write(&path, bytes).unwrap();
        wrong.extend(refuse(what, &path, "a", why));
    }
    let part = dir.path().join("m-00001-of-00002.gguf");
    let own = sound().number("split.count", 2).number("split.no", 0).bytes();
    fs::write(&part, own).unwrap();
    wrong.extend(refuse("a missing part", &part, "a", &["m-00002-of-00002.gguf", "all of it downloaded"]));
    wrong.extend(refuse("a device", Path::new("/dev/null"), "a", &["a pipe, a socket or a device"]));
    wrong.extend(refuse("nothing", &dir.path().join("absent.gguf"), "a", &["no such file or directory"]));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A copy of a sound directory, which a test then spoils.
fn directory() -> TempDir {
    let dir = TempDir::new().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::write(dir.path().join(name), fs::read(data("tiny/llama").join(name)).unwrap()).unwrap();
    }
    dir
}

#[test]
fn directories() {
    let replaced = |name: &str, from: &str, to: &str| {
        let text = fs::read_to_string(data("tiny/llama").join(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        text.replacen(from, to, 1)
    };
    let weights = fs::read(data("tiny/llama/model.safetensors")).unwrap();
    let deep = format!("{{\"a\": {}", "[".repeat(100_000));
    let header = |json: &str| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
    let index = |shard: &str| format!(r#"{{"weight_map": {{"a": "{shard}"}}}}"#);
    let loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    let in_itself = "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x }}";
    let deep_list = "{% set ns = namespace(x=[]) %}{% for i in range(60000) %}{% set ns.x = [ns.x] %}{% endfor %}\
                     {{ ns.x | tojson }}";
    let sums = format!("{{{{ 1{} }}}}", "+1".repeat(400_000));
    let tokenizer = fs::read_to_string(data("tiny/llama/tokenizer.json")).unwrap();
    let mut tokenizer: serde_json::Value = serde_json::from_str(&tokenizer).unwrap();
    let doubling = serde_json::json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    tokenizer["normalizer"] = serde_json::json!({"type": "Sequence", "normalizers": vec![doubling; 34]});
    let doubling = tokenizer.to_string();
    let floods = format!("{{% for i in range(99999) %}}{}{{% endfor %}}", "k".repeat(1024));
    let model = "model.safetensors";
    let listed = "model.safetensors.index.json";
    type Change<'a> = (&'a str, Option<Vec<u8>>);
    let cases: Vec<(&str, Vec<Change<'_>>, &[&str])> = vec![
        ("no tokenizer", vec![("tokenizer.json", None)], &["lacks tokenizer.json", "must be converted"]),
        ("no configuration", vec![("config.json", None)], &["config.json"]),
        ("no weights", vec![(model, None)], &["lacks weights", "expected model.safetensors"]),
        (
            "a configuration that is no JSON",
            vec![("config.json", Some(b"{".into()))],
            &["expected a JSON object"],
        ),
        (
            "a configuration that nests",
            vec![("config.json", Some(deep.clone().into()))],
            &["recursion limit"],
        ),
        (
            "an unknown architecture",
            vec![("config.json", Some(replaced("config.json", "\"llama\"", "\"mamba\"").into()))],
            &["mamba"],
        ),
        (
            "no layers",
            vec![(
                "config.json",
                Some(replaced("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0").into()),
            )],
            &["config.json"],
        ),
        (
            "huge layers",
            vec![(
                "config.json",
                Some(
                    replaced(
                        "config.json",
                        "\"num_hidden_layers\": 2",
                        "\"num_hidden_layers\": 18446744073709551615",
                    )
                    .into(),
                ),
            )],
            &["config.json"],
        ),
        ("a tokenizer that is no JSON", vec![("tokenizer.json", Some(b"{}".into()))], &["tokenizer.json"]),
        ("a tokenizer that nests", vec![("tokenizer.json", Some(deep.into()))], &["tokenizer.json"]),
        (
            "truncated weights",
            vec![(model, Some(weights[..weights.len() - 1].into()))],
            &["downloaded completely"],
        ),
        (
            "a header longer than the file",
            vec![(model, Some(u64::MAX.to_le_bytes().into()))],
            &["announces a header of 18446744073709551615 bytes"],
        ),
        (
            "a tensor outside the file",
            vec![(model, Some(header(r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#)))],
            &["need 4 bytes after the header, found 0"],
        ),
        (
            "offsets that contradict",
            vec![(model, Some(header(r#"{"t":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}"#)))],
            &["header is invalid"],
        ),
        (
            "a type that is not known",
            vec![(model, Some(header(r#"{"t":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}"#)))],
            &["I8", "F32, F16 and BF16 are known"],
        ),
        (
            "a missing shard",
            vec![(model, None), (listed, Some(index("m-1.safetensors").into()))],
            &["the shard m-1.safetensors", "downloaded completely"],
        ),
        (
            "a shard that climbs",
            vec![(model, None), (listed, Some(index("../x.safetensors").into()))],
            &["expected plain file names", "../x.safetensors"],
        ),
        (
            "a template that loops",
            vec![("chat_template.jinja", Some(loops.into()))],
            &["chat template", "instructions"],
        ),
        (
            "a template that writes without end",
            vec![("chat_template.jinja", Some(floods.into()))],
            &["chat template", "at most 8388608", "without end"],
        ),
        (
            "a template with a namespace in itself",
            vec![("chat_template.jinja", Some(in_itself.into()))],
            &["chat template", "a namespace into"],
        ),
        (
            "a template with a deep list",
            vec![("chat_template.jinja", Some(deep_list.into()))],
            &["chat template", "nest deeper than 64"],
        ),
        (
            "a template with a long sum",
            vec![("chat_template.jinja", Some(sums.into()))],
            &["chat template", "at most 1000 tokens in a tag"],
        ),
        (
            "a template that is a number",
            vec![("tokenizer_config.json", Some(br#"{"chat_template": 5}"#.into()))],
            &["tokenizer_config.json", "a list of {name, template}"],
        ),
        (
            "templates without a usual one",
            vec![(
                "tokenizer_config.json",
                Some(br#"{"chat_template": [{"name": "x\n", "template": ""}]}"#.into()),
            )],
            &["the name 'default'", "found the names [x"],
        ),
        (
            "a template that forges an error",
            vec![(
                "chat_template.jinja",
                Some(br#"{{ raise_exception("no\nerror: all is well\u001b[2J") }}"#.into()),
            )],
            &["chat template", "\n  error: all is well\\u{1b}[2J"],
        ),
        (
            "a template that says too much",
            vec![("chat_template.jinja", Some(br#"{{ raise_exception("x" * 500000) }}"#.into()))],
            &["chat template", "xxx"],
        ),
        (
            "a tokenizer that doubles",
            vec![("tokenizer.json", Some(doubling.into()))],
            &["tokenizer.json", "bytes of one"],
        ),
        (
            "two thetas",
            vec![(
                "config.json",
                Some(replaced("config.json", "\"use_cache\"", "\"rope_theta\": 5.0,\n \"use_cache\"").into()),
            )],
            &["rope_theta contradict"],
        ),
        (
            "a field that forges an error",
            vec![(
                "config.json",
                Some(replaced("config.json", "\"use_cache\"", "\"a\\nerror: b\": 1, \"use_cache\"").into()),
            )],
            &["config.json", "a\n  error: b"],
        ),
        (
            "a template that nests",
            vec![("chat_template.jinja", Some(format!("{{{{ {} }}}}", "(".repeat(100_000)).into()))],
            &["chat template"],
        ),
        (
            "a template that is none",
            vec![("chat_template.jinja", Some(b"{% if %}".into()))],
            &["chat template", "line 1"],
        ),
        (
            "a template with half a tag",
            vec![("chat_template.jinja", Some(b"{%}".into()))],
            &["chat template"],
        ),
        (
            "a template that is no text",
            vec![("chat_template.jinja", Some(vec![0xff; 9]))],
            &["expected UTF-8"],
        ),
    ];
    let mut wrong = Vec::new();
    for (what, changes, why) in cases {
        let dir = directory();
        for (name, bytes) in changes {
            let path = dir.path().join(name);
            match bytes {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
        }
        wrong.extend(refuse(what, dir.path(), "a", why));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Padding is for batches, and a hostile one for memory.
#[test]
fn padding_and_truncation_of_a_tokenizer_are_not_applied() {
    let dir = directory();
    let path = dir.path().join("tokenizer.json");
    let ids = || {
        let output = command(&["tokenize", "-m", dir.path().to_str().unwrap(), "abc"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let sound = ids();
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (strategy, multiple) in [
        (serde_json::json!({"Fixed": 1_000_000_000_000u64}), serde_json::Value::Null),
        (serde_json::json!("BatchLongest"), serde_json::json!(10_000_000_000_000u64)),
    ] {
        tokenizer["padding"] = serde_json::json!({"strategy": strategy, "direction": "Right", "pad_to_multiple_of": multiple,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "p"});
        tokenizer["truncation"] = serde_json::json!({"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0});
        fs::write(&path, tokenizer.to_string()).unwrap();
        assert_eq!(ids(), sound);
    }
}

#[cfg(unix)]
#[test]
fn pipes_are_not_waited_for() {
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let dir = directory();
    let alone = dir.path().join("m.gguf");
    pipe(&alone);
    let mut wrong = refuse("a pipe", &alone, "a", &["a pipe, a socket or a device"]);
    pipe(&dir.path().join("chat_template.jinja"));
    wrong.extend(refuse("a template that is a pipe", dir.path(), "a", &["jinja", "expected a regular file"]));
    fs::remove_file(dir.path().join("chat_template.jinja")).unwrap();
    fs::create_dir(dir.path().join("chat_template.jinja")).unwrap();
    wrong.extend(refuse(
        "a template that is a folder",
        dir.path(),
        "a",
        &["jinja", "expected a regular file"],
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Holes instead of 80 layers of 8192 in F32, 290 GB: refused before one of them is read.
#[test]
fn models_that_no_memory_holds() {
    let (hidden, inner) = (8192u64, 28_672u64);
    let mut model = keys("gpt2");
    for (key, value) in [("block_count", 80), ("embedding_length", 8192), ("feed_forward_length", 28_672)] {
        model = model.replaced(&format!("llama.{key}"), value);
    }
    let mut offset = 0;
    let mut add = |model: Gguf, name: &str, dims: &[u64]| {
        let at = offset;
        offset += 4 * dims.iter().product::<u64>();
        model.tensor_at(name, dims, 0, at)
    };
    model = add(model, "token_embd.weight", &[hidden, 11]);
    model = add(model, "output_norm.weight", &[hidden]);
    for layer in 0..80 {
        for name in ["attn_norm", "ffn_norm"] {
            model = add(model, &format!("blk.{layer}.{name}.weight"), &[hidden]);
        }
        for name in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            model = add(model, &format!("blk.{layer}.{name}.weight"), &[hidden, hidden]);
        }
        for name in ["ffn_gate", "ffn_up"] {
            model = add(model, &format!("blk.{layer}.{name}.weight"), &[hidden, inner]);
        }
        model = add(model, &format!("blk.{layer}.ffn_down.weight"), &[inner, hidden]);
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("huge.gguf");
    let header = model.bytes();
    fs::write(&path, &header).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(header.len() as u64 + offset).unwrap();
    let path = path.to_str().unwrap();
    for arguments in [
        &["run", "-m", path, "a"][..],
        &["logits", "-m", path, "a"],
        &["bench", "model", "-m", path, "-p", "8", "-n", "0"],
    ] {
        let stderr = refused(arguments[0], &command(&[&["--quiet"], arguments].concat()).output().unwrap());
        for part in ["weights of ", " free (", "choose a smaller model"] {
            assert!(stderr.contains(part), "{arguments:?}: {stderr}");
        }
    }
}

#[test]
fn prompts_longer_than_the_context() {
    let dir = directory();
    let prompt = "a b c d ".repeat(200);
    let wrong = refuse("a long prompt", dir.path(), &prompt, &["256"]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let output = command(&["--quiet", "run", "-c", "300", "-m", dir.path().to_str().unwrap(), "a"]).output();
    let stderr = refused("a context longer than the model's", &output.unwrap());
    assert!(stderr.contains("--max-model-len 300 is longer than the model's context of 256"), "{stderr}");
}

/// `bench model` measures the device between reading the headers and reading the weights, for seconds:
/// time enough to shorten the file.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_shrinks_while_it_is_read() {
    use std::time::{Duration, Instant};
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("m.gguf");
    fs::copy(data("quant-models/tiny-F32.gguf"), &path).unwrap();
    let file = fs::File::options().write(true).open(&path);
    let file = file.or_else(|_| {
        // A copy is read-only where the original is.
        let bytes = fs::read(&path)?;
        fs::remove_file(&path)?;
        fs::write(&path, bytes)?;
        fs::File::options().write(true).open(&path)
    });
    let file = file.unwrap();
    let arguments =
        ["--quiet", "bench", "model", "-m", path.to_str().unwrap(), "-p", "8", "-n", "0", "-r", "1"];
    let child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let descriptors = format!("/proc/{}/fd", child.id());
    let is_open = || {
        let links = fs::read_dir(&descriptors).into_iter().flatten().flatten();
        links.filter_map(|link| fs::read_link(link.path()).ok()).filter(|to| *to == path).count() > 0
    };
    let start = Instant::now();
    while !is_open() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The header is small and read at once; were it not, the error would be another clear one.
    std::thread::sleep(Duration::from_millis(200));
    file.set_len(100_000).unwrap();
    let stderr = refused("a file that shrinks", &child.wait_with_output().unwrap());
    let why = ["was it changed meanwhile?", "was it downloaded completely?"];
    assert!(why.iter().any(|why| stderr.contains(why)), "{stderr}");
}
