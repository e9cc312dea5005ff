//! `runner serve`: wires the HTTP server to a store, to scenarios and to this program, until Ctrl-C.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::app::error::{Error, exit};
use crate::app::prepare::{Prepared, examine, load};
use crate::app::run::runs_of;
use crate::app::{parts, say};
use crate::cli::{OverrideArgs, ServeArgs};
use crate::scenario::{Problem, Severity};
use crate::serve::{self, About, Changes, Finding, Inspection, Server};
use crate::units::Nanos;
use crate::{datastore, store};

/// How long Redis may take for one answer: nobody's schedule waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long work that nobody waits for may take to notice that the program ends.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// The most threads for what would keep others waiting: reading files, checking scenarios.
const BLOCKING_THREADS: usize = 64;

pub(super) fn serve(args: &ServeArgs) -> Result<u8, Error> {
    let failed = |what| move |source| Error::System { what, source };
    parts::machine();
    let embedded = match args.redis.as_str() {
        "embedded" => Some(store::Server::start(store::Config::default())?),
        _ => None,
    };
    let url = embedded.as_ref().map_or(args.redis.clone(), |store| format!("redis://{}", store.addr()));
    let make = |path: &Path| std::fs::create_dir_all(path).and_then(|()| path.canonicalize());
    let runs = make(&args.runs).map_err(failed("make the folder of runs"))?;
    let config = serve::Config {
        listen: args.listen,
        token: args.token.clone(),
        allowed_hosts: args.allowed_hosts.clone(),
        datastore: datastore::Config { url, timeout: TIMEOUT },
        redis_was_named: embedded.is_none(),
        scenarios: args.scenarios.clone(),
        runs,
        program: std::env::current_exe().map_err(failed("find this program"))?,
        inspect: Arc::new(inspect),
        max_count: args.max_count,
        patience: args.read_timeout.as_duration(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(failed("start a runtime"))?;
    let redis = datastore::masked(&config.datastore.url);
    runtime.block_on(async {
        let of = |kind| signal(kind).map_err(failed("watch for signals"));
        let signals = (of(SignalKind::interrupt())?, of(SignalKind::terminate())?);
        let server = Server::bind(config).await?;
        say(&format!("serving http://{} until Ctrl-C", server.addr()));
        let own = if embedded.is_some() { ", a store of its own" } else { "" };
        say(&format!("records are in {redis}{own}"));
        let (stop, stopped) = watch::channel(0);
        tokio::spawn(count_signals(signals, stop));
        server.run(stopped).await;
        Ok::<_, Error>(())
    })?;
    runtime.shutdown_timeout(LEFTOVERS);
    if let Some(store) = embedded {
        store.stop();
    }
    Ok(exit::PASSED)
}

/// Tells how many signals have come.
async fn count_signals((mut interrupt, mut terminate): (Signal, Signal), stop: watch::Sender<u8>) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.send_modify(|count| *count = count.saturating_add(1));
        if *stop.borrow() == 1 {
            say("stopping what goes on; press Ctrl-C again to stop it at once");
        }
    }
}

/// What a scenario would do with the changes of a request.
fn inspect(path: &Path, changes: &Changes) -> Inspection {
    let overrides = OverrideArgs {
        redis: None,
        set: changes.sets.clone(),
        var: changes.vars.clone(),
        seed: changes.seed,
    };
    if let Some(finding) = another_script(path, &overrides) {
        return Inspection { about: None, findings: vec![finding] };
    }
    match examine(path, &overrides) {
        Ok(rows) => {
            let mut findings: Vec<Finding> = Vec::new();
            for found in rows.iter().flat_map(|row| &row.loaded.warnings).map(finding) {
                if !findings.contains(&found) {
                    findings.push(found);
                }
            }
            Inspection { about: about(&rows), findings }
        }
        Err(Error::Scenario(problems)) => {
            Inspection { about: None, findings: problems.list.iter().map(finding).collect() }
        }
        Err(error) => {
            Inspection { about: None, findings: vec![error_of("", error.to_string(), error.hint())] }
        }
    }
}

/// What all rows together would do.
fn about(rows: &[Prepared]) -> Option<About> {
    let Prepared { loaded, plan, .. } = rows.first()?;
    // Nobody knows the sum where one of them is not known.
    let scheduled = rows.iter().map(|row| {
        let total = row.plan.total()?;
        total.checked_mul(runs_of(row))
    });
    let duration = rows.iter().map(|row| {
        let Nanos(end) = row.plan.end()?;
        end.checked_mul(runs_of(row))
    });
    Some(About {
        name: plan.name.clone(),
        description: Some(loaded.scenario.description.clone()).filter(|text| !text.is_empty()),
        runs: rows.iter().map(runs_of).sum(),
        scheduled: scheduled.sum(),
        duration: duration.sum::<Option<u64>>().map(Nanos),
        plan: plan.fingerprint.clone(),
        wants_store: loaded.scenario.redis.is_embedded(),
    })
}

/// A request may change numbers and texts, but not which file of this machine is read as a script: what is wrong
/// with a file shows what is in it.
fn another_script(path: &Path, overrides: &OverrideArgs) -> Option<Finding> {
    if overrides.set.is_empty() && overrides.var.is_empty() {
        return None;
    }
    // Every row of a matrix may name another.
    let scripts = |overrides: &OverrideArgs| -> Vec<PathBuf> {
        let rows = load(path, overrides).unwrap_or_default();
        rows.iter().filter_map(|row| row.loaded.script_path()).collect()
    };
    let own = scripts(&OverrideArgs::default());
    let help = "write a scenario with that script into the folder".to_owned();
    let is_other = scripts(overrides).iter().any(|script| !own.contains(script));
    is_other.then(|| error_of("script.file", "a request may not choose the script".to_owned(), Some(help)))
}

fn error_of(path: &str, message: String, help: Option<String>) -> Finding {
    Finding { severity: serve::Severity::Error, path: path.to_owned(), message, help, line: 0, column: 0 }
}

fn finding(problem: &Problem) -> Finding {
    Finding {
        severity: match problem.severity {
            Severity::Error => serve::Severity::Error,
            Severity::Warning => serve::Severity::Warning,
        },
        path: problem.path.clone(),
        message: problem.message.clone(),
        help: problem.help.clone(),
        line: problem.line,
        column: problem.column,
    }
}
