//! `ridgepoint models inspect`: `facts` gathers, `fit` does the arithmetic of what fits, this
//! prints. Nothing is loaded, and no adapter is needed.

mod facts;
mod fit;

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value as Json, json};

use crate::cli::printable::one_line;
use crate::cli::{Global, ModelArg};
use crate::format::{Hyper, Kind, ModelFile};
use crate::gpu::{AdapterChoice, AdapterSummary, adapters, choose};
use crate::model::{Architecture, gpu_bytes};
use crate::units::Bytes;
use fit::{Fit, Room};

/// Show what a model holds, whether it runs, and which contexts fit.
#[derive(Debug, Args)]
pub struct Inspect {
    /// The model, instead of --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    positional: Option<String>,
    #[command(flatten)]
    model: ModelArg,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Prints what the file says and what follows from it.
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        let model = self.positional.clone().or_else(|| self.model.model.clone());
        let path = ModelArg { model }.resolve(global)?;
        let file = ModelFile::describe(&path)?;
        // A file whose sizes can't be read still has tensors to show.
        let known = Architecture::of(&file).map_err(|e| e.to_string());
        let hyper = known.and_then(|_| file.hyper().map_err(|e| e.to_string()));
        let adapter = adapter(global);
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &describe(&file, &hyper, &adapter, self.tensors))?;
            writeln!(out)?;
        } else {
            print(&mut out, &file, &hyper, &adapter)?;
            if self.tensors {
                print_tensors(&mut out, &file)?;
            }
        }
        Ok(())
    }
}

/// The adapter that commands would compute on, or why there is none.
fn adapter(global: &Global) -> Result<AdapterSummary, String> {
    let choice = global.adapter.as_deref().map_or(AdapterChoice::Best, AdapterChoice::from);
    let mut list = adapters();
    let (index, _) = choose(&list, &choice)?;
    Ok(list.swap_remove(index))
}

fn gpu_total(file: &ModelFile) -> u64 {
    file.tensors().map(gpu_bytes).sum()
}

fn kind(file: &ModelFile) -> &'static str {
    match file.kind() {
        Kind::Gguf => "gguf",
        Kind::HuggingFace => "huggingface",
    }
}

type Found<T> = Result<T, String>;

fn describe(file: &ModelFile, hyper: &Found<Hyper>, adapter: &Found<AdapterSummary>, tensors: bool) -> Json {
    let room = adapter.as_ref().ok().map(Room::of);
    let weights = gpu_total(file);
    let runs = hyper.as_ref().map_err(Clone::clone).and_then(|h| facts::runs(file, h));
    let sizes = hyper.as_ref().ok().map(|h| {
        json!({
            "name": h.name, "architecture": h.architecture, "layers": h.layers, "hidden": h.hidden,
            "intermediate": h.intermediate, "heads": h.heads, "kv_heads": h.kv_heads,
            "head_dim": h.head_dim, "vocab": h.vocab, "context": h.context_length,
            "sliding_window": h.sliding_window, "tied": h.tied, "rope": facts::rope(&h.rope),
        })
    });
    let runnable = hyper.as_ref().ok().filter(|_| runs.is_ok());
    let (caches, contexts) = runnable.map(|h| facts::caches(h, weights, room.as_ref())).unwrap_or_default();
    let mut all = json!({
        "path": file.path(),
        "kind": kind(file),
        "runs": runs.is_ok(),
        "why_not": runs.err(),
        "model": sizes,
        "file_bytes": file.file_bytes(),
        "gpu_bytes": weights,
        "formats": facts::by_format(file),
        "tokenizer": facts::tokenizer(file),
        "chat_template": facts::chat_template(file),
        "licence": facts::licence(file),
        "adapter": adapter.as_ref().ok().map(|a| &a.name),
        "room": room,
        "kv_cache": caches,
        "contexts": contexts,
    });
    if tensors {
        let list = file.tensors().map(|t| {
            json!({ "name": t.name, "format": t.format.name(), "shape": t.shape, "bytes": t.bytes, "gpu_bytes": gpu_bytes(t) })
        });
        all["tensors"] = list.collect();
    }
    all
}

