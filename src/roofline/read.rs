//! How reports come to be: of a device, of an engine's window, or read back.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::report::{KernelRow, Model, Report, SCHEMA_VERSION};
use super::{DeviceReport, sound, steps, summary};
use crate::profile::Watched;

/// Why a file is no report that can be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON of a report.
    #[error("this is no report of `ridgepoint roofline --json`")]
    Json(#[from] serde_json::Error),
    /// It is what `ceilings --json` writes.
    #[error(
        "these are ceilings alone, of `ridgepoint ceilings --json`: expected a report of `ridgepoint roofline --json`, which holds them too"
    )]
    Ceilings,
    /// It holds what no measurement gives.
    #[error("{field} is {value}: expected {expected}")]
    Unsound {
        /// Where.
        field: String,
        /// What stands there.
        value: String,
        /// What may.
        expected: String,
    },
    /// It was written by another version.
    #[error(
        "the report has schema version {found}, this version reads {SCHEMA_VERSION}: write it anew with `ridgepoint roofline --json`"
    )]
    Schema {
        /// The file's.
        found: u32,
    },
}

impl Report {
    /// A report of a device and a model, without steps yet.
    pub fn new(device: DeviceReport, model: Option<Model>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            version: device.key.version,
            probes: Some(device.key.probes),
            device: device.key.device,
            timer: device.timer,
            model,
            ceilings: device.ceilings,
            curves: device.curves,
            kernels: Vec::new(),
            steps: Vec::new(),
            advice: Vec::new(),
            watched_steps: None,
            summary: String::new(),
        }
    }

    /// A report of the steps of a serving engine. It has no advice: what a knob gains is predicted by
    /// describing steps that did not run.
    pub fn of_window(device: DeviceReport, model: Option<Model>, window: &[Watched]) -> Self {
        let roof = device.roof();
        let mut report = Self::new(device, model);
        for step in steps(window) {
            let (rows, reconciled) = step.analyse(&roof);
            report.kernels.extend(rows);
            report.steps.push(reconciled);
        }
        window.iter().for_each(|step| report.timer.count(step.counts));
        report.watched_steps = Some(window.len() as u64);
        report.summary = summary(&report);
        report
    }

    /// Reads a report.
    ///
    /// # Errors
    /// When it is none, of another schema, or holds figures that no measurement gives.
    pub fn from_json(text: &str) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        #[serde(expecting = "a report: an object with schema_version")]
        struct Head {
            schema_version: u32,
            kernels: Option<IgnoredAny>,
            ceilings: Option<IgnoredAny>,
        }
        // Editors of Windows begin a file so, and JSON has no such mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let head: Head = serde_json::from_str(text)?;
        if head.schema_version != SCHEMA_VERSION {
            return Err(Unreadable::Schema { found: head.schema_version });
        }
        if head.kernels.is_none() && head.ceilings.is_some() {
            return Err(Unreadable::Ceilings);
        }
        let report = serde_json::from_str(text)?;
        sound::check(&report).map_err(|(field, value, expected)| Unreadable::Unsound {
            field,
            value,
            expected,
        })?;
        Ok(report)
    }

    /// A ceiling's figure.
    pub fn ceiling(&self, name: &str) -> Option<f64> {
        self.ceilings.iter().find(|c| c.name == name).map(|c| c.value)
    }
}

impl KernelRow {
    /// The median, if there are samples; it may be below 0.
    pub fn median(&self) -> Option<f64> {
        self.time_ns.map(|time| time.p50)
    }

    /// The median, if it is a time: above 0.
    pub fn time(&self) -> Option<f64> {
        self.median().filter(|time| *time > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_schema_is_named_before_any_field_is_missed() {
        let error = Report::from_json(r#"{"schema_version": 99}"#).unwrap_err();
        assert!(error.to_string().contains("99"), "{error}");
        let error = Report::from_json("[]").unwrap_err();
        assert!(error.to_string().contains("no report"), "{error}");
    }
    #[test]
    fn a_mark_at_the_begin_is_no_part_of_it() {
        let report = crate::roofline::sample::report();
        let text = format!("\u{feff}{}", serde_json::to_string(&report).unwrap());
        assert_eq!(Report::from_json(&text).unwrap(), report);
    }

    #[test]
    fn ceilings_alone_are_named() {
        let error = Report::from_json(r#"{"schema_version": 1, "ceilings": []}"#).unwrap_err();
        assert!(error.to_string().contains("ceilings --json"), "{error}");
    }
}
