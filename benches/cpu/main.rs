//! What the processor does beside the device: the scheduler, the cache's blocks, the tokenizer, the sampler.
//!
//! `cargo bench --bench cpu -- [WORD] [--test] [--save-baseline NAME] [--baseline NAME]`: criterion, which keeps
//! its JSON in target/criterion. With `--test` each runs once, to show that it does.

mod blocks;
mod sampler;
mod scheduler;
mod tokenizer;

fn main() {
    let mut criterion = criterion::Criterion::default().configure_from_args();
    scheduler::benches(&mut criterion);
    blocks::benches(&mut criterion);
    tokenizer::benches(&mut criterion);
    sampler::benches(&mut criterion);
    criterion.final_summary();
}
