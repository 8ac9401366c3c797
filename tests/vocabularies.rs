//! Small vocabularies of every kind: how they cut text, and which are refused.

mod gguf;

use std::path::Path;

use gguf::Gguf;
use proptest::prelude::*;
use ridgepoint::format::tokenizer::{Special, Specials, Tokenizer};
use ridgepoint::format::{Ending, Message, ModelFile};
use serde_json::{Value, json};

/// Opens bytes as a GGUF file and takes its tokenizer.
fn tokenizer_of(gguf: &Gguf) -> Result<Tokenizer, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, gguf.bytes()).unwrap();
    let model = ModelFile::open(&path).map_err(|e| e.to_string())?;
    model.tokenizer().map_err(|e| e.to_string())
}

/// Normal tokens of the SentencePiece vocabulary below, from id 260 on, best score first.
const PIECES: [&str; 18] = [
    "▁▁",
    "▁▁▁▁",
    "▁a",
    "bc",
    "cd",
    "de",
    "abc",
    "▁abc",
    "cde",
    "▁b",
    "▁abcde",
    "bcd",
    "a",
    "b",
    "c",
    "d",
    "e",
    "▁",
];
const FIRST: u32 = 260;

fn sentence_piece() -> Gguf {
    let bytes: Vec<String> = (0..256).map(|b| format!("<0x{b:02X}>")).collect();
    let mut texts = vec!["<unk>", "<s>", "</s>", "<tool>"];
    texts.extend(bytes.iter().map(String::as_str));
    texts.extend(PIECES);
    let mut kinds = vec![2, 3, 3, 4];
    kinds.resize(260, 6);
    kinds.resize(texts.len(), 1);
    let scores: Vec<f32> = (0..texts.len()).map(|i| -(i as f32)).collect();
    Gguf::default()
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &texts)
        .numbers("tokenizer.ggml.token_type", &kinds)
        .floats("tokenizer.ggml.scores", &scores)
        .number("tokenizer.ggml.bos_token_id", 1)
        .number("tokenizer.ggml.eos_token_id", 2)
        .number("tokenizer.ggml.unknown_token_id", 0)
}

/// The definition: of all neighbours whose join is a piece, join those with the best score, the
/// leftmost first, until there are none; what is no piece becomes bytes.
fn by_definition(text: &str) -> Vec<u32> {
    let escaped = format!(" {text}").replace(' ', "▁");
    let mut parts: Vec<String> = escaped.chars().map(String::from).collect();
    let rank = |s: &str| PIECES.iter().position(|p| *p == s);
    loop {
        let joins = (1..parts.len()).filter_map(|i| {
            let whole = format!("{}{}", parts[i - 1], parts[i]);
            rank(&whole).map(|r| (r, i, whole))
        });
        let Some((_, i, whole)) = joins.min() else {
            break;
        };
        parts[i - 1] = whole;
        parts.remove(i);
    }
    let ids = parts.iter().flat_map(|part| match rank(part) {
        Some(r) => vec![FIRST + r as u32],
        None => part.bytes().map(|b| 4 + u32::from(b)).collect(),
    });
    ids.collect()
}

