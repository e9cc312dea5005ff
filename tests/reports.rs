//! What is done with run folders: reports made again, checks, merging, replaying.

#[path = "support/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use program::{Bench, Ended, signal, wait_for};

fn steady(tps: u32, secs: &str, more: &str) -> String {
    format!(
        "name: steady\nrecords: {{ range: 1..10000 }}\n\
         load: {{ stages: [ {{ hold: {tps}, duration: {secs} }} ] }}\n{more}"
    )
}

const ALL: &str = "report: { requests: true }\n";

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

fn rows(folder: &Path, name: &str) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(folder.join(name)).expect(name);
    csv::Reader::from_reader(text.as_bytes()).deserialize().collect::<Result<_, _>>().expect("rows")
}

fn json(folder: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(folder.join("summary.json")).expect("a summary");
    serde_json::from_str(&text).expect("JSON")
}

fn assert_fails(ended: &Ended, code: i32, words: &[&str]) {
    ended.assert_code(code);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn the_reports_of_a_run_are_made_again_from_its_files_and_are_the_same() {
    let bench = Bench::new();
    let ended = bench.run(&steady(200, "3s", "connections: { count: 4, limit: 20 }\n"), &[]);
    ended.assert_code(0);
    let (page, summary) = (ended.file("report.html"), ended.file("summary.json"));
    assert!(page.len() < 2_000_000 && page.contains("PASSED") && page.contains("id=\"spectrum\""));
    let report = bench.call(&["report", "out", "--out", "again", "--json"]);
    report.assert_code(0);
    let again = |name: &str| std::fs::read_to_string(bench.path().join("again").join(name)).expect(name);
    assert_eq!(again("summary.json"), summary);
    assert_eq!(again("report.html"), page);
    assert_eq!(report.stdout, summary);
    let drawn = &json(&bench.path().join("out"))["drawn"];
    let points = drawn["timeline"]["points"].as_array().expect("points");
    let sums = ["planned", "scheduled", "sent", "matched", "opened"]
        .map(|name| points.iter().map(|point| point[name].as_u64().expect("a count")).sum::<u64>());
    let [opened] = ended.summary(&["connections_opened"])[..] else { panic!("one column") };
    assert_eq!(sums, [600, 600, 600, 600, opened]);
    let bars = drawn["histogram"].as_array().expect("bars");
    assert_eq!(bars.iter().map(|bar| bar["response_time"].as_u64().expect("a count")).sum::<u64>(), 600);
}

#[test]
fn a_folder_without_a_summary_is_refused_with_what_to_do() {
    let bench = Bench::new();
    bench.run(&steady(50, "200ms", "report: { files: [summary] }\n"), &[]).assert_code(0);
    for command in ["report", "verify"] {
        assert_fails(&bench.call(&[command, "out"]), 2, &["summary.json", "report.files"]);
    }
    assert!(!bench.path().join("out/report.html").exists() && !bench.path().join("out/counts.csv").exists());
}

#[test]
fn a_browser_draws_the_report_and_has_nothing_to_complain_about() {
    let bench = Bench::new();
    bench.run(&steady(100, "3s", ""), &[]).assert_code(0);
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
    ]);
    command.arg(format!("--user-data-dir={}", bench.path().join("profile").display()));
    command.args(["--virtual-time-budget=5000", "--dump-dom"]);
    command.arg(format!("file://{}", bench.path().join("out/report.html").display()));
    let output = command.output().expect("the package chromium");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (page, said) = (text(&output.stdout), text(&output.stderr));
    let console: Vec<&str> = said.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "{console:?}");
    // The script has put the lines of each chart into a window of its own.
    assert!(page.matches("class=\"plot\"").count() >= 8, "{page}");
}

