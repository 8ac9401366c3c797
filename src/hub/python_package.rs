//! A file inside a Python package: pip downloads the wheel from the index that the user has set it
//! up for, and the one named member is taken out. Nothing of the package is installed or run
//! (`--only-binary` keeps pip from building a source package).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use zip::ZipArchive;

use super::cache::{FetchError, Lock};
use super::{Entry, Progress, SourceError};
use crate::units::Bytes;

/// Between two looks at the growing download.
const LOOK: Duration = Duration::from_millis(100);
/// pip tries an index that does not answer several times over, whatever `--retries` says; without a
/// byte for so long it is stopped.
const STALL: Duration = Duration::from_secs(20);

/// Downloads `package` with the first of the `pip` commands that is there, and puts `member` of its
/// wheel into the cache.
pub(super) fn fetch(
    pip: &[Vec<OsString>],
    package: &str,
    member: &str,
    entry: &Entry,
    lock: &Lock,
    progress: &dyn Progress,
) -> Result<(), FetchError> {
    let scratch = lock.scratch_folder()?;
    progress.begin(&format!("fetching the Python package {package}"), None);
    let downloaded = download(pip, package, &scratch.0, progress);
    progress.end();
    let wheel = downloaded?;
    let name = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let damaged = |what: String| SourceError::Wheel { wheel: name.clone(), what };
    let file = File::open(&wheel).map_err(|error| damaged(error.to_string()))?;
    let mut archive = ZipArchive::new(file).map_err(|error| damaged(error.to_string()))?;
    let mut member = archive.by_name(member).map_err(|error| damaged(format!("{member}: {error}")))?;
    progress.begin(&format!("unpacking {}", entry.file), Some(Bytes(entry.size)));
    let received = lock.receive(entry, &mut member, progress);
    progress.end();
    received
}

/// Runs pip and returns the wheel's path.
fn download(
    pip: &[Vec<OsString>],
    package: &str,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, SourceError> {
    let mut tried = Vec::new();
    for words in pip {
        let Some((program, arguments)) = words.split_first() else {
            continue;
        };
        let shown = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut command = Command::new(program);
        command.args(arguments);
        command.args(["download", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--no-input"]);
        command.args(["--disable-pip-version-check", "--retries=0", "--timeout=3"]);
        command.args(["--progress-bar=off", "-d"]);
        command.arg(folder).arg(package);
        // pip writes to its temporary folder first: here the download is seen growing, and goes
        // away with the scratch folder if pip is killed.
        command.env("TMPDIR", folder);
        match run(command, folder, progress) {
            Ok(()) => return find_wheel(folder),
            Err(Failed::NotThere) => tried.push(shown),
            Err(Failed::Said(stderr)) => {
                return Err(SourceError::Pip { command: format!("{shown} download {package}"), stderr });
            }
        }
    }
    Err(SourceError::NoPip(tried.join(", ")))
}

enum Failed {
    /// There is no such program, or it is a Python without pip.
    NotThere,
    /// It ran, failed, and said so.
    Said(String),
}

fn run(mut command: Command, folder: &Path, progress: &dyn Progress) -> Result<(), Failed> {
    let said = |error: io::Error| Failed::Said(error.to_string());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Failed::NotThere,
        _ => said(error),
    })?;
    let stderr = child.stderr.take();
    let (status, stderr) = thread::scope(|scope| {
        let reader = scope.spawn(move || stderr.map(read_end).unwrap_or_default());
        let (mut size, mut grown) = (0, Instant::now());
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) => {
                    let now = size_of_folder(folder);
                    if now != size {
                        (size, grown) = (now, Instant::now());
                    }
                    if grown.elapsed() > STALL {
                        let _ = child.kill();
                        let _ = child.wait();
                        break Err(io::Error::other(format!(
                            "the package index sent nothing for {} s; is it reachable (pip config list)?",
                            STALL.as_secs()
                        )));
                    }
                    progress.at(Bytes(now));
                    thread::sleep(LOOK);
                }
                Err(error) => break Err(error),
            }
        };
        (status, reader.join().unwrap_or_default())
    });
    let status = status.map_err(said)?;
    if status.success() {
        return Ok(());
    }
    if stderr.contains("No module named pip") {
        return Err(Failed::NotThere);
    }
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    Err(Failed::Said(if last.is_empty() { status.to_string() } else { last }))
}

/// The last 4 KiB of a stream, read to its end so that the writer never blocks.
fn read_end(mut stream: impl Read) -> String {
    const KEPT: usize = 4096;
    let mut end = Vec::new();
    let mut chunk = [0; KEPT];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        end.extend_from_slice(&chunk[..count]);
        end.drain(..end.len().saturating_sub(KEPT));
    }
    String::from_utf8_lossy(&end).into_owned()
}

/// Bytes of the files in a folder and in the folders directly in it. Files come and go meanwhile.
fn size_of_folder(folder: &Path) -> u64 {
    let files = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let size =
        |file: &fs::DirEntry| file.metadata().map_or(0, |data| if data.is_file() { data.len() } else { 0 });
    files(folder).map(|item| size(&item) + files(&item.path()).map(|inner| size(&inner)).sum::<u64>()).sum()
}

fn find_wheel(folder: &Path) -> Result<PathBuf, SourceError> {
    let missing = |what: String| SourceError::Wheel { wheel: "wheel".to_owned(), what };
    let files = fs::read_dir(folder).map_err(|error| missing(error.to_string()))?;
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|end| end == "whl");
    let found = files.flatten().map(|file| file.path()).find(is_wheel);
    found.ok_or_else(|| missing("pip succeeded and left none".to_owned()))
}
