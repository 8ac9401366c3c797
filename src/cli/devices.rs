//! `ridgepoint devices`.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;

use super::Global;
use crate::gpu::{AdapterChoice, AdapterSummary, adapters, choose};
use crate::units::Bytes;

/// List the adapters, what they can do, and which one is chosen.
#[derive(Debug, Args)]
pub struct Devices {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Devices {
    /// Prints every adapter, and the one that commands would compute on.
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let list = adapters();
        let choice = global.adapter.as_deref().map_or(AdapterChoice::Best, AdapterChoice::from);
        let (chosen, why) = choose(&list, &choice).map_err(anyhow::Error::msg)?;
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(
                &mut out,
                &json!({ "chosen": chosen, "why": why, "adapters": list }),
            )?;
            writeln!(out)?;
            return Ok(());
        }
        for adapter in &list {
            let mark = if adapter.index == chosen { '*' } else { ' ' };
            writeln!(
                out,
                "{mark} {}: {} ({}, {})",
                adapter.index, adapter.name, adapter.kind, adapter.backend
            )?;
            for (name, value) in facts(adapter) {
                writeln!(out, "       {name:<20}{value}")?;
            }
        }
        writeln!(out, "chosen: {}, {} ({why})", chosen, list[chosen].name)?;
        if !global.quiet && list.len() > 1 {
            eprintln!(
                "note: another one is chosen with --adapter or RIDGEPOINT_ADAPTER, by index or by part of its name"
            );
        }
        Ok(())
    }
}

/// The lines of an adapter: what the engine asks of it, and what follows where it is missing.
fn facts(a: &AdapterSummary) -> Vec<(&'static str, String)> {
    let [low, high] = a.subgroup_size;
    let subgroups = match (a.subgroups, low == high) {
        (false, _) => "none (kernels reduce through workgroup memory)".into(),
        (true, true) => format!("{low} lanes"),
        (true, false) => format!("{low} to {high} lanes"),
    };
    let f16 = if a.f16 { "yes" } else { "no (kernels compute in f32)" };
    let timestamps = match a.timestamps {
        "none" => "none (kernels are timed by the wall clock)".into(),
        kind => kind.to_string(),
    };
    vec![
        ("driver", a.driver.clone()),
        ("subgroups", subgroups),
        ("f16 in shaders", f16.into()),
        ("timestamps", timestamps),
        ("largest binding", format!("{} (larger matrices are split)", Bytes(a.max_binding))),
        ("largest buffer", Bytes(a.max_buffer).to_string()),
        ("storage bindings", format!("{} per kernel", a.max_storage_buffers)),
        (
            "workgroup",
            format!(
                "up to {} invocations, {} of memory",
                a.max_workgroup,
                Bytes(a.max_workgroup_memory.into())
            ),
        ),
    ]
}
