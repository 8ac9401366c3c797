//! The committed report of a real model, drawn as page and picture: what `roofline --html --svg` writes of it.

use std::fs;
use std::path::Path;

use ridgepoint::roofline::html::html;
use ridgepoint::roofline::plot::roofline;
use ridgepoint::roofline::report::Report;

#[test]
fn the_committed_report_draws() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reports/smollm2-135m-q4_1-llvmpipe.json");
    let report = Report::from_json(&fs::read_to_string(path).unwrap()).unwrap();
    let (page, picture) = (html(&report), roofline(&report, None).file("roofline"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::write(folder.join("report.html"), &page).unwrap();
    fs::write(folder.join("report.svg"), &picture).unwrap();
    // A picture of its own says which colour is whose, also of dots too small for a label.
    for row in &report.kernels {
        let keyed = picture.contains(&format!(">{}</text>", row.kernel));
        let dotless = picture.contains(&format!("{} (", row.kernel));
        assert!(keyed || dotless, "{} is in no legend", row.kernel);
    }
    for text in [&page, &picture] {
        assert!(!text.contains("NaN") && !text.contains(">inf"));
    }
    // No time, rate or gain below nothing, but of a row that is over its roof; an interval may begin there.
    let cells = page.lines().filter(|line| !line.contains("over roof")).flat_map(|line| line.split("<td>"));
    let below: Vec<&str> = cells.filter(|cell| cell.starts_with('-') && !cell.contains(" to ")).collect();
    assert!(below.is_empty(), "{below:?}");
}

#[test]
fn two_pictures_of_one_file_are_refused_by_whatever_paths() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |page: &str, picture: &str| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_ridgepoint"))
            .current_dir(folder.path())
            .args(["roofline", "-m", "no-such-model.gguf", "--html", page, "--svg", picture])
            .output()
            .unwrap();
        assert!(!out.status.success());
        String::from_utf8_lossy(&out.stderr).contains("expected another file for each")
    };
    assert!(refused("x.html", "x.html") && refused("x.html", "./x.html"));
    assert!(!refused("x.html", "x.svg"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("x.html", folder.path().join("link.svg")).unwrap();
        assert!(refused("x.html", "link.svg"));
    }
}
