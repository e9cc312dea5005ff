//! Searches for the highest rate that holds: what is found, what is tried, and how it ends.

#[path = "support/program.rs"]
mod program;

use program::{Bench, Ended};

/// Two connections that carry one request at a time, each answered after 10 ms: at most 200 a second.
fn scenario(search: &str) -> String {
    format!(
        "name: knee\nrecords: {{ range: 1..100000, source: template }}\nmapping: {{ into: none }}\n\
         connections: {{ count: 2, limit: 0, window: 1 }}\nresponder: {{ delay: 10ms }}\nsearch: {{ {search} }}\n"
    )
}

fn last_line(ended: &Ended) -> &str {
    ended.stderr.trim_end().lines().last().unwrap_or_default()
}

fn found(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(&ended.file("search.json")).expect("JSON")
}

#[test]
fn the_limit_of_a_target_of_known_capacity_is_found() {
    let bench = Bench::new();
    // The median is what a busy machine moves least.
    let search =
        "metric: response_time p(50), limit: 50ms, from: 50, to: 6400, trial: 1s, warmup: 0, resolution: 25%";
    let ended = bench.run(&scenario(search), &["--json"]);
    ended.assert_code(0);
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(json, found(&ended));
    // Above 200 requests pile up: half a second long at 225 the median waits for more than 50 ms.
    let highest = json["highest_rate"].as_f64().expect("a rate");
    assert!((50.0..250.0).contains(&highest), "{highest}\n{}", ended.stderr);
    let breaks = json["lowest_rate_that_breaks"].as_f64().expect("a rate");
    assert!(breaks > highest && breaks - highest <= 0.25 * highest, "{highest} {breaks}");
    let rows = ended.rows("search.csv");
    assert_eq!(rows[0]["rate"], "50.000");
    assert!(rows.iter().all(|row| row["exit_code"] == "0" || row["verdict"] != "holds"), "{rows:?}");
    for row in &rows {
        // Each trial is a whole run, with a folder of its own.
        let folder = format!("{}/summary.csv", row["folder"]);
        assert!(ended.has_file(&folder), "{folder}");
        assert_eq!(row["unit"], "us");
    }
    // What breaks is tried once more before it counts.
    let lowest = rows.iter().filter(|row| row["rate"] == format!("{breaks:.3}"));
    assert_eq!(lowest.map(|row| row["attempt"].as_str()).collect::<Vec<_>>(), ["1", "2"]);
    let page = ended.file("search.html");
    assert!(page.contains("highest rate that holds") && page.contains("id=\"curve\""));
    assert!(last_line(&ended).contains("highest rate that holds: "), "{}", last_line(&ended));
}

#[test]
fn the_trial_of_a_search_can_be_run_again_by_itself() {
    let bench = Bench::new();
    let search = "metric: response_time p(50), limit: 10s, from: 20, to: 20, trial: 1s, warmup: 1s";
    let ended = bench.run(&scenario(search), &[]);
    ended.assert_code(0);
    assert_eq!(ended.rows("search.csv").len(), 1);
    assert_eq!(found(&ended)["limited_by"], "none");
    assert!(last_line(&ended).contains("raise search.to"), "{}", last_line(&ended));
    let stages = ended.rows("01-20/stages.csv");
    let names: Vec<_> = stages.iter().map(|row| (row["stage"].as_str(), row["warmup"].as_str())).collect();
    assert_eq!(names, [("warmup", "true"), ("trial", "false")]);
    let again = bench.call(&["out/01-20/effective.yaml", "--out", "out/again"]);
    again.assert_code(0);
    let plan = |run: &str| ended.rows(&format!("{run}/summary.csv"))[0]["plan"].clone();
    assert_eq!(plan("again"), plan("01-20"));
}

#[test]
fn a_simulated_search_finds_the_capacity_to_its_resolution() {
    let bench = Bench::new();
    let search = "metric: response_time p(99), limit: 20ms, from: 10, to: 100000, trial: 60s, resolution: 1%";
    let ended = bench.run(&scenario(search), &["--simulate"]);
    ended.assert_code(0);
    let json = found(&ended);
    let highest = json["highest_rate"].as_f64().expect("a rate");
    // Two connections, 10 ms each. A minute at 200.1 would add up to 30 ms.
    assert!((198.0..200.1).contains(&highest), "{highest}");
    assert_eq!((&json["simulated"], &json["limited_by"]), (&true.into(), &"connections".into()));
    assert!(last_line(&ended).starts_with("PASSED (SIMULATED) knee"), "{}", last_line(&ended));
    assert!(ended.file("search.html").contains("SIMULATED"));
}

