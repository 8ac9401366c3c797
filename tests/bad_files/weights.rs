//! Weights, sizes, and what is no file at all.

use std::fs;

use crate::{command, directory, refuse, refused};

/// The model computes nothing, and says so once.
#[test]
fn weights_that_are_no_numbers() {
    let dir = directory();
    let path = dir.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[header..].chunks_exact_mut(2).for_each(|w| w.copy_from_slice(&[0xc0, 0x7f]));
    fs::write(&path, bytes).unwrap();
    let output = command(&["--quiet", "run", "-m", dir.path().to_str().unwrap(), "a"]).output().unwrap();
    let stderr = refused("weights of NaN", &output);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
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
    use std::path::Path;
    let pipe =
        |path: &Path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    let dir = directory();
    let alone = dir.path().join("m.gguf");
    pipe(&alone);
    let mut wrong = refuse("a pipe", &alone, "a", &["a pipe, a socket or a device"]);
    pipe(&dir.path().join("chat_template.jinja"));
    wrong.extend(refuse("a template that is a pipe", dir.path(), "a", &["jinja", "expected a regular file"]));
    fs::remove_file(dir.path().join("chat_template.jinja")).unwrap();
    for name in ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "config.json"] {
        let (path, aside) = (dir.path().join(name), dir.path().join("aside"));
        let whole = fs::rename(&path, &aside).is_ok();
        fs::create_dir(&path).unwrap();
        wrong.extend(refuse("a folder", dir.path(), "a", &[name, "expected a regular file"]));
        fs::remove_dir(&path).unwrap();
        pipe(&path);
        wrong.extend(refuse("a pipe", dir.path(), "a", &[name, "expected a regular file"]));
        fs::remove_file(&path).unwrap();
        if whole {
            fs::rename(&aside, &path).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Holes instead of 80 layers of 8192 in F32, 290 GB: refused before one of them is read, where
/// the system tells what memory it has.
#[cfg(target_os = "linux")]
#[test]
fn models_that_no_memory_holds() {
    use crate::gguf::{Gguf, keys};
    let (hidden, inner) = (8192u64, 28_672u64);
    let mut model = keys("gpt2");
    for (key, value) in [
        ("block_count", 80),
        ("embedding_length", 8192),
        ("feed_forward_length", 28_672),
        ("attention.head_count", 64),
    ] {
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
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("huge.gguf");
    let header = model.bytes();
    fs::write(&path, &header).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(header.len() as u64 + offset).unwrap();
    let path = path.to_str().unwrap();
    for arguments in [
        &["run", "-m", path, "a"][..],
        &["logits", "-m", path, "--prompt", "a"],
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
    use std::process::Stdio;
    use std::time::{Duration, Instant};
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("m.gguf");
    fs::copy(crate::data("quant-models/tiny-F32.gguf"), &path).unwrap();
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
