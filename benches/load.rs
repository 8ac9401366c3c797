//! A server under load for as long as is asked: 64 clients draw from 32 distinct requests of mixed lengths.
//!
//! `cargo bench --bench load -- MODEL [--seconds=600] [-- FLAGS OF serve]`
//!
//! Each request's one right answer is asked for first, alone; every later answer is compared with it, whole
//! or streamed. Some clients go away in the middle. In the end every block must be free again, and the
//! process's memory (Linux only) must be within 5 % of what it was when the first quarter had passed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ridgepoint::format::ModelFile;
use ridgepoint::kernels::Noise;
use serde_json::{Value, json};

const CLIENTS: u64 = 64;
const REQUESTS: u64 = 32;
/// Each client's every so-manieth request is abandoned while it is answered.
const ABANDON: u64 = 13;
/// How long any one answer may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How much memory may grow after the first quarter.
const GROWTH: f64 = 1.05;

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(model: &str, flags: &[String]) -> anyhow::Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
            .args(["serve", model, "--port", "0", "--batch-invariant"])
            .args(flags)
            .env("RIDGEPOINT_LOG", "warn")
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        let address = loop {
            let line = lines.next().context("the server ended before it served")??;
            if let Some((_, rest)) = line.split_once(" at http://") {
                break rest.trim_end_matches('/').to_string();
            }
        };
        std::thread::spawn(move || {
            let told = |line: &String| line.contains("WARN") || line.contains("ERROR");
            lines.map_while(Result::ok).filter(told).for_each(|line| eprintln!("{line}"));
        });
        let server = Self { child, address };
        let start = Instant::now();
        while server.get("/health")?.0 != 200 {
            ensure!(start.elapsed() < PATIENCE, "the server did not become ready");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    fn send(&self, method: &str, path: &str, body: &str) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let host = &self.address;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
        Ok(stream)
    }

    fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        reply(self.send("GET", path, "")?)
    }

    fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let page = self.get("/metrics")?.1;
        let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")));
        let value = line.and_then(|line| line.rsplit_once(' ')).context(format!("no series {name}"))?.1;
        Ok(value.parse()?)
    }

    /// Bytes of memory in use; none where the system doesn't tell.
    fn memory(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end: status and body.
fn reply(mut stream: TcpStream) -> anyhow::Result<(u16, String)> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n").context("no end of headers")?;
    let head = String::from_utf8_lossy(&bytes[..at]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status")?;
    let mut rest = &bytes[at + 4..];
    let mut body = Vec::new();
    if head.contains("transfer-encoding: chunked") {
        loop {
            let end = rest.windows(2).position(|w| w == b"\r\n").context("a chunk without a size")?;
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..end])?, 16)?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(rest.get(end + 2..end + 2 + size).context("a chunk is cut")?);
            rest = rest.get(end + 4 + size..).context("a chunk is cut")?;
        }
    } else {
        body.extend_from_slice(rest);
    }
    Ok((status, String::from_utf8(body)?))
}

/// An answer's text and end, whichever way it came.
fn answer(status: u16, body: &str, streamed: bool) -> anyhow::Result<(String, String)> {
    ensure!(status == 200, "status {status}: {body}");
    let part = |value: &Value| -> anyhow::Result<(String, Option<String>)> {
        ensure!(value.get("error").is_none(), "{value}");
        let choice = &value["choices"][0];
        let text = choice["text"].as_str().unwrap_or_default().to_string();
        Ok((text, choice["finish_reason"].as_str().map(str::to_string)))
    };
    if !streamed {
        let (text, reason) = part(&serde_json::from_str(body)?)?;
        return Ok((text, reason.context("no end")?));
    }
    ensure!(body.trim_end().ends_with("data: [DONE]"), "a stream was cut");
    let (mut text, mut reason) = (String::new(), None);
    for data in body.lines().filter_map(|line| line.strip_prefix("data: {")) {
        let (more, end) = part(&serde_json::from_str(&format!("{{{data}"))?)?;
        text += &more;
        reason = reason.or(end);
    }
    Ok((text, reason.context("no end")?))
}

/// The requests: prompts of 3 tokens to a third of the context, 1 to 48 tokens of output, greedy and
/// sampled, a few with a common beginning.
fn requests(vocab: usize, context: usize) -> Vec<Value> {
    let most = (context / 3).min(600);
    let ids = |seed: u64, n: usize| -> Vec<u32> {
        Noise::new(seed).shuffled(vocab.min(4000)).into_iter().cycle().take(n).collect()
    };
    let one = |i: u64| {
        let length = 3 + (i as usize * i as usize * 37) % (most - 3);
        let mut prompt = ids(i, length);
        if i.is_multiple_of(4) {
            prompt = [ids(1000, most / 2), ids(i, 5)].concat();
        }
        json!({
            "prompt": prompt,
            "max_tokens": 1 + (i * 11) % 48,
            "temperature": if i.is_multiple_of(2) { 0.0 } else { 0.9 },
            "seed": i,
            "ignore_eos": !i.is_multiple_of(3),
        })
    };
    (0..REQUESTS).map(one).collect()
}

