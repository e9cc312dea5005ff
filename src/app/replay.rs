//! `runner replay`: the same bytes at the same times once more, from what a run has left.
//!
//! A request follows from the scenario, the seed and its number, so a run is replayed from its `effective.yaml`
//! (and `script.lua`), not from a recording. The plan must come out as it was: its fingerprint is compared.

use std::path::Path;

use serde::Deserialize;

use crate::app::error::{Error, exit};
use crate::app::prepare::{Prepared, SCRIPT_COPY, prepare_again};
use crate::app::{run, say};
use crate::cli::{BoundsArgs, OnlyArg, OverrideArgs, ReplayArgs, RunArgs};
use crate::plan::replay::Speed;
use crate::plan::segment::Segment;
use crate::report;
use crate::report::events::PlannedEvent;
use crate::report::requests::numbers_of;

/// What is known of the plan of a run.
#[derive(Deserialize)]
struct Planned {
    plan: String,
    segment: String,
    /// Runs of earlier versions have none.
    content: Option<String>,
    #[serde(default)]
    events: Vec<PlannedEvent>,
    /// How fast a replay was sent.
    speed: Option<f64>,
    #[serde(default)]
    simulated: bool,
}

pub(super) fn replay(args: &ReplayArgs) -> Result<u8, Error> {
    let same = |out: &Path| {
        out.canonicalize().ok().is_some_and(|out| args.run.canonicalize().is_ok_and(|run| run == out))
    };
    if let Some(out) = args.out.as_deref().filter(|out| same(out)) {
        return Err(Error::OutTaken(out.to_path_buf()));
    }
    let planned = planned(&args.run)?;
    let segment = planned.segment.parse::<Segment>();
    let segment = segment.map_err(|error| Error::Replay(error.to_string()))?;
    let overrides = OverrideArgs { redis: args.redis.clone(), ..OverrideArgs::default() };
    let mut prepared = prepare_again(&args.run, &overrides, segment)?;
    know_secrets(&prepared)?;
    let events: Option<Vec<_>> = planned.events.iter().map(PlannedEvent::event).collect();
    let unknown = "an event of its plan.json is none that a run can have";
    let events = events.ok_or_else(|| Error::Replay(unknown.to_string()))?;
    let changed = prepared.plan.with_events(&events);
    prepared.plan = changed.map_err(|error| Error::Replay(error.to_string()))?;
    if prepared.plan.fingerprint != planned.plan {
        let now = &prepared.plan.fingerprint;
        let text = format!("its plan was {}, and effective.yaml makes {now} of it", planned.plan);
        return Err(Error::Replay(text));
    }
    if planned.content.is_some_and(|content| content != prepared.content()) {
        let text = format!(
            "its requests would be others: records in effective.yaml or the script in {SCRIPT_COPY} are not what \
             they were"
        );
        return Err(Error::Replay(text));
    }
    let only = args.only.map(|which| requests(&args.run, which)).transpose()?;
    if only.as_ref().is_some_and(Vec::is_empty) {
        say("there is no such request in the run: nothing to replay");
        return Ok(exit::PASSED);
    }
    let replayed = prepared.plan.replayed(args.speed, only);
    prepared.plan = replayed.map_err(|error| Error::Replay(error.to_string()))?;
    let path = args.run.join("effective.yaml");
    // Who asked for a model asked for nothing to be sent.
    let args = RunArgs { simulate: planned.simulated, ..run_args(args, &path, segment) };
    run::run_one(&args, &path, prepared)
}

/// How fast the run in a folder was replayed; `None` where it was as planned, or has no plan.json.
pub(super) fn speed_of(run: &Path) -> Result<Option<Speed>, Error> {
    if !run.join(report::PLAN).exists() {
        return Ok(None);
    }
    let speed = planned(run)?.speed.map(|speed| speed.to_string().parse::<Speed>());
    speed.transpose().map_err(|error| Error::Replay(error.to_string()))
}

/// Passwords are not written into run folders. That of a store can be typed again; what a script was given cannot.
fn know_secrets(prepared: &Prepared) -> Result<(), Error> {
    let scenario = &prepared.loaded.scenario;
    if scenario.redis.url.contains(MASKED) {
        let text = "it used a store with a password, which is not in its folder: name the store with --redis";
        return Err(Error::Replay(text.to_string()));
    }
    let args = scenario.script.iter().flat_map(|script| &script.args);
    match args.into_iter().find(|(_, value)| value.to_string().contains(MASKED)) {
        None => Ok(()),
        Some((name, _)) => Err(Error::Replay(format!(
            "script.args.{name} held a password, which is not in its folder: write it into effective.yaml again"
        ))),
    }
}

/// What stands in place of a password.
const MASKED: &str = ":***@";

/// `plan.json` is written before the first request, so that of a killed run is there too.
fn planned(run: &Path) -> Result<Planned, Error> {
    let path = run.join(report::PLAN);
    let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            Error::Replay(format!("{} is not there: name the folder of a run", path.display()))
        }
        _ => Error::Read { path: path.clone(), source },
    })?;
    serde_json::from_str(&text).map_err(|error| {
        let line = error.line() as u64;
        Error::Report(report::Error::Content { path, line, what: error.to_string() })
    })
}

/// The numbers of the requests that ended so.
fn requests(run: &Path, which: OnlyArg) -> Result<Vec<u64>, Error> {
    let wanted: &[&str] = match which {
        OnlyArg::Failed => &["reset", "eof", "protocol", "refused", "timed_out"],
        OnlyArg::Dropped => &["late", "overload", "no_record", "script", "stopped"],
    };
    numbers_of(run, wanted)?.ok_or_else(|| {
        let why =
            "it has no requests.csv, which says how each request ended; set report.requests in the scenario";
        Error::Replay(why.to_string())
    })
}

fn run_args(args: &ReplayArgs, path: &Path, segment: Segment) -> RunArgs {
    RunArgs {
        scenario: Some(path.to_path_buf()),
        dry_run: args.dry_run,
        out: args.out.clone(),
        overrides: OverrideArgs::default(),
        segment,
        run_id: None,
        workers: args.workers,
        baseline: None,
        fail_on_regression: false,
        bounds: BoundsArgs::default(),
        keep_store: false,
        ui: None,
        ui_token: None,
        ui_allowed_hosts: Vec::new(),
        link: false,
        simulate: false,
        quiet: args.quiet,
        json: args.json,
    }
}
