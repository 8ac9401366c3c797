//! Under a fixed order of sums a sequence's logits have the same bits in every batch and every chunking.

use std::path::Path;

use ridgepoint::cache::BlockId;
use ridgepoint::format::ModelFile;
use ridgepoint::kernels::{Noise, Order};
use ridgepoint::model::{Entry, Outputs, Results, Runner, Want};

use super::{Setup, prompt, tiny};

/// Blocks of a sequence.
const EACH: usize = 5;

/// Logits after the last of `tokens`, in chunks, beside `neighbours` sequences that are as far.
fn logits(
    runner: &mut Runner,
    blocks: &[BlockId],
    tokens: &[u32],
    chunk: usize,
    neighbours: usize,
) -> Vec<u32> {
    let others: Vec<Vec<u32>> = (0..neighbours).map(|i| prompt(tokens.len(), 50 + i as u64)).collect();
    let mut results = Results::default();
    let mut bits = Vec::new();
    for start in (0..tokens.len()).step_by(chunk) {
        let part = start..(start + chunk).min(tokens.len());
        let mut entries = Vec::new();
        for (i, other) in others.iter().enumerate() {
            // Some before, some after; of unlike lengths.
            let len = part.len().min(1 + i % part.len().max(1));
            entries.push(Entry {
                tokens: &other[part.start..part.start + len],
                start: part.start,
                blocks: &blocks[(i + 1) * EACH..(i + 2) * EACH],
                outputs: if i % 2 == 0 { Outputs::Last } else { Outputs::None },
            });
        }
        let place = neighbours / 2;
        let own = Entry {
            tokens: &tokens[part.clone()],
            start: part.start,
            blocks: &blocks[..EACH],
            outputs: Outputs::Last,
        };
        entries.insert(place, own);
        runner.run(&entries, Want::Rows, &mut results).unwrap();
        let row = entries[..place].iter().filter(|e| e.outputs == Outputs::Last).count();
        let vocab = runner.hyper.vocab;
        bits = results.logits[row * vocab..][..vocab].iter().map(|v| v.to_bits()).collect();
    }
    bits
}

#[test]
fn logits_have_the_same_bits_in_every_batch_and_chunk() {
    let setup = Setup::default();
    let quantised = Path::new("tests/data/quant-models/tiny-Q4_K_M.gguf");
    for file in [tiny(), ModelFile::open(quantised).unwrap()] {
        has_the_same_bits(&setup, setup.runner(&file));
    }
}

fn has_the_same_bits(setup: &Setup, mut runner: Runner) {
    runner.set_order(Order::Fixed);
    let tokens = prompt(61, 9);
    let blocks = |seed| -> Vec<BlockId> {
        Noise::new(seed).shuffled(setup.blocks as usize).into_iter().map(BlockId).collect()
    };
    let want = logits(&mut runner, &blocks(0), &tokens, 61, 0);
    assert!(want.iter().any(|bits| f32::from_bits(*bits).abs() > 0.1));
    let mut batches = 0;
    for chunk in [1, 5, 8, 9, 16, 33, 61] {
        for neighbours in [0, 1, 2, 7, 16] {
            if chunk * (neighbours + 1) > 256 {
                continue;
            }
            let got = logits(&mut runner, &blocks(chunk as u64), &tokens, chunk, neighbours);
            assert!(got == want, "chunks of {chunk} beside {neighbours} have other bits");
            batches += 1;
        }
    }
    assert!(batches > 20);
}
