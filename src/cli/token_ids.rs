//! Lists of token ids on the command line.

use std::str::FromStr;

/// Ids with commas between them, as `1,2,3`; spaces around an id don't matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenIds(pub Vec<u32>);

impl FromStr for TokenIds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let id = |part: &str| {
            part.trim().parse().map_err(|_| {
                format!("'{part}' is no token id: expected whole numbers with commas between them, as 1,2,3")
            })
        };
        text.split(',').map(id).collect::<Result<_, _>>().map(Self)
    }
}

impl TokenIds {
    /// The ids, of which there must be at least one, all below `vocab`.
    ///
    /// # Errors
    /// When that isn't so; `flag` says where the list was given.
    pub fn check(&self, flag: &str, vocab: usize) -> anyhow::Result<&[u32]> {
        if self.0.is_empty() {
            anyhow::bail!("{flag} holds no tokens: expected at least one");
        }
        if let Some(id) = self.0.iter().find(|&&id| id as usize >= vocab) {
            anyhow::bail!("{flag}: the token id {id} is not below the model's vocabulary of {vocab}");
        }
        Ok(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_checked() {
        let read = |text: &str| text.parse::<TokenIds>();
        assert_eq!(read("7").unwrap().0, [7]);
        assert_eq!(read("1, 2,4294967295").unwrap().0, [1, 2, u32::MAX]);
        assert!(read(" ").unwrap().0.is_empty());
        for bad in ["1,,2", "1,", "-1", "4294967296", "1 2", "x"] {
            assert!(read(bad).unwrap_err().contains("as 1,2,3"), "{bad}");
        }
        let check = |text: &str| read(text).unwrap().check("--ids", 10).map(<[u32]>::to_vec);
        assert_eq!(check("9,0").unwrap(), [9, 0]);
        assert!(check("").unwrap_err().to_string().contains("--ids holds no tokens"));
        let error = check("1,10").unwrap_err().to_string();
        assert!(error.contains("token id 10") && error.contains("vocabulary of 10"), "{error}");
    }
}
