//! The description of the API, held against the API by checkers that are not ours.
//!
//! `openapi-spec-validator` says whether it is a description at all; `schemathesis` sends what it allows and what it
//! does not, and compares every answer with it. To try more by hand:
//!
//! ```sh
//! RUNNER_TOKEN=secret runner serve --max-count 1000
//! schemathesis run http://127.0.0.1:3030/openapi.json --checks all -H 'Authorization: Bearer secret'
//! ```

#[path = "support/http.rs"]
mod http;
#[path = "support/live.rs"]
mod live;
#[path = "support/program.rs"]
mod program;
#[path = "support/store_process.rs"]
mod store_process;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use http::Serve;
use live::LiveRun;
use store_process::{everything, finish};

const NEEDS: &str = "the packages python3 and python3-pip, and a way to their registry";

const TOKEN: &str = "open-sesame";

/// Short, and named as the example in the description, so that it is really run.
const SCENARIO: &str = "name: steady\nload: { stages: [ { hold: 20, duration: 500ms } ] }\n";

/// The folder with the checkers; another version of one makes another folder.
fn packages() -> PathBuf {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve_openapi/requirements.txt");
    let version = finish(Command::new("python3").arg("--version"), NEEDS);
    let mut hasher = DefaultHasher::new();
    (version.stdout, std::fs::read(&list).expect("a list of packages")).hash(&mut hasher);
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = home.join(format!("checkers-{:016x}", hasher.finish()));
    if !folder.is_dir() {
        // Made aside and moved when it is whole, so that half of one is never used.
        let aside = tempfile::tempdir_in(home).expect("a folder below target");
        let made = aside.path().join("packages");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
        let output = finish(pip.arg(&made).arg("--requirement").arg(&list), NEEDS);
        assert!(output.status.success(), "{NEEDS} are needed:\n{}", everything(&output));
        if let Err(error) = std::fs::rename(&made, &folder) {
            assert!(folder.is_dir(), "{}: {error}", folder.display());
        }
    }
    folder
}

fn python(folder: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new("python3");
    command.args(args).current_dir(folder).env("PYTHONPATH", packages());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("NO_COLOR", "1");
    let output = finish(&mut command, NEEDS);
    (output.status.success(), everything(&output))
}

#[test]
fn the_description_is_valid_and_the_api_does_what_it_says() {
    let args = ["--max-count", "2000", "--read-timeout", "2s"];
    let serve = Serve::with(&args, &[("RUNNER_TOKEN", TOKEN)], &[("steady-100tps.yaml", SCENARIO)]);
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let document = serve.ask("GET", "/openapi.json", &[&authorization], "");
    std::fs::write(serve.path().join("openapi.json"), &document.body).expect("a file");
    let (is_valid, said) = python(serve.path(), &["-m", "openapi_spec_validator", "openapi.json"]);
    assert!(is_valid, "{said}");

    let url = format!("http://{}", serve.addr());
    let (is_kept, said) = python(
        serve.path(),
        &[
            "-m",
            "schemathesis.cli",
            "run",
            "openapi.json",
            "--url",
            &url,
            "--checks",
            "all",
            // That a run is already going on, or that a template has an odd placeholder, no schema can say.
            "--exclude-checks",
            "positive_data_acceptance",
            "--header",
            &authorization,
            "--max-examples",
            "20",
            "--request-timeout",
            "20",
            "--seed",
            "1",
        ],
    );
    assert!(is_kept, "{said}");
    assert_eq!(serve.get("/ping").status, 200);
}

#[test]
fn the_description_of_a_run_is_valid_and_its_api_does_what_it_says() {
    let long = SCENARIO.replace("500ms", "3m");
    let run = LiveRun::start(&long, &[], &[("RUNNER_TOKEN", TOKEN)]);
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let document = run.ask("GET", "/openapi.json", &[&authorization], "");
    run.bench.file("openapi.json", &document.body);
    let (is_valid, said) = python(run.bench.path(), &["-m", "openapi_spec_validator", "openapi.json"]);
    assert!(is_valid, "{said}");
    let url = format!("http://{}", run.addr());
    let (is_kept, said) = python(
        run.bench.path(),
        &[
            "-m",
            "schemathesis.cli",
            "run",
            "openapi.json",
            "--url",
            &url,
            "--checks",
            "all",
            // That a run is not paused, no schema can say.
            "--exclude-checks",
            "positive_data_acceptance",
            // Events come as long as the run goes, and the control would end it.
            "--exclude-path",
            "/live/events",
            "--exclude-path",
            "/control",
            "--header",
            &authorization,
            "--max-examples",
            "10",
            "--request-timeout",
            "20",
            "--seed",
            "1",
        ],
    );
    assert!(is_kept, "{said}");
    assert_eq!(run.get("/ping").status, 200);
}
