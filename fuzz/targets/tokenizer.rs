#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(
    // The tokenizers crate panics on some files. Ours catches that and makes an error of it, which the
    // fuzzer's own hook would not wait for; the default one would spend the time on backtraces.
    init: std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))),
    |bytes: &[u8]| ridgepoint::bodies::tokenizer_json(bytes)
);
