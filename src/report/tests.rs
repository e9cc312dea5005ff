use super::*;
use crate::ledger::{Ledger, Mapped, Outcome};
use crate::plan::Plan;
use crate::plan::segment::Segment;
use crate::recorder::histogram::Latencies;
use crate::recorder::shard::Window;
pub(in crate::report) use crate::recorder::summary::blank;
use crate::recorder::summary::{Health, ReadBack, ResponderCount, StageRow, Summary};
use crate::scenario::{Overrides, Scenario};
use crate::units::Nanos;
use proptest::prelude::*;

/// 2026-11-21T14:05:01.123Z.
pub(in crate::report) fn afternoon() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_269_901_123)
}

/// A ramp of 13,500 requests in two minutes that went as planned.
pub(in crate::report) fn typical() -> Summary {
    let mut ledger = Ledger { scheduled: 13_500, sent: 13_500, ..Ledger::default() };
    ledger.outcomes.add(Outcome::Matched, 13_500);
    ledger.receipts.received = 13_500;
    ledger.mapping = Some(Mapped { mapped: 13_500, map_failed: 0 });
    let mut latencies = Latencies::default();
    latencies.response.saturating_record_n(420_000, 13_500);
    latencies.service.saturating_record_n(400_000, 13_500);
    latencies.lag.saturating_record_n(18_000, 13_500);
    let mut window = Window::default();
    (window.scheduled, window.sent) = (13_500, 13_500);
    window.outcomes.add(Outcome::Matched, 13_500);
    window.latencies = Some(Box::new(latencies.clone()));
    Summary {
        run_id: run_id("ramp", afternoon()),
        scenario: "ramp".to_string(),
        plan: "9f3c".to_string(),
        load: Some("10ad".to_string()),
        seed: 42,
        started_at: afternoon(),
        duration: Nanos(119_970_214_000),
        scheduled_duration: Nanos::from_secs(120),
        ledger,
        latencies,
        stages: vec![StageRow {
            name: "up".to_string(),
            kind: "ramp".into(),
            duration: Nanos::from_secs(120),
            warmup: false,
            planned: 13_500,
            window,
        }],
        connections_opened: 140,
        reconnects: 130,
        connection_ends: [("limit".into(), 130), ("finished".into(), 10)].into(),
        responder: Some(ResponderCount { issued: 13_500, received: 13_500, unanswered: 0 }),
        read_back: Some(ReadBack {
            expected: 13_500,
            found: 13_500,
            missing: 0,
            different: 0,
            sample: false,
        }),
        health: Health {
            worker_cpu: vec![Duration::from_secs(7), Duration::from_secs(6)],
            process_cpu: Duration::from_secs(20),
            script_time: Duration::from_millis(54),
            script_calls: 13_500,
            script_slowest: Duration::from_micros(90),
            slowest_fetch: Duration::from_millis(2),
            slowest_write: Duration::from_millis(3),
            ..Health::default()
        },
        ..blank()
    }
}

/// The plan of a scenario given as its `load` and `connections`.
pub(in crate::report) fn plan(yaml: &str) -> Plan {
    let text = format!("name: ramp\nrecords: {{ range: 1..500000 }}\n{yaml}");
    let loaded =
        Scenario::from_text("ramp.yaml", Path::new("."), &text, &Overrides::default()).expect("a scenario");
    crate::plan::compile::compile(&loaded.scenario, Segment::WHOLE, &mut |_, _| Ok(0.0)).expect("a plan")
}

#[test]
fn a_file_has_its_name_only_when_it_is_finished_or_dropped() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = Folder::create(&dir.path().join("runs/a")).expect("made");
    let names = || {
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .expect("there")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let mut finished = folder.file("a.csv").expect("begun");
    finished.write_all(b"1").expect("room");
    let mut dropped = folder.file("b.csv").expect("begun");
    dropped.write_all(b"2").expect("room");
    assert_eq!(names(), ["a.csv.part", "b.csv.part"]);
    finished.finish().expect("renamed");
    drop(dropped);
    folder.write("c.json", b"3").expect("written");
    assert_eq!(names(), ["a.csv", "b.csv", "c.json"]);
    assert_eq!(fs::read(folder.path().join("b.csv")).expect("there"), b"2");
}

