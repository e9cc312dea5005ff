//! Runs: scenarios of the folder, run one at a time, followed and stopped.

mod child;
mod files;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use utoipa::ToSchema;

use crate::clock::{self, Stopwatch};
use crate::live::{self, Control, Controlled, View, Wheel};
use crate::report;
use crate::report::figures::plain;
use crate::report::follow::Second;
use crate::serve::Shared;
use crate::serve::body::JsonBody;
use crate::serve::events::{Followed, LiveEvent, RunEvent};
use crate::serve::live::{steer, whole as whole_live};
use crate::serve::problem::{ErrorBody, Problem, Severity};
use crate::serve::scenarios::{About, Changes, Scenarios};
use crate::steer::helm;

use child::{Ended, Event, Stop};
use files::RunFile;

/// Runs that are remembered; the files of those that are forgotten stay.
const MAX_REMEMBERED: usize = 100;

/// The most that one request may change.
const MAX_CHANGES: usize = 100;

/// The longest name and the longest value of a change, in bytes.
const MAX_CHANGE: usize = 4096;

/// How long a run may take to end when the server does: until it is told to be quick, and until it is killed.
const GRACE: Duration = Duration::from_secs(30);
const HURRY: Duration = Duration::from_secs(5);

/// How a program ends that was stopped before its end.
const INTERRUPTED: i32 = crate::serve::INTERRUPTED;

/// The code shown for a process that was killed, and so has none: that of what should not have happened.
const KILLED: u8 = 1;

/// How long the link to a run may stay open after its end, should somebody else hold it.
const LINK: Duration = Duration::from_secs(1);

/// The most characters of its last line that are shown with how it stands.
const MAX_REASON: usize = 300;

/// What is to be run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRun {
    /// The name of a file in the folder of scenarios.
    #[schema(example = "steady-100tps.yaml", max_length = 255, pattern = r"^[^./\\\x00][^/\\\x00]*\.ya?ml$")]
    scenario: String,
    /// Keys of the scenario with other values, as `--set` does: `{"load.stages[0].hold": 50}`.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Value>, required = false, example = json!({}))]
    set: BTreeMap<String, Value>,
    /// Variables of the scenario, as `--var` does.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Value>, required = false, example = json!({}))]
    vars: BTreeMap<String, Value>,
    /// The seed of every random choice, as `--seed` does; a whole number below 2^63.
    #[serde(default)]
    #[schema(example = 1)]
    seed: Option<u64>,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RunState {
    /// It connects, reads records ahead, and so on: no second of the schedule is over yet.
    Starting,
    /// It sends.
    Running,
    /// It has been told to stop, and waits for what is in flight.
    Stopping,
    /// It has ended well.
    Passed,
    /// It has ended, and not well: `exit_code` and `reason` say why.
    Failed,
    /// It has been stopped before its end.
    Stopped,
}

impl RunState {
    fn word(self) -> &'static str {
        match self {
            RunState::Starting => "starting",
            RunState::Running => "running",
            RunState::Stopping => "stopping",
            RunState::Passed => "passed",
            RunState::Failed => "failed",
            RunState::Stopped => "stopped",
        }
    }
}

/// How far a run is. Counts are those of all seconds so far; in flight, connections and times are those of the last
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub(super) struct RunProgress {
    /// Seconds that are over.
    seconds: u64,
    /// The stage.
    stage: String,
    /// Requests that have come due.
    scheduled: u64,
    /// Requests sent.
    sent: u64,
    /// Responses matched.
    matched: u64,
    /// Requests that failed.
    failed: u64,
    /// Requests that timed out.
    timed_out: u64,
    /// Requests dropped.
    dropped: u64,
    /// Requests sent in the last second.
    rate: u64,
    /// Requests in flight.
    in_flight: u64,
    /// Connections open.
    connections: u64,
    /// Median response time, in microseconds.
    response_p50_us: u64,
    /// 99th percentile of the response time, in microseconds.
    response_p99_us: u64,
    /// 99th percentile of the lag, in microseconds.
    lag_p99_us: u64,
}

