//! Scenarios: the files of one folder, and what is known of each before it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::clock;
use crate::serve::Shared;
use crate::serve::problem::{Finding, Problem, Severity};
use crate::units::Nanos;

/// Scenarios that are listed; more are left out.
const MAX_LISTED: usize = 500;

/// Scenarios that are looked at at one time, and how long that may take: a plan may be a month long.
const MAX_INSPECTIONS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest name of a file.
const MAX_NAME: usize = 255;

/// Variables of the environment that are the server's own: no run sees them. One that is given the store of the server
/// finds that in `REDIS_URL`.
pub const OWN_VARIABLES: [&str; 6] =
    ["REDIS_URL", "RUNNER_TOKEN", "RUNNER_OUT", "RUNNER_SEED", "RUNNER_SEGMENT", "RUNNER_UI"];

/// What a request changes in a scenario: the flags `--set`, `--var` and `--seed`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Path and value.
    pub sets: Vec<(String, String)>,
    /// Name and value.
    pub vars: Vec<(String, String)>,
    /// The seed of every random choice.
    pub seed: Option<u64>,
}

/// What is known of a scenario before it runs.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// What it would do; none where it cannot be run.
    pub about: Option<About>,
    /// What is wrong with it: at least one error where it cannot be run, else warnings.
    pub findings: Vec<Finding>,
}

/// What a scenario would do.
#[derive(Debug, Clone)]
pub struct About {
    /// Its name.
    pub name: String,
    /// What its author says of it.
    pub description: Option<String>,
    /// Runs it would make: more than one with a matrix, or a second target.
    pub runs: u64,
    /// Requests it would send; none where only time ends it.
    pub scheduled: Option<u64>,
    /// How long it would send; none where only the number of requests ends it.
    pub duration: Option<Nanos>,
    /// The fingerprint of its plan.
    pub plan: String,
    /// Whether it is given the store of the server, with which it was looked at.
    pub gives_store: bool,
}

impl About {
    /// How long it would send.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.duration.map(|duration| duration.as_duration().as_secs_f64())
    }
}

/// Reads and checks a scenario file, as the run will see it; who knows how stands above this room.
pub type Inspect = Arc<dyn Fn(&Path, &Changes) -> Inspection + Send + Sync>;

/// A scenario of the folder.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Scenario {
    /// The name of the file, which starts it.
    #[schema(example = "steady-100tps.yaml")]
    file: String,
    /// Its own name; null where it cannot be run.
    name: Option<String>,
    /// What its author says of it.
    description: Option<String>,
    /// Whether it can be run.
    valid: bool,
    /// Runs it would make, one after the other: the rows of a matrix, or two targets in turns; null where it cannot
    /// be run.
    runs: Option<u64>,
    /// Requests it would send; null where it cannot be run, and where only time ends it.
    scheduled: Option<u64>,
    /// How long it would send; null where it cannot be run, and where only the number of requests ends it.
    duration_s: Option<f64>,
    /// The fingerprint of its (first) plan; null where it cannot be run.
    plan: Option<String>,
    /// What is wrong with it.
    problems: Vec<Finding>,
}

/// The scenarios of the folder.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScenarioList {
    /// By name; at most 500.
    scenarios: Vec<Scenario>,
}

/// The folder.
pub(super) struct Scenarios {
    folder: PathBuf,
    inspect: Inspect,
    /// Few at a time are looked at: each takes a core for as long as it takes.
    seats: Arc<Semaphore>,
    patience: Duration,
}

impl Scenarios {
    pub(super) fn new(folder: PathBuf, inspect: Inspect) -> Scenarios {
        Scenarios { folder, inspect, seats: Arc::new(Semaphore::new(MAX_INSPECTIONS)), patience: PATIENCE }
    }

    /// Where the scenario of this name is.
    ///
    /// 1. A name is one part of a path: no folder, nothing hidden, and it ends as scenarios do.
    /// 2. What it leads to, over all links, is a file inside the folder.
    pub(super) fn find(&self, name: &str) -> Result<PathBuf, Problem> {
        if !is_name(name) {
            let shown: String = name.chars().take(60).collect();
            let message = format!("`{shown}` is no name of a scenario");
            let help =
                "send the name of a .yaml file in the folder of scenarios: GET /api/v1/scenarios lists them";
            return Err(Problem::unprocessable("bad_scenario_name", message, help));
        }
        self.inside(name).ok_or_else(|| {
            let help = "GET /api/v1/scenarios lists those that are there";
            Problem::not_found("no_such_scenario", format!("there is no scenario {name}"), help)
        })
    }

    fn inside(&self, name: &str) -> Option<PathBuf> {
        let folder = self.folder.canonicalize().ok()?;
        let path = folder.join(name).canonicalize().ok()?;
        (path.starts_with(&folder) && path.is_file()).then_some(path)
    }

    /// What the scenario would do with these changes. Takes a while: not on a thread that answers.
    pub(super) async fn inspect(&self, path: PathBuf, changes: Changes) -> Result<Inspection, Problem> {
        let inspect = self.inspect.clone();
        self.aside(move || inspect(&path, &changes)).await
    }

