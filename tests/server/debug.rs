//! The server's own roofline: `/debug/profile`, `/debug/roofline`, `/debug/steps`, `roofline --attach`.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use ridgepoint::profile::timer::Findings;
use ridgepoint::roofline::report::Report;
use serde_json::json;

use crate::harness::{Server, request};
use crate::kept::{keep, sound};

#[test]
fn without_ceilings_and_windows_it_says_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start_with(&[], &[("RIDGEPOINT_CACHE", cache.path())]);
    let refused = server.post("/debug/profile", &json!({}));
    assert_eq!(refused.status, 409);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "no_ceilings");
    assert!(error["message"].as_str().unwrap().contains("ridgepoint ceilings"), "{error}");
    for (asked, param) in [("stepz=3", "stepz"), ("steps=3&steps=4", "steps"), ("format=html", "format")] {
        let refused = server.post(&format!("/debug/profile?{asked}"), &json!({}));
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(param)));
    }
    for (asked, param) in
        [("page=3", "page"), ("format=json&format=html", "format"), ("format=xml", "format")]
    {
        let refused = server.get(&format!("/debug/roofline?{asked}"));
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(param)));
    }
    assert_eq!(server.get("/debug/steps?x=1").status, 400);
    let missing = server.get("/debug/roofline");
    assert_eq!((missing.status, missing.json()["error"]["code"].clone()), (404, json!("no_window")));
    assert_eq!(
        server.get("/debug/steps").json(),
        json!({"ceilings": {"read_cold": null, "fma_f32": null}, "steps": [], "no_spans": null})
    );
    assert_eq!(server.get("/debug/profile").status, 405);
}

#[test]
fn a_window_of_a_busy_server_becomes_a_report() {
    let cache = tempfile::tempdir().unwrap();
    keep(cache.path(), Some(&sound()));
    let server = Server::start_with(&[], &[("RIDGEPOINT_CACHE", cache.path())]);
    for (name, value, most) in
        [("steps", "0", 3000), ("steps", "99999", 3000), ("steps", "abc", 3000), ("steps", "-1", 3000)]
            .into_iter()
            .chain([("wait", "0", 600), ("wait", "x", 600)])
    {
        let refused = server.post(&format!("/debug/profile?{name}={value}"), &json!({}));
        let error = &refused.json()["error"];
        assert_eq!((refused.status, &error["param"]), (400, &json!(name)), "{error}");
        assert_eq!(error["message"], format!("{name}: found '{value}', expected 1 to {most}"));
    }
    let idle = server.post("/debug/profile?wait=1", &json!({}));
    assert_eq!((idle.status, idle.json()["error"]["code"].clone()), (409, json!("idle")));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let body = json!({"prompt": "abc", "max_tokens": 40, "ignore_eos": true, "temperature": 0});
            while !over.load(Ordering::Relaxed) {
                assert_eq!(server.post("/v1/completions", &body).status, 200);
            }
        });
        let profiled = server.post("/debug/profile?steps=24", &json!({}));
        let attached = Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
            .args(["roofline", "--attach", &format!("http://{}", server.address), "--steps", "18", "--json"])
            .env("RIDGEPOINT_CACHE", cache.path())
            .output()
            .unwrap();
        // Before anything is judged, or the other thread would never end.
        over.store(true, Ordering::Relaxed);
        assert_eq!(profiled.status, 200, "{}", profiled.body);
        assert_eq!(profiled.json()["steps"], 24);
        assert!(attached.status.success(), "{}", String::from_utf8_lossy(&attached.stderr));
        let report = Report::from_json(&String::from_utf8(attached.stdout).unwrap()).unwrap();
        let step = report.steps.iter().find(|s| s.name.starts_with("decode x1 up to")).expect("decodes");
        assert!(step.gpu_ns > Some(0.0) && step.profiling_tax.is_some(), "{step:?}");
        assert!(report.kernels.iter().filter(|r| r.step == step.name).count() >= 5, "{:?}", report.kernels);
        assert!(report.model.is_some_and(|m| m.weight_bytes > 0));
        assert_eq!(report.watched_steps, Some(18));
        assert!(report.summary.contains("Steps that were watched: 18."), "{}", report.summary);
        let note = String::from_utf8_lossy(&attached.stderr).into_owned();
        assert!(note.contains("these are 18 steps that were watched"), "{note}");
    });
    let page = server.get("/debug/roofline?format=html");
    assert!(page.status == 200 && page.head.contains("text/html") && page.body.contains("<svg"));
    assert_eq!(server.get("/debug/roofline?format=xml").status, 400);
    let latest = server.get("/debug/steps").json();
    assert_eq!(latest["ceilings"]["read_cold"], 10.0);
    let steps = latest["steps"].as_array().unwrap();
    assert!(!steps.is_empty() && steps.iter().all(|s| s["gops"].as_f64() > Some(0.0)), "{latest}");
    assert!(server.metric("ridgepoint:gpu_spans_total", "") > 0.0);
}

