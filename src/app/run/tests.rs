//! Runs that are changed while they go, with all their parts: what they leave is held against arithmetic.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use clap::Parser;

use super::*;
use crate::app::merge::merge_runs;
use crate::app::replay::replay;
use crate::cli::{Cli, Command};
use crate::plan::Plan;
use crate::plan::events::{Deed, Event, MAX_EVENTS};
use crate::plan::schedule::{Change, Schedule};
use crate::recorder::summary::{CutBy, Ended};
use crate::report::verify::verify;
use crate::steer::{Answer, Ask, Done, Refused, Steering};
use crate::units::{NANOS_PER_SEC, Nanos, Tps};

/// However slow the machine is, nothing is too late.
const PATIENT: &str = "max_lateness: 10m, graceful_stop: 2m";
const CONNECTIONS: &str = "connections: { count: 6, limit: 40, request_timeout: 5m, connect_timeout: 1m }\n";
const REPORT: &str = "report: { requests: true }\n";

/// A run that was steered and is over.
struct Went<T> {
    planned: Plan,
    summary: Summary,
    told: T,
    folder: PathBuf,
    _files: tempfile::TempDir,
}

fn steady(stages: &str, more: &str) -> String {
    loaded(&format!("stages: [ {stages} ]"), more)
}

fn loaded(load: &str, more: &str) -> String {
    format!("name: steered\nload: {{ {load}, {PATIENT} }}\n{CONNECTIONS}{REPORT}{more}")
}

/// What somebody has typed.
fn typed(words: &[&str]) -> Command {
    Cli::try_parse_from(words).expect("a command").command.expect("a command")
}

/// Runs a scenario while `steer` asks it something from another thread.
fn go<T: Send + 'static>(
    yaml: &str,
    workers: u64,
    segment: &str,
    steer: impl FnOnce(&dyn Fn(Ask) -> Answer) -> T + Send + 'static,
) -> Went<T> {
    go_asked(yaml, workers, segment, |_| {}, |_, ask| steer(ask))
}

/// The same, where something is asked or done `before` it begins too.
fn go_asked<T: Send + 'static>(
    yaml: &str,
    workers: u64,
    segment: &str,
    before: impl FnOnce(&mut Run),
    steer: impl FnOnce(&Steering, &dyn Fn(Ask) -> Answer) -> T + Send + 'static,
) -> Went<T> {
    let files = tempfile::tempdir().expect("a folder");
    let path = files.path().join("scenario.yaml");
    std::fs::write(&path, yaml).expect("written");
    std::fs::write(files.path().join("hooks.lua"), HOOKS).expect("written");
    let (scenario, workers) = (path.display().to_string(), workers.to_string());
    let words = ["runner", "run", &scenario, "--quiet", "--workers", &workers, "--segment", segment];
    let Command::Run(args) = typed(&words) else { panic!("{words:?} is another command") };
    let prepared = prepare(&path, &args.overrides, args.segment).expect("a plan").remove(0);
    let planned = prepared.plan.clone();
    let folder = files.path().join("run");
    let order = Order::new(&path, prepared, Some("steered".to_string()), Some(folder.clone()));
    let interrupts = Rc::new(interrupt::Interrupts::watch(true).expect("signals"));
    let ui = Rc::new(ui::Ui::start(&args).expect("nobody looks"));
    let mut run = order.begin(&args, Mode::Quiet, &interrupts, &ui).expect("started");
    before(&mut run);
    let steering = run.steering.clone();
    let asking = std::thread::spawn(move || {
        let ask = |ask| match steering.ask(ask) {
            Ok(answer) => answer.blocking_recv().unwrap_or(Err(Refused::Ended)),
            Err(refused) => Err(refused),
        };
        // Before time zero nothing can be changed. Nothing is paused by then, so this changes nothing either.
        while ask(Ask::Resume) == Err(Refused::Senseless(steering::NOT_BEGUN.to_string())) {}
        steer(&steering, &ask)
    });
    let mut summary = run.execute().expect("a summary");
    run.keep_books(&mut summary);
    let told = asking.join().expect("it has asked");
    Went { planned, summary, told, folder, _files: files }
}

const HOOKS: &str = "function request(ctx, record) return record.key .. ' ' .. random(1, 1000000) end\n";

fn tps(rate: u64) -> Ask {
    Ask::Rate(Tps::per_second(rate))
}