impl RunProgress {
    fn add(&mut self, second: Second) {
        self.seconds = self.seconds.saturating_add(1);
        for (sum, more) in [
            (&mut self.scheduled, second.scheduled),
            (&mut self.sent, second.sent),
            (&mut self.matched, second.matched),
            (&mut self.failed, second.failed),
            (&mut self.timed_out, second.timed_out),
            (&mut self.dropped, second.dropped),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.stage = second.stage;
        self.rate = second.sent;
        self.in_flight = second.in_flight;
        self.connections = second.connections;
        self.response_p50_us = second.response_p50_us;
        self.response_p99_us = second.response_p99_us;
        self.lag_p99_us = second.lag_p99_us;
    }
}

/// A run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Run {
    /// Its name, which is that of its folder too.
    #[schema(example = "steady-100tps-20261121T142005.868Z")]
    id: String,
    /// The file of its scenario.
    scenario: String,
    /// Where it stands.
    state: RunState,
    /// When it started, in UTC.
    #[schema(format = DateTime)]
    started_at: String,
    /// How long it has taken.
    elapsed_s: f64,
    /// Runs that it makes, one after the other: the rows of a matrix, or two targets in turns. Each has a folder of
    /// its own among the files.
    runs: u64,
    /// Requests that its plan has; null where only time ends it.
    planned: Option<u64>,
    /// How long it sends; null where only the number of requests ends it.
    planned_s: Option<f64>,
    /// The fingerprint of its (first) plan.
    plan: String,
    /// How far it is.
    progress: RunProgress,
    /// The exit code; null until it has ended, and after a signal that has killed it.
    exit_code: Option<i32>,
    /// Its last line, which says why; null until it has ended.
    reason: Option<String>,
    /// What it has said at its end; empty where there was nothing to say.
    log: Vec<String>,
    /// The summary, as `runner run --json` prints it; null until it has ended, or without one.
    #[schema(value_type = Option<Object>)]
    summary: Option<Value>,
    /// What it leaves behind, where one run is asked for and in its last event; empty elsewhere.
    files: Vec<RunFile>,
}

/// The runs that are remembered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunList {
    /// The newest first; at most a hundred. Their summaries and files are left out.
    runs: Vec<Run>,
}

/// How a run is known while it goes.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    told: Arc<Told>,
    state: RunState,
    progress: RunProgress,
    took: Option<Duration>,
    exit_code: Option<i32>,
    log: Arc<Vec<String>>,
    summary: Option<Arc<Value>>,
}

#[derive(Debug)]
struct Told {
    id: String,
    scenario: String,
    about: About,
    folder: PathBuf,
    started_at: String,
    since: Stopwatch,
}

impl Standing {
    fn new(id: String, folder: PathBuf, scenario: String, about: About) -> Standing {
        let started_at = report::timestamp(clock::wall());
        let told = Told { id, scenario, about, folder, started_at, since: Stopwatch::start() };
        Standing {
            told: Arc::new(told),
            state: RunState::Starting,
            progress: RunProgress::default(),
            took: None,
            exit_code: None,
            log: Arc::default(),
            summary: None,
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Second(second) => {
                self.progress.add(second);
                if self.state == RunState::Starting {
                    self.state = RunState::Running;
                }
            }
            Event::Stopping => self.state = RunState::Stopping,
        }
    }

    fn end(&mut self, ended: Ended) {
        let code = ended.status.and_then(|status| status.code());
        self.state = match code {
            Some(0) => RunState::Passed,
            Some(INTERRUPTED) => RunState::Stopped,
            // It was stopped before it could listen to signals.
            None if self.state == RunState::Stopping => RunState::Stopped,
            _ => RunState::Failed,
        };
        let mut log: Vec<String> =
            ended.stderr.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
        if code.is_none() {
            log.push(ended.status.map_or("nobody knows how it has ended".to_owned(), by_signal));
        }
        self.took = Some(self.told.since.elapsed());
        self.exit_code = code;
        self.log = Arc::new(log);
        self.summary = serde_json::from_slice(&ended.stdout).ok().map(Arc::new);
    }

    /// How it ended, for a process that could not say so itself: it was killed, or could not begin.
    fn how_it_ended(&self) -> live::End {
        let code = self.exit_code.and_then(|code| u8::try_from(code).ok());
        live::End {
            passed: self.state == RunState::Passed,
            outcome: self.state.word().to_owned(),
            exit_code: code.unwrap_or(KILLED),
            reason: self.log.last().map(|line| plain(line, MAX_REASON)).unwrap_or_default(),
            warnings: Vec::new(),
        }
    }

