//! What makes kept ceilings doubtful: a round that matters, a grid that rounds can't tell, probes of one pipe
//! that differ, and a loop of the host's own that shaders outrun.

use super::report::Ceiling;

/// Two shapes of one chain agree within this.
const SHAPES: f64 = 0.15;

/// A doubt, and whose ceilings it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Names of ceilings.
    pub of: Vec<String>,
    /// In words.
    pub why: String,
}

/// What is doubtful of these.
pub fn doubts(ceilings: &[Ceiling]) -> Vec<Doubt> {
    let find = |name: &str| ceilings.iter().find(|c| c.name == name);
    let (chains, tile, native) = (find("fma_f32"), find("fma_f32_tile"), find("native_f32"));
    let mut found = Vec::new();
    if let Some((a, b)) = chains.zip(tile) {
        let apart = a.value.max(b.value) / a.value.min(b.value) - 1.0;
        if apart > SHAPES {
            let why = format!("the two multiply-add probes are {:.0} % apart", 100.0 * apart);
            found.push(Doubt { of: vec![a.name.clone(), b.name.clone()], why });
        }
    }
    for c in [chains, tile].into_iter().flatten() {
        if let Some(native) = native.filter(|native| c.value > native.value * (1.0 + SHAPES)) {
            let part = 100.0 * c.value / native.value;
            let why = format!("{} is {part:.0} % of the host's own loop, which bounds it", c.name);
            found.push(Doubt { of: vec![c.name.clone(), native.name.clone()], why });
        }
    }
    let named = |c: &&Ceiling| found.iter().any(|doubt: &Doubt| doubt.of.contains(&c.name));
    let rest: Vec<&Ceiling> = ceilings.iter().filter(|c| !c.agreed && !named(c)).collect();
    let (grids, rounds): (Vec<&Ceiling>, Vec<&Ceiling>) = rest.into_iter().partition(|c| c.name == "fill");
    if !rounds.is_empty() {
        let of: Vec<String> = rounds.into_iter().map(|c| c.name.clone()).collect();
        let why = format!("a single round moves {} by more than 5 %", of.join(", "));
        found.push(Doubt { of, why });
    }
    for c in grids {
        let why = format!("fill is more than {} and at most {} workgroups", c.low, c.high);
        found.push(Doubt { of: vec![c.name.clone()], why });
    }
    found
}

/// Marks the ceilings that are in doubt as not agreed.
pub fn mark(ceilings: &mut [Ceiling]) {
    let doubtful: Vec<String> = doubts(ceilings).into_iter().flat_map(|doubt| doubt.of).collect();
    for c in ceilings.iter_mut().filter(|c| doubtful.contains(&c.name)) {
        c.agreed = false;
    }
}

/// All doubts in one sentence, with what to do; none if there are none.
pub fn said(ceilings: &[Ceiling]) -> Option<String> {
    let why: Vec<String> = doubts(ceilings).into_iter().map(|doubt| doubt.why).collect();
    (!why.is_empty()).then(|| {
        format!(
            "ceilings are in doubt ({}): a busy machine does that; --remeasure measures them anew",
            why.join("; ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceilings(all: &[(&str, f64)]) -> Vec<Ceiling> {
        let ceiling = |&(name, value): &(&str, f64)| Ceiling {
            name: name.into(),
            unit: "GFLOP/s".into(),
            value,
            low: value,
            high: value,
            probe: String::new(),
            agreed: true,
        };
        all.iter().map(ceiling).collect()
    }

    #[test]
    fn probes_that_differ_are_marked_and_said() {
        let mut busy = ceilings(&[("fma_f32", 46.6), ("fma_f32_tile", 19.1), ("read_cold", 10.0)]);
        let text = said(&busy).unwrap();
        assert!(text.contains("144 % apart") && text.contains("--remeasure"), "{text}");
        mark(&mut busy);
        assert_eq!(busy.iter().map(|c| c.agreed).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(said(&busy).unwrap(), text, "the same again from a kept report");
        busy[2].agreed = false;
        assert!(said(&busy).unwrap().contains("a single round moves read_cold by more than 5 %"));
        let mut fill = ceilings(&[("fill", 4.0)]);
        (fill[0].low, fill[0].high, fill[0].agreed) = (2.0, 16.0, false);
        let text = said(&fill).unwrap();
        assert!(
            text.contains("fill is more than 2 and at most 16 workgroups") && !text.contains("round"),
            "{text}"
        );
    }

    #[test]
    fn what_outruns_the_host_s_own_loop_is_doubtful() {
        let mut fast = ceilings(&[("fma_f32", 128.0), ("fma_f32_tile", 114.0), ("native_f32", 100.0)]);
        assert!(said(&fast).unwrap().contains("fma_f32 is 128 % of the host's own loop"));
        mark(&mut fast);
        assert_eq!(fast.iter().map(|c| c.agreed).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(
            said(&ceilings(&[("fma_f32", 95.0), ("fma_f32_tile", 90.0), ("native_f32", 100.0)])),
            None
        );
        assert_eq!(said(&[]), None);
    }
}
