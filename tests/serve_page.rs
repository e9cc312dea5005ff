//! The page of `runner serve` in a real browser.

#[path = "support/http.rs"]
mod http;
#[path = "support/store_process.rs"]
mod store_process;

use std::process::Command;

use http::Serve;
use store_process::finish;

const SCENARIO: &str =
    "name: steady\ndescription: fifty a second\nload: { stages: [ { hold: 50, duration: 2s } ] }\n";

/// The page as it stands after its script has run, and what the browser has said of it.
fn open(serve: &Serve, path: &str) -> (String, String) {
    let profile = serve.path().join("profile");
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display())).arg("--virtual-time-budget=5000");
    command.args(["--dump-dom", &format!("http://{}{path}", serve.addr())]);
    let output = finish(&mut command, "the package chromium");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let console =
        text(&output.stderr).lines().filter(|line| line.contains("CONSOLE")).collect::<Vec<_>>().join("\n");
    (text(&output.stdout), console)
}

#[test]
fn a_browser_shows_every_operation_the_store_and_the_scenarios() {
    let serve = Serve::with(&[], &[], &[("steady.yaml", SCENARIO)]);
    let document = serve.get("/openapi.json").json();
    let (page, console) = open(&serve, "/#generate");
    assert_eq!(console, "", "{page}");
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.values().flat_map(|item| item.as_object().expect("operations").values());
    let ids: Vec<_> =
        operations.map(|operation| operation["operationId"].as_str().expect("a name")).collect();
    assert!(ids.len() >= 16, "{ids:?}");
    for id in ids {
        assert!(page.contains(&format!("<details id=\"{id}\"")), "{id}: {page}");
    }
    for text in [
        serve.redis.as_str(),
        "steady.yaml",
        "fifty a second: 100 requests, 2.00 s",
        "Write records and wait",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(page.contains(&format!("http://{}/generate", serve.addr())), "a curl command: {page}");
}

#[test]
fn a_browser_shows_of_a_scenario_what_is_known_of_it() {
    let closed = |load: &str| format!("name: closed\nload: {{ users: 4, {load} }}\n");
    for (scenario, shown) in [
        (closed("requests: 300"), "closed: 300 requests<"),
        (closed("duration: 3s"), "closed: 3.00 s<"),
        (format!("{SCENARIO}matrix: {{ connections.count: [1, 2] }}\n"), "200 requests, 4.00 s, 2 runs<"),
    ] {
        let serve = Serve::with(&[], &[], &[("one.yaml", &scenario)]);
        let (page, console) = open(&serve, "/");
        assert_eq!(console, "", "{page}");
        assert!(page.contains(shown), "{shown}: {page}");
    }
}

#[test]
fn a_browser_is_asked_for_the_token() {
    let serve = Serve::with(&[], &[("RUNNER_TOKEN", "open-sesame")], &[]);
    let (page, _) = open(&serve, "/");
    assert!(page.contains("a token is needed"), "{page}");
    assert!(!page.contains("id=\"token\" hidden") && !page.contains("<details"), "{page}");
}