    fn brief(&self) -> Run {
        let told = &self.told;
        let elapsed = self.took.unwrap_or_else(|| told.since.elapsed());
        Run {
            id: told.id.clone(),
            scenario: told.scenario.clone(),
            state: self.state,
            started_at: told.started_at.clone(),
            elapsed_s: (elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            runs: told.about.runs,
            planned: told.about.scheduled,
            planned_s: told.about.seconds(),
            plan: told.about.plan.clone(),
            progress: self.progress.clone(),
            exit_code: self.exit_code,
            reason: self.log.last().filter(|_| self.has_ended()).cloned(),
            log: Vec::new(),
            summary: None,
            files: Vec::new(),
        }
    }

    fn with(&self, files: Vec<RunFile>) -> Run {
        Run { log: self.log.to_vec(), summary: self.summary.as_deref().cloned(), files, ..self.brief() }
    }
}

fn by_signal(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    format!("ended by signal {}", status.signal().unwrap_or_default())
}

/// With everything, as it is now.
async fn whole(standing: &watch::Receiver<Standing>) -> Result<Run, Problem> {
    let standing = standing.borrow().clone();
    let folder = standing.told.folder.clone();
    let files = files::aside(move || files::list(&folder)).await?;
    Ok(standing.with(files))
}

impl Followed for Standing {
    type View = Run;
    type Seen = ();

    fn view(&self, (): &mut ()) -> Run {
        // The folder is read for each listener: once, and not with every second that comes.
        let files = if self.has_ended() { files::list(&self.told.folder) } else { Vec::new() };
        self.with(files)
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, RunState::Passed | RunState::Failed | RunState::Stopped)
    }
}

/// Where runs get what they need.
pub(super) struct Settings {
    /// The program that is started.
    pub program: PathBuf,
    /// Where their folders are made.
    pub folder: PathBuf,
    /// The store of the server.
    pub redis: String,
}

/// All runs.
pub(super) struct Runs {
    settings: Settings,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    busy: bool,
    closed: bool,
    entries: VecDeque<Entry>,
    /// Runs that have ended, by how.
    ended: BTreeMap<&'static str, u64>,
}

#[derive(Clone)]
struct Entry {
    standing: watch::Receiver<Standing>,
    stop: mpsc::Sender<Stop>,
    /// What it tells of itself while it goes.
    live: watch::Receiver<live::State>,
    wheel: Wheel,
}

/// The right to run, which one at a time has: two would disturb each other's measurement.
struct Turn {
    book: Arc<Mutex<Book>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        open(&self.book).busy = false;
    }
}