#[test]
fn verify_holds_for_what_a_run_has_written_and_sees_every_change() {
    let bench = Bench::new();
    let more = format!("connections: {{ count: 4, limit: 20 }}\n{ALL}");
    bench.run(&steady(200, "3s", &more), &[]).assert_code(0);
    let verified = bench.call(&["verify", "out"]);
    verified.assert_code(0);
    assert!(!verified.stdout.contains("no file"), "{}", verified.stdout);
    let change = |file: &str, change: &dyn Fn(&str) -> String| {
        let place = bench.path().join("changed");
        copy(&bench.path().join("out"), &place);
        let text = std::fs::read_to_string(place.join(file)).expect(file);
        let changed = change(&text);
        assert_ne!(text, changed, "{file}");
        std::fs::write(place.join(file), changed).expect("written");
        let ended = bench.call(&["verify", "changed"]);
        std::fs::remove_dir_all(&place).expect("removed");
        ended
    };
    let without_last =
        |text: &str| text.trim_end().rsplit_once('\n').expect("two lines").0.to_string() + "\n";
    let first_twice = |text: &str| format!("{text}{}\n", text.lines().nth(1).expect("a row"));
    for file in ["seconds.csv", "connections.csv", "requests.csv", "counts.csv", "stages.csv"] {
        assert_fails(&change(file, &without_last), 111, &["WRONG", file]);
    }
    for file in ["connections.csv", "requests.csv", "summary.csv", "counts.csv"] {
        assert_fails(&change(file, &first_twice), 111, &["WRONG", file]);
    }
    let one_more = |text: &str| text.replacen("\"sent\": 600", "\"sent\": 601", 1);
    assert_fails(&change("summary.json", &one_more), 111, &["601 is not 600"]);
    let other_plan = |text: &str| text.replacen("\"plan\": \"", "\"plan\": \"0", 1);
    assert_fails(&change("plan.json", &other_plan), 111, &["plan.json"]);
    // A digit in any column of a table that is made from the summary, in its only row or in that of a stage.
    let columns = |file: &str| {
        let text = std::fs::read_to_string(bench.path().join("out").join(file)).expect(file);
        text.lines().next().expect("a head").split(',').map(str::to_string).collect::<Vec<_>>()
    };
    for file in ["summary.csv", "stages.csv"] {
        for (index, column) in columns(file).iter().enumerate() {
            let edited = |text: &str| {
                let (head, row) = text.trim_end().split_once('\n').expect("two lines");
                let mut cells: Vec<String> = row.split(',').map(str::to_string).collect();
                cells[index].push('9');
                format!("{head}\n{}\n", cells.join(","))
            };
            assert_fails(&change(file, &edited), 111, &["WRONG", file, column]);
        }
    }
    for file in ["counts.csv", "latency.hlog", "requests.csv", "seconds.csv", "plan.json"] {
        let place = bench.path().join("out").join(file);
        let aside = bench.path().join("aside");
        std::fs::rename(&place, &aside).expect("moved");
        assert_fails(&bench.call(&["verify", "out"]), 111, &["WRONG", file, "effective.yaml asks for it"]);
        std::fs::rename(&aside, &place).expect("moved back");
    }
    let shown = bench.call(&["verify", "out", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert!(shown["checks"].as_array().expect("checks").iter().all(|check| check["finding"] == "holds"));
}

#[test]
fn what_an_interrupted_run_has_written_verifies_too() {
    let bench = Bench::new();
    let child = bench.start(&steady(200, "60s", ALL), &[]);
    let part = bench.path().join("out/requests.csv.part");
    wait_for("some requests", || std::fs::read_to_string(&part).is_ok_and(|text| text.lines().count() > 300));
    signal(&child, "-INT");
    bench.wait(child).assert_code(105);
    bench.call(&["verify", "out"]).assert_code(0);
    assert!(
        std::fs::read_to_string(bench.path().join("out/report.html")).expect("a page").contains("FAILED")
    );
}

#[test]
fn merged_segments_are_the_whole_to_the_request_and_to_the_bucket() {
    let bench = Bench::new();
    let more = format!(
        "connections: {{ count: 6, limit: 30 }}\nmapping: {{ verify: none }}\n{ALL}\
                        thresholds: [ response_time count == 600, response_time rate > 250, connect_time count > 20 ]\n"
    );
    let yaml = steady(300, "2s", &more)
        .replace("stages: [", "stages: [ { name: warm, hold: 60, duration: 1s, warmup: true },");
    let file = bench.file("s.yaml", &yaml);
    for index in 0..3 {
        let (segment, out) = (format!("{index}/3"), format!("part-{index}"));
        bench.call(&[file.to_str().expect("text"), "--segment", &segment, "--out", &out]).assert_code(0);
    }
    let parts = json(&bench.path().join("part-1"));
    assert!(parts["thresholds"][0]["note"].as_str().expect("a note").contains("one part"), "{parts}");
    let merged = bench.call(&["merge", "part-2", "part-0", "part-1", "--out", "all"]);
    merged.assert_code(0);
    bench.call(&["verify", "all"]).assert_code(0);
    let place = |name: &str| bench.path().join(name);
    let summary = rows(&place("all"), "summary.csv").remove(0);
    assert_eq!([&summary["scheduled"], &summary["matched"], &summary["not_reached"]], ["660", "660", "0"]);
    let ids = |name: &str| {
        let mut ids: Vec<u64> = rows(&place(name), "requests.csv")
            .iter()
            .map(|row| row["n"].parse().expect("a number"))
            .collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids("all"), (0..660).collect::<Vec<_>>());
    let seconds = rows(&place("all"), "seconds.csv");
    assert_eq!(seconds.iter().map(|row| row["sent"].as_str()).collect::<Vec<_>>(), ["60", "300", "300"]);
    // The percentiles are those of all latencies together, which requests.csv has one by one.
    let mut waits: Vec<u64> = rows(&place("all"), "requests.csv")
        .iter()
        .filter(|row| row["intended_us"].parse::<u64>().expect("µs") >= 1_000_000)
        .map(|row| {
            row["received_us"].parse::<u64>().expect("µs") - row["intended_us"].parse::<u64>().expect("µs")
        })
        .collect();
    waits.sort_unstable();
    let exact = waits[(waits.len() * 99).div_ceil(100) - 1] as f64;
    let said: f64 = summary["response_p99_us"].parse().expect("µs");
    assert!((said - exact).abs() <= 2.0 + exact / 500.0, "{said} {exact}");
    let whole = json(&place("all"));
    assert_eq!(whole["response_time"]["count"], 600, "without the warm-up");
    let measured: Vec<f64> =
        (0..3).map(|index| whole["thresholds"][index]["measured"].as_f64().expect("measured")).collect();
    let opened = rows(&place("all"), "connections.csv").len() as f64;
    assert_eq!(measured, [600.0, 300.0, opened]);
    for name in ["plan.json", "effective.yaml", "latency.hlog", "junit.xml"] {
        assert!(place("all").join(name).exists(), "{name}");
    }
    assert_eq!(whole["drawn"]["parts"].as_array().expect("parts").len(), 3);
    assert!(
        std::fs::read_to_string(place("all/report.html")).expect("a page").contains("Merged from these runs")
    );

    let refused = |parts: &[&str], words: &[&str]| {
        let mut args = vec!["merge"];
        args.extend(parts);
        args.extend(["--out", "no"]);
        assert_fails(&bench.call(&args), 2, words);
        assert!(!place("no/summary.json").exists());
    };
    refused(&["part-0", "part-1"], &["2 of 3", "2/3 is missing"]);
    refused(&["part-0", "part-1", "part-2", "part-1"], &["1/3 and 1/3 overlap"]);
    let other = bench.file("o.yaml", &yaml.replace("hold: 300", "hold: 301"));
    bench.call(&[other.to_str().expect("text"), "--segment", "2/3", "--out", "other"]).assert_code(0);
    refused(&["part-0", "part-1", "other"], &["has the plan"]);
    assert_fails(&bench.call(&["merge", "part-0", "--out", "part-1"]), 2, &["a run is in it already"]);
    // One that was killed has no summary.
    std::fs::create_dir(place("killed")).expect("made");
    std::fs::copy(place("part-0/plan.json"), place("killed/plan.json")).expect("copied");
    let parts = ["merge", "part-0", "part-1", "part-2", "--out", "killed"];
    assert_fails(&bench.call(&parts), 2, &["a run is in it already"]);
    // A stage that counts in one part and not in the other is not the same, whatever its plan.
    let cold = bench.file("cold.yaml", &yaml.replace("duration: 1s, warmup: true", "duration: 1s"));
    bench.call(&[cold.to_str().expect("text"), "--segment", "2/3", "--out", "cold"]).assert_code(0);
    refused(&["part-0", "part-1", "cold"], &["has the stages", "(warm-up)"]);
}

#[test]
fn a_part_that_a_threshold_has_ended_fails_the_whole_and_one_that_was_sent_to_its_end_is_judged_again() {
    let open = "stages: [ { hold: 30, duration: 30s } ]";
    // Nothing is missing in the ledger of a load that only time ends.
    let closed = "users: 6, think: 150ms, duration: 30s";
    for load in [open, closed] {
        parts_are_merged(load);
    }
}

/// Merges the parts of a load: one is answered slowly and breaks a threshold, with which it ends or not.
fn parts_are_merged(load: &str) {
    const CHECK: &str = "response_time p(50) < 50ms";
    let is_open = load.contains("stages");
    let bench = Bench::new();
    let run = |abort: bool, out: &str| {
        let check = format!("{{ check: {CHECK}, after: 2s, abort: {abort} }}");
        let yaml = format!(
            "name: steady\nrecords: {{ range: 1..10000 }}\nload: {{ {load} }}\n\
             thresholds: [ {check} ]\nresponder: {{ delay: 1ms }}\n"
        );
        let file = bench.file("s.yaml", &yaml);
        let mut parts = Vec::new();
        for index in 0..3 {
            let (segment, part) = (format!("{index}/3"), format!("{out}-{index}"));
            // Of three machines one is answered slowly, which is less than half of the requests.
            let (delay, code) = if index == 0 { ("100ms", 99) } else { ("1ms", 0) };
            let delay = format!("responder.delay={delay}");
            let args = ["--simulate", "--segment", &segment, "--out", &part, "--set", &delay];
            bench.call(&[&[file.to_str().expect("text")], &args[..]].concat()).assert_code(code);
            parts.push(part);
        }
        let args = ["merge", &parts[2], &parts[0], &parts[1], "--out", out];
        (bench.call(&args), json(&bench.path().join(out)))
    };
    let (merged, summary) = run(true, "short");
    assert_fails(&merged, 99, &["FAILED", "segment 0/3", CHECK]);
    assert_eq!(summary["ledger"]["not_reached"].as_u64().is_some_and(|missing| missing > 0), is_open);
    assert_eq!(summary["thresholds"][0]["passed"], true, "on the whole it holds, as far as that was sent");
    // It was the planned load until the first of its parts ended.
    let (part, ended) = (json(&bench.path().join("short-0"))["ended"].clone(), &summary["ended"]);
    assert_eq!((ended, &ended["threshold"]), (&part, &CHECK.into()));
    assert_eq!(json(&bench.path().join("short-1"))["ended"], serde_json::json!({ "how": "complete" }));
    let at_s = ended["at_us"].as_u64().expect("an instant") / 1_000_000;
    let blocks = |summary: &serde_json::Value| {
        let blocks = summary["drawn"]["blocks"].as_array().expect("blocks").iter();
        blocks.map(|block| block["to"].as_u64().expect("a second")).collect::<Vec<_>>()
    };
    assert!(at_s < 10, "{ended}");
    assert_eq!(blocks(&summary), (1..=at_s).collect::<Vec<_>>());
    let page = std::fs::read_to_string(bench.path().join("short/report.html")).expect("a page");
    assert!(page.contains("by the threshold response_time p(50) &lt; 50ms"));
    bench.call(&["verify", "short"]).assert_code(0);
    // Made again it says the same.
    bench.call(&["report", "short"]).assert_code(0);
    assert_eq!(json(&bench.path().join("short")), summary);

    let (merged, summary) = run(false, "long");
    assert_fails(&merged, 0, &["PASSED"]);
    assert_eq!(
        (&summary["ledger"]["not_reached"], &summary["ended"]["how"]),
        (&0.into(), &"complete".into())
    );
    assert_eq!(blocks(&summary).last(), Some(&30));
    if is_open {
        assert_eq!(summary["ledger"]["sent"], 900);
    }

    // What an earlier version has written does not say how it ended.
    for part in ["short-0", "short-1"] {
        let path = bench.path().join(part).join("summary.json");
        let mut old = json(&bench.path().join(part));
        assert!(old.as_object_mut().expect("an object").remove("ended").is_some());
        std::fs::write(&path, old.to_string()).expect("written");
        bench.call(&["verify", part]).assert_code(0);
        bench.call(&["report", part]).assert_code(0);
        assert!(json(&bench.path().join(part)).get("ended").is_none(), "nobody knows");
    }
    let merged = bench.call(&["merge", "short-0", "short-1", "short-2", "--out", "old"]);
    merged.assert_code(if is_open { 99 } else { 0 });
    assert!(json(&bench.path().join("old")).get("ended").is_none(), "nobody knows");
}

#[test]
fn replays_are_merged_at_their_speed_and_not_judged_by_a_scenario_that_is_another() {
    let bench = Bench::new();
    let more = "thresholds: [ response_time count == 400 ]\nresponder: { delay: 1ms }\n";
    let file = bench.file("s.yaml", &steady(20, "20s", more));
    for index in 0..2 {
        let (segment, out) = (format!("{index}/2"), format!("part-{index}"));
        let args = [file.to_str().expect("text"), "--simulate", "--segment", &segment, "--out", &out];
        bench.call(&args).assert_code(0);
        let fast = format!("fast-{index}");
        let replayed = bench.call(&["replay", &out, "--speed", "2", "--out", &fast]);
        assert_fails(&replayed, 0, &["PASSED (SIMULATED)"]);
    }
    let plan = |run: &str| -> serde_json::Value {
        let text = std::fs::read_to_string(bench.path().join(run).join("plan.json")).expect("a plan");
        serde_json::from_str(&text).expect("JSON")
    };
    assert_eq!((&plan("fast-0")["speed"], &plan("fast-0")["simulated"]), (&2.0.into(), &true.into()));
    assert!(plan("part-0")["speed"].is_null());
    bench.call(&["merge", "fast-0", "fast-1", "--out", "fast"]).assert_code(0);
    bench.call(&["verify", "fast"]).assert_code(0);
    assert_eq!(plan("fast")["plan"], plan("fast-1")["plan"]);
    assert_eq!(json(&bench.path().join("fast"))["thresholds"][0]["measured"], 400.0);
    // What it was made from was changed since.
    let path = bench.path().join("fast-0/effective.yaml");
    let text = std::fs::read_to_string(&path).expect("there");
    std::fs::write(&path, text.replace("hold: 20", "hold: 10")).expect("written");
    let merged = bench.call(&["merge", "fast-0", "fast-1", "--out", "other"]);
    assert_fails(&merged, 0, &["thresholds are not judged again"]);
    assert!(!bench.path().join("other/plan.json").exists());
    bench.call(&["verify", "other"]).assert_code(0);
}

fn sent(folder: &Path) -> Vec<(u64, String, u64)> {
    let number = |text: &String| text.parse().expect("a number");
    let mut sent: Vec<(u64, String, u64)> = rows(folder, "requests.csv")
        .iter()
        .map(|row| (number(&row["n"]), row["key"].clone(), number(&row["intended_us"])))
        .collect();
    sent.sort();
    sent
}

#[test]
fn a_replay_sends_the_same_at_the_same_times_or_faster_or_a_part_of_it() {
    let bench = Bench::new();
    let more = format!("seed: 7\nscript: {{ file: hook.lua }}\n{ALL}");
    let yaml = steady(200, "1s", &more).replace("1..10000", "1..10000, order: random");
    bench.file("hook.lua", "function request(ctx, record) return record.value .. random(1, 9) end\n");
    bench.run(&yaml, &[]).assert_code(0);
    // What the run was made from is in its folder.
    std::fs::remove_file(bench.path().join("hook.lua")).expect("removed");
    std::fs::remove_file(bench.path().join("scenario.yaml")).expect("removed");
    let original = sent(&bench.path().join("out"));
    assert_eq!(original.len(), 200);

    bench.call(&["replay", "out", "--out", "again"]).assert_code(0);
    assert_eq!(sent(&bench.path().join("again")), original);
    assert_eq!(json(&bench.path().join("again"))["plan"], json(&bench.path().join("out"))["plan"]);

    bench.call(&["replay", "out", "--out", "fast", "--speed", "2"]).assert_code(0);
    let halved: Vec<_> = original.iter().map(|(n, key, at)| (*n, key.clone(), at / 2)).collect();
    assert_eq!(sent(&bench.path().join("fast")), halved);
    assert_ne!(json(&bench.path().join("fast"))["plan"], json(&bench.path().join("out"))["plan"]);
    bench.call(&["verify", "fast"]).assert_code(0);

    // As if some had not been answered.
    let file = bench.path().join("out/requests.csv");
    let text = std::fs::read_to_string(&file).expect("requests");
    let fails = |n: u64| n % 7 == 3;
    let changed: Vec<String> = text
        .lines()
        .map(|line| match line.split(',').next().and_then(|n| n.parse().ok()) {
            Some(n) if fails(n) => line.replace(",matched", ",timed_out"),
            _ => line.to_string(),
        })
        .collect();
    std::fs::write(&file, changed.join("\n") + "\n").expect("written");
    bench.call(&["replay", "out", "--out", "some", "--only", "failed", "--workers", "2"]).assert_code(0);
    let some: Vec<_> = original.iter().filter(|(n, ..)| fails(*n)).cloned().collect();
    assert_eq!(sent(&bench.path().join("some")), some);
    bench.call(&["verify", "some"]).assert_code(0);

    assert_fails(&bench.call(&["replay", "out", "--only", "dropped"]), 0, &["nothing to replay"]);
    assert_fails(&bench.call(&["replay", "out", "--out", "out"]), 2, &["already"]);
    assert_fails(&bench.call(&["replay", "some", "--only", "failed"]), 2, &["effective.yaml makes"]);
    bench.call(&["replay", "out", "--speed", "0"]).assert_code(2);
}

/// A run whose files may have so many bytes and no more, as on a disk that is full.
fn run_in_little_room(bench: &Bench, yaml: &str, kib: u32) -> Ended {
    let file = bench.file("scenario.yaml", yaml);
    // The limit is in blocks of 512 bytes. A write beyond it is an error where the signal is not taken.
    let limited = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kib * 2);
    let output = Command::new("sh")
        .args(["-c", &limited, env!("CARGO_BIN_EXE_runner"), file.to_str().expect("text"), "--out", "out"])
        .current_dir(bench.path())
        .env_remove("REDIS_URL")
        .output()
        .expect("a shell");
    bench.ended(output)
}

#[test]
fn a_disk_that_fills_up_ends_the_run_with_its_account_and_says_which_file() {
    let bench = Bench::new();
    let ended = run_in_little_room(&bench, &steady(500, "600s", ""), 12);
    assert_fails(&ended, 1, &["FAILED", "failed to write", ".part", "File too large"]);
    assert!(!ended.stderr.contains("base64") && !ended.stderr.contains("panicked"), "{}", ended.stderr);
    let summary = ended.rows("summary.csv").remove(0);
    assert_eq!([&summary["outcome"], &summary["exit_code"]], ["failed", "1"]);
    assert!(summary["reason"].contains(".part"), "{}", summary["reason"]);
    let [scheduled, sent, dropped, not_reached] =
        ended.summary(&["scheduled", "sent", "dropped", "not_reached"])[..]
    else {
        panic!("four columns")
    };
    assert!(sent > 0 && not_reached > 0);
    assert_eq!((scheduled, sent + dropped + not_reached), (300_000, 300_000));
    // What was whole has its name, and what was torn has not.
    for name in ["stages.csv", "seconds.csv", "connections.csv", "errors.csv", "junit.xml"] {
        assert!(ended.has_file(name), "{name}");
    }
    assert!(!ended.has_file("counts.csv") || !ended.has_file("latency.hlog"));
    assert!(ended.file("junit.xml").contains("<error"));
}

#[test]
fn a_page_that_does_not_fit_fails_the_run_and_every_file_says_so() {
    let bench = Bench::new();
    let more = "report: { files: [summary, seconds, json, junit, html] }\n";
    let ended = run_in_little_room(&bench, &steady(50, "300ms", more), 24);
    assert_fails(&ended, 1, &["FAILED", "failed to write", "report.html.part"]);
    assert!(!ended.has_file("report.html"));
    assert_eq!(ended.rows("summary.csv")[0]["outcome"], "failed");
    assert_eq!(json(&bench.path().join("out"))["exit_code"], 1);
    assert!(ended.file("junit.xml").contains("report.html.part"));
}

#[test]
fn a_run_in_the_folder_of_another_leaves_nothing_of_what_that_has_measured() {
    let bench = Bench::new();
    bench.run(&steady(50, "300ms", ALL), &[]).assert_code(0);
    std::fs::write(bench.path().join("out/notes.txt"), "mine").expect("written");
    let ended = bench.run(&steady(50, "200ms", "report: { files: [summary, json] }\n"), &[]);
    ended.assert_code(0);
    for name in ["seconds.csv", "connections.csv", "requests.csv", "latency.hlog", "report.html", "junit.xml"]
    {
        assert!(!ended.has_file(name), "{name}");
    }
    assert_eq!(ended.file("notes.txt"), "mine");
    assert!(
        json(&bench.path().join("out"))["drawn"]["timeline"]["points"].as_array().is_some_and(Vec::is_empty)
    );
    bench.call(&["verify", "out"]).assert_code(0);
}

#[test]
fn verify_looks_on_when_a_file_is_damaged() {
    let bench = Bench::new();
    let mix = "{ name: odd, weight: 1, payload: a }, { name: \"-even\", weight: 1, payload: b }";
    let yaml = steady(200, "1s", ALL).replace("stages: [", &format!("mix: [ {mix} ], stages: ["));
    bench.run(&yaml.replace("{ hold", "{ name: \"-up\", hold"), &[]).assert_code(0);
    let verified = bench.call(&["verify", "out"]);
    verified.assert_code(0);
    assert!(!verified.stdout.contains("no file"), "{}", verified.stdout);
    // The table is guarded, and what is made from it is not.
    let stage = rows(&bench.path().join("out"), "seconds.csv")[0]["stage"].clone();
    let drawn = json(&bench.path().join("out"));
    assert_eq!((stage.as_str(), &drawn["drawn"]["timeline"]["points"][0]["stage"]), ("'-up", &"-up".into()));

    let damaged = |file: &str, damage: &dyn Fn(&str) -> String, words: &[&str]| {
        let path = bench.path().join("out").join(file);
        let whole = std::fs::read_to_string(&path).expect(file);
        let changed = damage(&whole);
        assert_ne!(whole, changed, "{file}");
        std::fs::write(&path, changed).expect("written");
        let ended = bench.call(&["verify", "out"]);
        std::fs::write(&path, whole).expect("written");
        assert_fails(&ended, 111, &["WRONG", file]);
        assert_fails(&ended, 111, words);
        ended
    };
    let cut = |text: &str| text[..text.len() - 30].to_string();
    let one_cell_less =
        |text: &str| text.trim_end().rsplit_once(',').expect("two cells").0.to_string() + "\n";
    let no_number = |text: &str| text.replacen("\n0,", "\nzero,", 1);
    for ended in [
        damaged("counts.csv", &cut, &["line"]),
        damaged("seconds.csv", &no_number, &["line 2"]),
        damaged("stages.csv", &one_cell_less, &["line 2"]),
        damaged("plan.json", &cut, &["plan.json"]),
        damaged("requests.csv", &no_number, &["line"]),
        damaged("latency.hlog", &cut, &["line"]),
    ] {
        // All but one hold.
        assert_eq!(ended.stdout.matches("WRONG").count(), 1, "{}", ended.stdout);
        assert!(ended.stdout.matches("ok").count() >= 11, "{}", ended.stdout);
    }
    damaged("summary.json", &cut, &["summary.json"]);
    let huge = |text: &str| text.replacen("\"sent\": 200", "\"sent\": 18446744073709551615", 1);
    damaged("summary.json", &huge, &["more than any run counts"]);
    let one_interval_less = |text: &str| {
        let lines: Vec<&str> = text.lines().collect();
        lines[..lines.len() - 1].join("\n") + "\n"
    };
    damaged("latency.hlog", &one_interval_less, &["not what summary.json says"]);
    damaged("errors.csv", &|text: &str| format!("{text}odd,,1,0,0,\n"), &["rows is 1"]);
    damaged("mix.csv", &|text: &str| text.replacen("odd,1,", "odd,2,", 1), &["weight of odd"]);
    damaged("requests.csv", &|text: &str| text.replacen("\n0,", "\n1,", 1), &["request 1 is there twice"]);
    let same_id = |text: &str| {
        let ids: Vec<&str> = text.lines().filter_map(|line| line.split(',').nth(3)).collect();
        text.replacen(ids[2], ids[1], 1)
    };
    damaged("requests.csv", &same_id, &["is there twice"]);
    let other_segment = |text: &str| text.replacen("\"segment\": \"0/1\"", "\"segment\": \"1/2\"", 1);
    damaged("summary.json", &other_segment, &["is not of segment 1/2"]);
}

#[test]
fn what_waits_for_a_merged_run_is_said_to_be_where_it_is() {
    let bench = Bench::new();
    let file = bench.file("s.yaml", &steady(100, "200ms", ""));
    for (segment, out) in [("0/2", "part-0"), ("1/2", "part-1")] {
        bench.call(&[file.to_str().expect("text"), "--segment", segment, "--out", out]).assert_code(0);
    }
    bench.call(&["merge", "part-0", "part-1", "--out", "all"]).assert_code(0);
    let path = bench.path().join("all/summary.json");
    let text = std::fs::read_to_string(&path).expect("a summary");
    std::fs::write(&path, text.replace("\"journaled\": 0", "\"journaled\": 3")).expect("written");
    let verified = bench.call(&["verify", "all"]);
    assert!(verified.stdout.contains("in the folders of the runs that were merged"), "{}", verified.stdout);
}

#[test]
fn a_replay_that_would_send_other_bytes_is_refused_with_the_reason() {
    let bench = Bench::new();
    bench.file("hook.lua", "function request(ctx, record) return ctx.args.prefix .. record.value end\n");
    let script = "script: { file: hook.lua, args: { prefix: a, store: \"redis://me:secret@host\" } }\n";
    bench.run(&steady(50, "200ms", script), &[]).assert_code(0);
    assert!(
        !std::fs::read_to_string(bench.path().join("out/effective.yaml")).expect("there").contains("secret")
    );
    let replay = |words: &[&str]| {
        let ended = bench.call(&["replay", "out", "--out", "again"]);
        assert_fails(&ended, 2, words);
        assert!(!ended.stderr.contains("flush"), "{}", ended.stderr);
    };
    replay(&["script.args.store", "password"]);
    let changed = |file: &str, from: &str, to: &str| {
        let path = bench.path().join("out").join(file);
        let text = std::fs::read_to_string(&path).expect(file);
        assert!(text.contains(from), "{from}: {text}");
        std::fs::write(&path, text.replace(from, to)).expect("written");
    };
    // Typed again, it is what it was.
    changed("effective.yaml", ":***@", ":secret@");
    bench.call(&["replay", "out", "--out", "again"]).assert_code(0);
    for (file, from, to) in [
        ("script.lua", "record.value", "record.key"),
        ("effective.yaml", "prefix: a", "prefix: b"),
        ("effective.yaml", "pending", "done"),
    ] {
        changed(file, from, to);
        replay(&["would be others"]);
        changed(file, to, from);
    }
    changed("effective.yaml", "embedded", "redis://me:***@127.0.0.1:1");
    replay(&["--redis", "password"]);
    std::fs::remove_file(bench.path().join("out/plan.json")).expect("removed");
    replay(&["plan.json is not there"]);
}
