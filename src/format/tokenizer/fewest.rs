//! How few tokens a text can have, by its length alone: what is far too long for a context is refused before minutes
//! and gigabytes are spent on cutting it.

use serde_json::Value;
use tokenizers::ModelWrapper;

use super::vocabulary::Vocabulary;

/// What a text's length tells, where nothing of it is normalised or cut away.
#[derive(Debug)]
pub(super) struct Fewest {
    /// Bytes that come back in some token: of others (SmolLM2 has none for 0x04) a vocabulary may make nothing.
    known: [bool; 256],
    /// Bytes of the longest token.
    longest: usize,
}

impl Fewest {
    /// Tokens of a text, at least.
    pub(super) fn of(&self, text: &str) -> usize {
        text.bytes().filter(|byte| self.known[usize::from(*byte)]).count().div_ceil(self.longest)
    }
}

/// The bound of a tokenizer, if it has one.
pub(super) fn fewest(core: &tokenizers::Tokenizer, vocabulary: &Vocabulary) -> Option<Fewest> {
    let strips = |token: &tokenizers::AddedToken| token.lstrip || token.rstrip;
    // Other models make one token of a word that they don't know.
    let merges = matches!(core.get_model(), ModelWrapper::BPE(_));
    if !merges || core.get_normalizer().is_some() || core.get_added_tokens_decoder().values().any(strips) {
        return None;
    }
    let rule = core.get_pre_tokenizer().map(serde_json::to_value)?.ok()?;
    let mut known = [false; 256];
    let mut longest = 1;
    for piece in (0..vocabulary.len()).filter_map(|id| vocabulary.bytes(id as u32)) {
        longest = longest.max(piece.len());
        if let [byte] = piece {
            known[usize::from(*byte)] = true;
        }
    }
    keeps(&rule).then_some(Fewest { known, longest })
}

/// Whether a pre-tokenizer only cuts.
fn keeps(rule: &Value) -> bool {
    match rule["type"].as_str() {
        Some("Sequence") => rule["pretokenizers"].as_array().is_some_and(|all| all.iter().all(keeps)),
        Some("ByteLevel" | "Digits") => true,
        Some("Split") => rule["behavior"] != "Removed",
        _ => false,
    }
}
