//! A step's dispatches by kernel and shape, and what stamps around them read.

use std::borrow::Borrow;

use crate::profile::{Dispatched, StepTimes};

/// A dispatch that takes so many times what its stamps cost is taken as they read it.
pub const ABOVE_NULL: f64 = 20.0;

/// What two stamps add to an interval, ns: what they read around nothing, less what nothing takes there, by
/// which so many of it make a step longer. That is no less than 0, and no more than they read: noise of a long
/// step would be more than either.
pub fn stamp_cost(read: f64, longer: f64, nothings: usize) -> f64 {
    read - (longer / nothings.max(1) as f64).clamp(0.0, read.max(0.0))
}

/// A step's dispatches of the same kernel and shape with their number, in the order of the first, and
/// the group of each dispatch.
pub fn grouped<D: Borrow<Dispatched>>(described: &[D]) -> (Vec<(Dispatched, u64)>, Vec<usize>) {
    let mut groups: Vec<(Dispatched, u64)> = Vec::new();
    let mut of = Vec::with_capacity(described.len());
    for d in described.iter().map(Borrow::borrow) {
        let at = groups.iter().position(|(g, _)| g == d).unwrap_or_else(|| {
            groups.push((d.clone(), 0));
            groups.len() - 1
        });
        groups[at].1 += 1;
        of.push(at);
    }
    (groups, of)
}

/// Mean intervals of a stamped step in ns.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Of each group; none where a stamp was lost.
    pub groups: Vec<Option<f64>>,
    /// Of nothing, where it had stamps.
    pub nothing: Option<f64>,
}

/// Sums up a stamped step; with `padded`, every second interval is of nothing.
pub fn reading(times: &StepTimes, of: &[usize], groups: &[(Dispatched, u64)], padded: bool) -> Reading {
    let stride = if padded { 2 } else { 1 };
    let mut sums = vec![Some(0.0); groups.len()];
    for (&group, span) in of.iter().zip(times.spans.iter().step_by(stride)) {
        sums[group] = sums[group].zip(*span).map(|(sum, span)| sum + span);
    }
    let means = sums.iter().zip(groups).map(|(sum, (_, calls))| sum.map(|sum| sum / *calls as f64));
    let nothings: Vec<f64> = times.spans.iter().skip(1).step_by(2).copied().flatten().collect();
    let nothing = Some(nothings.iter().sum::<f64>() / nothings.len().max(1) as f64);
    Reading { groups: means.collect(), nothing: nothing.filter(|_| padded && !nothings.is_empty()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Cost;

    #[test]
    fn stamps_cost_what_they_read_around_nothing_at_most() {
        assert_eq!(stamp_cost(60.0, 1000.0, 100), 50.0);
        // A disturbed step of seconds that became shorter by nothings, and one that became longer by more.
        assert_eq!(stamp_cost(60.0, -1e9, 100), 60.0);
        assert_eq!(stamp_cost(60.0, 1e9, 100), 0.0);
    }

    #[test]
    fn a_padded_step_s_intervals_alternate() {
        let d = |kernel: &str| Dispatched {
            kernel: kernel.into(),
            shape: String::new(),
            cost: Cost::default(),
            workgroups: 1,
        };
        let groups = [(d("a"), 2), (d("b"), 1)];
        let spans = [10.0, 1.0, 40.0, 2.0, 30.0, 3.0].map(Some).to_vec();
        let mut times = StepTimes { spans, ..StepTimes::default() };
        let of = [0, 1, 0];
        let read = reading(&times, &of, &groups, true);
        assert_eq!((read.groups, read.nothing), (vec![Some(20.0), Some(40.0)], Some(2.0)));
        // An interval that was lost loses its group's mean, and no other's.
        times.spans = vec![Some(10.0), Some(40.0), None];
        let read = reading(&times, &of, &groups, false);
        assert_eq!((read.groups, read.nothing), (vec![None, Some(40.0)], None));
    }
}
