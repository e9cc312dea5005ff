//! The live page in a real browser.

#[path = "support/browser.rs"]
mod browser;
#[path = "support/http.rs"]
mod http;
#[path = "support/live.rs"]
mod live;
#[path = "support/program.rs"]
mod program;

use browser::Browser;
use http::Serve;
use live::LiveRun;
use serde_json::json;

const SCENARIO: &str = "name: shop\nrecords: { range: 1..1000 }\nload:\n  stages:\n\
                        \x20   - { name: warm, hold: 100, duration: 1s, warmup: true }\n\
                        \x20   - { name: all, hold: 200, duration: 1m }\n\
                        thresholds: [ 'response_time p(99) < 1m', 'lost count == 0' ]\n";

const STATE: &str = "document.querySelector('#state').textContent";

fn state_is(word: &str) -> String {
    format!("{STATE} === {}", json!(word))
}

/// Whether the second line of a chart goes through at least two places.
fn is_drawn(chart: &str) -> String {
    format!("/M.*[LH]/.test(document.querySelector('#{chart} > svg .line.l1')?.getAttribute('d'))")
}

/// Writes into the field of the rate and sends it.
fn set_rate(browser: &mut Browser, text: &str) {
    // In one go: the field follows the run when the next event comes.
    let set = format!(
        "document.querySelector('#rate').value = {}; document.querySelector('#set').click()",
        json!(text)
    );
    browser.value(&set);
}

