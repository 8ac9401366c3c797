//! Hugging Face directories, one file of each spoilt.

use std::fs;

use crate::{data, directory, refuse};

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
    let sums = format!("{{{{ 1{} }}}}", "+1".repeat(100_000));
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
            vec![("chat_template.jinja", Some(br#"{{ raise_exception("x" * 50000) }}"#.into()))],
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