fn done(answer: Answer) -> Done {
    answer.expect("it is done")
}

fn at(done: Done) -> Nanos {
    done.at
}

/// The columns of a CSV file by name, as numbers; what is none is left out.
fn numbers(folder: &Path, file: &str, key: &str, column: &str) -> BTreeMap<u64, u64> {
    let text = std::fs::read_to_string(folder.join(file)).expect(file);
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let place = |name: &str| head.iter().position(|cell| *cell == name).expect(name);
    let (key, column) = (place(key), place(column));
    let mut found = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |place: usize| cells[place].parse::<u64>().expect("a number");
        assert!(found.insert(number(key), number(column)).is_none(), "{file} has {line} twice");
    }
    found
}

impl<T> Went<T> {
    fn schedule(&self) -> &Schedule {
        &self.planned.schedule
    }

    /// Every request of this schedule was sent once, intended when it is due, and answered; all files agree.
    fn assert_is(&self, expected: &Schedule) {
        let ledger = &self.summary.ledger;
        let total = expected.total();
        assert_eq!(self.summary.imbalances, []);
        assert_eq!((ledger.scheduled, ledger.sent), (total, total), "{:?}", self.summary.verdict);
        let intended: BTreeMap<u64, u64> =
            (0..total).map(|n| (n, report::figures::to_micros(expected.due_at(n).0))).collect();
        let found = numbers(&self.folder, "requests.csv", "n", "intended_us");
        if found != intended {
            let wrong = intended.iter().find(|(n, us)| found.get(n) != Some(us));
            panic!("of {total} requests {} were sent; first wrong: {wrong:?}", found.len());
        }
        for column in ["scheduled", "planned", "sent"] {
            let seconds = numbers(&self.folder, "seconds.csv", "second", column);
            assert_eq!(seconds.len() as u64, expected.end().0.div_ceil(NANOS_PER_SEC), "{column}");
            for (second, count) in seconds {
                let before = |second: u64| expected.due_before(Nanos(second * NANOS_PER_SEC));
                assert_eq!(count, before(second + 1) - before(second), "{column} in second {second}");
            }
        }
        let stages: Vec<u64> = self.summary.stages.iter().map(|row| row.window.scheduled).collect();
        let planned: Vec<u64> = expected.stages().iter().map(|stage| stage.scheduled).collect();
        assert_eq!(stages, planned);
        self.assert_verified();
    }

    fn assert_verified(&self) {
        let verified = verify(&self.folder).expect("files");
        assert!(verified.holds(), "{}", verified.text(false));
    }

    fn events(&self) -> Vec<(String, u64)> {
        self.summary.events.iter().map(|row| (row.event.to_string(), row.at.0)).collect()
    }
}

#[test]
fn a_rate_changed_from_100_to_250_is_in_seconds_events_and_ledger_to_the_request() {
    let went = go(&steady("{ hold: 100, duration: 3s }", ""), 1, "0/1", |ask| at(done(ask(tps(250)))));
    let changed = went.schedule().changed(went.told, Change::Rate(Tps::per_second(250)));
    went.assert_is(&changed);
    let left_ns = 3 * NANOS_PER_SEC - went.told.0;
    let by_hand = went.schedule().due_before(went.told) + left_ns / 4_000_000;
    assert!(changed.total().abs_diff(by_hand) <= 1);
    assert_eq!(went.events(), [("rate".to_string(), went.told.0)]);
    let csv = std::fs::read_to_string(went.folder.join("events.csv")).expect("events");
    let n = went.schedule().due_before(went.told);
    assert_eq!(csv, format!("n,at_us,event,rate,stage\n{n},{},rate,250,hold-1\n", went.told.0 / 1000));
    let plan = std::fs::read_to_string(went.folder.join("plan.json")).expect("a plan");
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
    assert_eq!(
        (&plan["scheduled"], &plan["plan"]),
        (&changed.total().into(), &went.summary.plan.clone().into())
    );
    assert_eq!(plan["events"][0]["at_ns"], went.told.0);
    assert_ne!(went.summary.plan, went.planned.fingerprint);
}