fn open(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    // Nothing panics while it is held; the book is whole in any case.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runs {
    pub(super) fn new(settings: Settings) -> Runs {
        Runs { settings, book: Arc::default() }
    }

    async fn begin(
        &self,
        scenarios: &Scenarios,
        asked: NewRun,
    ) -> Result<watch::Receiver<Standing>, Problem> {
        let path = scenarios.find(&asked.scenario)?;
        let changes = changes(&asked)?;
        let turn = self.turn()?;
        let inspection = scenarios.inspect(path.clone(), changes.clone()).await?;
        let is_wrong = inspection.findings.iter().any(|finding| finding.severity == Severity::Error);
        let about = match inspection.about {
            Some(about) if !is_wrong => about,
            _ => {
                let message = format!("the scenario {} cannot be run", asked.scenario);
                let help = "`problems` says what is wrong and where, as `runner validate` does";
                let problem = Problem::unprocessable("invalid_scenario", message, help);
                return Err(problem.with_findings(inspection.findings));
            }
        };
        let id = report::run_id(&about.name, clock::wall());
        let folder = self.settings.folder.join(&id);
        let order = child::Order {
            program: self.settings.program.clone(),
            scenario: path,
            folder: folder.clone(),
            id: id.clone(),
            changes,
            redis: about.gives_store.then(|| self.settings.redis.clone()),
        };
        self.start(&order, Standing::new(id, folder, asked.scenario, about), turn)
    }

    /// Starts the process and lets a task follow it.
    fn start(
        &self,
        order: &child::Order,
        standing: Standing,
        turn: Turn,
    ) -> Result<watch::Receiver<Standing>, Problem> {
        let mut book = open(&self.book);
        if book.closed {
            return Err(Problem::shutting_down());
        }
        let (process, socket) = order.start().map_err(|error| {
            let message = format!("the run could not be started: {error}");
            Problem::unavailable("cannot_start", message, "see what the machine is short of, and try again")
        })?;
        let (states, watched) = watch::channel(standing);
        let (stop, stops) = mpsc::channel(8);
        let (live_states, live) = watch::channel(live::State::default());
        let (steering, helm) = helm();
        let wheel = Wheel::default();
        wheel.attend(steering);
        book.entries.truncate(MAX_REMEMBERED - 1);
        book.entries.push_front(Entry { standing: watched.clone(), stop, live, wheel });
        drop(book);
        let live_states = Arc::new(live_states);
        let told = live_states.clone();
        let mut link = tokio::spawn(async move {
            let (reader, writer) = socket.into_split();
            live::watch_child(reader, writer, &told, helm).await;
        });
        let ended_book = self.book.clone();
        let folder = order.folder.clone();
        tokio::spawn(async move {
            let tell = |event| states.send_modify(|standing: &mut Standing| standing.hear(event));
            let ended = child::follow(process, folder, stops, tell).await;
            // What it has told is read to its end, unless somebody else holds the socket open.
            if clock::timeout(LINK, &mut link).await.is_none() {
                link.abort();
            }
            let mut standing = states.borrow().clone();
            standing.end(ended);
            live_states.send_modify(|state| state.conclude(Some(standing.how_it_ended())));
            // Who hears that it has ended may start another one at once.
            drop(turn);
            let word = standing.state.word();
            states.send_replace(standing);
            *open(&ended_book).ended.entry(word).or_default() += 1;
        });
        Ok(watched)
    }

    fn turn(&self) -> Result<Turn, Problem> {
        let mut book = open(&self.book);
        if book.closed {
            return Err(Problem::shutting_down());
        }
        if std::mem::replace(&mut book.busy, true) {
            let help =
                "wait for its end, or stop it (POST /api/v1/runs/{id}/stop): GET /api/v1/runs names it";
            return Err(Problem::conflict("run_running", "another run is going on", help));
        }
        Ok(Turn { book: self.book.clone() })
    }

    fn find(&self, id: &str) -> Result<(watch::Receiver<Standing>, mpsc::Sender<Stop>), Problem> {
        self.entry(id).map(|entry| (entry.standing, entry.stop))
    }

    /// Runs that have ended, by how.
    pub(super) fn ended(&self) -> Vec<(&'static str, u64)> {
        open(&self.book).ended.iter().map(|(word, count)| (*word, *count)).collect()
    }

    /// How the newest run stands.
    pub(super) fn newest(&self) -> Option<live::State> {
        let book = open(&self.book);
        book.entries.front().map(|entry| entry.live.borrow().clone())
    }

    fn entry(&self, id: &str) -> Result<Entry, Problem> {
        let book = open(&self.book);
        let entry = book.entries.iter().find(|entry| entry.standing.borrow().told.id == id);
        entry.cloned().ok_or_else(|| {
            let id: String = id.chars().take(100).collect();
            let help = "GET /api/v1/runs lists those that are remembered";
            Problem::not_found("no_such_run", format!("there is no run {id}"), help)
        })
    }

    fn list(&self) -> Vec<Run> {
        open(&self.book).entries.iter().map(|entry| entry.standing.borrow().brief()).collect()
    }

    /// The one that goes on.
    pub(super) fn running(&self) -> Option<String> {
        self.current().map(|(standing, _)| standing.borrow().told.id.clone())
    }

    fn current(&self) -> Option<(watch::Receiver<Standing>, mpsc::Sender<Stop>)> {
        let book = open(&self.book);
        let entry = book.entries.front().filter(|entry| !entry.standing.borrow().has_ended())?;
        Some((entry.standing.clone(), entry.stop.clone()))
    }

    /// Stops what goes on and waits for its end: gently, then at once, then without mercy. The
    /// second signal skips a step.
    pub(super) async fn shut_down(&self, mut signals: watch::Receiver<u8>) {
        open(&self.book).closed = true;
        let Some((mut standing, stop)) = self.current() else { return };
        for (step, patience) in [(Stop::Gently, GRACE), (Stop::AtOnce, HURRY), (Stop::Kill, HURRY)] {
            // A full queue means that it has been told often enough.
            let _ = stop.try_send(step);
            let waiting = async {
                tokio::select! {
                    _ = standing.wait_for(Standing::has_ended) => true,
                    _ = signals.wait_for(|signals| *signals > 1), if step == Stop::Gently => false,
                }
            };
            if clock::timeout(patience, waiting).await == Some(true) {
                return;
            }
        }
    }
}

