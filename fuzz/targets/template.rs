#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ridgepoint::bodies::template(bytes));
