//! `ridgepoint models list`.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;

use crate::cli::Global;
use crate::hub::{DEFAULT_MODEL, Entry, Hub, Source};
use crate::units::Bytes;

/// List the models that can be fetched by name.
#[derive(Debug, Args)]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let hub = Hub::from_env(global.network()?)?;
        let mut out = io::stdout().lock();
        if self.json {
            let all: Vec<_> = hub.catalog.entries().iter().map(|entry| describe(&hub, entry)).collect();
            serde_json::to_writer_pretty(&mut out, &all)?;
            writeln!(out)?;
        } else {
            print_table(&hub, &mut out)?;
        }
        Ok(())
    }
}

fn describe(hub: &Hub, entry: &Entry) -> serde_json::Value {
    let sources: Vec<_> = entry.sources.iter().map(describe_source).collect();
    json!({
        "name": entry.name,
        "aliases": entry.aliases,
        "default": entry.name == DEFAULT_MODEL,
        "file": entry.file,
        "size": entry.size,
        "sha256": entry.sha256.to_string(),
        "licence": entry.licence,
        "description": entry.description,
        "sources": sources,
        "cached": hub.cached(entry).is_some(),
        "path": hub.path_of(entry),
    })
}

fn describe_source(source: &Source) -> serde_json::Value {
    match source {
        Source::HuggingFace { repo, revision, file } => {
            json!({ "kind": "huggingface", "repo": repo, "revision": revision, "file": file })
        }
        Source::PythonPackage { package, member } => {
            json!({ "kind": "python-package", "package": package, "member": member })
        }
    }
}

fn print_table(hub: &Hub, out: &mut dyn Write) -> io::Result<()> {
    let row = |entry: &Entry| {
        let cached = if hub.cached(entry).is_some() { "yes" } else { "no" };
        [&entry.name, &Bytes(entry.size).to_string(), &entry.licence, cached, &entry.description]
            .map(str::to_owned)
    };
    let mut rows = vec![["NAME", "SIZE", "LICENCE", "CACHED", "DESCRIPTION"].map(str::to_owned)];
    rows.extend(hub.catalog.entries().iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let [name, size, licence, cached] = [0, 1, 2, 3].map(width);
    for [a, b, c, d, e] in &rows {
        writeln!(out, "{a:name$}  {b:>size$}  {c:licence$}  {d:cached$}  {e}")?;
    }
    Ok(())
}