/// What is changed, as the command line would say it.
fn changes(asked: &NewRun) -> Result<Changes, Problem> {
    if asked.set.len() + asked.vars.len() > MAX_CHANGES {
        let message = format!("set and vars have more than {MAX_CHANGES} entries");
        return Err(Problem::unprocessable("too_many_changes", message, "write a scenario of its own"));
    }
    if let Some(seed) = asked.seed.filter(|seed| i64::try_from(*seed).is_err()) {
        let message = format!("seed is {seed}, and it must be below 2^63");
        return Err(Problem::unprocessable("seed_out_of_range", message, "send a smaller one"));
    }
    let all = |field: &'static str, map: &BTreeMap<String, Value>| -> Result<Vec<_>, Problem> {
        map.iter().map(|(name, value)| change(field, name, value)).collect()
    };
    Ok(Changes { sets: all("set", &asked.set)?, vars: all("vars", &asked.vars)?, seed: asked.seed })
}

/// One change: a name that the command line can carry, and a value that reads nothing from the environment, in
/// which there may be secrets.
fn change(field: &str, name: &str, value: &Value) -> Result<(String, String), Problem> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let name = name.trim();
    let wrong = if name.is_empty() || name.contains(['=', '\0']) {
        "its name is empty, or has a `=` in it"
    } else if name.len() > MAX_CHANGE || text.len() > MAX_CHANGE {
        "it is longer than 4096 bytes"
    } else if text.contains('\0') {
        "there is a NUL in it"
    } else if text.contains("${") || name.contains("${") || value.is_string() && spells_out(&text) {
        "variables of the environment are for scenarios, not for requests"
    } else {
        return Ok((name.to_owned(), text));
    };
    let shown: String = name.chars().take(60).collect();
    let message = format!("{field}.{shown} cannot be used: {wrong}");
    let help = "send {\"set\": {\"load.stages[0].hold\": 50}} and the like";
    Err(Problem::unprocessable("bad_change", message, help))
}

/// A text is read as YAML, where `"\x24{HOME}"` is another way to write a variable.
fn spells_out(text: &str) -> bool {
    text.contains('"') && text.contains('\\')
}

/// All runs, the newest first
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", operation_id = "list_runs",
    responses((status = 200, description = "The runs that are remembered", body = RunList)))]
pub(super) async fn list(State(shared): State<Shared>) -> axum::Json<RunList> {
    axum::Json(RunList { runs: shared.runs.list() })
}

/// Run a scenario
///
/// It runs as a process of its own. One run goes on at a time. The Location header of the answer says where to look
/// after it.
#[utoipa::path(post, path = "/api/v1/runs", tag = "runs", operation_id = "start_run", request_body = NewRun,
    responses(
        (status = 202, description = "It has begun", body = Run,
            headers(("Location" = String, description = "Where it is"))),
        (status = 404, description = "There is no such scenario", body = ErrorBody),
        (status = 409, description = "Another run is going on", body = ErrorBody),
        (status = 503, description = "The machine cannot start it, or it is too large to be looked at", body = ErrorBody),
    ))]
pub(super) async fn start(
    State(shared): State<Shared>,
    JsonBody(asked): JsonBody<NewRun>,
) -> Result<Response, Problem> {
    let standing = shared.runs.begin(&shared.scenarios, asked).await?;
    let view = standing.borrow().brief();
    let location = format!("/api/v1/runs/{}", view.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], axum::Json(view)).into_response())
}

