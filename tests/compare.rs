//! Runs against earlier ones: `runner compare`, and `run --baseline --fail-on-regression`.

#[path = "support/program.rs"]
mod program;

use std::process::{Child, Stdio};

use program::{Bench, Ended};

/// Ten seconds that count, which is as few as a comparison can have.
fn scenario(delay_ms: u32) -> String {
    format!(
        "name: steady\nrecords: {{ range: 1..10000, source: template }}\nmapping: {{ into: none }}\n\
         load:\n  stages:\n    - {{ name: warm, hold: 50, duration: 1s, warmup: true }}\n    - {{ hold: 50, duration: 10s }}\n\
         responder: {{ delay: {delay_ms}ms }}\n"
    )
}

/// What a change must be beyond: less than the 5 ms that are looked for, and more than a machine makes of
/// itself while two runs share it.
const BOUNDS: [&str; 4] = ["--min-time", "3ms", "--min-change", "20%"];

fn start(bench: &Bench, name: &str, delay_ms: u32, more: &[&str]) -> Child {
    let file = bench.file(&format!("{name}.yaml"), &scenario(delay_ms));
    let mut args = vec![file.to_str().expect("text"), "--out", name];
    args.extend(more);
    bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
}

fn compare(bench: &Bench, args: &[&str]) -> Ended {
    bench.call(&[&["compare"], &BOUNDS[..], args].concat())
}