#[test]
fn nothing_is_intended_in_a_pause_and_everything_later_is_shifted_by_it() {
    let yaml = steady("{ hold: 150, duration: 1500ms }, { hold: 60, duration: 500ms }", "");
    let went = go(&yaml, 2, "0/1", |ask| {
        let paused = at(done(ask(Ask::Pause)));
        assert!(matches!(ask(Ask::Pause), Err(Refused::Senseless(_))));
        // A run answers only so many questions at a time, so this takes a while of it.
        for _ in 0..100 {
            assert!(matches!(ask(tps(10)), Err(Refused::Senseless(_))));
        }
        let resumed = at(done(ask(Ask::Resume)));
        assert!(matches!(ask(Ask::Resume), Err(Refused::Senseless(_))));
        (paused, resumed)
    });
    let (paused, resumed) = went.told;
    assert!(resumed.0 - paused.0 >= 100_000_000, "{paused:?} {resumed:?}");
    let length = Nanos(resumed.0 - paused.0);
    let shifted = went.schedule().changed(paused, Change::Pause(length));
    went.assert_is(&shifted);
    assert_eq!(shifted.total(), went.schedule().total());
    assert!((0..shifted.total()).all(|n| !(paused..resumed).contains(&shifted.due_at(n))));
    assert_eq!(went.events(), [("pause".to_string(), paused.0), ("resume".to_string(), resumed.0)]);
}

#[test]
fn a_rate_of_nothing_and_back_goes_on_where_it_was() {
    let went = go(&steady("{ hold: 120, duration: 2s }", ""), 2, "0/1", |ask| {
        [tps(0), tps(200)].map(|rate| at(done(ask(rate))))
    });
    let [none, back] = went.told;
    let changed = went.schedule().changed(none, Change::Rate(Tps::ZERO));
    // Unless a request is due at that very millisecond.
    assert!(changed.total() - changed.due_before(none) <= 1);
    went.assert_is(&changed.changed(back, Change::Rate(Tps::per_second(200))));
}

#[test]
fn what_nobody_waits_for_any_more_is_not_done_later() {
    let yaml = steady("{ hold: 100, duration: 2s }", "");
    let in_vain = |steering: &Steering| {
        for ask in [Ask::Stop, Ask::Pause, tps(5000)] {
            steering.ask_in_vain(ask);
        }
    };
    let went = go_asked(
        &yaml,
        1,
        "0/1",
        move |run| in_vain(&run.steering),
        move |steering, ask| {
            in_vain(steering);
            // Answered after those: the run is neither paused nor stopped.
            assert_eq!(ask(Ask::Resume), Err(Refused::Senseless("the run is not paused".to_string())));
            at(done(ask(tps(250))))
        },
    );
    assert_eq!(went.events(), [("rate".to_string(), went.told.0)]);
    went.assert_is(&went.schedule().changed(went.told, Change::Rate(Tps::per_second(250))));
    assert_eq!(went.summary.ended, Some(Ended::Complete));
}

#[test]
fn a_stop_waits_for_what_is_in_flight_and_accounts_for_the_rest() {
    let went = go(&steady("{ hold: 100, duration: 1h }", ""), 2, "0/1", |ask| {
        let stopped = at(done(ask(Ask::Stop)));
        assert_eq!(ask(Ask::Pause), Err(Refused::Ended));
        stopped
    });
    let outcomes = &went.summary.ledger.outcomes;
    assert_eq!((went.summary.verdict.exit_code, &*went.summary.verdict.word), (105, "interrupted"));
    assert_eq!((went.summary.ledger.scheduled, went.summary.imbalances.len()), (360_000, 0));
    assert!(outcomes.of(crate::ledger::Outcome::NotReached) > 0);
    assert_eq!(went.events(), [("stop".to_string(), went.told.0)]);
    assert_eq!(went.summary.plan, went.planned.fingerprint);
    let Some(Ended::Cut { at, by: CutBy::Stop }) = went.summary.ended else {
        panic!("{:?}", went.summary.ended)
    };
    assert!(went.told <= at && at <= went.summary.duration, "{at:?}");
    went.assert_verified();
}

#[test]
fn a_run_that_is_stopped_in_a_pause_has_not_reached_what_was_to_come() {
    let went = go(&steady("{ hold: 100, duration: 1h }", ""), 1, "0/1", |ask| {
        let paused = at(done(ask(Ask::Pause)));
        done(ask(Ask::Stop));
        paused
    });
    let ledger = &went.summary.ledger;
    assert_eq!((ledger.scheduled, went.summary.imbalances.len()), (360_000, 0));
    // A stop does not wait for the instant of a pause that has not come.
    assert!(ledger.sent <= went.schedule().due_before(went.told));
    let planned: u64 = numbers(&went.folder, "seconds.csv", "second", "planned").values().sum();
    assert!(planned <= went.schedule().due_before(went.told));
    went.assert_verified();
}

