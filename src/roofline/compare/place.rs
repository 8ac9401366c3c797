//! Which rows of two reports do the same: those at the same place of a step, whatever format their
//! weights have and whichever kernel of a family was chosen for that.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use super::Became;
use crate::quant::by_name;
use crate::roofline::report::KernelRow;

/// A place in a step: its name, the kernel's family, and the shape without the format and how far contexts go.
type Place<'a> = (&'a str, &'a str, Vec<&'a str>);

fn place(row: &KernelRow) -> Place<'_> {
    // `linear_lanes` and `linear_split` compute the same.
    let family = row.kernel.split('_').next().unwrap_or_default();
    // In a server's steps of one name contexts are of one power of two, and `to 72` is `to 79`.
    let words: Vec<&str> = row.shape.split(' ').collect();
    let context = |i: usize| i > 0 && words[i - 1] == "to" && words[i].parse::<u64>().is_ok();
    let shape = (0..words.len()).filter(|&i| by_name(words[i]).is_none() && !context(i)).map(|i| words[i]);
    (&row.step, family, shape.collect())
}

/// The rows of two reports.
pub(super) struct Pairs<'a> {
    /// At the same place in both, in the baseline's order.
    pub both: Vec<(&'a KernelRow, &'a KernelRow)>,
    /// Those of the baseline alone.
    pub only_in_baseline: Vec<&'a KernelRow>,
    /// Those of the other alone.
    pub only_here: Vec<&'a KernelRow>,
}

/// Pairs rows. A place may hold several, as where half of the layers have another format: then the
/// same names go together first, and the rest in the order of dispatch.
pub(super) fn paired<'a>(baseline: &'a [KernelRow], here: &'a [KernelRow]) -> Pairs<'a> {
    let mut found: Vec<Option<usize>> = vec![None; baseline.len()];
    let mut left = vec![true; here.len()];
    let exactly = |row: &'a KernelRow| (&row.step, &row.kernel, &row.shape);
    take(&mut found, &mut left, [baseline, here], exactly);
    take(&mut found, &mut left, [baseline, here], place);
    let rows = || baseline.iter().zip(&found);
    Pairs {
        both: rows().filter_map(|(a, b)| Some((a, here.get((*b)?)?))).collect(),
        only_in_baseline: rows().filter(|(_, b)| b.is_none()).map(|(a, _)| a).collect(),
        only_here: here.iter().zip(left).filter(|(_, left)| *left).map(|(b, _)| b).collect(),
    }
}

/// Gives each row of the baseline that has none yet the first that is left of the same key.
fn take<'a, K: Hash + Eq>(
    found: &mut [Option<usize>],
    left: &mut [bool],
    [baseline, here]: [&'a [KernelRow]; 2],
    key: impl Fn(&'a KernelRow) -> K,
) {
    let mut waiting: HashMap<K, VecDeque<usize>> = HashMap::new();
    for (i, row) in here.iter().enumerate().filter(|(i, _)| left[*i]) {
        waiting.entry(key(row)).or_default().push_back(i);
    }
    for (row, found) in baseline.iter().zip(found).filter(|(_, found)| found.is_none()) {
        *found = waiting.get_mut(&key(row)).and_then(VecDeque::pop_front);
        found.iter().for_each(|i| left[*i] = false);
    }
}

/// What `b` is at the place of `a`, where that is another kernel or format.
pub(super) fn became(a: &KernelRow, b: &KernelRow) -> Option<Became> {
    let other = (&a.kernel, &a.shape) != (&b.kernel, &b.shape);
    other.then(|| Became { kernel: b.kernel.clone(), shape: b.shape.clone() })
}

/// Names the row in a list.
pub(super) fn named(row: &KernelRow) -> String {
    format!("{}: {} {}", row.step, row.kernel, row.shape)
}

/// `Q4_1->Q8_0` for each word that changed; both, where they have other numbers of words.
pub(super) fn changed(a: &str, b: &str) -> String {
    let words = || a.split(' ').zip(b.split(' '));
    if a.split(' ').count() != b.split(' ').count() {
        return format!("{a} -> {b}");
    }
    let word = |(a, b): (&str, &str)| if a == b { a.to_string() } else { format!("{a}->{b}") };
    words().map(word).collect::<Vec<_>>().join(" ")
}
