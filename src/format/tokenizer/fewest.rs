//! How few tokens a text can have, by its length alone: what is far too long for a context is refused before minutes
//! and gigabytes are spent on cutting it.

use serde_json::Value;

use super::vocabulary::Vocabulary;

/// Bytes of the longest token, where every byte of a text comes back in some token: nothing is normalised, cut away or
/// unknown.
pub(super) fn longest(core: &tokenizers::Tokenizer, vocabulary: &Vocabulary) -> Option<usize> {
    let strips = |token: &tokenizers::AddedToken| token.lstrip || token.rstrip;
    if core.get_normalizer().is_some() || core.get_added_tokens_decoder().values().any(strips) {
        return None;
    }
    let rule = core.get_pre_tokenizer().map(serde_json::to_value)?.ok()?;
    let mut single = [false; 256];
    let mut longest = 0;
    for piece in (0..vocabulary.len()).filter_map(|id| vocabulary.bytes(id as u32)) {
        longest = longest.max(piece.len());
        if let [byte] = piece {
            single[usize::from(*byte)] = true;
        }
    }
    (keeps(&rule) && single.iter().all(|known| *known)).then_some(longest)
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
