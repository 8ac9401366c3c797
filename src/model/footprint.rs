//! What a model takes of a device's memory, by arithmetic, before anything is allocated.

use super::architecture::Tensor;
use super::plan::{Bounds, Sections};
use super::scratch::{Scratch, result_bytes};
use super::{Architecture, Error, Runner};
use crate::format::{Hyper, ModelFile, TensorInfo};
use crate::gpu::{Gpu, Room};
use crate::kernels::rope_cache::CacheType;
use crate::quant::{Layout, UNIT};
use crate::units::Bytes;

/// How many bytes a tensor takes on the GPU: a matrix in its repacked layout, a vector as f32.
pub fn gpu_bytes(tensor: &TensorInfo) -> u64 {
    match tensor.shape.len() {
        1 => 4 * tensor.columns().next_multiple_of(UNIT) as u64,
        _ => Layout::new(tensor.format, tensor.rows(), tensor.columns()).bytes(),
    }
}

/// Whether a layer's gate and up are of two formats, and so no one matrix. An architecture that isn't
/// known is refused elsewhere.
pub(super) fn gate_up_apart(file: &ModelFile, hyper: &Hyper) -> bool {
    let Ok(architecture) = Architecture::of(file) else { return false };
    let format = |tensor, layer| {
        file.tensor(&architecture.tensor(file.kind(), tensor, layer)).map(|found| found.format.name())
    };
    (0..hyper.layers).any(|layer| format(Tensor::Gate, layer) != format(Tensor::Up, layer))
}

/// How large the cache may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CacheBudget {
    /// What this share (0 to 1) of the device's memory leaves beside weights and activations.
    Utilization(f64),
    /// So many bytes.
    Bytes(Bytes),
}

/// A software adapter's cache is no larger than this unless more is asked for: its memory is the
/// host's, where others live too.
pub const SOFTWARE_CACHE: Bytes = Bytes(1 << 30);

/// A model's sizes on a device, and what they must serve.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Bytes of the weights.
    pub weights: u64,
    /// Bytes of the largest step's activations and results, states for embeddings included.
    pub scratch: u64,
    /// Bytes of a block of the cache over all layers.
    pub block: u64,
    /// Bytes of a block in one KV head of one layer: no binding holds less than one head's cache.
    pub head_block: u64,
    /// Tokens of a block.
    pub block_size: u32,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Most sequences that run at once.
    pub sequences: usize,
}

impl Footprint {
    /// The sizes of `file` for steps of `tokens` tokens and `sequences` sequences of `context` tokens.
    pub fn new(
        file: &ModelFile,
        hyper: &Hyper,
        tokens: usize,
        sequences: usize,
        context: usize,
        block_size: u32,
        cache: CacheType,
    ) -> Self {
        let block = Runner::block_bytes(hyper, block_size as usize, cache);
        let sections = Sections::new(&Bounds {
            tokens,
            outputs: sequences,
            positions: context,
            block: block_size as usize,
            blocks: 0,
            vocab: hyper.vocab,
            tables: sequences * context.div_ceil(block_size.max(1) as usize),
        });
        let apart = gate_up_apart(file, hyper);
        Self {
            weights: file.tensors().map(gpu_bytes).sum(),
            scratch: sections.bytes()
                + Scratch::bytes(hyper, tokens, sequences, context, apart)
                + result_bytes(hyper, tokens, sequences),
            block,
            head_block: block / (hyper.layers * hyper.kv_heads).max(1) as u64,
            block_size,
            context,
            sequences,
        }
    }

    fn blocks_for(&self, tokens: usize) -> u64 {
        tokens.div_ceil(self.block_size.max(1) as usize) as u64
    }

    /// How many blocks the cache gets: as many as the budget allows, no more than one binding holds or
    /// all sequences can use.
    ///
    /// # Errors
    /// When memory isn't known, or doesn't hold what is asked; says what would fit.
    pub fn blocks(&self, budget: CacheBudget, gpu: &Gpu) -> Result<u32, Error> {
        let binding = gpu.limits.max_storage_buffer_binding_size.min(gpu.limits.max_buffer_size);
        let room = gpu.room();
        let soft = gpu.adapter.is_software();
        let blocks = self.blocks_within(budget, &gpu.adapter.name, room, binding)?;
        let cap = if soft && matches!(budget, CacheBudget::Utilization(_)) {
            (SOFTWARE_CACHE.0 / self.block.max(1)).max(self.blocks_for(self.context))
        } else {
            u64::MAX
        };
        Ok(blocks.min(cap) as u32)
    }