/// What the clients counted.
#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    abandoned: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

fn client(
    server: &Server,
    number: u64,
    until: Instant,
    requests: &[Value],
    right: &[(String, String)],
    counts: &Counts,
) {
    let mut turn = 0;
    while Instant::now() < until {
        // Every client walks through all requests in an order of its own.
        let at = ((turn * 5 + number * 7) % REQUESTS) as usize;
        let streamed = (turn + number).is_multiple_of(2);
        let mut body = requests[at].clone();
        body["stream"] = streamed.into();
        turn += 1;
        let outcome = server.send("POST", "/v1/completions", &body.to_string()).and_then(|mut stream| {
            if turn % ABANDON == number % ABANDON {
                // A part of the headers, if it comes at all, and then nobody is there.
                let _ = stream.read(&mut [0; 16]);
                counts.abandoned.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            let (status, body) = reply(stream)?;
            let got = answer(status, &body, streamed)?;
            ensure!(got == right[at], "request {at}: got {got:?}, expected {:?}", right[at]);
            counts.answered.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        if let Err(error) = outcome {
            let mut wrong = counts.wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            wrong.push(format!("client {number}: {error:#}"));
        }
    }
}

/// The largest of a slice of samples.
fn largest(samples: &[f64]) -> f64 {
    samples.iter().copied().fold(0.0, f64::max)
}

fn run(model: &str, seconds: u64, flags: &[String]) -> anyhow::Result<()> {
    let hyper = ModelFile::open(std::path::Path::new(model))?.hyper()?;
    let requests = requests(hyper.vocab, hyper.context_length.min(2048));
    let server = Server::start(model, flags)?;
    let mut right = Vec::new();
    for request in &requests {
        let (status, body) = reply(server.send("POST", "/v1/completions", &request.to_string())?)?;
        right.push(answer(status, &body, false)?);
    }
    eprintln!("{REQUESTS} references are there; {CLIENTS} clients for {seconds} s");
    let counts = Counts::default();
    let tokens = server.metric("vllm:generation_tokens_total")?;
    let start = Instant::now();
    let until = start + Duration::from_secs(seconds);
    let mut memory = Vec::new();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (server, requests, right, counts) = (&server, &requests, &right, &counts);
            scope.spawn(move || client(server, number, until, requests, right, counts));
        }
        while Instant::now() < until {
            memory.extend(server.memory());
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    let took = start.elapsed().as_secs_f64();
    let tokens = server.metric("vllm:generation_tokens_total")? - tokens;
    let begun = Instant::now();
    while server.metric("vllm:kv_cache_usage_perc")? > 0.0
        || server.metric("vllm:num_requests_running")? + server.metric("vllm:num_requests_waiting")? > 0.0
    {
        ensure!(begun.elapsed() < Duration::from_secs(10), "blocks or requests are left when nobody asks");
        std::thread::sleep(Duration::from_millis(100));
    }
    let answered = counts.answered.into_inner();
    println!(
        "load: {answered} answers as their references, {} abandoned, {:.1} answers/s, {:.0} tokens/s, {} preemptions",
        counts.abandoned.into_inner(),
        answered as f64 / took,
        tokens / took,
        server.metric("vllm:num_preemptions_total")?
    );
    println!("load: no request and no block is left");
    let quarter = memory.len() / 4;
    if quarter > 0 {
        let (early, late) = (largest(&memory[quarter..2 * quarter]), largest(&memory[3 * quarter..]));
        println!(
            "load: memory {:.1} MiB in the second quarter, {:.1} MiB in the last: {:+.2} %",
            early / 1048576.0,
            late / 1048576.0,
            100.0 * (late / early - 1.0)
        );
        ensure!(late <= early * GROWTH, "memory grew by more than {:.0} %", 100.0 * (GROWTH - 1.0));
    }
    let wrong = counts.wrong.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    for line in wrong.iter().take(5) {
        println!("load: {line}");
    }
    ensure!(wrong.is_empty(), "{} answers failed or were not their references", wrong.len());
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let (mut seconds, mut model, mut flags) = (600, None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if let Some(text) = argument.strip_prefix("--seconds=") {
            seconds = text.parse().context("--seconds: expected a number")?;
        } else if argument == "--" {
            flags.extend(arguments.by_ref().filter(|flag| flag != "--bench"));
        } else if !argument.starts_with("--") {
            model = Some(argument);
        } else if argument != "--bench" {
            // Cargo adds that one.
            bail!("'{argument}': expected MODEL, --seconds=N, or -- and flags of serve");
        }
    }
    let Some(model) = model else {
        println!("load: give a model file: cargo bench --bench load -- MODEL.gguf [--seconds=600]");
        return Ok(());
    };
    run(&model, seconds, &flags)
}
