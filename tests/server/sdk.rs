//! What people use, unmodified: the Python packages `openai` and `anthropic`, and a browser.
//!
//! The packages are installed into a virtual environment below `target/tmp`. Where that can't be, or
//! there is no browser, the test says so and passes, but fails where `CI=true`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::harness::Server;

/// Both tests use one environment: the first makes it.
static MAKING: Mutex<()> = Mutex::new(());

/// The environment's Python, or why there is none.
fn python() -> Result<PathBuf, String> {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let run = |command: &mut Command| -> Result<(), String> {
        let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
    };
    let ready = |python: &Path| {
        run(Command::new(python).args(["-c", "import openai, anthropic, websocket, jsonschema"]))
    };
    if ready(&python).is_err() {
        let packages = ["openai", "anthropic", "websocket-client", "jsonschema"];
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(&python).args(["-m", "pip", "install", "-q"]).args(packages))?;
        ready(&python)?;
    }
    Ok(python)
}

/// A browser's name.
fn browser() -> Result<&'static str, String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let answers =
        |name: &&&str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    names.iter().find(answers).copied().ok_or_else(|| format!("none of {names:?} is installed"))
}

/// Takes what is needed, or passes with a note where tests may be left out.
fn needed<T>(found: Result<T, String>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{why}"),
        Err(why) => {
            eprintln!("not run: {why}");
            None
        }
    }
}

fn passes(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all passed"), "{said}");
}

#[test]
fn python_clients_work_unmodified() {
    let Some(python) = needed(python()) else { return };
    let server = Server::start(&["--api-key", "secret"]);
    passes(Command::new(python).arg("tests/server/clients.py").arg(format!("http://{}", server.address)));
}

#[test]
fn what_comes_back_is_as_the_document_says() {
    let Some(python) = needed(python()) else { return };
    let server = Server::start(&["--api-key", "secret", "--strict"]);
    passes(Command::new(python).arg("tests/server/document.py").arg(format!("http://{}", server.address)));
}

/// The page in a browser, with further arguments.
fn browse(server: &Server, screenshot: &str, more: &[&str]) {
    let Some(browser) = needed(browser()) else { return };
    let Some(python) = needed(python()) else { return };
    let screenshot = Path::new(env!("CARGO_TARGET_TMPDIR")).join(screenshot);
    passes(
        Command::new(python)
            .args(["tests/server/page.py", browser])
            .arg(format!("http://{}/", server.address))
            .arg(screenshot)
            .args(more),
    );
}

#[test]
fn the_page_chats_in_a_browser() {
    browse(&Server::start(&[]), "page.png", &[]);
}

#[test]
fn the_page_asks_for_the_key_when_something_is_sent() {
    browse(&Server::start(&["--api-key", "secret"]), "key.png", &["secret"]);
}