/// Whoever asked for a window and went away leaves nobody's steps slowed, and none is refused another.
#[test]
fn an_abandoned_window_ends() {
    let cache = tempfile::tempdir().unwrap();
    keep(cache.path(), Some(&sound()));
    let server = Server::start_with(&[], &[("RIDGEPOINT_CACHE", cache.path())]);
    let complete = || {
        let body = json!({"prompt": "abc", "max_tokens": 20, "ignore_eos": true, "temperature": 0});
        assert_eq!(server.post("/v1/completions", &body).status, 200);
    };
    let spans = || server.metric("ridgepoint:gpu_spans_total", "");
    let mut leaving = server.connect();
    let asked = request("/debug/profile?steps=3000&wait=600", &json!({}), "");
    leaving.write_all(asked.as_bytes()).unwrap();
    server.until("watched steps have spans of the server's own", |_| {
        let before = spans();
        complete();
        spans() == before
    });
    let before = spans();
    let second =
        |server: &Server| server.post("/debug/profile?wait=1", &json!({})).json()["error"]["code"].clone();
    assert_eq!(second(&server), "busy");
    drop(leaving);
    server.until("the window is still open", |server| second(server) == "idle");
    complete();
    assert!(spans() >= before + 10.0, "{} after {before}", spans());
}

/// The engine itself lets go of a window that nobody waits for, before its next step.
#[test]
fn an_abandoned_window_ends_under_load() {
    let cache = tempfile::tempdir().unwrap();
    keep(cache.path(), Some(&sound()));
    let server = Server::start_with(&[], &[("RIDGEPOINT_CACHE", cache.path())]);
    let over = AtomicBool::new(false);
    let spans = || server.metric("ridgepoint:gpu_spans_total", "");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let body = json!({"prompt": "abc", "max_tokens": 40, "ignore_eos": true, "temperature": 0});
            while !over.load(Ordering::Relaxed) {
                server.post("/v1/completions", &body);
            }
        });
        let mut leaving = server.connect();
        let asked = request("/debug/profile?steps=3000&wait=600", &json!({}), "");
        leaving.write_all(asked.as_bytes()).unwrap();
        let steps = || server.metric("ridgepoint:steps_total", "");
        let begun = steps();
        server.until("it does not step", |_| steps() >= begun + 100.0);
        let before = (steps(), spans());
        drop(leaving);
        server.until("it does not step", |_| steps() >= before.0 + 400.0);
        let after = spans();
        over.store(true, Ordering::Relaxed);
        assert!(after > before.1 + 100.0, "{after} after {before:?}");
    });
}

#[test]
fn a_window_of_a_server_that_loads_is_not_there_yet() {
    let cache = tempfile::tempdir().unwrap();
    keep(cache.path(), Some(&sound()));
    let unkept = [("RIDGEPOINT_CACHE", cache.path()), ("MESA_SHADER_CACHE_DISABLE", Path::new("true"))];
    let refused = Server::begin(&[], &unkept).post("/debug/profile?wait=1", &json!({}));
    assert_eq!(refused.status, 503, "{}", refused.body);
    let error = &refused.json()["error"];
    assert!(error["message"].as_str().unwrap().contains("the model is being loaded"), "{error}");
}

#[test]
fn a_timer_that_can_not_be_trusted_watches_no_steps_and_says_why() {
    let cache = tempfile::tempdir().unwrap();
    keep(cache.path(), Some(&Findings { agreement: Some(41.67), ..sound() }));
    let server = Server::start_with(&[], &[("RIDGEPOINT_CACHE", cache.path())]);
    let refused = server.post("/debug/profile", &json!({}));
    let error = &refused.json()["error"];
    assert_eq!((refused.status, error["code"].clone()), (409, json!("no_stamps")));
    let said =
        |text: &str| ["wall_only", "41.67", "ridgepoint roofline"].iter().all(|part| text.contains(part));
    assert!(said(error["message"].as_str().unwrap()), "{error}");
    let latest = server.get("/debug/steps").json();
    assert!(latest["no_spans"].as_str().is_some_and(|why| why.contains("wrong units")), "{latest}");
    let attached = Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
        .args(["roofline", "--attach", &format!("http://{}", server.address)])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&attached.stderr).into_owned();
    assert!(!attached.status.success() && said(&error), "{error}");
}

#[test]
fn an_address_that_is_none_is_refused() {
    for (url, expected) in
        [("ftp://x", "expected an address"), ("http://127.0.0.1:1", "asking http://127.0.0.1:1")]
    {
        let out = Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
            .args(["roofline", "--attach", url])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && error.contains(expected), "{url}: {error}");
    }
}
