//! What the device can do: every probe, as `ridgepoint ceilings` measures them.
//!
//! `cargo bench --bench ceilings -- [WORD]... [--json] [--baseline FILE]`. `QUICK=1` builds every probe's
//! variants, which proves each right against the host, and times none.

mod report;

use clap::Parser;
use report::{Flags, Row, Run, quick};
use ridgepoint::profile::{Budget, Error, PROBES, Rounds, measure};

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let gpu = flags.open()?;
    let mut run = Run::new("ceilings", &gpu);
    eprintln!("{}", run.device);
    let mut proved = 0;
    for probe in PROBES.iter().filter(|probe| flags.want(probe.name())) {
        if quick() {
            match probe.rigs(&gpu) {
                Ok(rigs) => proved += rigs.len(),
                Err(Error::Missing { .. }) => {
                    eprintln!("{}: this adapter lacks what it needs", probe.name())
                }
                Err(error) => return Err(error.into()),
            }
            continue;
        }
        let found = match measure(&gpu, &[probe.name()], Budget::Full) {
            Err(Error::Missing { .. }) => {
                eprintln!("{}: this adapter lacks what it needs", probe.name());
                continue;
            }
            found => found?,
        };
        for c in found {
            let row = Row {
                name: c.name.to_string(),
                unit: c.unit.to_string(),
                value: c.value,
                low: c.low.min(c.high),
                high: c.high.max(c.low),
                samples: match c.rounds {
                    Rounds::Agreed(n) | Rounds::Scattered(n) => n,
                },
                note: format!("{} ({:?})", c.probe, c.rounds),
            };
            run.push(&flags, row);
        }
    }
    if quick() {
        anyhow::ensure!(proved > 0, "no probe has all of '{}' in its name", flags.words.join(" "));
        println!("{proved} variants of probes are right");
        return Ok(());
    }
    anyhow::ensure!(!run.rows.is_empty(), "no probe has all of '{}' in its name", flags.words.join(" "));
    run.finish(&flags)
}