#[test]
fn sentence_piece_vocabularies_follow_the_scores() {
    let tokenizer = tokenizer_of(&sentence_piece()).unwrap();
    let encode = |text, special| tokenizer.encode(text, special).unwrap();
    let id = |piece: &str| FIRST + PIECES.iter().position(|p| *p == piece).unwrap() as u32;
    assert_eq!(encode("abcde", Special::Text), [id("▁abcde")]);
    assert_eq!(encode("é", Special::Text), [id("▁"), 4 + 0xc3, 4 + 0xa9]);
    assert!(encode("", Special::Text).is_empty());
    // After a special token a space is added again, as llama.cpp does.
    assert_eq!(encode("a<s>b", Special::Parse), [id("▁a"), 1, id("▁b")]);
    let text = encode("a<s>b", Special::Text);
    let bytes = |s: &str| s.bytes().map(|b| 4 + u32::from(b)).collect::<Vec<_>>();
    assert_eq!(text, [vec![id("▁a")], bytes("<s>"), vec![id("b")]].concat());
    // Tokens that an author defined as text are parsed either way.
    for special in [Special::Parse, Special::Text] {
        assert_eq!(encode("<tool>a", special), [3, id("▁a")]);
    }
    assert_eq!(tokenizer.bos_to_add(), Some(1));
    assert_eq!(tokenizer.encode_prompt("a", Special::Text).unwrap(), [1, id("▁a")]);
    assert_eq!(tokenizer.decode(&[1, id("▁a"), id("▁b")], Specials::Skip).unwrap(), "a b");
    assert_eq!(tokenizer.piece(4 + 0x0a).unwrap(), b"\n");
    assert_eq!(tokenizer.piece(id("▁a")).unwrap(), b" a");

    let bare = sentence_piece().truth("tokenizer.ggml.add_space_prefix", false);
    let bare = tokenizer_of(&bare.truth("tokenizer.ggml.add_bos_token", false)).unwrap();
    assert_eq!(bare.encode("abc a", Special::Text).unwrap(), [id("abc"), id("▁a")]);
    assert_eq!(bare.bos_to_add(), None);
}

proptest! {
    #[test]
    fn sentence_piece_ids_are_those_of_the_definition(
        texts in prop::collection::vec("[a-e ]{0,24}|[a-eé ]{0,6}", 16)
    ) {
        let tokenizer = tokenizer_of(&sentence_piece()).unwrap();
        for text in texts.iter().filter(|t| !t.is_empty()) {
            let ids = tokenizer.encode(text, Special::Text).unwrap();
            prop_assert_eq!(&ids, &by_definition(text), "{:?}", text);
            prop_assert_eq!(&tokenizer.decode(&ids, Specials::Show).unwrap(), text);
        }
    }
}

/// The 256 characters of GPT-2's table as tokens, `ab`, `abc` and some added ones.
fn byte_level(pre: &str) -> Gguf {
    let printable = |b: &u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut others = 256..;
    let mut texts: Vec<String> = (0..256)
        .map(|b| if printable(&b) { b } else { others.next().unwrap() })
        .map(|c| char::from_u32(c).unwrap().to_string())
        .collect();
    texts.extend(["ab", "bc", "abc", "12", "123", "Ġa", "<|eot_id|>", "<think>"].map(String::from));
    let mut kinds = vec![1; 262];
    kinds.extend([3, 4]);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Gguf::default()
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", pre)
        .texts("tokenizer.ggml.tokens", &texts)
        .numbers("tokenizer.ggml.token_type", &kinds)
        .texts("tokenizer.ggml.merges", &["b c", "Ġ a", "1 2", "12 3"])
        .number("tokenizer.ggml.bos_token_id", 262)
}

#[test]
fn pre_tokenizers_cut_as_their_models_do() {
    let pieces = |pre: &str, text: &str| {
        let tokenizer = tokenizer_of(&byte_level(pre)).unwrap();
        let ids = tokenizer.encode(text, Special::Parse).unwrap();
        let piece = |&id| String::from_utf8_lossy(tokenizer.piece(id).unwrap()).into_owned();
        ids.iter().map(piece).collect::<Vec<_>>().join("/")
    };
    assert_eq!(pieces("gpt-2", "123 1234"), "123/ /123/4");
    assert_eq!(pieces("smollm", "123"), "1/2/3");
    assert_eq!(pieces("qwen2", "123"), "1/2/3");
    assert_eq!(pieces("llama-bpe", "12312"), "123/12");
    assert_eq!(pieces("default", "1123"), "1/12/3");
    // Llama 3 takes whole words that are tokens, though no merge leads there.
    assert_eq!(pieces("llama-bpe", "abc a"), "abc/ a");
    assert_eq!(pieces("gpt-2", "abc a"), "a/bc/ a");
    assert_eq!(pieces("gpt-2", "<think>a<|eot_id|>"), "<think>/a/<|eot_id|>");
    let llama3 = tokenizer_of(&byte_level("llama-bpe")).unwrap();
    assert_eq!((llama3.bos_to_add(), llama3.eos_ids()), (Some(262), &[262][..]));
    assert_eq!(llama3.encode("<think>", Special::Text).unwrap(), [263]);
    let e = tokenizer_of(&byte_level("tekken")).unwrap_err();
    assert!(e.contains("'tekken'") && e.contains("llama-bpe"), "{e}");
}

