//! The tables of `ridgepoint isa`.

use std::fmt::Write;

use serde_json::Value;

use super::compile::{Report, Row, Target};
use super::family::{Family, architecture};

/// A column: its head, and RADV's names of the figures that it adds up.
const COLUMNS: &[(&str, &[&str])] = &[
    ("VGPRs", &["VGPRs"]),
    ("scratch", &["Scratch size"]),
    ("spills", &["Spilled VGPRs", "Spilled SGPRs"]),
    ("LDS", &["LDS size"]),
    ("waves", &["Subgroups per SIMD"]),
    ("instr", &["Instructions"]),
    ("VALU", &["VALU"]),
    ("SALU", &["SALU"]),
    ("VMEM", &["VMEM"]),
    ("SMEM", &["SMEM"]),
    ("latency", &["Latency"]),
    ("inv.thr", &["Inverse Throughput"]),
];

/// The figure of a column, none if the driver lacks one of its names.
fn figure(row: &Row, names: &[&str]) -> Option<f64> {
    names.iter().map(|name| row.statistics.get(*name).and_then(Value::as_f64)).sum()
}

/// One line per program and target; drivers with other figures get theirs in words.
pub(super) fn table(report: &Report) -> String {
    let mut text = String::new();
    let name = |t: &Target| t.family.clone().unwrap_or_else(|| t.adapter.clone());
    for target in &report.targets {
        let about = target.family.as_deref().and_then(architecture).map(|a| format!(" ({a})"));
        let _ = writeln!(text, "{}{}: {}", name(target), about.unwrap_or_default(), target.driver);
    }
    let names: Vec<String> = report.targets.iter().map(name).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let _ = write!(text, "\n{:width$}  wave", "");
    for (head, _) in COLUMNS {
        let _ = write!(text, " {head:>7}");
    }
    text.push('\n');
    let count = report.targets.first().map_or(0, |t| t.programs.len());
    for i in 0..count {
        for (t, (target, name)) in report.targets.iter().zip(&names).enumerate() {
            let Some(row) = target.programs.get(i) else { continue };
            if t == 0 {
                let _ = writeln!(text, "{}", row.program);
            }
            line(&mut text, &format!("{name:width$}"), row);
        }
    }
    text
}

fn line(text: &mut String, name: &str, row: &Row) {
    if let Some(failed) = &row.failed {
        let _ = writeln!(text, "{name}  failed: {failed}");
        return;
    }
    let figures: Vec<Option<f64>> = COLUMNS.iter().map(|(_, names)| figure(row, names)).collect();
    let _ = write!(text, "{name}  {:>4}", row.subgroup);
    if figures.iter().all(Option::is_none) {
        let all: Vec<String> = row.statistics.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let _ = write!(text, " {}", all.join(", "));
    } else {
        for figure in figures {
            let _ = write!(text, " {:>7}", figure.map_or("-".into(), |f| f.to_string()));
        }
    }
    text.push('\n');
    if let Some(assembly) = &row.assembly {
        let _ = writeln!(text, "{assembly}");
    }
}

/// The list of families.
pub(super) fn families(rows: &[Family]) -> String {
    let mut text = String::new();
    for row in rows {
        let mark = if row.accepted { "yes" } else { "no " };
        let _ = writeln!(
            text,
            "{mark}  {:<10} {:<9} {:<36} {}",
            row.family, row.architecture, row.product, row.driver
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::isa::compile::SCHEMA;
    use serde_json::json;

    fn target(family: &str, statistics: Value) -> Target {
        let Value::Object(statistics) = statistics else { panic!("no object") };
        let row = Row {
            kernel: "gated".into(),
            program: "gated wg64".into(),
            subgroup: 64,
            statistics,
            assembly: None,
            failed: None,
        };
        Target {
            family: Some(family.into()),
            adapter: "x".into(),
            driver: "radv".into(),
            programs: vec![row],
        }
    }

    #[test]
    fn spills_of_both_kinds_are_added_and_a_missing_figure_is_no_zero() {
        let amd = target("vega10", json!({ "VGPRs": 24, "Spilled VGPRs": 3, "Spilled SGPRs": 4 }));
        let other = target("other", json!({ "Register Count": 40 }));
        let text = table(&Report { schema_version: SCHEMA, targets: vec![amd, other] });
        let line = |name: &str| text.lines().rfind(|l| l.starts_with(name)).unwrap().to_string();
        let words = line("vega10");
        let words: Vec<&str> = words.split_whitespace().collect();
        assert_eq!(words[..5], ["vega10", "64", "24", "-", "7"], "{text}");
        assert!(line("other").ends_with("Register Count 40"), "{text}");
        assert_eq!(text.matches("gated wg64").count(), 1, "{text}");
    }
}
