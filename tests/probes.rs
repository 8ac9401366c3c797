//! The probes on the adapter that is there: sane figures, not fast ones.

use ridgepoint::gpu::{AdapterChoice, Checks, Gpu};
use ridgepoint::profile::{Budget, Error, PROBES, measure};

#[test]
fn every_probe_gives_a_figure_within_its_interval() {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted).expect("an adapter");
    let there = |p: &&str| *p != "fma_f16" || gpu.adapter.f16;
    let names: Vec<&str> = PROBES.iter().map(|p| p.name()).filter(there).collect();
    let ceilings = measure(&gpu, &names, Budget::Quick).expect("figures");
    assert_eq!(ceilings.len(), names.len());
    for (name, c) in names.iter().zip(&ceilings) {
        println!(
            "{name:<14} {:8.1} [{:.1}..{:.1}] {}  {}  {:?}",
            c.value, c.low, c.high, c.unit, c.probe, c.rounds
        );
        assert_eq!(c.name, *name);
        assert!(c.low > 0.0 && c.high.is_finite(), "{c:?}");
        assert!(c.low <= c.value && c.value <= c.high, "{c:?}");
    }
    // Wide, since other work on the machine slows one and not the other.
    let f32s = |name: &str| name.starts_with("fma_f32");
    let fma: Vec<f64> = ceilings.iter().filter(|c| f32s(c.name)).map(|c| c.value).collect();
    assert_eq!(fma.len(), 2);
    let value = |name: &str| ceilings.iter().find(|c| c.name == name).map_or(0.0, |c| c.value);
    // A dispatch costs something, and less than ten milliseconds on anything.
    assert!((10.0..1e7).contains(&value("launch")), "{}", value("launch"));
    assert!((0.3..3.0).contains(&(fma[0] / fma[1])), "two shapes of the same work: {fma:?}");
}

#[test]
fn an_unknown_ceiling_lists_those_there_are() {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Trusted).expect("an adapter");
    let error = measure(&gpu, &["fma_f32", "warp_speed"], Budget::Quick).unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("warp_speed") && text.contains("read_cold"), "{text}");
}

/// With naga's checks on, the same probes prove themselves right.
#[test]
fn checked_modules_compute_the_same() {
    let gpu = Gpu::open(&AdapterChoice::Best, Checks::Checked).expect("an adapter");
    for probe in PROBES.iter().filter(|p| p.name() != "fma_f16" || gpu.adapter.f16) {
        let rigs = probe.rigs(&gpu).expect("rigs that are right");
        assert!(!rigs.is_empty() && rigs.iter().all(|r| r.work() > 0.0), "{}", probe.name());
    }
}
