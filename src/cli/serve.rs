//! `ridgepoint serve`: an OpenAI server.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::Global;
use super::ceilings::DeviceArgs;
use super::chat_template::ChatTemplateArg;
use super::cpu_profile::CpuProfile;
use super::engine_args::EngineArgs;
use super::load::keep_pipelines;
use super::progress::while_slow;
use crate::engine::service::{Loading, Service};
use crate::engine::{Engine, Options, Pooling, Spans};
use crate::format::{ModelFile, gguf};
use crate::gpu::Gpu;
use crate::hub::cache_root;
use crate::model::Runner;
use crate::roofline::DeviceReport;
use crate::roofline::report::Grade;
use crate::server::app::{App, Model};
use crate::server::auth::{Guard, Keys};
use crate::server::caps::{Cap, Caps};
use crate::server::debug::{Roofline, facts};
use crate::server::metrics::{Metrics, Watcher};
use crate::server::openai::now;
use crate::server::request::fields::Unknown;
use crate::server::{self, Config, End};

/// Serve a model to many users at once, by OpenAI's API
#[derive(Debug, Args)]
pub struct Serve {
    /// A name from `ridgepoint models list`, a .gguf file, or a model directory, as with --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    positional: Option<String>,
    #[command(flatten)]
    engine: EngineArgs,
    /// The address to listen on; one beyond loopback needs an API key or --no-auth
    #[arg(long, value_name = "ADDRESS|NAME", default_value = "127.0.0.1", env = "RIDGEPOINT_HOST")]
    host: String,
    /// The port to listen on; 0 for any free one
    #[arg(long, default_value_t = 8080, env = "RIDGEPOINT_PORT")]
    port: u16,
    /// A key that clients must send; may be given several times
    #[arg(long, value_name = "KEY", env = "RIDGEPOINT_API_KEY", hide_env_values = true)]
    api_key: Vec<String>,
    /// A file of keys, one a line
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Let everyone in who can reach the address
    #[arg(long, conflicts_with_all = ["api_key", "api_key_file"])]
    no_auth: bool,
    /// Origins of web pages that may ask, or * for all
    #[arg(long, value_name = "ORIGIN,...", value_delimiter = ',')]
    allowed_origins: Vec<String>,
    /// How /v1/embeddings makes one vector of a text's states [default: as the file says, else mean]
    #[arg(long, value_enum)]
    pooling: Option<PoolingArg>,
    #[command(flatten)]
    template: ChatTemplateArg,
    /// Names, beside localhost and addresses, under which a server on loopback without a key may be asked, or *
    /// for all: any other is taken for a web page's attempt to reach this machine
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    allowed_hosts: Vec<String>,
    /// Names under which the model is served [default: its file's name]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    served_model_name: Vec<String>,
    /// Take any other name of a model for this one as well
    #[arg(long)]
    any_model_name: bool,
    /// Refuse fields that are not known instead of logging them
    #[arg(long)]
    strict: bool,
    /// Change how much one request may ask for, such as stops=8; may be given several times
    #[arg(long = "cap", value_name = "NAME=N")]
    caps: Vec<String>,
    /// Seconds that running requests have to finish on SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    shutdown_timeout: u64,
    /// Seconds that a client may leave what it is sent unread before its connection is closed and its
    /// requests are aborted
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    stall_timeout: u64,
    /// Most connections at once
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_connections: usize,
    /// Measure this device's ceilings first, if none are kept: /debug/roofline needs them, and it takes
    /// minutes
    #[arg(long)]
    measure_ceilings: bool,
    #[command(flatten)]
    profile: CpuProfile,
}

/// Tokens of steps that every kernel's variant is compiled for at the start: those of one and of few tokens,
/// and those for many.
const WIDTHS: [usize; 5] = [1, 2, 4, 8, 64];

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PoolingArg {
    Mean,
    Last,
}

impl Serve {
    pub(super) fn run(&self, global: &Global) -> anyhow::Result<()> {
        match self.profile.around(global, || self.serve(global))? {
            End::Drained => Ok(()),
            End::WhileLoading => leave(),
        }
    }

    /// The device's ceilings, where they are known or asked for.
    fn device(&self, global: &Global, gpu: &Gpu) -> anyhow::Result<Option<DeviceReport>> {
        if self.measure_ceilings {
            return DeviceArgs::default().report(global, gpu).map(Some);
        }
        // Without a cache folder none are kept.
        Ok(cache_root().ok().and_then(|root| DeviceReport::recall(gpu, &root.join("ceilings"))))
    }

