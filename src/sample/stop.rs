//! Stop strings over streamed text: what might become one is held back, the rest goes out at once.

/// Whether a stop string that was found stays in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StopText {
    /// The text ends before the stop string (OpenAI's behaviour).
    #[default]
    Cut,
    /// The text ends with the stop string (vLLM's `include_stop_str_in_output`).
    Include,
}

/// One stop string with its Knuth-Morris-Pratt automaton.
#[derive(Clone, Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// `border[i]`: length of the longest proper prefix of `bytes[..=i]` that is also its suffix.
    border: Vec<usize>,
    /// Length of the longest prefix of `bytes` that the text so far ends with.
    state: usize,
}

impl Pattern {
    fn new(text: &str) -> Self {
        let bytes = text.as_bytes().to_vec();
        let mut border = vec![0; bytes.len()];
        let mut length = 0;
        for i in 1..bytes.len() {
            while length > 0 && bytes[i] != bytes[length] {
                length = border[length - 1];
            }
            if bytes[i] == bytes[length] {
                length += 1;
            }
            border[i] = length;
        }
        Self { bytes, border, state: 0 }
    }

    /// Takes one byte of text; true when the text now ends with the whole string.
    fn step(&mut self, byte: u8) -> bool {
        while self.state > 0 && self.bytes[self.state] != byte {
            self.state = self.border[self.state - 1];
        }
        if self.bytes[self.state] == byte {
            self.state += 1;
        }
        self.state == self.bytes.len()
    }
}

/// Finds the first stop string in text that arrives piece by piece.
///
/// The match that ends first wins, and of those that end together the longest, so the result does not depend on how
/// the text is cut into pieces. Linear in the text for each stop string. Where `min_tokens` forbids a stop, the
/// caller sends the text past the matcher.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    /// With the index that the caller knows the string by; empty strings are left out.
    patterns: Vec<(usize, Pattern)>,
    text: StopText,
    /// Text that a stop string may yet swallow: the longest suffix that begins one.
    held: String,
    found: Option<usize>,
}

impl StopMatcher {
    /// A matcher for these strings; an empty string (which `SamplingParams::validate` refuses) matches nothing.
    pub fn new<S: AsRef<str>>(stops: &[S], text: StopText) -> Self {
        let named = stops.iter().map(AsRef::as_ref).enumerate();
        let patterns = named.filter(|(_, s)| !s.is_empty()).map(|(i, s)| (i, Pattern::new(s))).collect();
        Self { patterns, text, held: String::new(), found: None }
    }

    /// Takes a piece of text and appends to `out` what is safe to emit. Returns the index of the stop string once one
    /// is found; from then on every piece is dropped and the same index returned.
    pub fn push(&mut self, piece: &str, out: &mut String) -> Option<usize> {
        if self.found.is_some() {
            return self.found;
        }
        let before = self.held.len();
        self.held.push_str(piece);
        for (offset, &byte) in piece.as_bytes().iter().enumerate() {
            let mut longest: Option<(usize, usize)> = None;
            for (index, pattern) in &mut self.patterns {
                let length = pattern.bytes.len();
                if pattern.step(byte) && longest.is_none_or(|(_, best)| length > best) {
                    longest = Some((*index, length));
                }
            }
            if let Some((index, length)) = longest {
                let end = before + offset + 1;
                // UTF-8 synchronises itself: a whole string found in whole text begins and ends on characters.
                let keep = match self.text {
                    StopText::Cut => end - length,
                    StopText::Include => end,
                };
                out.push_str(&self.held[..keep]);
                self.held.clear();
                self.found = Some(index);
                return self.found;
            }
        }
        let hold = self.patterns.iter().map(|(_, pattern)| pattern.state).max().unwrap_or(0);
        let safe = self.held.len() - hold;
        out.push_str(&self.held[..safe]);
        self.held.drain(..safe);
        None
    }

    /// Ends the text: appends to `out` what was held back in vain.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
        for (_, pattern) in &mut self.patterns {
            pattern.state = 0;
        }
    }

    /// The index of the stop string that was found.
    pub fn found(&self) -> Option<usize> {
        self.found
    }

    /// Text held back at present.
    pub fn held(&self) -> &str {
        &self.held
    }
}