#[test]
fn a_first_rate_that_breaks_ends_the_search_with_99() {
    let bench = Bench::new();
    let search = "metric: service_time p(50), limit: 5ms, from: 20, to: 200, trial: 1s, warmup: 0";
    let ended = bench.run(&scenario(search), &["--simulate"]);
    ended.assert_code(99);
    assert_eq!(ended.rows("search.csv").len(), 1, "the same again would be the same");
    assert!(found(&ended)["highest_rate"].is_null());
    assert!(
        last_line(&ended).contains("20/s, the lowest rate, breaks service_time p(50) < 5ms"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_target_that_does_not_answer_in_time_has_broken_and_one_that_is_not_there_ends_the_search() {
    let bench = Bench::new();
    let search = "metric: failed rate, limit: 50%, from: 20, to: 200, trial: 1s, warmup: 0";
    let late = scenario(search).replace("delay: 10ms", "delay: 3s");
    // Nobody was answered at all: that is what the exit code says.
    bench.run(&late, &["--simulate"]).assert_code(100);
    let bench = Bench::new();
    let nobody = format!("{}target: {{ addresses: [\"127.0.0.1:1\"] }}\n", scenario(search));
    let ended = bench.run(&nobody, &[]);
    ended.assert_code(100);
    assert!(!ended.has_file("search.json"), "nothing was tried");
}

#[test]
fn errors_break_a_trial_even_where_the_metric_holds() {
    let bench = Bench::new();
    let search =
        "metric: service_time p(99), limit: 20ms, from: 100, to: 800, trial: 60s, warmup: 0, resolution: 5%";
    // Without room requests are dropped, and those that are sent are as quick as ever.
    let drops = format!("{}load: {{ on_overload: drop }}\n", scenario(search));
    let ended = bench.run(&drops, &["--simulate"]);
    ended.assert_code(0);
    let highest = found(&ended)["highest_rate"].as_f64().expect("a rate");
    assert!((190.0..201.0).contains(&highest), "{highest}");
    let rows = ended.rows("search.csv");
    assert!(rows.iter().any(|row| row["reason"].contains("error rate <= 0%")), "{rows:?}");
    // At 400 every second request finds its connection busy.
    let lenient = drops.replace("resolution: 5%", "resolution: 5%, errors: 60%");
    let more = bench.run(&lenient, &["--simulate"]);
    let highest = found(&more)["highest_rate"].as_f64().expect("a rate");
    assert!(highest >= 400.0, "{highest}");
}

#[test]
fn the_plan_of_a_search_is_shown_without_a_trial() {
    let bench = Bench::new();
    let search = "metric: response_time p(99), limit: 50ms, from: 100, to: 1000, trial: 15s";
    let shown = bench.run(&scenario(search), &["--dry-run"]);
    shown.assert_code(0);
    assert!(shown.stdout.contains("100, 200, 400, 800, 1 000 per second"), "{}", shown.stdout);
    assert!(shown.stdout.contains("nothing was sent") && !shown.has_file("search.csv"));
    let json = bench.run(&scenario(search), &["--dry-run", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    // A warm-up of two seconds and the trial, at the first rate.
    assert_eq!((&json["scheduled"], &json["search"]["most_trials"]), (&1700.into(), &24.into()));
    let validated = bench.call(&["validate", "scenario.yaml"]);
    assert!(
        validated.stdout.contains("search from 100 to 1000 per second in at most 24 trials"),
        "{}",
        validated.stdout
    );
    bench.run(&scenario(search), &["--segment", "0/2"]).assert_code(104);
}

#[test]
fn each_row_of_a_matrix_has_a_search_of_its_own() {
    let bench = Bench::new();
    let search = "metric: response_time p(99), limit: 20ms, from: 50, to: 100000, trial: 30s, resolution: 5%";
    let matrix = format!("{}matrix: {{ connections.count: [2, 4] }}\n", scenario(search));
    let ended = bench.run(&matrix, &["--simulate", "--json"]);
    ended.assert_code(0);
    let all: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let rates: Vec<f64> = all
        .as_array()
        .expect("two")
        .iter()
        .map(|one| one["highest_rate"].as_f64().expect("a rate"))
        .collect();
    assert!((190.0..201.0).contains(&rates[0]) && (380.0..401.0).contains(&rates[1]), "{rates:?}");
    assert!(
        ended.has_file("1-connections.count=2/search.csv")
            && ended.has_file("2-connections.count=4/search.html")
    );
}

#[test]
fn a_rate_at_which_a_trial_would_measure_nothing_is_refused() {
    let bench = Bench::new();
    let search = "metric: response_time p(99), limit: 50ms, from: 0.01, to: 100, trial: 2s, warmup: 1s";
    let ended = bench.run(&scenario(search), &["--simulate"]);
    ended.assert_code(104);
    assert!(ended.stderr.contains("no request is due in a trial of 2s"), "{}", ended.stderr);
}

#[test]
fn what_is_wrong_with_a_threshold_of_the_scenario_is_said_in_its_place() {
    let bench = Bench::new();
    let search = "metric: response_time p(99), limit: 50ms, from: 10, to: 100";
    let threshold = "response_time{stage:nowhere} max < 1s";
    let yaml = format!("{}thresholds:\n  - lag max < 1s\n  - \"{threshold}\"\n", scenario(search));
    let ended = bench.run(&yaml, &[]);
    ended.assert_code(104);
    let place = ended.stderr.lines().find(|line| line.contains("scenario.yaml:")).expect("a place");
    assert!(place.contains("scenario.yaml:9:"), "{}", ended.stderr);
}
