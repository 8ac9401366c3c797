//! How llama-bench spells numbers, and those of its flags that have one value here.

use std::str::FromStr;

use clap::Args;

/// Numbers of a range, at most: no test takes less than a moment.
const MOST: usize = 1000;

/// What stands between two commas: `512`, `1-4`, `128-512+128` or `128-512*2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers(Vec<usize>);

impl Numbers {
    /// All numbers of a list.
    pub fn all(list: &[Self]) -> Vec<usize> {
        list.iter().flat_map(|numbers| &numbers.0).copied().collect()
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected a number, or a range such as 128-512+128 or 128-512*2 of at most {MOST}");
        let number = |text: &str| text.parse::<usize>().map_err(|_| expected());
        let Some((first, rest)) = text.split_once('-') else { return Ok(Self(vec![number(text)?])) };
        let (last, step) = match rest.find(['+', '*']) {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "+1"),
        };
        let (mut at, last, by) = (number(first)?, number(last)?, number(&step[1..])?);
        let next = |at: usize| if step.starts_with('*') { at.checked_mul(by) } else { at.checked_add(by) };
        let mut numbers = Vec::new();
        while at <= last {
            numbers.push(at);
            match next(at) {
                Some(next) if next > at && numbers.len() <= MOST => at = next,
                Some(next) if next > last => break,
                _ => return Err(expected()),
            }
        }
        if numbers.is_empty() { Err(expected()) } else { Ok(Self(numbers)) }
    }
}

/// Flags that are taken where they ask for what is done anyway, and refused where not: a figure beside a
/// setting that changed nothing would mislead.
#[derive(Debug, Args)]
pub struct Fixed {
    /// Refused: the GPU computes, and has no threads to set
    #[arg(long, short = 't', value_name = "N", value_parser = threads)]
    threads: Option<String>,
    /// Taken at 1 (also as -fa): attention is always one kernel
    #[arg(long, value_name = "0|1", value_parser = flash_attention)]
    flash_attn: Option<String>,
    /// Taken at 0 (also as -mmp): files are read, not mapped
    #[arg(long, value_name = "0|1", value_parser = mapping)]
    mmap: Option<String>,
    /// Taken as none (also as -sm): a model lies on one adapter
    #[arg(long, value_name = "MODE", value_parser = split)]
    split_mode: Option<String>,
    /// Taken at 0 (also as -nkvo): the cache is on the GPU
    #[arg(long, value_name = "0|1", value_parser = offload)]
    no_kv_offload: Option<String>,
    /// Taken at 0 (also as -embd): tests are of text
    #[arg(long, value_name = "0|1", value_parser = embeddings)]
    embeddings: Option<String>,
}

fn only(text: &str, taken: &[&str], why: &str) -> Result<String, String> {
    if taken.contains(&text) {
        Ok(text.into())
    } else {
        Err(format!("expected {}: {why}", taken.join(" or ")))
    }
}

fn threads(_: &str) -> Result<String, String> {
    Err("there are no threads to set: the GPU computes (a software adapter's driver has a variable of its \
         own: LP_NUM_THREADS=N for llvmpipe)"
        .into())
}

fn flash_attention(text: &str) -> Result<String, String> {
    only(text, &["1", "on", "auto"], "attention is always one kernel")
}

fn mapping(text: &str) -> Result<String, String> {
    only(text, &["0"], "files are read, not mapped")
}

fn split(text: &str) -> Result<String, String> {
    only(text, &["none"], "a model lies on one adapter")
}

fn offload(text: &str) -> Result<String, String> {
    only(text, &["0"], "the cache is on the GPU")
}

fn embeddings(text: &str) -> Result<String, String> {
    only(text, &["0"], "tests are of text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_llama_bench_does() {
        let read = |text: &str| text.parse::<Numbers>().map(|n| n.0);
        assert_eq!(read("512"), Ok(vec![512]));
        assert_eq!(read("1-3"), Ok(vec![1, 2, 3]));
        assert_eq!(read("16-32+16"), Ok(vec![16, 32]));
        assert_eq!(read("16-100*2"), Ok(vec![16, 32, 64]));
        assert_eq!(read("0-0"), Ok(vec![0]));
        for bad in ["", "-1", "x", "3-1", "0-8*2", "1-9+0", "1-9*1", "0-100000", "1-", "1-2+", "1.5"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(Numbers::all(&["1-2".parse().unwrap(), "7".parse().unwrap()]), [1, 2, 7]);
    }
}