#[test]
fn a_folder_that_cannot_be_made_says_where_and_what_to_do() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = Folder::create(file.path()).expect_err("a file is no folder").to_string();
    assert!(error.contains(&file.path().display().to_string()) && error.contains("--out"), "{error}");
}

#[test]
fn a_file_that_cannot_be_written_says_which() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = Folder::create(&dir.path().join("gone")).expect("made");
    fs::remove_dir(folder.path()).expect("removed");
    let error = folder.write("a.csv", b"1").expect_err("nowhere to write").to_string();
    assert!(error.starts_with("write ") && error.contains("gone/a.csv"), "{error}");
}

/// Every byte that is written to it is one too many.
const FULL: &str = "/dev/full";

#[test]
fn a_file_for_which_there_was_no_room_keeps_the_name_of_a_part() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = Folder::create(dir.path()).expect("made");
    for name in ["finished.csv", "dropped.csv", "whole.csv", "rows.csv"] {
        std::os::unix::fs::symlink(FULL, dir.path().join(format!("{name}.part"))).expect("linked");
    }
    let mut finished = folder.file("finished.csv").expect("begun");
    finished.write_all(b"1").expect("buffered");
    let error = finished.finish().expect_err("no room").to_string();
    assert!(error.contains("finished.csv.part"), "{error}");
    let mut dropped = folder.file("dropped.csv").expect("begun");
    dropped.write_all(b"2").and_then(|()| dropped.flush()).expect_err("no room");
    drop(dropped);
    folder.write("whole.csv", b"3").expect_err("no room");
    csv::Rows::new(&folder, "rows.csv", "a,b").expect_err("no room");
    for name in ["finished.csv", "dropped.csv", "whole.csv", "rows.csv"] {
        assert!(!dir.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_run_that_begins_removes_what_an_earlier_one_has_measured_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = Folder::create(dir.path()).expect("made");
    let there = |name: &str| dir.path().join(name).exists();
    let others = ["notes.txt", "own.csv", "script.lua"];
    for name in RESULTS.into_iter().chain(others).chain(["seconds.csv.part"]) {
        fs::write(dir.path().join(name), "x").expect("written");
    }
    folder.begin_anew().expect("nothing to do");
    assert!(RESULTS.into_iter().all(there), "no run has begun here");
    fs::write(dir.path().join(PLAN), "{}").expect("written");
    folder.begin_anew().expect("removed");
    assert!(!RESULTS.into_iter().any(there) && !there("seconds.csv.part"));
    assert!(others.into_iter().all(there) && there(PLAN));
}

#[test]
fn the_name_of_a_run_holds_its_time_in_utc() {
    assert_eq!(run_id("ramp", afternoon()), "ramp-20261121T140501.123Z");
    assert_eq!(timestamp(UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    let days = |date: u64| timestamp(UNIX_EPOCH + Duration::from_secs(date * 86_400));
    assert_eq!(&days(11_016)[..10], "2000-02-29");
    assert_eq!(&days(11_017)[..10], "2000-03-01");
    assert_eq!(&days(19_782)[..10], "2024-02-29");
    assert_eq!(&days(47_540)[..10], "2100-02-28");
    assert_eq!(&days(47_541)[..10], "2100-03-01");
    assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
}

proptest! {
    #[test]
    fn an_instant_reads_back(ms in 0..100_000_000_000_000u64, cut in 0..24usize) {
        let at = UNIX_EPOCH + Duration::from_millis(ms);
        let text = timestamp(at);
        prop_assert_eq!(instant(&text), Some(at));
        prop_assert_eq!(instant(&text[..cut.min(text.len() - 1)]), None);
    }

    #[test]
    fn the_day_after_is_the_next_day_of_the_month_or_the_first(days in 0..1_000_000u64) {
        let (today, tomorrow) = (civil(days), civil(days + 1));
        let (year, month, day) = today;
        let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
        let length = match month { 2 if leap => 29, 2 => 28, 4 | 6 | 9 | 11 => 30, _ => 31 };
        let expected = match (month, day) {
            (12, 31) => (year + 1, 1, 1),
            (_, day) if day == length => (year, month + 1, 1),
            _ => (year, month, day + 1),
        };
        prop_assert!(day <= length);
        prop_assert_eq!(tomorrow, expected);
    }
}
