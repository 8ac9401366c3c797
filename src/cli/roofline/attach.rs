//! `roofline --attach`: the report of a server's next steps, asked of the server itself.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum as _};

use crate::cli::Global;
use crate::cli::limits::LimitsArg;
use crate::roofline::report::Report;

/// A longer answer is no report.
const MOST_BYTES: u64 = 64 << 20;

/// A running server to report on.
#[derive(Debug, Args)]
pub struct Attach {
    /// Report on a running server's next steps instead: its address, as in http://127.0.0.1:8080
    #[arg(long, value_name = "URL", conflicts_with_all = [
        "workload", "confirm", "prefill", "contexts", "batch", "seconds", "remeasure", "positional", "model",
        "quantize", "max_model_len", "max_num_batched_tokens", "kv_cache_dtype", "cache_type_v", "block_size",
        "n_gpu_layers",
    ])]
    attach: Option<String>,
    /// Steps to watch, of the server or of the workload [default: 120]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3000))]
    steps: Option<u64>,
    /// Seconds to wait for the server's steps [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    wait: Option<u64>,
    /// The server's key
    #[arg(long, value_name = "KEY", env = "RIDGEPOINT_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

/// Refuses flags that choose a device here; a variable, which is for every command, means nothing.
fn of_no_device(global: &Global) -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if let Some(name) = global.adapter.as_deref().filter(|name| *name != variable("RIDGEPOINT_ADAPTER")) {
        anyhow::bail!("--adapter {name}: the server has an adapter of its own; leave it out beside --attach");
    }
    let limits = LimitsArg::from_str(&variable("RIDGEPOINT_LIMITS"), false).unwrap_or_default();
    anyhow::ensure!(
        [LimitsArg::default(), limits].contains(&global.limits),
        "--limits: the server has limits of its own; leave it out beside --attach"
    );
    Ok(())
}

impl Attach {
    /// How many steps to watch.
    pub fn steps(&self) -> u64 {
        self.steps.unwrap_or(120)
    }

    /// Refuses what only a server's report asks, and, where no `workload` is named, its report too; beside a
    /// server's address, what is about a device here.
    pub fn unheard(&self, global: &Global, workload: bool) -> anyhow::Result<()> {
        match (self.wait, self.steps) {
            _ if self.attach.is_some() => of_no_device(global),
            (Some(seconds), _) => anyhow::bail!("--wait {seconds}: expected --attach beside it"),
            (_, Some(n)) if !workload => {
                anyhow::bail!("--steps {n}: expected --attach or --workload beside it")
            }
            _ => Ok(()),
        }
    }

    /// The server's report, if one was named.
    pub fn report(&self) -> Option<anyhow::Result<Report>> {
        let url = self.attach.as_deref()?.trim_end_matches('/');
        Some(self.watched(url))
    }

    fn watched(&self, url: &str) -> anyhow::Result<Report> {
        let (steps, wait) = (self.steps(), self.wait.unwrap_or(60));
        if !url.starts_with("http://") && !url.starts_with("https://") {
            anyhow::bail!("--attach '{url}': expected an address such as http://127.0.0.1:8080");
        }
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_secs(wait + 30)))
            .build()
            .into();
        // The report comes with the answer, so that nobody else's window comes between.
        let mut post = agent.post(format!("{url}/debug/profile?steps={steps}&wait={wait}&format=json"));
        if let Some(key) = &self.api_key {
            post = post.header("authorization", format!("Bearer {key}"));
        }
        let secure = url.starts_with("https://");
        let hint = if secure {
            " (`ridgepoint serve` itself speaks http; https is a proxy's in front of it)"
        } else {
            ""
        };
        let mut answer = post.send_empty().with_context(|| format!("asking {url}{hint}"))?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(MOST_BYTES);
        let text = body.read_to_string().context("reading the server's answer")?;
        if !status.is_success() {
            let parsed: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let why = parsed["error"]["message"].as_str().unwrap_or("it is no server of Ridgepoint's");
            anyhow::bail!("{url} answered {status}: {why}");
        }
        Report::from_json(&text).with_context(|| format!("the report of {url}"))
    }
}
