use super::*;
use crate::plan::preflight::{Machine, Target};
use crate::plan::segment::Segment;
use crate::report::tests::plan;

const RAMP: &str = "\
seed: 42
load:
  stages:
    - { name: ramp-up, ramp: { from: 0, to: 100 }, duration: 30s }
    - { name: rest, pause: {}, duration: 5s }
    - { name: hold, hold: 100, duration: 60s, warmup: true }
    - { name: spike, hold: 300, duration: 10s }
    - { name: ramp-down, ramp: { from: 300, to: 0 }, duration: 20s }
connections: { count: 10, limit: 100, window: 1, stagger: false }
";

fn with<T>(plan: &Plan, descriptors: u64, then: impl Fn(&DryRun<'_>) -> T) -> T {
    let target = Target { addresses: 10, built_in: true, delay: Nanos::from_millis(10) };
    let preflight = Preflight::of(plan, target, Machine { ephemeral_ports: 28_232, descriptors, cores: 2 });
    let concerns = preflight.concerns(plan);
    let files = ["summary.csv", "seconds.csv"].map(str::to_string);
    let thresholds = ["response_time p(99) < 50ms".to_string()];
    then(&DryRun {
        plan,
        content: "5d0c",
        preflight: &preflight,
        concerns: &concerns,
        files: &files,
        thresholds: &thresholds,
        scenario_path: "scenarios/ramp.yaml",
        folder: "runs/ramp",
        simulated: false,
        target: "the built-in responder on 127.0.0.1, 10 ports",
        redis: "embedded",
    })
}

#[test]
fn a_ramp_is_shown_as_in_the_golden_file() {
    insta::assert_snapshot!("ramp", with(&plan(RAMP), 20, |dry| dry.text(false)));
}

#[test]
fn the_json_has_the_names_of_the_contract() {
    let plan = plan(RAMP);
    let json: serde_json::Value = serde_json::from_str(&with(&plan, 1024, |dry| dry.json())).expect("JSON");
    assert_eq!(json["scheduled"], 13_500);
    assert_eq!(json["plan"], plan.fingerprint.as_str());
    assert_eq!((&json["connections_opened"], &json["reconnects"]), (&140.into(), &130.into()));
    let stage = &json["stages"][2];
    assert_eq!((&stage["name"], &stage["kind"]), (&"hold".into(), &"hold".into()));
    assert_eq!((&stage["scheduled"], &stage["warmup"]), (&5999.into(), &true.into()));
    let due = [&stage["first_due_ns"], &stage["last_due_ns"]].map(|due| due.as_u64().expect("a time"));
    assert!(due[0] >= 30_000_000_000 && due[1] < 95_000_000_000 && due[0] < due[1], "{due:?}");
    assert_eq!(json["records_needed"], 13_500);
}

#[test]
fn the_segments_of_a_plan_add_up_to_it() {
    let mut plan = plan(RAMP);
    let mut sum = 0;
    for index in 0..3 {
        plan.segment = Segment::new(index, 3).expect("a third");
        let json: serde_json::Value =
            serde_json::from_str(&with(&plan, 1024, |dry| dry.json())).expect("JSON");
        let stages = json["stages"].as_array().expect("a list");
        let of_stages: u64 = stages.iter().filter_map(|stage| stage["scheduled"].as_u64()).sum();
        assert_eq!(json["scheduled"], of_stages);
        sum += of_stages;
        assert!(with(&plan, 1024, |dry| dry.text(false)).contains(&format!("segment {index}/3")));
    }
    assert_eq!(sum, 13_500);
}

#[test]
fn a_picture_of_the_rate_rises_to_the_highest_block() {
    let rates = [0, 1, 50, 100].map(Tps::per_second);
    assert_eq!(sparkline(&rates), " ▁▄█");
    assert_eq!(sparkline(&[Tps::ZERO; 3]), "   ");
    assert_eq!(sparkline(&[]), "");
}