fn assert_says(ended: &Ended, code: i32, words: &[&str]) {
    ended.assert_code(code);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn two_runs_compare_as_no_significant_change_and_one_with_5_ms_more_delay_as_a_regression() {
    let bench = Bench::new();
    // At the same time, so that whatever else the machine does it does to all of them.
    let earlier = start(&bench, "base", 10, &[]);
    let others = [start(&bench, "same", 10, &[]), start(&bench, "slower", 15, &[])];
    bench.wait(earlier).assert_code(0);
    for run in others {
        bench.wait(run).assert_code(0);
    }

    assert_says(&compare(&bench, &["base", "same"]), 0, &["NO SIGNIFICANT CHANGE", "10 s in 10 blocks"]);
    let slower = compare(&bench, &["base", "slower"]);
    assert_says(
        &slower,
        113,
        &["REGRESSION: response_time p50 from 1", "WORSE", "error: failed to be as good as the base"],
    );
    // The other way round it is better, which fails nobody.
    assert_says(&compare(&bench, &["slower", "base"]), 0, &["IMPROVEMENT: response_time p50", "better"]);

    // A summary alone is enough of an earlier run; what is found is the same.
    std::fs::copy(bench.path().join("base/summary.json"), bench.path().join("kept.json")).expect("copied");
    let from_file = compare(&bench, &["kept.json", "slower"]);
    assert_eq!((from_file.code, &from_file.stdout), (113, &slower.stdout));

    let both = compare(&bench, &["base", "same", "slower", "--json", "--html", "pages/compare.html"]);
    assert_says(&both, 113, &[]);
    let json: serde_json::Value = serde_json::from_str(&both.stdout).expect("JSON");
    let judged: Vec<&str> =
        (0..2).map(|index| json["compared"][index]["judgement"].as_str().expect("a word")).collect();
    assert_eq!(judged, ["no_significant_change", "regression"]);
    let page = std::fs::read_to_string(bench.path().join("pages/compare.html")).expect("a page");
    assert!(page.contains("REGRESSION") && page.contains("data-line=\"new 2\"") && page.len() < 2_000_000);
    let markdown = compare(&bench, &["base", "slower", "--markdown"]);
    assert_says(&markdown, 113, &["### ❌ steady: regression", "| response_time p50 |", "**WORSE**"]);

    // The same as the run ends: verdict, exit code, and every report.
    let held = [&["--baseline", "base", "--fail-on-regression"][..], &BOUNDS].concat();
    let runs = [start(&bench, "again", 10, &held), start(&bench, "worse", 15, &held)];
    let also = start(&bench, "told", 15, &[&["--baseline", "kept.json"][..], &BOUNDS].concat());
    let [again, worse] = runs.map(|run| bench.wait(run));
    assert_says(&again, 0, &["NO SIGNIFICANT CHANGE", "PASSED"]);
    let last = |ended: &Ended| ended.stderr.trim_end().lines().last().unwrap_or_default().to_string();
    worse.assert_code(113);
    assert!(last(&worse).contains("(exit 113): regression against steady-"), "{}", worse.stderr);
    let file =
        |run: &str, name: &str| std::fs::read_to_string(bench.path().join(run).join(name)).expect(name);
    assert!(file("worse", "summary.csv").contains(",regression,113,"));
    assert!(file("worse", "report.html").contains("id=\"changes-0\""));
    let summary: serde_json::Value = serde_json::from_str(&file("worse", "summary.json")).expect("JSON");
    assert_eq!(
        (&summary["exit_code"], &summary["baseline"]["judgement"]),
        (&113.into(), &"regression".into())
    );
    let cases = |run: &str| {
        let xml = file(run, "junit.xml");
        (xml.matches("<testcase").count(), xml.matches("<failure").count(), xml.matches("<error").count())
    };
    assert_eq!((cases("again"), cases("worse")), ((2, 0, 0), (2, 1, 0)));
    bench.call(&["verify", "worse"]).assert_code(0);
    // Made again from the files, it is the same.
    bench.call(&["report", "worse", "--out", "remade"]).assert_code(0);
    for name in ["summary.json", "report.html", "junit.xml"] {
        assert_eq!(file("remade", name), file("worse", name), "{name}");
    }
    // Told, and no more.
    let told = bench.wait(also);
    assert_says(&told, 0, &["REGRESSION", "PASSED"]);
    assert_eq!(cases("told"), (2, 0, 0));
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_is_sent() {
    let bench = Bench::new();
    let short = |tps: u32, more: &str| {
        format!(
            "name: short\nrecords: {{ range: 1..100, source: template }}\nmapping: {{ into: none }}\n\
             load: {{ stages: [ {{ hold: {tps}, duration: 2s }} ] }}\n{more}"
        )
    };
    bench.run(&short(50, ""), &[]).assert_code(0);
    assert_says(&bench.call(&["compare", "out", "out"]), 2, &["TOO SHORT TO TELL", "2 blocks", "hint:"]);
    let other = bench.file("other.yaml", &short(60, ""));
    let other = other.to_str().expect("text");
    let bare = bench.file("bare.yaml", &short(50, "report: { files: [summary] }\n"));
    let several = bench.file("several.yaml", &short(50, "matrix: { connections.count: [10, 20] }\n"));
    let refused = |args: &[&str], words: &[&str]| {
        let ended = bench.call(args);
        assert_says(&ended, 2, words);
        assert!(!bench.path().join("no").exists(), "{}", ended.stderr);
    };
    let against = |file: &str| [file, "--out", "no", "--baseline", "out"].map(str::to_string);
    fn text(args: &[String]) -> Vec<&str> {
        args.iter().map(String::as_str).collect()
    }
    refused(&text(&against(other)), &["it had another load: plan "]);
    refused(&text(&against(bare.to_str().expect("text"))), &["report.files"]);
    refused(&text(&against(several.to_str().expect("text"))), &["matrix"]);
    let scenario = bench.path().join("scenario.yaml");
    let same = against(scenario.to_str().expect("text"));
    refused(
        &[text(&same), vec!["--fail-on-regression"]].concat(),
        &["too short", "10 seconds besides warm-up"],
    );
    refused(&["scenario.yaml", "--out", "no", "--baseline", "nowhere"], &["nowhere"]);

    bench.call(&[other, "--out", "second"]).assert_code(0);
    assert_says(&bench.call(&["compare", "out", "second"]), 2, &["different loads", "--force"]);
    assert_says(&bench.call(&["compare", "out", "second", "--force"]), 2, &["DIFFERENT LOADS", "TOO SHORT"]);
    bench.call(&[bare.to_str().expect("text"), "--out", "third"]).assert_code(0);
    assert_says(&bench.call(&["compare", "out", "third"]), 2, &["third", "summary.json"]);
    bench.call(&["compare", "out", "out", "--min-change", "5"]).assert_code(2);
}

/// A minute of 50 requests a second, which takes no time on a clock of its own.
fn minute(load: &str, more: &str) -> String {
    format!(
        "name: minute\nrecords: {{ range: 1..10000, source: template, order: random }}\nmapping: {{ into: none }}\n\
         load: {{ stages: [ {load} ] }}\nresponder: {{ delay: 5ms }}\n{more}"
    )
}

fn simulate(bench: &Bench, name: &str, scenario: &str, more: &[&str]) -> Ended {
    let file = bench.file(&format!("{name}.yaml"), scenario);
    bench.call(&[&[file.to_str().expect("text"), "--simulate", "--out", name], more].concat())
}

#[test]
fn what_a_run_that_was_cut_short_has_done_is_compared() {
    let bench = Bench::new();
    let hold = "{ hold: 50, duration: 60s }";
    simulate(&bench, "base", &minute(hold, ""), &[]).assert_code(0);
    let ends = "thresholds: [ { check: response_time count < 2825, abort: true } ]\n";
    simulate(&bench, "short", &minute(hold, ends), &[]).assert_code(99);
    let said = ["NO SIGNIFICANT CHANGE", "57 s in 10 blocks"];
    assert_says(&bench.call(&["compare", "base", "short"]), 0, &said);
    assert_says(&bench.call(&["compare", "short/summary.json", "base/summary.json"]), 0, &said);
    // What is told of one that has hardly begun, and that it is no base for a verdict.
    let ends = ends.replace("2825", "425");
    simulate(&bench, "begun", &minute(hold, &ends), &[]).assert_code(99);
    assert_says(&bench.call(&["compare", "base", "begun"]), 2, &["TOO SHORT TO TELL", "9 blocks in common"]);
    let held = ["--baseline", "begun", "--fail-on-regression"];
    let refused = simulate(&bench, "no", &minute(hold, ""), &held);
    assert_says(&refused, 2, &["begun", "it has 9 blocks of seconds in common with the plan"]);
    assert!(!bench.path().join("no").exists());
}

#[test]
fn seconds_in_which_nothing_is_due_are_no_blocks() {
    let bench = Bench::new();
    let pause = "{ hold: 50, duration: 20s }, { pause: {}, duration: 10s }";
    simulate(&bench, "pause", &minute(pause, ""), &[]).assert_code(0);
    assert_says(&bench.call(&["compare", "pause", "pause"]), 0, &["20 s in 10 blocks"]);
    let rare = minute("{ hold: \"6/m\", duration: 60s }", "");
    simulate(&bench, "rare", &rare, &[]).assert_code(0);
    assert_says(&bench.call(&["compare", "rare", "rare"]), 2, &["6 blocks in common"]);
    let refused = simulate(&bench, "no", &rare, &["--baseline", "rare", "--fail-on-regression"]);
    assert_says(&refused, 2, &["the plan is too short", "something to send in each"]);
}

#[test]
fn a_run_of_which_nothing_can_be_told_ends_as_undecided_and_not_as_a_regression() {
    let bench = Bench::new();
    let users = |delay_ms: u32| {
        format!(
            "name: users\nrecords: {{ range: 1..10000, source: template }}\nmapping: {{ into: none }}\n\
             load: {{ users: 10, requests: 10000 }}\nconnections: {{ limit: 0 }}\nresponder: {{ delay: {delay_ms}ms }}\n"
        )
    };
    simulate(&bench, "slow", &users(20), &[]).assert_code(0);
    // As many requests in a second: that shows when they are sent.
    let held = ["--baseline", "slow", "--fail-on-regression"];
    let quick = simulate(&bench, "quick", &users(1), &held);
    assert_says(&quick, 2, &["(exit 2): too short to tell a regression against users-", "1 block in common"]);
    let file = |name: &str| std::fs::read_to_string(bench.path().join("quick").join(name)).expect(name);
    assert!(file("summary.csv").contains(",undecided,2,"));
    let xml = file("junit.xml");
    assert_eq!((xml.matches("<failure").count(), xml.matches("<error").count()), (0, 1));
    bench.call(&["verify", "quick"]).assert_code(0);
    // Of a base that was as short nothing is asked.
    simulate(&bench, "short", &users(1), &[]).assert_code(0);
    let refused = simulate(&bench, "no", &users(1), &["--baseline", "short", "--fail-on-regression"]);
    assert_says(&refused, 2, &["it has 1 block of seconds in common with the plan"]);
    assert!(!bench.path().join("no").exists());
}

#[test]
fn another_seed_is_the_same_load_and_another_ramp_or_a_simulation_is_not() {
    let bench = Bench::new();
    let up = minute("{ ramp: { from: 0, to: 100 }, duration: 20s }", "");
    simulate(&bench, "up", &up, &["--seed", "1"]).assert_code(0);
    simulate(&bench, "again", &up, &["--seed", "2"]).assert_code(0);
    assert_says(&bench.call(&["compare", "up", "again"]), 0, &["drawn with seed 1 and seed 2"]);
    let down = up.replace("from: 0, to: 100", "from: 100, to: 0");
    simulate(&bench, "down", &down, &["--seed", "2"]).assert_code(0);
    assert_says(&bench.call(&["compare", "up", "down"]), 2, &["different loads", "--force"]);

    let short = minute("{ hold: 50, duration: 1s }", "");
    simulate(&bench, "model", &short, &[]).assert_code(0);
    bench.run(&short, &[]).assert_code(0);
    assert_says(&bench.call(&["compare", "out", "model"]), 2, &["one measured and one simulated", "--force"]);
    let forced = bench.call(&["compare", "out", "model", "--force"]);
    assert_says(&forced, 2, &["passed, SIMULATED", "DIFFERENT LOADS"]);
    let held = bench.run(&short, &["--baseline", "model"]);
    assert_says(&held, 2, &["it had another load: one simulated and one measured"]);
}

#[test]
fn what_init_writes_runs_as_it_is_and_is_never_written_over() {
    let bench = Bench::new();
    let written = bench.call(&["init", "checkout"]);
    assert_says(
        &written,
        0,
        &["checkout.yaml and checkout.lua are written", "runner checkout.yaml --dry-run"],
    );
    let read = |name: &str| std::fs::read_to_string(bench.path().join(name)).expect(name);
    let (scenario, hook) = (read("checkout.yaml"), read("checkout.lua"));
    assert!(scenario.contains("name: checkout\n") && !scenario.contains("NAME"));
    assert!(hook.contains("checkout.yaml") && !hook.contains("NAME"));
    bench.call(&["validate", "checkout.yaml"]).assert_code(0);
    // As it is, but for the time it takes.
    let quick =
        ["load.stages[0].duration=200ms", "load.stages[1].duration=500ms", "load.stages[2].duration=500ms"];
    let quick: Vec<&str> = quick.iter().flat_map(|change| ["--set", change]).collect();
    let ran = bench.call(&[&["checkout.yaml", "--out", "out"], &quick[..]].concat());
    assert_says(&ran, 0, &["PASSED"]);
    let summary: serde_json::Value = serde_json::from_str(&ran.file("summary.json")).expect("JSON");
    assert_eq!(summary["script"]["checks"]["answered"]["passed"], summary["ledger"]["matched"]);

    std::fs::write(bench.path().join("checkout.yaml"), "mine").expect("written");
    assert_says(
        &bench.call(&["init", "checkout"]),
        2,
        &["checkout.yaml", "there is such a file already", "hint:"],
    );
    std::fs::write(bench.path().join("other.lua"), "mine").expect("written");
    assert_says(&bench.call(&["init", "other"]), 2, &["other.lua"]);
    assert_eq!((read("checkout.yaml").as_str(), read("other.lua").as_str()), ("mine", "mine"));
    assert!(!bench.path().join("other.yaml").exists());
    bench.call(&["init", "../up"]).assert_code(2);
    bench.call(&["init"]).assert_code(0);
    assert!(read("load.yaml").contains("name: load\n"));
}
