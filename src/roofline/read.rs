//! How reports come to be: of a device, of an engine's window, or read back.

use serde::Deserialize;

use super::report::{KernelRow, Model, Report, SCHEMA_VERSION};
use super::{DeviceReport, steps, summary};
use crate::profile::Watched;

/// Why a file is no report that can be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON of a report.
    #[error("this is no report of `ridgepoint roofline --json`")]
    Json(#[from] serde_json::Error),
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
    /// When it is none, or of another schema.
    pub fn from_json(text: &str) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        #[serde(expecting = "a report: an object with schema_version")]
        struct Head {
            schema_version: u32,
        }
        let head: Head = serde_json::from_str(text)?;
        if head.schema_version != SCHEMA_VERSION {
            return Err(Unreadable::Schema { found: head.schema_version });
        }
        Ok(serde_json::from_str(text)?)
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
}