/// How one run stands
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", operation_id = "get_run",
    params(("id" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "How it stands", body = Run),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn get(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<axum::Json<Run>, Problem> {
    let (standing, _) = shared.runs.find(&id)?;
    Ok(axum::Json(whole(&standing).await?))
}

/// Follow one run
///
/// Server-sent events whose data is a run: `progress` now and after each second of the schedule, and at last `end`,
/// which alone has the files. Then the stream ends.
#[utoipa::path(get, path = "/api/v1/runs/{id}/events", tag = "runs", operation_id = "follow_run",
    params(("id" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "Events", content_type = "text/event-stream", body = RunEvent),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 503, description = "Too many are listening", body = ErrorBody),
    ))]
pub(super) async fn events(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (standing, _) = shared.runs.find(&id)?;
    shared.listeners.follow(standing)
}

/// Get a file of a run
#[utoipa::path(get, path = "/api/v1/runs/{id}/files/{name}", tag = "runs", operation_id = "get_run_file",
    params(
        ("id" = String, Path, description = "The name of the run"),
        ("name" = String, Path, description = "The name of the file, such as summary.csv. In the folder of one of \
            several runs it is `folder/summary.csv`, where the slash is sent as %2F"),
    ),
    responses(
        (status = 200, description = "The file", content(
            (String = "text/csv"), (Value = "application/json"), (Value = "application/yaml"),
            (String = "text/html"), (String = "application/xml"), (String = "image/svg+xml"), (String = "application/octet-stream"))),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn file(
    State(shared): State<Shared>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (standing, _) = shared.runs.find(&id)?;
    let folder = standing.borrow().told.folder.clone();
    files::get(folder, name).await
}

/// How one run stands, in full
///
/// With a point for each second of the schedule whose requests have all ended, what was counted so far, and how the
/// thresholds stand. When a run is longer than an hour, several seconds are one point. Of several runs, it is the one
/// that goes.
#[utoipa::path(get, path = "/api/v1/runs/{id}/live", tag = "runs", operation_id = "get_run_live",
    params(("id" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "How it stands", body = View),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn live(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<axum::Json<View>, Problem> {
    let state = shared.runs.entry(&id)?.live.borrow().clone();
    Ok(whole_live(&state))
}

/// Follow one run in full
///
/// Server-sent events, one a second and whenever something is changed: `progress`, first with the whole history and then
/// with what is new in it, and `end` when the run is over. Then the stream ends.
#[utoipa::path(get, path = "/api/v1/runs/{id}/live/events", tag = "runs", operation_id = "follow_run_live",
    params(("id" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "Events", content_type = "text/event-stream", body = LiveEvent),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 503, description = "Too many are listening", body = ErrorBody),
    ))]
pub(super) async fn live_events(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let entry = shared.runs.entry(&id)?;
    shared.listeners.follow(entry.live)
}

/// Pause, resume or stop one run, or change its rate
///
/// Answers when it is done, with the instant from which on it holds.
#[utoipa::path(post, path = "/api/v1/runs/{id}/control", tag = "runs", operation_id = "control_run",
    request_body = Control,
    params(("id" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "It is done", body = Controlled),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "It makes no sense now, or the run has ended", body = ErrorBody),
        (status = 503, description = "The run has not answered yet", body = ErrorBody),
    ))]
pub(super) async fn control(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    JsonBody(control): JsonBody<Control>,
) -> Result<axum::Json<Controlled>, Problem> {
    let wheel = shared.runs.entry(&id)?.wheel;
    steer(&wheel, &control).await
}

/// Stop one run
///
/// As Ctrl-C does: the first time it stops sending, waits for what is in flight and writes all reports; the second
/// time it stops at once.
#[utoipa::path(post, path = "/api/v1/runs/{id}/stop", tag = "runs", operation_id = "stop_run",
    params(("id" = String, Path, description = "Its name")),
    responses(
        (status = 202, description = "It has been told", body = Run),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "It had ended before", body = ErrorBody),
    ))]