    fn blocks_within(
        &self,
        budget: CacheBudget,
        adapter: &str,
        room: Result<Room, String>,
        binding: u64,
    ) -> Result<u64, Error> {
        let fail = |what: String| Err(Error::Memory(what));
        let most = (binding / self.head_block.max(1)).min(u64::from(u32::MAX) / u64::from(self.block_size));
        let useful = self.blocks_for(self.context).saturating_mul(self.sequences as u64);
        let (weights, scratch) = (Bytes(self.weights), Bytes(self.scratch));
        let memory = match budget {
            CacheBudget::Bytes(Bytes(bytes)) => {
                let asked = bytes / self.block.max(1);
                if asked == 0 {
                    return fail(format!(
                        "--kv-cache-memory {}: one block of {} tokens takes {}",
                        Bytes(bytes),
                        self.block_size,
                        Bytes(self.block)
                    ));
                }
                let needed = self.weights.saturating_add(self.scratch).saturating_add(bytes);
                if let Ok(room) = &room
                    && needed > room.free
                {
                    return fail(format!(
                        "{adapter} has {} free ({}), but weights of {weights}, activations of {scratch} and the asked \
                         --kv-cache-memory {} take {}: --kv-cache-memory {} would fit",
                        Bytes(room.free),
                        room.source,
                        Bytes(bytes),
                        Bytes(needed),
                        Bytes(room.free.saturating_sub(self.weights + self.scratch))
                    ));
                }
                if asked > most {
                    return fail(format!(
                        "--kv-cache-memory {} puts {} of one KV head into one buffer, and {adapter} allows {}: at most \
                         --kv-cache-memory {} fits",
                        Bytes(bytes),
                        Bytes(asked * self.head_block),
                        Bytes(binding),
                        Bytes(most * self.block)
                    ));
                }
                return Ok(asked.min(useful));
            }
            CacheBudget::Utilization(share) => match room {
                Ok(room) => ((room.total as f64 * share) as u64).min(room.free),
                Err(why) => {
                    return fail(format!(
                        "how much memory {adapter} has isn't known ({why}), so --gpu-memory-utilization can't be \
                         honoured: give --kv-cache-memory a size, such as 1GiB"
                    ));
                }
            },
        };
        let left = memory.saturating_sub(self.weights.saturating_add(self.scratch));
        let blocks = (left / self.block.max(1)).min(most);
        let need = self.blocks_for(self.context);
        if blocks < need {
            let longest = blocks * u64::from(self.block_size);
            let advice = if longest >= 2 {
                format!("--max-model-len {longest} would fit; or raise --gpu-memory-utilization")
            } else {
                "lower --max-num-batched-tokens or --max-num-seqs, or choose a smaller weight format".into()
            };
            return fail(format!(
                "weights of {weights} and activations of {scratch} leave {} of {} for the KV cache, but one sequence of \
                 --max-model-len {} takes {}: {advice}",
                Bytes(left),
                Bytes(memory),
                self.context,
                Bytes(need * self.block)
            ));
        }
        Ok(blocks.min(useful))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SIZES: Footprint = Footprint {
        weights: 100 * MIB,
        scratch: 20 * MIB,
        block: MIB / 4,
        head_block: MIB / 16,
        block_size: 16,
        context: 1024,
        sequences: 8,
    };

    fn room(free: u64) -> Result<Room, String> {
        Ok(Room { total: free, free, source: "a test" })
    }

    fn refusal(budget: CacheBudget, room: Result<Room, String>, binding: u64) -> String {
        SIZES.blocks_within(budget, "the card", room, binding).unwrap_err().to_string()
    }

    #[test]
    fn the_cache_gets_what_weights_and_activations_leave() {
        let blocks = |share, free| {
            SIZES.blocks_within(CacheBudget::Utilization(share), "", room(free * MIB), u64::MAX).unwrap()
        };
        assert_eq!(blocks(0.5, 400), 4 * 80);
        // No more than all sequences can use, nor than one binding holds.
        assert_eq!(blocks(1.0, 4000), 64 * 8);
        let bound = SIZES.blocks_within(CacheBudget::Utilization(1.0), "", room(4000 * MIB), 10 * MIB);
        assert_eq!(bound.unwrap(), 160);
        let asked =
            SIZES.blocks_within(CacheBudget::Bytes(Bytes(3 * MIB)), "", Err("who knows".into()), u64::MAX);
        assert_eq!(asked.unwrap(), 12, "smaller than one longest sequence, as asked");
    }

    #[test]
    fn refusals_say_what_was_asked_and_what_would_fit() {
        let share = CacheBudget::Utilization(0.9);
        let bytes = |mib| CacheBudget::Bytes(Bytes(mib * MIB));
        for (got, wanted) in [
            (refusal(share, Err("no query".into()), u64::MAX), "give --kv-cache-memory"),
            (
                refusal(CacheBudget::Utilization(1.0), room(128 * MIB), u64::MAX),
                "--max-model-len 512 would fit",
            ),
            (refusal(share, room(100 * MIB), u64::MAX), "smaller weight format"),
            (refusal(bytes(300), room(400 * MIB), u64::MAX), "--kv-cache-memory 280.0 MiB would fit"),
            (refusal(bytes(100), room(400 * MIB), 10 * MIB), "at most --kv-cache-memory 40.0 MiB fits"),
            (refusal(CacheBudget::Bytes(Bytes(77)), room(400 * MIB), MIB), "takes 256.0 KiB"),
        ] {
            assert!(got.contains(wanted), "{got}");
        }
    }
}