    fn serve(&self, global: &Global) -> anyhow::Result<End> {
        let caps = self.caps()?;
        let addresses = self.addresses()?;
        let config = self.config(&caps, &addresses)?;
        let mut engine = self.engine.clone();
        engine.load = engine.load.named(self.positional.as_ref());
        let opened = engine.load.open(global)?;
        let tokenizer = Arc::new(opened.file.tokenizer()?);
        let model = Model {
            names: self.names(&opened.path),
            any_name: self.any_model_name,
            tokenizer: tokenizer.clone(),
            template: self.template.resolve(&opened.file)?.map(|template| {
                template.bounded(caps.get(Cap::TemplateFuel) as u64, caps.get(Cap::TemplateBytes))
            }),
            context: opened.context,
            width: opened.hyper.hidden,
            vocab: opened.hyper.vocab,
            created: now(),
        };
        let names = model.names.join(", ");
        let pooling = self.pooling(&opened.file);
        let limits = engine.limits(&opened)?;
        let device = self.device(global, &opened.gpu)?;
        // A timer that can't be trusted with a whole pass measures no spans.
        let trusted = device.as_ref().is_some_and(|d| d.timer.grade != Grade::WallOnly);
        let spans = if trusted { Spans::On } else { Spans::Off };
        let roofline = Arc::new(Roofline::new(device));
        roofline.opened(facts(&opened.file, &opened.hyper, limits.cache_type));
        let waiting = global.clone();
        let read = move |progress: &mut dyn FnMut(Loading)| {
            let kernels = |done: usize| Loading::kernels(done as u64, WIDTHS.len() as u64);
            let runner = while_slow(&waiting, "the model's weights", || {
                Runner::load(&opened.gpu, &opened.file, limits, &mut |done, total| {
                    // What is left then is the kernels.
                    progress(if done < total { Loading::weights(done, total) } else { kernels(0) });
                })
            })?;
            let (scheduler, options) =
                (engine.scheduler(opened.context), Options { spans, ..engine.options() });
            let mut engine = Engine::with_options(runner, tokenizer, scheduler, options)?;
            while_slow(&waiting, "the driver to compile kernels", || {
                WIDTHS.into_iter().enumerate().try_for_each(|(at, tokens)| {
                    engine.prepare(tokens)?;
                    progress(kernels(at + 1));
                    Ok::<_, crate::engine::Error>(())
                })
            })?;
            keep_pipelines(&opened.gpu);
            let m = engine.runner().memory;
            tracing::info!(
                "weights {}, KV cache {} ({} blocks of {} tokens), activations {}, results and embeddings {}, \
                 together {}; maximum concurrency for {} tokens per request: {:.2}x",
                m.weights,
                m.cache,
                limits.cache.num_blocks,
                limits.cache.block_size,
                m.scratch,
                m.results,
                m.total(),
                limits.context,
                limits.cache.capacity_tokens() as f64 / limits.context as f64
            );
            Ok::<_, crate::engine::Error>(engine)
        };
        let read = Box::new(move |progress: &mut dyn FnMut(Loading)| {
            read(progress).map_err(|error| error.to_string())
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(4)
            .enable_all()
            .build()
            .context("starting the async runtime")?;
        runtime.block_on(async {
            // Before anyone can know that there is a server to end.
            let asked = asked_to_end()?;
            // The first address of a name that can be had.
            let listener = tokio::net::TcpListener::bind(addresses.as_slice()).await.with_context(|| {
                let (host, port) = (&self.host, self.port);
                format!(
                    "listening on {host}:{port}: is another server there? Choose with --port, or 0 for any"
                )
            })?;
            let address = listener.local_addr()?;
            let metrics = Arc::new(Metrics::new(&model.names[0]));
            let service = Service::start(read, Box::new(Watcher::new(metrics.clone(), roofline.clone())))?;
            let policy = self.engine.scheduler(model.context).policy;
            let unknown = if self.strict { Unknown::Refuse } else { Unknown::Log };
            let app = Arc::new(App { service, model, pooling, caps, unknown, policy, metrics, roofline });
            global.note(&format!("serving {names} at http://{address}/"));
            let key = self.key_hint();
            global.note(&format!("  OPENAI_BASE_URL=http://{address}/v1 OPENAI_API_KEY={key}"));
            let ended = || {
                let asked = asked.clone();
                async move { asked.notified().await }
            };
            server::serve(listener, app, config, ended).await.map_err(anyhow::Error::msg)
        })
    }

    /// Where to listen: the addresses of --host.
    fn addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let bare = self.host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&self.host);
        let found = (bare, self.port).to_socket_addrs().with_context(|| {
            format!(
                "--host '{}': expected an address, or a name that leads to one of this machine",
                self.host
            )
        })?;
        let found: Vec<SocketAddr> = found.collect();
        anyhow::ensure!(!found.is_empty(), "--host '{}' leads to no address", self.host);
        Ok(found)
    }

