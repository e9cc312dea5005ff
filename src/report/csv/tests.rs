use super::*;
use crate::ledger::Imbalance;
use crate::recorder::summary::ErrorRow;
use crate::report::tests::{blank, plan, typical};
use std::collections::HashMap;
use std::fs;

const STEPS: &str =
    "load: { stages: [ { name: a, hold: 10, duration: 1500ms }, { name: b, hold: 20, duration: 2500ms } ] }";

fn read(bytes: &[u8]) -> Vec<HashMap<String, String>> {
    let mut reader = ::csv::Reader::from_reader(bytes);
    reader.deserialize().map(|row| row.expect("a row that fits its header")).collect()
}

fn header(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_string()
}

fn second(second: u64, scheduled: u64) -> SecondRow {
    let mut window = Window::default();
    window.scheduled = scheduled;
    SecondRow { second, window }
}

#[test]
fn the_columns_of_the_contract_come_first_and_in_their_order() {
    let summary = "run_id,scenario,plan,seed,started_at,duration_s,outcome,exit_code,scheduled,sent,dropped,not_reached,matched,failed,timed_out,duplicate,late,unknown,malformed,mapped,map_failed,rate_planned,rate_actual,connections_opened,reconnects,response_p50_us,response_p90_us,response_p99_us,response_p99_9_us,response_max_us,service_p50_us,service_p90_us,service_p99_us,service_p99_9_us,service_max_us,lag_p50_us,lag_p90_us,lag_p99_us,lag_p99_9_us,lag_max_us";
    let seconds = "second,stage,scheduled,sent,matched,failed,timed_out,dropped,in_flight,connections,response_p50_us,response_p99_us,lag_p99_us";
    let stages = "stage,kind,duration_s,scheduled,sent,matched,rate_planned,rate_actual,response_p50_us,response_p99_us,response_max_us";
    let begins =
        |columns: &str, contract: &str| columns == contract || columns.starts_with(&format!("{contract},"));
    assert!(begins(&header(&summary_csv(&blank())), summary));
    assert!(begins(&header(&stages_csv(&blank())), stages));
    assert!(begins(SECONDS, seconds));
    assert_eq!(header(&errors_csv(&blank())), "kind,address,count,first_us,last_us,detail");
}

#[test]
fn a_summary_reads_back() {
    let mut summary = typical();
    summary.verdict.reason = "it said \"no\", twice\nand left".to_string();
    summary.ledger.outcomes.add(Outcome::Late, 3);
    let rows = read(&summary_csv(&summary));
    let row = &rows[0];
    let shown = [
        "run_id",
        "started_at",
        "duration_s",
        "scheduled",
        "dropped",
        "dropped_late",
        "mapped",
        "lag_max_us",
    ]
    .map(|column| row[column].as_str());
    assert_eq!(rows.len(), 1);
    assert_eq!(
        shown,
        [
            "ramp-20261121T140501.123Z",
            "2026-11-21T14:05:01.123Z",
            "119.970214",
            "13500",
            "3",
            "3",
            "13500",
            "18"
        ]
    );
    assert_eq!(row["reason"], summary.verdict.reason);
    assert_eq!((row["rate_planned"].as_str(), row["outcome"].as_str()), ("112.500", "passed"));
}

#[test]
fn nothing_measured_is_zero_and_never_nan() {
    let mut summary = blank();
    summary.imbalances.push(Imbalance { equation: "a = b", left: 1, right: 2 });
    let text = String::from_utf8(summary_csv(&summary)).expect("text");
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    assert_eq!(read(text.as_bytes())[0]["response_p99_9_us"], "0");
}

#[test]
fn a_stage_and_an_error_read_back() {
    let mut summary = typical();
    summary.errors.push(ErrorRow {
        kind: "connect".to_string(),
        address: "127.0.0.1:9000".parse().ok(),
        count: 4,
        first: Nanos(1_500),
        last: Nanos(2_400_000),
        detail: "refused, \"really\"".to_string(),
    });
    let stage = &read(&stages_csv(&summary))[0];
    assert_eq!((stage["stage"].as_str(), stage["duration_s"].as_str()), ("up", "120"));
    assert_eq!((stage["rate_actual"].as_str(), stage["warmup"].as_str()), ("112.500", "false"));
    let error = &read(&errors_csv(&summary))[0];
    assert_eq!((error["first_us"].as_str(), error["last_us"].as_str()), ("2", "2400"));
    assert_eq!(error["detail"], "refused, \"really\"");
}

