//! The Python packages that people use, unmodified: `openai` and `anthropic`.
//!
//! They are installed into a virtual environment below `target/tmp`. Where that can't be, the test
//! says so and passes, but fails where `CI=true`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::Server;

/// The environment's Python, or why there is none.
fn python() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let run = |command: &mut Command| -> Result<(), String> {
        let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
    };
    let ready = |python: &Path| run(Command::new(python).args(["-c", "import openai, anthropic"]));
    if ready(&python).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(&python).args(["-m", "pip", "install", "-q", "openai", "anthropic"]))?;
        ready(&python)?;
    }
    Ok(python)
}

#[test]
fn python_clients_work_unmodified() {
    let python = match python() {
        Ok(python) => python,
        Err(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{why}"),
        Err(why) => return eprintln!("not run: {why}"),
    };
    let server = Server::start(&["--api-key", "secret"]);
    let output = Command::new(python)
        .arg("tests/server/clients.py")
        .arg(format!("http://{}", server.address))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all passed"), "{said}");
}
