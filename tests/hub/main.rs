//! Models by `USER/REPO[:QUANT]`, as a person meets them: the binary against a small local hub.

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use server::{COMMIT, Server};
use tempfile::TempDir;

const GGUF: &[u8] = b"GGUF and then some bytes that stand for weights";

/// A folder of one user, with an empty cache.
struct User {
    home: TempDir,
    endpoint: String,
}

impl User {
    fn of(server: &Server) -> Self {
        Self { home: TempDir::new().unwrap(), endpoint: server.hub.clone() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.prepare(Command::new(env!("CARGO_BIN_EXE_ridgepoint")), arguments)
    }

    fn prepare(&self, mut command: Command, arguments: &[&str]) -> Command {
        for name in ["HF_TOKEN", "HF_HUB_OFFLINE", "RIDGEPOINT_MODEL", "RIDGEPOINT_LOG", "LLAMA_CACHE"] {
            command.env_remove(name);
        }
        for name in
            ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "http_proxy", "HTTP_PROXY"]
        {
            command.env_remove(name);
        }
        command.env("HOME", self.home.path()).env("RIDGEPOINT_CACHE", self.home.path().join("own"));
        command.env("HF_ENDPOINT", &self.endpoint).args(arguments);
        command
    }

    /// Stdout's path of a `models pull` that must succeed.
    fn pull(&self, model: &str) -> PathBuf {
        let output = self.command(&["models", "pull", model]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        PathBuf::from(text(&output.stdout).trim())
    }

    /// Stderr of a `models pull` that must fail with one clear error.
    fn refused(&self, model: &str) -> String {
        error(&self.command(&["--quiet", "models", "pull", model]).output().unwrap())
    }

    /// Names of all files of Ridgepoint's own cache but locks.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest = vec![self.home.path().join("own")];
        while let Some(folder) = rest.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path().is_dir() {
                    true => rest.push(entry.path()),
                    false => found.push(entry.file_name().to_string_lossy().into_owned()),
                }
            }
        }
        found.retain(|name| !name.ends_with(".lock"));
        found.sort();
        found
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn error(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{:?} {stderr}", output.status);
    assert!(stderr.starts_with("error: ") && output.stdout.is_empty(), "{stderr}");
    stderr
}

fn snapshot(root: &Path) -> PathBuf {
    root.join("models--user--repo/snapshots").join(COMMIT)
}

#[test]
fn a_repository_is_fetched_once_and_then_found() {
    let server = Server::start(&[("README.md", b"#"), ("m-Q4_K_M.gguf", GGUF), ("m-Q8_0.gguf", b"GGUF8")]);
    let user = User::of(&server);
    let path = user.pull("user/repo");
    assert_eq!(path, snapshot(&user.home.path().join("own/hub")).join("m-Q4_K_M.gguf"));
    assert_eq!(fs::read(&path).unwrap(), GGUF);
    assert_eq!(server.requests().len(), 3, "the list, the redirect, the file");
    assert_eq!(user.pull("user/repo:q4_k_m"), path);
    let offline = user.command(&["--offline", "models", "pull", "user/repo"]).output().unwrap();
    assert_eq!(Path::new(text(&offline.stdout).trim()), path);
    assert!(server.requests().is_empty());
    assert_eq!(fs::read(user.pull("user/repo:Q8_0")).unwrap(), b"GGUF8");
    assert_eq!(user.files(), ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "main"]);
}

#[test]
fn commands_take_repositories_and_llama_cpps_flag() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny/llama");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let files = ["config.json", "tokenizer.json", "model.safetensors"].map(|name| (name, read(name)));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let server = Server::start(&files);
    let user = User::of(&server);
    let expected = user.command(&["tokenize", "-m", folder.to_str().unwrap(), "abc"]).output().unwrap();
    assert!(expected.status.success() && !expected.stdout.is_empty(), "{expected:?}");
    for flag in ["-hf", "-hfr", "--hf-repo", "-m", "--model"] {
        let output = user.command(&["tokenize", flag, "user/repo", "abc"]).output().unwrap();
        assert_eq!(text(&output.stdout), text(&expected.stdout), "{}", text(&output.stderr));
    }
    assert_eq!(user.files(), ["config.json", "main", "model.safetensors", "tokenizer.json"]);
    let inspect = user.command(&["models", "inspect", "user/repo", "--json"]).output().unwrap();
    assert!(inspect.status.success(), "{inspect:?}");
}