fn print(
    out: &mut dyn Write,
    file: &ModelFile,
    hyper: &Found<Hyper>,
    adapter: &Found<AdapterSummary>,
) -> io::Result<()> {
    let weights = gpu_total(file);
    let line = |out: &mut dyn Write, name: &str, value: &str| writeln!(out, "{name:<16}{}", one_line(value));
    line(out, "file", &format!("{} ({})", file.path().display(), kind(file)))?;
    match hyper {
        Err(error) => line(out, "runs", &format!("no: {error}"))?,
        Ok(h) => {
            if let Some(name) = &h.name {
                line(out, "name", name)?;
            }
            line(out, "architecture", &h.architecture)?;
            let runs = facts::runs(file, h);
            line(
                out,
                "runs",
                &runs.map_or_else(|why| format!("no: {why}"), |name| format!("yes, as {name}")),
            )?;
            line(out, "layers", &format!("{} of {}, feed-forward {}", h.layers, h.hidden, h.intermediate))?;
            line(
                out,
                "heads",
                &format!("{} of {} over {} of keys and values", h.heads, h.head_dim, h.kv_heads),
            )?;
            let tied = if h.tied == Some(true) { ", the head is the embedding" } else { "" };
            line(out, "vocabulary", &format!("{}{tied}", h.vocab))?;
            let window = h.sliding_window.map_or(String::new(), |w| format!(", sliding window {w}"));
            line(out, "context", &format!("{} tokens{window}", h.context_length))?;
            line(out, "rope", &facts::rope(&h.rope))?;
        }
    }
    line(out, "tokenizer", &tokenizer_line(&facts::tokenizer(file)))?;
    let template = facts::chat_template(file);
    let template = match (template["problem"].as_str(), template["present"].as_bool()) {
        (Some(problem), _) => format!("broken: {problem}"),
        (None, Some(true)) => "yes".into(),
        (None, _) => "none".into(),
    };
    line(out, "chat template", &template)?;
    line(out, "licence", facts::licence(file).as_deref().unwrap_or("not given in the file"))?;
    line(
        out,
        "size",
        &format!("{} in the file, {} of weights on the GPU", Bytes(file.file_bytes()), Bytes(weights)),
    )?;
    writeln!(
        out,
        "\n{:<10}{:>9}{:>16}{:>14}{:>14}",
        "format", "tensors", "weights", "in the file", "on the GPU"
    )?;
    for (name, f) in facts::by_format(file) {
        let sizes = [f.bytes, f.gpu_bytes].map(|b| b.map_or("-".into(), |b| Bytes(b).to_string()));
        writeln!(out, "{name:<10}{:>9}{:>16}{:>14}{:>14}", f.tensors, f.weights, sizes[0], sizes[1])?;
    }
    match hyper {
        Ok(hyper) if facts::runs(file, hyper).is_ok() => print_fit(out, hyper, weights, adapter),
        _ => Ok(()),
    }
}

fn tokenizer_line(t: &Json) -> String {
    let kind = t["kind"].as_str().unwrap_or("of no known kind");
    let pre = t["pre_tokenizer"].as_str().map_or(String::new(), |p| format!(", pre-tokenizer {p}"));
    match (t["problem"].as_str(), t["tokens"].as_u64()) {
        (Some(problem), _) => format!("{kind}{pre}; it can't be used: {problem}"),
        (None, tokens) => format!("{kind}{pre}, {} tokens", tokens.unwrap_or(0)),
    }
}

fn print_fit(
    out: &mut dyn Write,
    hyper: &Hyper,
    weights: u64,
    adapter: &Found<AdapterSummary>,
) -> io::Result<()> {
    let room = adapter.as_ref().ok().map(Room::of);
    let (caches, contexts) = facts::caches(hyper, weights, room.as_ref());
    writeln!(out)?;
    match (adapter, &room) {
        (Ok(adapter), Some(room)) => {
            let memory = room
                .memory
                .map_or("its memory isn't told".into(), |m| format!("{} of memory available", Bytes(m)));
            writeln!(
                out,
                "What fits {}: bindings up to {}, {memory}; activations come on top",
                adapter.name,
                Bytes(room.binding)
            )?;
        }
        (adapter, _) => {
            let why = adapter.as_ref().err().and_then(|e| e.lines().next()).unwrap_or_default();
            writeln!(out, "What fits is unknown: {why}")?;
        }
    }
    writeln!(out, "{:<10}{:>12}{:>14}{:>18}  fits", "context", "KV cache", "its size", "weights + cache")?;
    for c in &contexts {
        let fits = match c.fit {
            None => "unknown",
            Some(Fit::Yes) => "yes",
            Some(Fit::Perhaps) => "by its limits",
            Some(Fit::Binding) => "no: a layer's cache is larger than the largest binding",
            Some(Fit::Memory) => "no: more than the memory available",
        };
        let [cache, total] = [c.cache_bytes, c.total_bytes].map(|b| Bytes(b).to_string());
        writeln!(out, "{:<10}{:>12}{cache:>14}{total:>18}  {fits}", c.tokens, c.cache_type.name())?;
    }
    for c in &caches {
        let longest =
            c.longest.map_or(String::new(), |n| format!("; the longest context that fits is {n} tokens"));
        writeln!(out, "{} KV cache: {} per token{longest}", c.cache_type.name(), Bytes(c.bytes_per_token))?;
    }
    Ok(())
}

fn print_tensors(out: &mut dyn Write, file: &ModelFile) -> io::Result<()> {
    let name = file.tensors().map(|t| one_line(&t.name).len()).max().unwrap_or(0).max(6);
    writeln!(out, "\n{:<name$}  {:<6}{:>12}{:>12}  shape", "tensor", "format", "in the file", "on the GPU")?;
    for t in file.tensors() {
        let [bytes, gpu] = [t.bytes, gpu_bytes(t)].map(|b| Bytes(b).to_string());
        writeln!(
            out,
            "{:<name$}  {:<6}{bytes:>12}{gpu:>12}  {:?}",
            one_line(&t.name),
            t.format.name(),
            t.shape
        )?;
    }
    Ok(())
}