#[test]
fn contradicting_vocabularies_are_refused() {
    for (gguf, expected) in [
        (Gguf::default(), "tokenizer.ggml.model"),
        (Gguf::default().text("tokenizer.ggml.model", "bert"), "'bert'"),
        (Gguf::default().text("tokenizer.ggml.model", "gpt2"), "tokenizer.ggml.tokens"),
        (sentence_piece().number("tokenizer.ggml.eot_token_id", 9999), "eot_token_id"),
        (byte_level("gpt-2").text("tokenizer.ggml.add_bos_token", "no"), "add_bos_token"),
    ] {
        let e = tokenizer_of(&gguf).map(|_| ()).expect_err(expected);
        assert!(e.contains(expected), "expected {expected} in: {e}");
    }
    let small = |model: &str| {
        let gguf = Gguf::default().text("tokenizer.ggml.model", model);
        gguf.text("tokenizer.ggml.pre", "gpt-2")
    };
    let two = |model| small(model).texts("tokenizer.ggml.tokens", &["a", "<0x-1>"]);
    for (gguf, expected) in [
        (two("llama"), "tokenizer.ggml.scores"),
        (two("llama").floats("tokenizer.ggml.scores", &[0.0]), "2 scores"),
        (two("llama").numbers("tokenizer.ggml.token_type", &[1]), "2 whole numbers"),
        (two("llama").numbers("tokenizer.ggml.token_type", &[1, 6]), "<0xNN>"),
        (two("llama").numbers("tokenizer.ggml.token_type", &[1, 9]), "type 9"),
        (two("gpt2"), "tokenizer.ggml.merges"),
        (two("gpt2").texts("tokenizer.ggml.merges", &["a"]), "two parts"),
        (two("gpt2").texts("tokenizer.ggml.merges", &["a b"]), "no token"),
        (two("gpt2").numbers("tokenizer.ggml.merges", &[1]), "a list of texts"),
    ] {
        let e = tokenizer_of(&gguf).map(|_| ()).expect_err(expected);
        assert!(e.contains(expected), "expected {expected} in: {e}");
    }
}

