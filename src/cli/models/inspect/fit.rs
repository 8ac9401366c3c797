//! Which contexts fit an adapter: arithmetic on sizes, nothing is allocated.

use serde::Serialize;

use crate::cache::DEFAULT_BLOCK_SIZE;
use crate::gpu::{AdapterSummary, host_available};

/// What an adapter can hold.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Room {
    /// Largest buffer that a kernel can be bound to, in bytes: the cache of a layer is one.
    pub binding: u64,
    /// Bytes free for weights and cache, where that is known.
    pub memory: Option<u64>,
}

impl Room {
    /// The limits of an adapter. Its memory is known if it is the host's, as a software adapter's
    /// is; graphics interfaces don't tell that of a GPU.
    pub fn of(adapter: &AdapterSummary) -> Self {
        let memory = if adapter.is_software() { host_available() } else { None };
        Self { binding: adapter.max_binding.min(adapter.max_buffer), memory }
    }
}

/// Sizes of a model with one type of cache.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of the weights on the GPU.
    pub weights: u64,
    /// Bytes of a block of [`DEFAULT_BLOCK_SIZE`] tokens over all layers.
    pub block: u64,
    /// Layers, at least 1.
    pub layers: u64,
}

/// Whether a context fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// It does.
    Yes,
    /// As far as the adapter's limits say; its memory isn't known.
    Perhaps,
    /// A layer's cache is larger than the largest binding.
    Binding,
    /// Weights and cache are larger than the memory that is free.
    Memory,
}

impl Sizes {
    /// Bytes of the cache of so many tokens.
    pub fn cache(&self, tokens: u64) -> u64 {
        tokens.div_ceil(DEFAULT_BLOCK_SIZE.into()).saturating_mul(self.block)
    }

    /// Whether one sequence of so many tokens fits.
    pub fn fit(&self, room: &Room, tokens: u64) -> Fit {
        let cache = self.cache(tokens);
        if cache / self.layers > room.binding {
            return Fit::Binding;
        }
        match room.memory {
            Some(memory) if self.weights.saturating_add(cache) > memory => Fit::Memory,
            Some(_) => Fit::Yes,
            None => Fit::Perhaps,
        }
    }

    /// The most tokens that fit, up to `context`; 0 if not even the weights do.
    pub fn longest(&self, room: &Room, context: u64) -> u64 {
        let block = self.block.max(1);
        let by_binding = room.binding.saturating_mul(self.layers) / block;
        let by_memory = room.memory.map_or(u64::MAX, |m| m.saturating_sub(self.weights) / block);
        by_binding.min(by_memory).saturating_mul(DEFAULT_BLOCK_SIZE.into()).min(context)
    }
}

/// 2K, 4K, 8K, ... below a model's context, and that itself.
pub fn contexts(context: u64) -> Vec<u64> {
    let mut all: Vec<u64> = (11..63).map(|i| 1 << i).take_while(|&n| n < context).collect();
    all.push(context);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { weights: 1000, block: 160, layers: 2 };

    #[test]
    fn limits_and_memory_bound_the_context() {
        let wide = Room { binding: 1 << 20, memory: None };
        assert_eq!(SIZES.cache(17), 320);
        assert_eq!(SIZES.fit(&wide, 64), Fit::Perhaps);
        assert_eq!(SIZES.fit(&Room { binding: 159, memory: None }, 32), Fit::Binding);
        assert_eq!(SIZES.fit(&Room { binding: 160, memory: Some(1319) }, 32), Fit::Memory);
        let exact = Room { binding: 160, memory: Some(1320) };
        assert_eq!(SIZES.fit(&exact, 32), Fit::Yes);
        assert_eq!(SIZES.longest(&exact, 4096), 32);
        assert_eq!(SIZES.longest(&wide, 4096), 4096);
        assert_eq!(SIZES.longest(&Room { binding: 160, memory: Some(10) }, 4096), 0);
        for room in [exact, wide] {
            let longest = SIZES.longest(&room, 1 << 40);
            assert!(matches!(SIZES.fit(&room, longest), Fit::Yes | Fit::Perhaps));
            assert!(matches!(SIZES.fit(&room, longest + 16), Fit::Binding | Fit::Memory));
        }
    }

    #[test]
    fn contexts_double_up_to_the_models() {
        assert_eq!(contexts(256), [256]);
        assert_eq!(contexts(8192), [2048, 4096, 8192]);
        assert_eq!(contexts(5000), [2048, 4096, 5000]);
    }
}