pub(super) async fn stop(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Problem> {
    let (standing, stop) = shared.runs.find(&id)?;
    let view = standing.borrow().brief();
    if standing.borrow().has_ended() {
        let message = format!("the run {id} has ended already");
        return Err(Problem::conflict("already_ended", message, "there is nothing to stop"));
    }
    let how = if view.state == RunState::Stopping { Stop::AtOnce } else { Stop::Gently };
    // A full queue means that it has been told often enough.
    let _ = stop.try_send(how);
    Ok((StatusCode::ACCEPTED, axum::Json(view)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn standing() -> Standing {
        let about = About {
            name: "a".to_owned(),
            description: None,
            runs: 1,
            scheduled: Some(20),
            duration: Some(crate::units::Nanos::from_secs(2)),
            plan: "p".to_owned(),
            gives_store: true,
        };
        Standing::new("a-1".to_owned(), PathBuf::from("/nowhere"), "a.yaml".to_owned(), about)
    }

    fn ended(status: i32, stdout: &str, stderr: &str) -> Ended {
        use std::os::unix::process::ExitStatusExt;
        let status = Some(ExitStatus::from_raw(status));
        Ended { status, stdout: stdout.as_bytes().to_vec(), stderr: stderr.to_owned() }
    }

    #[test]
    fn a_run_adds_up_its_seconds_and_ends_as_its_process_does() {
        let mut run = standing();
        assert_eq!((run.view(&mut ()).state, run.has_ended()), (RunState::Starting, false));
        for second in 0..2 {
            let second =
                Second { second, sent: 10, matched: 9, failed: 1, connections: 3, ..Second::default() };
            run.hear(Event::Second(second));
        }
        let view = run.view(&mut ());
        assert_eq!((view.state, view.progress.seconds, view.progress.sent), (RunState::Running, 2, 20));
        assert_eq!((view.progress.rate, view.progress.matched, view.progress.connections), (10, 18, 3));
        assert_eq!((view.runs, view.planned, view.planned_s, view.reason), (1, Some(20), Some(2.0), None));
        run.end(ended(99 << 8, "{\"a\": 1}", "\nwarning: x\nFAILED a-1 (exit 99): b\n"));
        let view = run.view(&mut ());
        assert_eq!((view.state, view.exit_code), (RunState::Failed, Some(99)));
        assert_eq!(view.reason.as_deref(), Some("FAILED a-1 (exit 99): b"));
        assert_eq!((view.log.len(), view.summary.expect("a summary")["a"].clone()), (2, json!(1)));
    }

    #[test]
    fn a_run_that_was_stopped_is_no_failure() {
        let mut run = standing();
        run.hear(Event::Stopping);
        run.end(ended(105 << 8, "", "stopped"));
        assert_eq!((run.view(&mut ()).state, run.view(&mut ()).exit_code), (RunState::Stopped, Some(105)));
        let mut killed = standing();
        killed.hear(Event::Stopping);
        killed.end(ended(15, "", ""));
        assert_eq!((killed.view(&mut ()).state, killed.view(&mut ()).exit_code), (RunState::Stopped, None));
        assert_eq!(killed.view(&mut ()).reason.as_deref(), Some("ended by signal 15"));
        let mut crashed = standing();
        crashed.end(ended(11, "no json", ""));
        assert_eq!((crashed.view(&mut ()).state, crashed.view(&mut ()).summary), (RunState::Failed, None));
    }

    #[test]
    fn a_change_is_a_word_of_the_command_line_and_nothing_else() {
        assert_eq!(
            change("set", " a.b[0] ", &json!(5)).expect("fits"),
            ("a.b[0]".to_owned(), "5".to_owned())
        );
        assert_eq!(change("set", "a", &json!("x=y")).expect("fits").1, "x=y");
        assert_eq!(change("set", "a", &json!({"b": [1]})).expect("fits").1, r#"{"b":[1]}"#);
        for (name, value) in [
            ("", json!(1)),
            ("a=b", json!(1)),
            ("a\0", json!(1)),
            ("a", json!("\0")),
            ("a", json!("${RUNNER_TOKEN}")),
            ("a", json!(["x", "${HOME}"])),
            ("a", json!(r#""\x24{HOME}""#)),
            ("a", json!("x".repeat(5000))),
        ] {
            assert_eq!(change("set", name, &value).expect_err(name).detail().code, "bad_change");
        }
    }

    #[test]
    fn one_at_a_time_runs_and_none_after_the_end() {
        let settings = Settings { program: PathBuf::new(), folder: PathBuf::new(), redis: String::new() };
        let runs = Runs::new(settings);
        let turn = runs.turn().expect("free");
        assert_eq!(runs.turn().err().expect("taken").detail().code, "run_running");
        drop(turn);
        assert!(runs.turn().is_ok());
        open(&runs.book).closed = true;
        assert_eq!(runs.turn().err().expect("closed").detail().code, "shutting_down");
    }
}