    /// Does something on a thread for such things, if that does not take too long. One that is too long keeps its
    /// seat until its end, so that no number of requests can take more cores.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let seats = self.seats.clone();
        let done = clock::timeout(self.patience, async {
            // The semaphore is never closed.
            let seat = seats.acquire_owned().await;
            let work = move || {
                let _seat = seat;
                work()
            };
            tokio::task::spawn_blocking(work).await.ok()
        });
        done.await.flatten().ok_or_else(|| {
            let message = format!("looking at the scenario did not end within {:?}", self.patience);
            Problem::unavailable(
                "inspection_failed",
                message,
                "try `runner validate` on it, or make it shorter",
            )
        })
    }

    async fn list(&self) -> Result<Vec<Scenario>, Problem> {
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        let entries = std::fs::read_dir(&self.folder).map_err(|error| {
            let message = format!("the folder of scenarios cannot be read: {error}");
            Problem::unavailable("no_scenarios", message, "make it, or start the server with --scenarios DIR")
        })?;
        for entry in entries.filter_map(Result::ok) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_name(&name)
                && let Some(path) = self.inside(&name)
            {
                found.push((name, path));
            }
        }
        found.sort();
        found.truncate(MAX_LISTED);
        let inspect = self.inspect.clone();
        let shown = move |(file, path): (String, PathBuf)| {
            let Inspection { about, findings } = inspect(&path, &Changes::default());
            shown(file, about, findings)
        };
        self.aside(move || found.into_iter().map(shown).collect()).await
    }
}

fn shown(file: String, about: Option<About>, problems: Vec<Finding>) -> Scenario {
    let valid = about.is_some() && problems.iter().all(|problem| problem.severity != Severity::Error);
    Scenario {
        file,
        name: about.as_ref().map(|about| about.name.clone()),
        description: about.as_ref().and_then(|about| about.description.clone()),
        valid,
        runs: about.as_ref().map(|about| about.runs),
        scheduled: about.as_ref().and_then(|about| about.scheduled),
        duration_s: about.as_ref().and_then(About::seconds),
        plan: about.map(|about| about.plan),
        problems,
    }
}

fn is_name(name: &str) -> bool {
    let ends = [".yaml", ".yml"].iter().any(|end| name.len() > end.len() && name.ends_with(end));
    ends && name.len() <= MAX_NAME && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// All scenarios that can be run, with what is wrong with the others
#[utoipa::path(get, path = "/api/v1/scenarios", tag = "runs", operation_id = "list_scenarios",
    responses(
        (status = 200, description = "The scenarios of the folder", body = ScenarioList),
        (status = 503, description = "The folder cannot be read", body = crate::serve::problem::ErrorBody),
    ))]
pub(super) async fn list(State(shared): State<Shared>) -> Result<axum::Json<ScenarioList>, Problem> {
    Ok(axum::Json(ScenarioList { scenarios: shared.scenarios.list().await? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("scenarios");
        std::fs::create_dir(&folder).expect("a folder");
        for path in ["outside.yaml", "scenarios/a.yaml", "scenarios/.hidden.yaml", "scenarios/a.txt"] {
            std::fs::write(dir.path().join(path), "name: a").expect("a file");
        }
        std::fs::create_dir(folder.join("folder.yaml")).expect("a folder");
        std::os::unix::fs::symlink("../outside.yaml", folder.join("out.yaml")).expect("a link");
        std::os::unix::fs::symlink("a.yaml", folder.join("in.yaml")).expect("a link");
        std::os::unix::fs::symlink("round.yaml", folder.join("round.yaml")).expect("a link");
        let inspect: Inspect = Arc::new(|_, _| Inspection::default());
        let scenarios = Scenarios::new(folder, inspect);
        let code = |name: &str| scenarios.find(name).map_err(|problem| problem.detail().code.clone());
        for name in ["a.yaml", "in.yaml"] {
            assert!(code(name).is_ok(), "{name}");
        }
        for name in ["out.yaml", "round.yaml", "folder.yaml", "missing.yaml"] {
            assert_eq!(code(name).expect_err(name), "no_such_scenario");
        }
        let long = format!("{}.yaml", "x".repeat(300));
        for name in
            ["../outside.yaml", "/etc/passwd", "a.txt", ".hidden.yaml", ".yaml", "..", "", "a\0.yaml", &long]
        {
            assert_eq!(code(name).expect_err(name), "bad_scenario_name");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_takes_too_long_is_given_up_and_takes_no_more_than_its_seats() {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let gone = std::sync::Mutex::new(gone);
        let inspect: Inspect = Arc::new(move |_, _| {
            // Ends when the test does.
            let _ = gone.lock().map(|gone| gone.recv());
            Inspection::default()
        });
        let patience = Duration::from_millis(5);
        let scenarios = Scenarios { patience, ..Scenarios::new(PathBuf::new(), inspect) };
        for _ in 0..MAX_INSPECTIONS + 2 {
            let given_up = scenarios.inspect(PathBuf::new(), Changes::default()).await.expect_err("too long");
            assert_eq!(given_up.detail().code, "inspection_failed");
        }
        assert_eq!(scenarios.seats.available_permits(), 0);
        drop(go);
    }
}