#[test]
fn parts_and_shards_are_fetched_together() {
    let server = Server::start(&[
        ("q/m-Q8_0-00001-of-00002.gguf", b"GGUF1"),
        ("q/m-Q8_0-00002-of-00002.gguf", b"GGUF2"),
    ]);
    let user = User::of(&server);
    let first = user.pull("user/repo:Q8_0");
    assert_eq!(fs::read(first.with_file_name("m-Q8_0-00002-of-00002.gguf")).unwrap(), b"GGUF2");
    let index = br#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#;
    let files: [(&str, &[u8]); 5] = [
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("model.safetensors.index.json", index),
        ("m-1.safetensors", b"1"),
        ("m-2.safetensors", b"2"),
    ];
    let server = Server::start(&files);
    let user = User::of(&server);
    let folder = user.pull("user/repo");
    assert_eq!(fs::read(folder.join("m-2.safetensors")).unwrap(), b"2");
    server.change(|state| drop(state.files.remove("m-2.safetensors")));
    let refused = User::of(&server).refused("user/repo");
    assert!(refused.contains("there is no m-2.safetensors"), "{refused}");
}

#[test]
fn the_token_goes_to_the_endpoint_alone() {
    let server = Server::start(&[("m.gguf", GGUF)]);
    let user = User::of(&server);
    let output =
        user.command(&["models", "pull", "user/repo"]).env("HF_TOKEN", "hf_secret").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        // The store is another port of the same machine: another host to whoever holds a token.
        assert_eq!(request.contains("hf_secret"), request.starts_with("hub "), "{request}");
    }
}

#[test]
fn the_users_own_cache_is_read_first() {
    let server = Server::start(&[("m.gguf", GGUF)]);
    let user = User::of(&server);
    let variables = [
        ("LLAMA_CACHE", "a", "a"),
        ("HF_HUB_CACHE", "b", "b"),
        ("HUGGINGFACE_HUB_CACHE", "c", "c"),
        ("HF_HOME", "d", "d/hub"),
        ("XDG_CACHE_HOME", "e", "e/huggingface/hub"),
        ("", "", ".cache/huggingface/hub"),
    ];
    for (_, _, folder) in variables {
        let snapshot = snapshot(&user.home.path().join(folder));
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(snapshot.join("m.gguf"), format!("GGUF {folder}")).unwrap();
    }
    for first in 0..variables.len() {
        let mut command = user.command(&["models", "pull", "user/repo"]);
        for (name, value, _) in variables[first..].iter().filter(|(name, ..)| !name.is_empty()) {
            command.env(name, user.home.path().join(value));
        }
        let output = command.output().unwrap();
        let path = snapshot(&user.home.path().join(variables[first].2)).join("m.gguf");
        assert_eq!(Path::new(text(&output.stdout).trim()), path);
    }
    assert!(server.requests().is_empty() && user.files().is_empty());
}

#[test]
fn an_interrupted_fetch_goes_on_where_it_stopped() {
    let body: Vec<u8> =
        b"GGUF".iter().copied().chain((0..200_000u32).map(|i| ((i * 31) >> 3) as u8)).collect();
    let server = Server::start(&[("m.gguf", &body)]);
    let user = User::of(&server);
    // Cut twice, and taken up again by the same command.
    server.change(|state| state.cuts = vec![50_000, 70_000]);
    let path = user.pull("user/repo");
    assert_eq!(fs::read(&path).unwrap(), body);
    let store: Vec<String> = server.requests().into_iter().filter(|r| r.starts_with("store")).collect();
    assert_eq!(store.len(), 3);
    assert!(
        store[1].contains("range: bytes=50000-") && store[1].contains("if-range: \"v1\""),
        "{}",
        store[1]
    );
    assert!(store[2].contains("range: bytes=120000-"), "{}", store[2]);
    assert_eq!(user.files(), ["m.gguf", "main"]);

    // Cut, then cut before anything comes: given up, and taken up by the next command.
    let user = User::of(&server);
    server.change(|state| state.cuts = vec![60_000, 0]);
    let refused = user.refused("user/repo");
    assert!(refused.contains("after 60000 bytes") && refused.contains("try again to go on"), "{refused}");
    assert_eq!(user.files(), [".m.gguf.etag", ".m.gguf.part"]);
    server.requests();
    assert_eq!(fs::read(user.pull("user/repo")).unwrap(), body);
    assert!(server.requests().iter().any(|request| request.contains("range: bytes=60000-")));
    assert_eq!(user.files(), ["m.gguf", "main"]);
}

