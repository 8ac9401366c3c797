//! Every file of examples/ runs, on a tiny model.

// Each brings its own `main`, which nothing calls here.
#[path = "../examples/add-a-kernel.rs"]
#[allow(dead_code, reason = "its main")]
mod add_a_kernel;
#[path = "../examples/batch.rs"]
#[allow(dead_code, reason = "its main")]
mod batch;
#[path = "../examples/generate.rs"]
#[allow(dead_code, reason = "its main")]
mod generate;
#[path = "../examples/stream.rs"]
#[allow(dead_code, reason = "its main")]
mod stream;

use std::path::{Path, PathBuf};

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny/llama")
}

#[test]
fn a_batch_answers_as_each_prompt_alone_does() {
    let prompts = ["a b c", "the", "one two three four"].map(String::from);
    let (together, steps) = batch::answer(&model(), &prompts, 8).unwrap();
    // Prompts in one step, then a token of each sequence a step.
    assert!(steps <= 8 + 2, "{steps} steps: the prompts were not computed together");
    for (prompt, expected) in prompts.iter().zip(together) {
        let mut alone = String::new();
        generate::generate(&model(), prompt, 8, &mut |text| alone.push_str(text)).unwrap();
        assert!(!alone.is_empty());
        assert_eq!(alone, expected, "{prompt}");
    }
}

#[test]
fn streams_bring_what_each_prompt_gives_alone() {
    let prompts = ["a b c", "one two three four"].map(String::from);
    let pieces = std::cell::RefCell::new(vec![Vec::new(); prompts.len()]);
    let show = |place: usize, text: &str| pieces.borrow_mut()[place].push(text.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(stream::stream(model(), &prompts, 8, &show)).unwrap();
    for (prompt, pieces) in prompts.iter().zip(pieces.into_inner()) {
        let mut alone = String::new();
        generate::generate(&model(), prompt, 8, &mut |text| alone.push_str(text)).unwrap();
        assert!(pieces.len() > 4, "it came at once: {pieces:?}");
        assert_eq!(pieces.concat(), alone, "{prompt}");
    }
}

#[test]
fn a_kernel_of_ones_own_is_right() {
    let lines = add_a_kernel::check().unwrap();
    assert_eq!(lines.len(), 8);
    assert!(lines.iter().all(|line| line.contains(": right")), "{lines:?}");
}

#[test]
fn no_example_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let names = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let mut examples: Vec<String> = names.filter(|name| name.ends_with(".rs")).collect();
    examples.sort();
    assert_eq!(examples, ["add-a-kernel.rs", "batch.rs", "generate.rs", "stream.rs"]);
}
