//! Writes small GGUF files for tests.
#![allow(dead_code, reason = "each test program uses a part of it")]

/// A file under construction.
#[derive(Clone, Default)]
pub struct Gguf {
    values: Vec<u8>,
    value_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

fn text(out: &mut Vec<u8>, s: &str) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s.as_bytes());
}

impl Gguf {
    /// A value of a type by its number, already in bytes.
    pub fn raw(mut self, key: &str, kind: u32, bytes: &[u8]) -> Self {
        text(&mut self.values, key);
        self.values.extend(kind.to_le_bytes());
        self.values.extend(bytes);
        self.value_count += 1;
        self
    }

    pub fn number(self, key: &str, v: u32) -> Self {
        self.raw(key, 4, &v.to_le_bytes())
    }

    /// Another number in a key's place.
    pub fn replaced(mut self, key: &str, v: u32) -> Self {
        let at = self.values.windows(key.len()).position(|w| w == key.as_bytes()).unwrap() + key.len() + 4;
        self.values[at..at + 4].copy_from_slice(&v.to_le_bytes());
        self
    }

    pub fn float(self, key: &str, v: f32) -> Self {
        self.raw(key, 6, &v.to_le_bytes())
    }

    pub fn truth(self, key: &str, v: bool) -> Self {
        self.raw(key, 7, &[v.into()])
    }

    pub fn text(self, key: &str, v: &str) -> Self {
        let mut bytes = Vec::new();
        text(&mut bytes, v);
        self.raw(key, 8, &bytes)
    }

    fn list(self, key: &str, kind: u32, len: usize, items: &[u8]) -> Self {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((len as u64).to_le_bytes());
        bytes.extend(items);
        self.raw(key, 9, &bytes)
    }

    pub fn texts(self, key: &str, all: &[&str]) -> Self {
        let mut bytes = Vec::new();
        all.iter().for_each(|s| text(&mut bytes, s));
        self.list(key, 8, all.len(), &bytes)
    }

    pub fn numbers(self, key: &str, all: &[i32]) -> Self {
        let bytes: Vec<u8> = all.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.list(key, 5, all.len(), &bytes)
    }

    pub fn floats(self, key: &str, all: &[f32]) -> Self {
        let bytes: Vec<u8> = all.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.list(key, 6, all.len(), &bytes)
    }

    /// A tensor, its dimensions innermost first, as in the file; its data at the next multiple
    /// of 32.
    pub fn tensor(mut self, name: &str, dims: &[u64], kind: u32, data: &[u8]) -> Self {
        let offset = self.data.len().next_multiple_of(32);
        self.data.resize(offset, 0);
        self.data.extend(data);
        self.tensor_at(name, dims, kind, offset as u64)
    }

    /// A tensor's description alone.
    pub fn tensor_at(mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        text(&mut self.tensors, name);
        self.tensors.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|d| self.tensors.extend(d.to_le_bytes()));
        self.tensors.extend(kind.to_le_bytes());
        self.tensors.extend(offset.to_le_bytes());
        self.tensor_count += 1;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(self.tensor_count.to_le_bytes());
        out.extend(self.value_count.to_le_bytes());
        out.extend(&self.values);
        out.extend(&self.tensors);
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }
}

/// A whole small model: hyper-parameters, a tokenizer, a template, tensors.
pub fn small(model: &str) -> Gguf {
    keys(model).tensor("rope_freqs.weight", &[8], 0, &[0; 32]).tensor(
        "token_embd.weight",
        &[64, 11],
        1,
        &[0; 64 * 11 * 2],
    )
}

/// The key-values of [`small`].
pub fn keys(model: &str) -> Gguf {
    let words = ["<s>", "</s>", "<0x41>", "a", "b", "c", "Ġ", "bc", "▁", "▁a", "<|im_end|>"];
    Gguf::default()
        .text("general.architecture", "llama")
        .number("general.alignment", 32)
        .number("llama.block_count", 1)
        .number("llama.embedding_length", 64)
        .number("llama.feed_forward_length", 128)
        .number("llama.attention.head_count", 4)
        .number("llama.context_length", 256)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .text("tokenizer.ggml.model", model)
        .text("tokenizer.ggml.pre", "smollm")
        .texts("tokenizer.ggml.tokens", &words)
        .numbers("tokenizer.ggml.token_type", &[3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 3])
        .floats("tokenizer.ggml.scores", &[0.0; 11])
        .texts("tokenizer.ggml.merges", &["b c"])
        .number("tokenizer.ggml.bos_token_id", 0)
        .number("tokenizer.ggml.eos_token_id", 1)
        .text("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}")
}