#[test]
fn the_time_of_a_pause_in_which_a_run_was_stopped_is_no_load() {
    // Kept in pieces of a second.
    let went = go(&steady("{ hold: 100, duration: 1m }", ""), 1, "0/1", |ask| {
        let since = std::time::Instant::now();
        let paused = at(done(ask(Ask::Pause)));
        // Each answer takes a turn of the run.
        while since.elapsed() < Duration::from_millis(2500) {
            assert!(matches!(ask(Ask::Pause), Err(Refused::Senseless(_))));
        }
        (paused, at(done(ask(Ask::Stop))))
    });
    let (paused, stopped) = went.told;
    assert!(stopped.0 >= 2 * NANOS_PER_SEC, "{stopped:?}");
    assert_eq!(went.summary.ended, Some(Ended::Cut { at: paused, by: CutBy::Stop }));
    let text = std::fs::read_to_string(went.folder.join("summary.json")).expect("a summary");
    let summary: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(summary["ended"], serde_json::json!({ "how": "stopped", "at_us": paused.0 / 1000 }));
    let blocks = summary["drawn"]["blocks"].as_array().expect("blocks");
    assert_eq!(blocks.len() as u64, paused.0 / NANOS_PER_SEC, "{paused:?} {blocks:?}");
    went.assert_verified();
}

#[test]
fn a_run_can_be_changed_until_its_end_and_then_says_so() {
    let went = go(&steady("{ hold: 80, duration: 1500ms }", ""), 2, "0/1", |ask| {
        let mut done = Vec::new();
        for rate in [300, 20].into_iter().cycle() {
            match ask(tps(rate)) {
                Ok(one) => done.push((one.at, rate)),
                Err(refused) => return (done, refused),
            }
        }
        unreachable!("the rates never end")
    });
    let (done, refused) = &went.told;
    assert_eq!(*refused, Refused::Ended);
    let changed = done.iter().fold(went.schedule().clone(), |schedule, &(at, rate)| {
        schedule.changed(at, Change::Rate(Tps::per_second(rate)))
    });
    assert!(!done.is_empty());
    went.assert_is(&changed);
}

#[test]
fn stages_shorter_than_the_lead_and_random_arrivals_are_changed_as_exactly() {
    let stages: Vec<String> =
        (0..30).map(|n| format!("{{ hold: {}, duration: 70ms }}", 50 + n * 20)).collect();
    let yaml = loaded(&format!("stages: [ {} ], arrivals: poisson", stages.join(", ")), "");
    let went = go(&yaml, 2, "0/1", |ask| {
        [tps(900), Ask::Pause, Ask::Resume, tps(30)].map(|what| at(done(ask(what))))
    });
    let [faster, paused, resumed, slower] = went.told;
    let changed = went
        .schedule()
        .changed(faster, Change::Rate(Tps::per_second(900)))
        .changed(paused, Change::Pause(Nanos(resumed.0 - paused.0)))
        .changed(slower, Change::Rate(Tps::per_second(30)));
    went.assert_is(&changed);
}

#[test]
fn a_plan_that_outgrows_what_was_read_ahead_reads_on_and_maps_every_record() {
    let more =
        "redis: { prefetch: 20 }\nscript: { file: hooks.lua, timeout: 10s }\nrecords: { range: 1..100000 }\n";
    let went = go(&steady("{ hold: 10, duration: 2s }", more), 1, "0/1", |ask| at(done(ask(tps(400)))));
    let changed = went.schedule().changed(went.told, Change::Rate(Tps::per_second(400)));
    assert!(changed.total() > 400, "{}", changed.total());
    went.assert_is(&changed);
    let mapping = went.summary.ledger.mapping.expect("a mapping");
    assert_eq!((mapping.mapped, mapping.map_failed), (changed.total(), 0));
    let back = went.summary.read_back.expect("read back");
    assert_eq!((back.found, back.missing, back.different), (changed.total(), 0, 0));
}

