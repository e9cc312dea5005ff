//! Plans: what a dry run says is what the run does, and the parts of a plan are the plan.

#[path = "support/program.rs"]
mod program;

use std::path::Path;

use proptest::prelude::*;
use runner::plan::Plan;
use runner::plan::compile::compile;
use runner::plan::segment::{Segment, Share};
use runner::scenario::{Overrides, Scenario};

use program::Bench;

fn plan(yaml: &str, segment: Segment) -> Plan {
    let loaded =
        Scenario::from_text("t.yaml", Path::new("."), yaml, &Overrides::default()).expect("a scenario");
    compile(&loaded.scenario, segment, &mut |_, t| Ok(20.0 + t)).expect("a plan")
}

/// All (n, key, due) rows of a segment, as its workers walk them.
fn rows(yaml: &str, segment: Segment, workers: u64) -> Vec<(u64, u64, u64)> {
    let plan = plan(yaml, segment);
    let mut rows = Vec::new();
    for worker in 0..workers {
        let mut cursor = plan.schedule.cursor();
        let share = Share::new(plan.schedule.total(), plan.segment, plan.connections.count, worker, workers);
        rows.extend(share.map(|n| (n, plan.keys.id_of(n), cursor.due_at(n).0.0)));
    }
    rows.sort_unstable();
    rows
}

fn a_stage() -> impl Strategy<Value = String> {
    let duration = 1u32..2000;
    prop_oneof![
        (1u32..300, duration.clone()).prop_map(|(r, d)| format!("{{ hold: {r}, duration: {d}ms }}")),
        (0u32..300, 1u32..300, duration.clone())
            .prop_map(|(a, b, d)| format!("{{ ramp: {{ from: {a}, to: {b} }}, duration: {d}ms }}")),
        (1u32..200, 1u32..50, 1u32..500).prop_map(|(a, b, d)| format!(
            "{{ step: {{ from: {a}, to: {}, by: {b}, every: {d}ms }} }}",
            a + 2 * b
        )),
        (10u32..200, 20u32..900, duration.clone()).prop_map(|(m, p, d)| {
            format!("{{ sine: {{ mean: {m}, amplitude: {}, period: {p}ms }}, duration: {d}ms }}", m / 2)
        }),
        duration.clone().prop_map(|d| format!("{{ pause: {{}}, duration: {d}ms }}")),
        duration.prop_map(|d| format!("{{ lua: rate, duration: {d}ms }}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The union of the segments, each shared out among any number of workers, is the whole plan: the
    /// same requests with the same records at the same times.
    #[test]
    fn segments_and_workers_are_the_whole_plan(
        stages in prop::collection::vec(a_stage(), 1..5),
        arrivals in prop_oneof![Just("uniform"), Just("poisson")],
        order in prop_oneof![Just("sequential"), Just("shuffle"), Just("random"), Just("zipf")],
        seed in 0u64..1000,
        connections in 1u64..12,
    ) {
        let yaml = format!(
            "name: t\nseed: {seed}\nscript: {{ file: x.lua }}\n\
             records: {{ range: [1..50, 900..1000], order: {order} }}\n\
             connections: {{ count: {connections} }}\n\
             load: {{ arrivals: {arrivals}, stages: [ {{ hold: 1, duration: 1s }}, {} ] }}\n",
            stages.join(", ")
        );
        let whole = rows(&yaml, Segment::WHOLE, 1);
        prop_assert_eq!(whole.len() as u64, plan(&yaml, Segment::WHOLE).scheduled());
        for segments in [1, 3] {
            for workers in [1, connections.min(3)] {
                let mut union: Vec<_> = (0..segments)
                    .flat_map(|index| rows(&yaml, Segment::new(index, segments).expect("inside"), workers))
                    .collect();
                union.sort_unstable();
                prop_assert_eq!(&union, &whole);
            }
        }
    }
}

#[test]
fn every_scenario_does_what_its_dry_run_says() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(tree.join("scenarios")).expect("the scenarios") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let file = path.to_str().expect("text");
        let bench = Bench::new();
        // Nobody's Redis is needed, and a build without optimisation keeps a tenth of the highest rate. One row of a
        // matrix will do.
        let mut args = vec![file, "--redis", "embedded"];
        args.extend(match name.as_str() {
            "max-rate.yaml" => &["--var", "rate=5000"][..],
            // One trial, which is what the dry run shows.
            "find-limit.yaml" => &["--set=search.to=100", "--set=search.trial=1s", "--set=search.warmup=0"],
            "store-benchmark.yaml" => &["--set", "load.requests=2000"],
            "store-sustained.yaml" => {
                &["--set=connections.count=20", "--set=load.duration=1s", "--set=load.ramp_up=100ms"]
            }
            _ => &[],
        });
        let planned = bench.call(&[&args[..], &["--dry-run", "--json"]].concat());
        planned.assert_code(0);
        let plan: serde_json::Value = serde_json::from_str(&planned.stdout).expect("JSON");
        let ended = bench.call(&[&args[..], &["--out", "out", "--quiet"]].concat());
        ended.assert_code(0);
        if name == "find-limit.yaml" {
            let moved = |from: &str, to: &str| {
                std::fs::rename(bench.path().join(from), bench.path().join(to)).expect("it is there");
            };
            moved("out", "search");
            moved("search/01-100", "out");
        }
        let done = ended.summary(&["scheduled", "sent", "matched", "connections_opened", "reconnects"]);
        // Where time ends a closed load, nobody knows beforehand how much it is.
        let known = !plan["scheduled"].is_null();
        assert!(known || name == "store-sustained.yaml", "{name}");
        // Lua may drop; what it drops is neither sent nor carried by a connection.
        assert!(!known || plan["scheduled"] == done[0], "{name}: {}", done[0]);
        assert_eq!((done[1], done[2]), (done[0], done[0]), "{name}: {}", ended.stderr);
        assert_eq!(
            serde_json::json!(done[3..]),
            serde_json::json!([plan["connections_opened"], plan["reconnects"]]),
            "{name}"
        );
        let summary = ended.rows("summary.csv").remove(0);
        assert_eq!(summary["plan"], plan["plan"].as_str().expect("a fingerprint"), "{name}");
        let stages = ended.rows("stages.csv");
        for (row, stage) in stages.iter().zip(plan["stages"].as_array().expect("a list")) {
            let scheduled: u64 = row["scheduled"].parse().expect("a number");
            assert!(!known || stage["scheduled"] == scheduled, "{name} {row:?}");
        }
    }
}