/// A Hugging Face directory with files that are changed and added.
fn directory(edit: impl FnOnce(&mut Value), files: &[(&str, Value)]) -> (tempfile::TempDir, ModelFile) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny/llama");
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), dir.path().join(name)).unwrap();
    }
    let text = std::fs::read_to_string(from.join("tokenizer.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_str(&text).unwrap();
    edit(&mut tokenizer);
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    for (name, value) in files {
        let text = value.as_str().map_or_else(|| value.to_string(), String::from);
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let model = ModelFile::open(dir.path()).unwrap();
    (dir, model)
}

fn bos_rule(t: &mut Value) {
    t["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    });
}

#[test]
fn bos_and_eos_come_from_the_files_beside_tokenizer_json() {
    let bos = |edit: fn(&mut Value), files: &[(&str, Value)]| {
        directory(edit, files).1.tokenizer().unwrap().bos_to_add()
    };
    let settings = |add: bool| {
        [("tokenizer_config.json", json!({"add_bos_token": add, "bos_token": {"content": "</s>"}}))]
    };
    assert_eq!(bos(|_| {}, &[]), None);
    assert_eq!(bos(bos_rule, &[]), Some(0));
    assert_eq!(bos(bos_rule, &settings(false)), None);
    assert_eq!(bos(|_| {}, &settings(true)), Some(1));
    let ends = |value: Value| {
        let files = [("generation_config.json", json!({"eos_token_id": value}))];
        directory(|_| {}, &files).1.tokenizer().unwrap().eos_ids().to_vec()
    };
    // config.json says 1.
    assert_eq!(ends(json!([7, 9, 4_000_000_000u32])), [1, 7, 9]);
    assert_eq!(ends(json!(0)), [0, 1]);
}

#[test]
fn a_post_processor_without_its_token_is_an_error() {
    let edit = |t: &mut Value| {
        bos_rule(t);
        t["post_processor"]["special_tokens"] = json!({});
    };
    let (_dir, model) = directory(edit, &[]);
    // Refused, or read without a rule: anything but a panic.
    if let Ok(tokenizer) = model.tokenizer() {
        assert_eq!(tokenizer.bos_to_add(), None);
    }
}

/// Found by fuzzing: the rule's own ids may lie beyond the vocabulary.
#[test]
fn a_post_processor_that_adds_no_token_of_the_vocabulary_is_refused() {
    let edit = |t: &mut Value| {
        bos_rule(t);
        t["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([4_000_000]);
    };
    let (_dir, model) = directory(edit, &[]);
    let error = model.tokenizer().unwrap_err().to_string();
    assert!(error.contains("adds the token 4000000, and the vocabulary has"), "{error}");
}

#[test]
fn sentence_piece_in_tokenizer_json_is_spelled_out() {
    let (_dir, model) = directory(
        |t| {
            t["pre_tokenizer"] = Value::Null;
            t["normalizer"] = json!({"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]});
            t["decoder"] = json!({"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
            t["model"] = json!({"type": "BPE", "byte_fallback": true, "merges": ["▁ a"],
                "vocab": {"<s>": 0, "</s>": 1, "▁": 2, "a": 3, "▁a": 4, "<0x0A>": 5, "<0x-1>": 6}});
        },
        &[],
    );
    let tokenizer = model.tokenizer().unwrap();
    assert_eq!(tokenizer.encode("a a\n", Special::Text).unwrap(), [4, 4, 5]);
    assert_eq!(tokenizer.decode(&[4, 4, 5], Specials::Show).unwrap(), "a a\n");
    assert_eq!(tokenizer.piece(6).unwrap(), b"<0x-1>");
    let (_dir, model) =
        directory(|t| t["decoder"] = json!({"type": "WordPiece", "prefix": "##", "cleanup": true}), &[]);
    assert!(model.tokenizer().unwrap_err().to_string().contains("WordPiece"));
}

#[test]
fn chat_templates_are_found_wherever_they_are() {
    let render = |files: &[(&str, Value)], name| {
        let (_dir, model) = directory(|_| {}, files);
        let template = model.chat_template(name).unwrap()?;
        Some(template.render(&[Message::new("user", "x")], Ending::Closed).unwrap())
    };
    let own = ("chat_template.jinja", json!("own {{ bos_token }}"));
    let older = ("chat_template.json", json!({"chat_template": "older"}));
    let setting =
        ("tokenizer_config.json", json!({"bos_token": "<s>", "chat_template": "setting {{ bos_token }}"}));
    let several = (
        "tokenizer_config.json",
        json!({"chat_template": [
        {"name": "default", "template": "first"}, {"name": "rag", "template": "second"}]}),
    );
    assert_eq!(render(&[], None), None);
    assert_eq!(render(&[own.clone(), setting.clone()], None).unwrap(), "own <s>");
    assert_eq!(render(&[older], None).unwrap(), "older");
    assert_eq!(render(&[setting], None).unwrap(), "setting <s>");
    assert_eq!(render(std::slice::from_ref(&several), None).unwrap(), "first");
    assert_eq!(render(std::slice::from_ref(&several), Some("rag")).unwrap(), "second");
    assert_eq!(render(&[several], Some("other")), None);
}

#[test]
fn a_prompt_begins_with_one_bos() {
    let encode = |template: &str| {
        let files = [
            ("chat_template.jinja", json!(template)),
            ("tokenizer_config.json", json!({"bos_token": "<s>"})),
        ];
        let (_dir, model) = directory(bos_rule, &files);
        let (tokenizer, template) = (model.tokenizer().unwrap(), model.chat_template(None).unwrap());
        let turns = [Message::new("user", "a<s>")];
        template.unwrap().encode(&tokenizer, &turns, Ending::Closed, usize::MAX).unwrap()
    };
    let ids = encode("{{ bos_token }}{{ messages[0].content }}");
    assert_eq!(ids, encode("{{ messages[0].content }}"));
    assert_eq!(ids.iter().filter(|&&id| id == 0).count(), 1);
    assert_eq!(ids[0], 0);
}