    fn config(&self, caps: &Caps, addresses: &[SocketAddr]) -> anyhow::Result<Config> {
        let loopback = addresses.iter().all(|address| address.ip().is_loopback());
        let mut keys = self.api_key.clone();
        if let Some(path) = &self.api_key_file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("reading the keys in {}", path.display()))?;
            keys.extend(text.lines().map(|line| line.trim().to_string()).filter(|line| !line.is_empty()));
            anyhow::ensure!(!keys.is_empty(), "{} holds no key: expected one a line", path.display());
        }
        anyhow::ensure!(keys.iter().all(|key| !key.is_empty()), "an API key is empty: expected some text");
        let sendable = |key: &String| key.bytes().all(|b| b.is_ascii_graphic());
        anyhow::ensure!(
            keys.iter().all(sendable),
            "an API key can't be sent in a header: expected ASCII letters, digits and signs, no spaces"
        );
        // As browsers send it: a scheme, a host, perhaps a port.
        let host = |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        let is_origin = |o: &&String| {
            *o == "*" || o.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && host(rest))
        };
        if let Some(origin) = self.allowed_origins.iter().find(|origin| !is_origin(origin)) {
            anyhow::bail!("--allowed-origins '{origin}': expected one as https://ui.example, or *");
        }
        anyhow::ensure!(
            self.served_model_name.iter().all(|name| !name.trim().is_empty()),
            "--served-model-name has an empty name: expected names with commas between them"
        );
        if !loopback && keys.is_empty() && !self.no_auth {
            anyhow::bail!(
                "--host {} can be reached from other machines: give --api-key KEY, or --no-auth if everyone may use it",
                self.host
            );
        }
        // Who has the key is no page that tricks a browser; other addresses than loopback have names of their own.
        let checked = loopback && keys.is_empty();
        let guard = Guard {
            keys: Keys::new(keys),
            origins: self.allowed_origins.clone(),
            hosts: checked.then(|| self.allowed_hosts.clone()),
            caps: caps.clone(),
        };
        Ok(Config {
            guard,
            shutdown_timeout: Duration::from_secs(self.shutdown_timeout),
            stall_timeout: Duration::from_secs(self.stall_timeout),
            connections: self.max_connections.max(1),
        })
    }

    fn pooling(&self, file: &ModelFile) -> Pooling {
        match self.pooling {
            Some(PoolingArg::Mean) => Pooling::Mean,
            Some(PoolingArg::Last) => Pooling::Last,
            // Files of embedding models say so: 1 is the mean, 3 the last token.
            None => match file.metadata().find(|(key, _)| key.ends_with(".pooling_type")) {
                Some((_, gguf::Value::Unsigned(3))) => Pooling::Last,
                _ => Pooling::Mean,
            },
        }
    }

    fn caps(&self) -> anyhow::Result<Caps> {
        let mut caps = Caps::default();
        for text in &self.caps {
            let parsed = text.split_once('=').and_then(|(name, n)| Some((name, n.trim().parse().ok()?)));
            let (name, most) = parsed
                .with_context(|| format!("--cap '{text}': expected a name and a number, as in stops=8"))?;
            caps.set(name.trim(), most).map_err(anyhow::Error::msg)?;
        }
        Ok(caps)
    }

    fn names(&self, path: &std::path::Path) -> Vec<String> {
        if !self.served_model_name.is_empty() {
            return self.served_model_name.clone();
        }
        let asked = self.engine.load.named(self.positional.as_ref()).model.name();
        // A name of the catalog is a name; of a path, the file's name without its ending.
        let is_path = std::path::Path::new(&asked).exists();
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        vec![stem.filter(|_| is_path).unwrap_or(asked)]
    }

    fn key_hint(&self) -> &'static str {
        if self.api_key.is_empty() && self.api_key_file.is_none() { "none" } else { "KEY" }
    }
}

/// Ends the process while another thread still loads: the driver's own clean-up at exit would take away what
/// that thread is using.
fn leave() -> ! {
    #[cfg(unix)]
    signal_hook::low_level::exit(0);
    #[cfg(not(unix))]
    std::process::exit(0);
}

/// Notifies whenever the process is asked to end, from now on.
fn asked_to_end() -> anyhow::Result<Arc<Notify>> {
    let asked = Arc::new(Notify::new());
    #[cfg(unix)]
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("listening for signals")?;
        let asked = asked.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                asked.notify_one();
            }
        });
    }
    #[cfg(not(unix))]
    {
        let asked = asked.clone();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                asked.notify_one();
            }
        });
    }
    Ok(asked)
}