#[test]
fn what_cannot_be_resumed_begins_anew() {
    let body = [GGUF, &[7; 9000]].concat();
    type Change = fn(&mut server::State);
    let cases: [(&str, Change); 5] = [
        ("another version", |state| state.etag = "\"v2\"".to_owned()),
        ("a server without ranges", |state| state.whole_only = true),
        ("a weak version", |state| state.etag = "W/\"v1\"".to_owned()),
        ("no version, but a checksum", |state| state.etag = String::new()),
        ("no version, no checksum", |state| (state.etag, state.bare_list) = (String::new(), true)),
    ];
    for (what, change) in cases {
        let server = Server::start(&[("m.gguf", &body)]);
        let user = User::of(&server);
        server.change(|state| state.cuts = vec![5000, 0]);
        user.refused("user/repo");
        server.change(change);
        assert_eq!(fs::read(user.pull("user/repo")).unwrap(), body, "{what}");
        assert_eq!(user.files(), ["m.gguf", "main"], "{what}");
    }
    // A part that is longer than the file that is there now.
    let server = Server::start(&[("m.gguf", &body)]);
    let user = User::of(&server);
    server.change(|state| (state.cuts, state.bare_list) = (vec![5000, 0], true));
    user.refused("user/repo");
    server.change(|state| drop(state.files.insert("m.gguf".to_owned(), GGUF.to_vec())));
    assert_eq!(fs::read(user.pull("user/repo")).unwrap(), GGUF);
}

