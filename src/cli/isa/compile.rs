//! Compiling programs on the drivers that this process sees, and the JSON of it.

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Chosen;
use crate::cli::doctor::Status;
use crate::gpu::{Compiled, Compiler, expand, isa_adapters};

/// The version of the JSON's shape.
pub(super) const SCHEMA: u32 = 1;

/// What compilers made of programs: the JSON of `ridgepoint isa`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    /// The version of this shape.
    pub schema_version: u32,
    /// One per compiler.
    pub targets: Vec<Target>,
}

/// One compiler.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Target {
    /// The AMD family that RADV was told of; none for an adapter that is really here.
    pub family: Option<String>,
    /// The device's name.
    pub adapter: String,
    /// The driver's name and version.
    pub driver: String,
    /// What it made of each program.
    pub programs: Vec<Row>,
}

/// One program by one compiler.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// The kernel.
    pub kernel: String,
    /// The program's label.
    pub program: String,
    /// Lanes of a subgroup.
    pub subgroup: u32,
    /// The driver's figures, by its own names.
    pub statistics: Map<String, Value>,
    /// The driver's assembly, if it was asked for and there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub assembly: Option<String>,
    /// Why there are no figures, if so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failed: Option<String>,
}

/// What a line of progress of [`here`] begins with.
pub(super) const PROGRESS: &str = "compiling ";

/// Compiles on every adapter here that tells what it made, of those with `wanted` in their name.
pub(super) fn here(
    programs: &[Chosen],
    assembly: bool,
    wanted: Option<&str>,
    status: &Status,
) -> anyhow::Result<Report> {
    let adapters = isa_adapters().map_err(anyhow::Error::msg)?;
    let named = |name: &str| wanted.is_none_or(|w| name.to_lowercase().contains(&w.to_lowercase()));
    let able: Vec<_> = adapters.iter().filter(|a| a.able && named(&a.name)).collect();
    if let (true, Some(wanted)) = (able.is_empty(), wanted) {
        let names: Vec<&str> = adapters.iter().map(|a| a.name.as_str()).collect();
        anyhow::bail!(
            "no adapter here with '{wanted}' in its name has VK_KHR_pipeline_executable_properties and Vulkan 1.3; there are: {}",
            if names.is_empty() { "none".into() } else { names.join(", ") }
        );
    }
    if able.is_empty() {
        let names: Vec<String> = adapters.iter().map(|a| format!("{} ({})", a.name, a.driver)).collect();
        anyhow::bail!(
            "no adapter here has VK_KHR_pipeline_executable_properties and Vulkan 1.3; there are: {}. Without --here, AMD families need no adapter",
            if names.is_empty() { "none".into() } else { names.join(", ") }
        );
    }
    let targets = able.into_iter().map(|adapter| {
        let compiler = Compiler::open(adapter.index).map_err(anyhow::Error::msg)?;
        let rows = programs.iter().enumerate().map(|(i, chosen)| {
            status.now(&format!("{PROGRESS}{} of {} programs", i + 1, programs.len()));
            row(&compiler, chosen, assembly)
        });
        Ok(Target {
            family: None,
            adapter: adapter.name.clone(),
            driver: adapter.driver.clone(),
            programs: rows.collect::<anyhow::Result<_>>()?,
        })
    });
    Ok(Report { schema_version: SCHEMA, targets: targets.collect::<anyhow::Result<_>>()? })
}

fn row(compiler: &Compiler, chosen: &Chosen, assembly: bool) -> anyhow::Result<Row> {
    let text = expand(&chosen.program).map_err(anyhow::Error::msg)?;
    let (compiled, failed) = match compiler.compile(&chosen.program, &text, chosen.needs.uses()) {
        Ok(compiled) => (compiled, None),
        Err(error) => (Compiled::default(), Some(error)),
    };
    let statistics = compiled.statistics.into_iter();
    let statistics = statistics.map(|(name, value)| Ok((name, serde_json::to_value(value)?)));
    let mut texts = compiled.texts.into_iter().filter(|(name, _)| name.contains("Assembly"));
    Ok(Row {
        kernel: chosen.kernel.to_string(),
        program: chosen.program.label(),
        subgroup: compiled.subgroup,
        statistics: statistics
            .collect::<Result<_, serde_json::Error>>()
            .context("a figure of the driver's")?,
        assembly: texts.next().map(|(_, text)| text).filter(|_| assembly),
        failed,
    })
}