#[test]
fn whoever_pauses_a_run_that_was_changed_as_often_as_it_can_be_may_let_it_go_on() {
    let event = Event { n: 0, at: Nanos::ZERO, deed: Deed::Rate(Tps::per_second(100)), stage: 0 };
    let before = move |run: &mut Run| run.prepared.plan.events = vec![event; MAX_EVENTS - 3];
    let went = go_asked(&steady("{ hold: 100, duration: 1h }", ""), 1, "0/1", before, |_, ask| {
        let told = [Ask::Pause, Ask::Resume, Ask::Pause, tps(50), tps(60), Ask::Pause].map(ask);
        done(ask(Ask::Stop));
        told
    });
    let [paused, resumed, with_room_for_one, last, one_more, pause] = went.told;
    let at = [paused, resumed, last].map(|answer| at(done(answer)));
    assert!(at.is_sorted());
    for refused in [with_room_for_one, one_more, pause] {
        let Err(Refused::Senseless(words)) = refused else { panic!("{refused:?}") };
        assert!(words.contains(&format!("at most {MAX_EVENTS} times")), "{words}");
    }
    // A stop is always possible, and changes no due time.
    let words: Vec<&str> = went.summary.events[MAX_EVENTS - 3..].iter().map(|row| &*row.event).collect();
    assert_eq!(words, ["pause", "resume", "rate", "stop"]);
}

#[test]
fn a_changed_run_is_replayed_with_its_changes() {
    let went = go(&steady("{ hold: 100, duration: 1s }", ""), 1, "0/1", |ask| {
        [tps(300), Ask::Pause, Ask::Resume].map(|what| at(done(ask(what))))
    });
    let again = went.folder.with_file_name("again");
    let folders = [&went.folder, &again].map(|folder| folder.display().to_string());
    let words = ["runner", "replay", &folders[0], "--out", &folders[1], "--quiet", "--workers", "1"];
    let Command::Replay(args) = typed(&words) else { panic!("{words:?} is another command") };
    replay(&args).expect("a replay");
    let intended = |folder: &Path| numbers(folder, "requests.csv", "n", "intended_us");
    assert_eq!(intended(&again), intended(&went.folder));
    for file in ["plan.json", "events.csv"] {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(file)).expect(file);
        let is_path = |line: &&str| ["\"folder\":", "\"scenario\":"].iter().any(|key| line.contains(key));
        let without_paths = |text: String| -> Vec<String> {
            text.lines().filter(|line| !is_path(line)).map(str::to_string).collect()
        };
        assert_eq!(without_paths(read(&went.folder)), without_paths(read(&again)));
    }
    assert!(verify(&again).expect("files").holds());
    let out = went.folder.with_file_name("merged");
    let words =
        ["runner", "merge", went.folder.to_str().expect("text"), "--out", out.to_str().expect("text")];
    let Command::Merge(args) = typed(&words) else { panic!("{words:?} is another command") };
    let refused = merge_runs(&args).err();
    let words = refused.map(|error| error.to_string()).unwrap_or_default();
    assert!(words.contains("changed while it ran"), "{words}");
}

#[test]
fn what_others_would_not_know_of_is_refused_and_stopping_is_not() {
    let closed = format!("name: users\nload: {{ users: 3, duration: 1h, {PATIENT} }}\n{REPORT}");
    let part = steady("{ hold: 100, duration: 1h }", "");
    for (yaml, segment, why) in [(closed, "0/1", "closed model"), (part, "1/2", "segment")] {
        let went = go(&yaml, 1, segment, |ask| {
            let refused = [Ask::Pause, tps(5)].map(ask);
            done(ask(Ask::Stop));
            refused
        });
        for refused in &went.told {
            let Err(Refused::Senseless(words)) = refused else { panic!("{refused:?}") };
            assert!(words.contains(why), "{words}");
        }
        assert_eq!((went.summary.verdict.exit_code, went.summary.imbalances.len()), (105, 0));
        went.assert_verified();
    }
}

#[test]
fn a_rate_that_makes_no_sense_is_refused_with_the_reason() {
    let yaml = steady("{ hold: 10, duration: 1h }", "records: { range: 1..36000, on_exhausted: fail }\n");
    let went = go(&yaml, 1, "0/1", |ask| {
        let refused = [tps(20_000_000), tps(11)].map(ask);
        done(ask(Ask::Stop));
        refused
    });
    let words = went.told.map(|refused| refused.expect_err("refused").to_string());
    assert!(words[0].contains("limit of 10000000"), "{}", words[0]);
    assert!(words[1].contains("36000 records"), "{}", words[1]);
}