#[test]
fn every_second_has_a_row_with_the_stage_in_which_it_begins() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = Folder::create(dir.path()).expect("made");
    let mut seconds = SecondsCsv::new(&folder, &plan(STEPS)).expect("begun");
    seconds.row(&second(0, 10)).expect("written");
    // What is written can be read before the run is over.
    let part = fs::read(dir.path().join("seconds.csv.part")).expect("there");
    assert_eq!(read(&part).len(), 1);
    seconds.row(&second(2, 20)).expect("written");
    seconds.finish(4).expect("finished");
    let rows = read(&fs::read(dir.path().join("seconds.csv")).expect("there"));
    let shown: Vec<(&str, &str, &str)> = rows
        .iter()
        .map(|row| (row["second"].as_str(), row["stage"].as_str(), row["scheduled"].as_str()))
        .collect();
    assert_eq!(shown, [("0", "a", "10"), ("1", "a", "0"), ("2", "b", "20"), ("3", "b", "0")]);
    assert!(rows.iter().all(|row| row["response_max_us"] == "0"));
}

#[test]
fn a_cell_that_begins_like_a_formula_is_text_to_a_spreadsheet() {
    let formulas = ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "-", "=cmd|' /C calc'!A0"];
    for formula in formulas {
        let mut summary = typical();
        summary.verdict.reason = formula.to_string();
        assert_eq!(read(&summary_csv(&summary))[0]["reason"], format!("'{formula}"));
    }
    for harmless in ["-5", "-1.5e3", "+7", "a=b", "", "'-5", "'", "record:1", " =1"] {
        let mut summary = typical();
        summary.verdict.reason = harmless.to_string();
        assert_eq!(read(&summary_csv(&summary))[0]["reason"], harmless);
    }
}

proptest::proptest! {
    #[test]
    fn every_cell_is_had_back_as_it_was_before_its_guard(cell in "['=+@\\-\\t\\r0-9.a]{0,6}") {
        let safe = String::from_utf8(guarded(cell.as_bytes()).into_owned()).expect("text");
        let formula = safe.starts_with(['=', '+', '-', '@', '\t', '\r']);
        proptest::prop_assert!(!formula || safe.parse::<f64>().is_ok(), "{safe:?}");
        proptest::prop_assert_eq!(unguarded(&safe), cell);
    }
}

#[test]
fn rows_that_are_written_while_the_run_goes_are_guarded_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = Folder::create(dir.path()).expect("made");
    let mut rows = Rows::new(&folder, "rows.csv", "a,b").expect("begun");
    rows.row(["=1", "-2"]).expect("written");
    rows.finish().expect("finished");
    let text = fs::read_to_string(dir.path().join("rows.csv")).expect("there");
    assert_eq!(text, "a,b\n'=1,-2\n");
}

#[test]
fn a_run_that_fails_keeps_the_seconds_it_had() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = Folder::create(dir.path()).expect("made");
    let mut seconds = SecondsCsv::new(&folder, &plan(STEPS)).expect("begun");
    seconds.row(&second(0, 10)).expect("written");
    drop(seconds);
    assert_eq!(read(&fs::read(dir.path().join("seconds.csv")).expect("there")).len(), 1);
}

#[test]
fn a_connection_reads_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = Folder::create(dir.path()).expect("made");
    let mut connections = ConnectionsCsv::new(&folder).expect("begun");
    let row = ConnectionRow {
        slot: 3,
        generation: 1,
        address: "[::1]:9000".parse().expect("an address"),
        opened_us: 5,
        connect_us: 6,
        closed_us: 7,
        sent: 100,
        matched: 99,
        end: "limit",
    };
    connections.row(row).expect("written");
    connections.flush().expect("flushed");
    connections.finish().expect("finished");
    let text = fs::read_to_string(dir.path().join("connections.csv")).expect("there");
    assert_eq!(text, format!("{CONNECTIONS}\n3,1,[::1]:9000,5,6,7,100,99,limit\n"));
}