#[test]
fn a_browser_shows_a_run_stops_it_and_keeps_what_it_showed() {
    let run = LiveRun::start(SCENARIO, &[], &[]);
    let mut browser = Browser::open(&format!("http://{}/", run.addr()));
    browser.until(&state_is("RUNNING"));
    browser.until("view.points.length >= 3");
    assert_eq!(browser.value("document.querySelector('h1').textContent"), "shop");
    let text = browser.value("document.body.innerText");
    let text = text.as_str().expect("text");
    for part in ["PLANNED 200", "RESPONSE_TIME P(99) < 1M", "HOLDS", "KNOWN AT THE END", "ALL"] {
        assert!(text.to_uppercase().contains(part), "{part}: {text}");
    }
    for chart in ["rates", "response_time", "service_time", "lag", "histogram", "spectrum", "open"] {
        browser.until(&is_drawn(chart));
    }
    // A text that would do harm in a page that took it for more than text.
    let harm = "(() => { const bad = '<img src=x onerror=alert(1)>'; take({ ...view, from: view.points.length, points: [], \
                facts: { ...view.facts, scenario: bad, run_id: bad, folder: bad, stages: [{ ...view.facts.stages[0], name: bad }] }, \
                thresholds: [{ check: bad, terms: bad, state: 'broken', found: bad }], changes: [{ action: bad, at_s: 1, rate: null }], \
                end: { passed: false, outcome: bad, exit_code: 1, reason: bad, warnings: [bad] } }); \
                return [document.querySelectorAll('img').length, document.querySelector('h1').textContent]; })()";
    assert_eq!(browser.value(harm), json!([0, "<img src=x onerror=alert(1)>"]));
    browser.until("view.facts.scenario === 'shop'");
    // The legend switches a line, the table has the numbers, the crosshair goes with the keys.
    let drawn = "document.querySelectorAll('#rates path.line:not(.axis)').length";
    let before = browser.value(drawn).as_u64();
    browser.press("#rates .legend button");
    assert_eq!(browser.value(drawn).as_u64().map(|lines| lines + 1), before);
    browser.value("document.querySelector('#rates details').open = true");
    browser.until("document.querySelector('#rates tbody td')?.textContent === '0'");
    let key = "document.querySelector('#rates > svg').dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft' }))";
    browser.value(key);
    browser.until("/second .*sent /.test(document.querySelector('#rates output').textContent)");

    // The buttons change it, and say from when on.
    browser.press("#pause");
    browser.until(&state_is("PAUSED"));
    browser.until("/pause: from [0-9.]+ s on/.test(document.querySelector('#said').textContent)");
    // However long it lasts, it goes no further.
    let at = "document.querySelector('#plan rect.done').getAttribute('width')";
    browser.until("view.now.elapsed_s > view.changes[0].at_s + 1");
    let paused_at = browser.value(at);
    browser.until("view.now.elapsed_s > view.changes[0].at_s + 2");
    assert_eq!(browser.value(at), paused_at);
    browser.press("#resume");
    browser.until(&state_is("RUNNING"));
    set_rate(&mut browser, "120");
    browser.until("view.changes.length === 3 && view.now.rate_planned === 120");
    browser.until("document.querySelector('#rates .marks')?.textContent === 'pause'");
    for wrong in ["many", "1,5", "1,00,000"] {
        set_rate(&mut browser, wrong);
        browser.until("/must be a number/.test(document.querySelector('#said').textContent)");
        browser.value("say('')");
    }
    let numbers = "['1,000', '1,234,567.5', '0.5', '.5', '1 000', '12'].map(number)";
    assert_eq!(browser.value(numbers), json!([1000, 1234567.5, 0.5, 0.5, 1000, 12]));
    assert_eq!(browser.value("perSecond('sent')({ sent: 6, seconds: 3 })"), 2);

    browser.press("#stop");
    browser.until("view.end !== null && view.over");
    let ended = run.wait();
    browser.until(&format!("{STATE} === 'FAILED' || {STATE} === 'PASSED'"));
    // The server is gone, the page is not.
    let sent = ended.summary(&["sent"])[0];
    assert_eq!(browser.value("view.now.sent"), sent);
    assert_eq!(browser.value("view.points.reduce((sum, point) => sum + point.sent, 0)"), sent);
    let ending = browser.value("document.querySelector('#ending').textContent");
    assert!(ending.as_str().is_some_and(|text| text.contains("report.html")), "{ending}");
    assert_eq!(browser.value("document.querySelector('#stop').disabled"), true);
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

/// Whether the page is seen, as a tab behind another is not.
fn set_hidden(browser: &mut Browser, hidden: bool) {
    let set = format!(
        "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}); \
         document.dispatchEvent(new Event('visibilitychange'))"
    );
    browser.value(&set);
}

/// What stands in the chart of rates, in the row of its table and beside it.
const DRAWN: &str = "document.querySelector('#rates').outerHTML + document.querySelector('#tiles').innerHTML";
/// Whether everything that is known is in the table.
const IS_WHOLE: &str = "document.querySelectorAll('#rates tbody tr').length === view.points.length";

#[test]
fn a_page_that_nobody_sees_is_not_drawn_and_catches_up_when_it_is_shown() {
    let run = LiveRun::start(SCENARIO, &[], &[]);
    let mut browser = Browser::open(&format!("http://{}/", run.addr()));
    browser.until("view.points.length >= 2");
    browser.value("document.querySelector('#rates details').open = true");
    browser.until(IS_WHOLE);
    set_hidden(&mut browser, true);
    let before = browser.value(DRAWN);
    let known = browser.value("view.points.length").as_u64().expect("a count");
    browser.until(&format!("view.points.length >= {}", known + 2));
    assert_eq!(browser.value(DRAWN), before);
    set_hidden(&mut browser, false);
    // At once, and not with the next event.
    assert_ne!(browser.value(DRAWN), before);
    assert_eq!(browser.value(IS_WHOLE), true);
    // Its title says how the run ended also where nobody sees more of it.
    set_hidden(&mut browser, true);
    run.post("/control", r#"{"action": "stop"}"#);
    browser.until("document.title === 'FAILED shop' && view.over");
    run.wait().assert_code(105);
    set_hidden(&mut browser, false);
    assert_eq!((browser.value(&state_is("FAILED")), browser.value(IS_WHOLE)), (json!(true), json!(true)));
    assert_eq!(browser.value("document.querySelector('#stop').disabled"), true);
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn a_page_that_nobody_saw_when_its_run_was_gone_says_so_when_it_is_shown() {
    let run = LiveRun::start(SCENARIO, &[], &[]);
    let mut browser = Browser::open(&format!("http://{}/", run.addr()));
    browser.until("view.points.length >= 1");
    set_hidden(&mut browser, true);
    browser.until("owed");
    run.kill();
    browser.until("document.title === 'CONNECTION LOST shop'");
    set_hidden(&mut browser, false);
    assert_eq!(browser.value(&state_is("CONNECTION LOST")), true);
    assert_eq!(browser.value("document.querySelector('#stop').disabled"), true);
}

#[test]
fn a_page_of_a_server_that_nobody_sees_gives_its_connection_back_and_catches_up() {
    let serve = Serve::with(&[], &[], &[("shop.yaml", SCENARIO)]);
    let id = serve.post("/api/v1/runs", r#"{"scenario": "shop.yaml"}"#).json()["id"].clone();
    let id = id.as_str().expect("a name");
    let mut browser = Browser::open(&format!("http://{}/watch#{id}", serve.addr()));
    browser.until("view.points.length >= 2");
    set_hidden(&mut browser, true);
    browser.until("stream.signal.aborted");
    let known = browser.value("view.points.length").as_u64().expect("a count");
    let points = || serve.get(&format!("/api/v1/runs/{id}/live")).json()["points"].as_array().map(Vec::len);
    program::wait_for("more seconds", || points() >= Some(known as usize + 2));
    assert_eq!(browser.value("view.points.length"), known);
    set_hidden(&mut browser, false);
    browser.until(&format!("view.points.length >= {}", known + 2));
    assert_eq!(browser.value("view.points.every((point, index) => point.second === index)"), true);
    browser.until(&state_is("RUNNING"));
    browser.press("#stop");
    browser.until("view.over");
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn a_browser_is_asked_for_the_token_of_a_run() {
    let run = LiveRun::start(SCENARIO, &[], &[("RUNNER_TOKEN", "open-sesame")]);
    let mut browser = Browser::open(&format!("http://{}/", run.addr()));
    browser.until("!document.querySelector('#token').hidden");
    browser.value("document.querySelector('#token input').value = 'open-sesame'");
    browser.press("#token button");
    browser.until(&state_is("RUNNING"));
    assert_eq!(browser.value("document.querySelector('#token').hidden"), true);
}

#[test]
fn a_browser_follows_a_run_of_a_server() {
    let serve = Serve::with(&[], &[], &[("shop.yaml", SCENARIO)]);
    let started = serve.post("/api/v1/runs", r#"{"scenario": "shop.yaml"}"#).json();
    let id = started["id"].as_str().expect("a name");
    let mut browser = Browser::open(&format!("http://{}/", serve.addr()));
    let link = format!("document.querySelector('#run a')?.getAttribute('href') === '/watch#{id}'");
    browser.until(&link);
    browser.press("#run a");
    browser.until(&format!("location.pathname === '/watch' && {}", state_is("RUNNING")));
    browser.until("view.points.length >= 2");
    browser.press("#stop");
    browser.until("view.over");
    let report = format!(
        "document.querySelector('#ending a')?.getAttribute('href') === '/api/v1/runs/{id}/files/report.html'"
    );
    browser.until(&report);
    assert_eq!(serve.get(&format!("/api/v1/runs/{id}/files/report.html")).status, 200);
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn a_browser_finds_the_report_of_a_run_among_several() {
    let series = "name: rows\nrecords: { range: 1..100 }\nload: { stages: [ { hold: 50, duration: 1s } ] }\n\
                  matrix: { connections.count: [1, 2] }\n";
    let serve = Serve::with(&[], &[], &[("rows.yaml", series)]);
    let started = serve.post("/api/v1/runs", r#"{"scenario": "rows.yaml"}"#).json();
    let id = started["id"].as_str().expect("a name");
    let mut browser = Browser::open(&format!("http://{}/watch#{id}", serve.addr()));
    browser.until("view.over");
    let place = browser.value("document.querySelector('#ending a')?.getAttribute('href')");
    let place = place.as_str().expect("a link");
    assert!(place.ends_with("2-connections.count%3D2%2Freport.html"), "{place}");
    assert_eq!(serve.get(place).status, 200);
}

/// A run that has something to show: a ramp, reconnects, and a target that fails now and then.
const SHOWN: &str = "name: checkout\nrecords: { range: 1..5000 }\nload:\n  stages:\n\
                     \x20   - { name: warm, hold: 50, duration: 3s, warmup: true }\n\
                     \x20   - { name: up, ramp: { from: 50, to: 400 }, duration: 15s }\n\
                     \x20   - { name: plateau, hold: 400, duration: 20s }\n\
                     responder: { delay: 3ms }\nconnections: { count: 20, limit: 100 }\n\
                     thresholds: [ 'response_time p(99) < 50ms', 'failed rate < 1%', 'lost count == 0' ]\n";

/// The last that a picture shows.
const LAST: &str = "#response_time > svg";

#[test]
#[ignore = "makes the pictures for docs/pictures/live.sh, in the folder tmp of the target folder"]
fn pictures() {
    let run = LiveRun::start(SHOWN, &[], &[]);
    let mut browser = Browser::open(&format!("http://{}/", run.addr()));
    browser.until("view.points.length >= 24");
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    browser.picture(&folder.join("live-light.png"), 1200, LAST, false);
    browser.picture(&folder.join("live-dark.png"), 1200, LAST, true);
    browser.until("view.over");
    browser.picture(&folder.join("live-ended.png"), 1200, LAST, false);
    run.wait().assert_code(0);
}
