//! Sampling parameters as clients send them.

use ridgepoint::sample::{End, Needs, SamplingParams, StopText};

fn read(json: &str) -> SamplingParams {
    serde_json::from_str(json).unwrap()
}

#[test]
fn absent_and_null_fields_take_defaults() {
    assert_eq!(read("{}"), SamplingParams::default());
    let nulls = r#"{"n":null,"temperature":null,"top_p":null,"top_k":null,"stop":null,"logit_bias":null,"seed":null}"#;
    assert_eq!(read(nulls), SamplingParams::default());
    assert_eq!(SamplingParams::default().temperature, 1.0);
}

#[test]
fn fields_are_read_by_their_known_names_and_written_back() {
    let params = read(
        r#"{"temperature":0.5,"top_k":40,"logit_bias":{"7":-100,"9":2.5},"stop":"END","seed":-5,
            "include_stop_str_in_output":true,"stop_token_ids":[2],"logprobs":3,"an_unknown_field":1}"#,
    );
    assert_eq!(params.logit_bias, [(7, -100.0), (9, 2.5)].into());
    assert_eq!(params.stop, ["END"]);
    assert_eq!(params.stop_text, StopText::Include);
    assert_eq!(params.seed(), Some(u64::MAX - 4));
    assert_eq!(params.top_k(), Some(40));
    assert_eq!(read(&serde_json::to_string(&params).unwrap()), params);
    assert_eq!(read(r#"{"stop":["a","b"]}"#).stop, ["a", "b"]);
    assert_eq!(read(r#"{"seed":-1}"#).seed(), None);
    assert_eq!(read(r#"{"top_k":-1}"#).top_k(), None);
    let error = serde_json::from_str::<SamplingParams>(r#"{"logit_bias":{"the":1}}"#);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("logit_bias has the key 'the'"), "{error}");
}

#[test]
fn each_illegal_value_is_refused_by_name() {
    let base = SamplingParams::default;
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let cases = [
        ("n", SamplingParams { n: 0, ..base() }),
        ("temperature", SamplingParams { temperature: -0.1, ..base() }),
        ("temperature", SamplingParams { temperature: nan, ..base() }),
        ("temperature", SamplingParams { temperature: inf, ..base() }),
        ("top_p", SamplingParams { top_p: 1.1, ..base() }),
        ("top_p", SamplingParams { top_p: nan, ..base() }),
        ("top_k", SamplingParams { top_k: -2, ..base() }),
        ("min_p", SamplingParams { min_p: -0.5, ..base() }),
        ("min_p", SamplingParams { min_p: nan, ..base() }),
        ("repetition_penalty", SamplingParams { repetition_penalty: 0.0, ..base() }),
        ("repetition_penalty", SamplingParams { repetition_penalty: nan, ..base() }),
        ("repetition_penalty", SamplingParams { repetition_penalty: inf, ..base() }),
        ("presence_penalty", SamplingParams { presence_penalty: 2.1, ..base() }),
        ("frequency_penalty", SamplingParams { frequency_penalty: nan, ..base() }),
        ("logit_bias", SamplingParams { logit_bias: [(10, 1.0)].into(), ..base() }),
        ("logit_bias", SamplingParams { logit_bias: [(1, 101.0)].into(), ..base() }),
        ("logit_bias", SamplingParams { logit_bias: [(1, -inf)].into(), ..base() }),
        ("max_tokens", SamplingParams { max_tokens: Some(0), ..base() }),
        ("min_tokens", SamplingParams { max_tokens: Some(3), min_tokens: 4, ..base() }),
        ("stop", SamplingParams { stop: vec![String::new()], ..base() }),
        ("stop_token_ids", SamplingParams { stop_token_ids: vec![10], ..base() }),
        ("logprobs", SamplingParams { logprobs: Some(11), ..base() }),
    ];
    for (field, params) in cases {
        let error = params.validate(10).expect_err(field);
        assert_eq!(error.field, field);
        assert!(error.to_string().starts_with(&format!("{field} is ")), "{error}");
    }
    let edges =
        SamplingParams { top_p: 0.0, min_p: 1.0, top_k: -1, logprobs: Some(10), temperature: 0.0, ..base() };
    assert_eq!(edges.validate(10), Ok(()));
    let error = SamplingParams { top_p: 1.5, ..base() }.validate(10).unwrap_err();
    assert_eq!(error.to_string(), "top_p is 1.5: expected a number from 0 to 1 (1 is off)");
}

#[test]
fn the_least_to_read_back() {
    let needs = |json: &str, output: usize| read(json).needs(output);
    assert_eq!(needs(r#"{"temperature":0}"#, 0), Needs::Argmax);
    assert_eq!(needs(r#"{"temperature":0,"logprobs":0}"#, 0), Needs::TopK(1));
    assert_eq!(needs(r#"{"temperature":0,"logprobs":5}"#, 0), Needs::TopK(5));
    assert_eq!(needs(r#"{"top_k":40,"logprobs":50}"#, 0), Needs::TopK(50));
    assert_eq!(needs(r#"{"top_k":40}"#, 0), Needs::TopK(40));
    assert_eq!(needs("{}", 0), Needs::TopMass(1));
    assert_eq!(needs(r#"{"temperature":0,"presence_penalty":1}"#, 0), Needs::FullRow);
    assert_eq!(needs(r#"{"temperature":0,"min_tokens":2}"#, 1), Needs::FullRow);
    assert_eq!(needs(r#"{"temperature":0,"min_tokens":2}"#, 2), Needs::Argmax);
}

#[test]
fn what_ends_a_sequence() {
    let params = read(r#"{"min_tokens":2,"max_tokens":4,"stop_token_ids":[5]}"#);
    assert_eq!(params.ends_at(2, 1, &[2]), None);
    assert_eq!(params.ends_at(2, 2, &[2]), Some(End::Eos));
    assert_eq!(params.ends_at(5, 3, &[2]), Some(End::StopToken(5)));
    assert_eq!(params.ends_at(6, 3, &[2]), None);
    assert_eq!(params.ends_at(6, 4, &[2]), Some(End::Length));
    assert_eq!(SamplingParams { ignore_eos: true, ..params }.ends_at(2, 3, &[2]), None);
}