#[test]
fn bad_answers_are_one_clear_error_each() {
    let list = "/api/models/user/repo/revision/main";
    let sibling = |name: &str| format!(r#"{{"sha": "{COMMIT}", "siblings": [{{"rfilename": "{name}"}}]}}"#);
    let file = format!("/user/repo/resolve/{COMMIT}/m.gguf");
    let cases: Vec<(&str, &str, &str, Vec<u8>, &str)> = vec![
        (list, "404 Not Found", "", vec![], "HTTP status 404"),
        (list, "401 Unauthorized", "", vec![], "HF_TOKEN may be missing"),
        (list, "200 OK", "", b"<html>".to_vec(), "expected a list of files"),
        (list, "200 OK", "", br#"{"sha": "../../x", "siblings": []}"#.to_vec(), "the commit \"../../x\""),
        (list, "200 OK", "", sibling("../m.gguf").into(), "no path inside a folder"),
        (list, "200 OK", "", sibling("a/../../m.gguf").into(), "no path inside a folder"),
        (list, "200 OK", "", sibling("/etc/m.gguf").into(), "no path inside a folder"),
        (list, "200 OK", "", sibling("a\\\\m.gguf").into(), "no path inside a folder"),
        (list, "200 OK", "", sibling("README.md").into(), "expected a .gguf file"),
        (list, "302 Found", "Location: /api/models/user/repo/revision/main\r\n", vec![], "more than 8 times"),
        (list, "302 Found", "Location: ftp://x\r\n", vec![], "redirects to 'ftp://x'"),
        (&file, "403 Forbidden", "", vec![], "HTTP status 403"),
        (&file, "200 OK", "", GGUF[1..].to_vec(), "expected 47 bytes, found 46"),
        (&file, "200 OK", "", vec![7; GGUF.len()], "expected sha256"),
        (&file, "206 Partial Content", "", GGUF.to_vec(), "HTTP status 206"),
    ];
    for (path, status, headers, body, why) in cases {
        let server = Server::start(&[("m.gguf", GGUF)]);
        let user = User::of(&server);
        server.change(|state| {
            state.instead.insert(path.to_owned(), (status.to_owned(), headers.to_owned(), body));
        });
        let refused = user.refused("user/repo");
        assert!(refused.contains(why), "{refused} lacks '{why}'");
        assert_eq!(refused.trim_end().lines().count(), 1, "{refused}");
        assert!(user.files().is_empty(), "{why}: {:?}", user.files());
    }
    let server = Server::start(&[("m-Q8_0.gguf", GGUF)]);
    let refused = User::of(&server).refused("user/repo:Q9");
    assert!(refused.contains("'Q9'; there are m-Q8_0.gguf"), "{refused}");
}

#[test]
fn names_that_climb_and_offline_users_ask_nobody() {
    let server = Server::start(&[("m.gguf", GGUF)]);
    let user = User::of(&server);
    for name in
        ["../repo", "user/..", "user/repo:../x", "user/repo:", "user/-x", "a/b/c", "user/re po", "/user/repo"]
    {
        let refused = user.refused(name);
        assert!(refused.contains("no model is called"), "{refused}");
        let run = user.command(&["tokenize", "-m", name, "x"]).output().unwrap();
        assert!(error(&run).contains(name), "{run:?}");
    }
    let output = user.command(&["--offline", "models", "pull", "user/repo:Q8_0"]).output().unwrap();
    let offline = error(&output);
    for part in ["'user/repo:Q8_0' is not in", ".cache/huggingface/hub", "own/hub", "--offline"] {
        assert!(offline.contains(part), "{offline}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn the_flag_of_llama_cpps_users_works_for_pull_and_inspect() {
    let server = Server::start(&[("m.gguf", GGUF)]);
    let user = User::of(&server);
    let output = user.command(&["--quiet", "models", "pull", "-hf", "user/repo"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let path = String::from_utf8(output.stdout).unwrap();
    assert_eq!(fs::read(path.trim()).unwrap(), GGUF);
    // It is found, and it is no model.
    let refused =
        error(&user.command(&["--quiet", "models", "inspect", "-hf", "user/repo"]).output().unwrap());
    assert!(refused.contains(path.trim()), "{refused}");
}

#[test]
fn settings_of_the_endpoint_are_looked_at_when_it_is_asked() {
    let server = Server::start(&[("m.gguf", GGUF)]);
    let user = User::of(&server);
    let with = |name: &str, value: &str, arguments: &[&str]| {
        user.command(arguments).env(name, value).output().unwrap()
    };
    for (name, value) in [("HF_ENDPOINT", "huggingface.co"), ("HF_TOKEN", "a\nb")] {
        let local = with(name, value, &["tokenize", "-m", "tests/data/tiny/llama", "a"]);
        assert!(local.status.success(), "{local:?}");
        let refused = error(&with(name, value, &["--quiet", "models", "pull", "user/repo"]));
        assert!(refused.contains(name), "{refused}");
    }
    assert!(server.requests().is_empty());
    // What a file's end leaves behind a token is no part of it.
    let output = with("HF_TOKEN", "token\n", &["--quiet", "models", "pull", "user/repo"]);
    assert!(output.status.success(), "{output:?}");
}

/// A limit on files' sizes stands for a full disk: the write fails, and the system sends a signal that
/// must not end the program.
#[cfg(unix)]
#[test]
fn a_full_disk_is_one_clear_error_and_the_fetch_goes_on_later() {
    let body = [GGUF, &[7; 400_000]].concat();
    let server = Server::start(&[("m.gguf", &body)]);
    let user = User::of(&server);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 128; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ridgepoint")]);
    let output = user.prepare(shell, &["--quiet", "models", "pull", "user/repo"]).output().unwrap();
    let refused = error(&output);
    for part in ["can't write", ".m.gguf.part", "make room for", "RIDGEPOINT_CACHE"] {
        assert!(refused.contains(part), "{refused}");
    }
    server.requests();
    assert_eq!(fs::read(user.pull("user/repo")).unwrap(), body);
    assert!(server.requests().iter().any(|request| request.contains("range: bytes=")));
}
