//! `runner serve`: wires the HTTP server to a store, to scenarios and to this program, until Ctrl-C.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::app::error::{Error, exit};
use crate::app::prepare::{Prepared, environment, examine, load};
use crate::app::run::runs_of;
use crate::app::{parts, say};
use crate::cli::ServeArgs;
use crate::scenario::{Loaded, Overrides, Problem, Row, Severity};
use crate::serve::{self, About, Changes, Finding, Inspection, OWN_VARIABLES, Server};
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
    let given = Given { url: url.clone(), was_named: embedded.is_none() };
    let make = |path: &Path| std::fs::create_dir_all(path).and_then(|()| path.canonicalize());
    let runs = make(&args.runs).map_err(failed("make the folder of runs"))?;
    let config = serve::Config {
        listen: args.listen,
        token: args.token.clone(),
        allowed_hosts: args.allowed_hosts.clone(),
        datastore: datastore::Config { url, timeout: TIMEOUT },
        scenarios: args.scenarios.clone(),
        runs,
        program: std::env::current_exe().map_err(failed("find this program"))?,
        inspect: Arc::new(move |path, changes| inspect(path, changes, &given)),
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

/// The store that runs are given.
struct Given {
    url: String,
    /// Whether somebody has named it. Then all runs are given it; else those that name none.
    was_named: bool,
}

/// What a scenario would do with the changes of a request, and with the store and the environment that its run gets.
fn inspect(path: &Path, changes: &Changes, given: &Given) -> Inspection {
    examined(path, changes, given).unwrap_or_else(|error| {
        let findings = match error {
            Error::Scenario(problems) => problems.list.iter().map(finding).collect(),
            error => vec![error_of("", error.to_string(), error.hint())],
        };
        Inspection { about: None, findings }
    })
}

fn examined(path: &Path, changes: &Changes, given: &Given) -> Result<Inspection, Error> {
    let alone = overrides(changes, None);
    let names_none = |row: &Row| row.loaded.scenario.redis.is_embedded();
    let gives_store = given.was_named || load(path, &alone)?.iter().all(names_none);
    let overrides = if gives_store { overrides(changes, Some(&given.url)) } else { alone };
    if let Some(finding) = another_script(path, &overrides) {
        return Ok(Inspection { about: None, findings: vec![finding] });
    }
    let rows = examine(path, &overrides)?;
    let mut findings: Vec<Finding> = Vec::new();
    for found in rows.iter().flat_map(|row| &row.loaded.warnings).map(finding) {
        if !findings.contains(&found) {
            findings.push(found);
        }
    }
    Ok(Inspection { about: about(&rows, gives_store), findings })
}

fn overrides(changes: &Changes, redis: Option<&str>) -> Overrides {
    let mut env = environment();
    env.retain(|name, _| !OWN_VARIABLES.contains(&name.as_str()));
    env.extend(redis.map(|url| ("REDIS_URL".to_owned(), url.to_owned())));
    Overrides {
        sets: changes.sets.clone(),
        vars: changes.vars.clone(),
        seed: changes.seed,
        redis: redis.map(str::to_owned),
        env,
    }
}

/// What all rows together would do.
fn about(rows: &[Prepared], gives_store: bool) -> Option<About> {
    let Prepared { loaded, plan, .. } = rows.first()?;
    // How much a search sends shows when it has found what it looks for.
    let scheduled = rows.iter().map(|row| match row.loaded.scenario.search {
        Some(_) => None,
        None => row.plan.total()?.checked_mul(runs_of(row)),
    });
    let duration = rows.iter().map(|row| row.plan.end()?.0.checked_mul(runs_of(row)));
    Some(About {
        name: plan.name.clone(),
        description: Some(loaded.scenario.description.clone()).filter(|text| !text.is_empty()),
        runs: rows.iter().map(runs_of).sum(),
        scheduled: sum(scheduled),
        duration: sum(duration).map(Nanos),
        plan: plan.fingerprint.clone(),
        gives_store,
    })
}

/// Nobody knows the sum where one of the parts is not known; one that no number can hold counts as unknown too.
fn sum(mut parts: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    parts.try_fold(0, |sum: u64, part| sum.checked_add(part?))
}

/// A request may change numbers and texts, but not which file of this machine is read as a script: what is wrong
/// with a file shows what is in it.
///
/// 1. A script whose name stands in the file letter by letter was chosen by whoever wrote that.
/// 2. Any other must be one that the file names without the request, such as by a variable of the environment.
fn another_script(path: &Path, overrides: &Overrides) -> Option<Finding> {
    if overrides.sets.is_empty() && overrides.vars.is_empty() {
        return None;
    }
    // One that cannot be read is refused later, and reads no script. Every row of a matrix may name another.
    let rows = load(path, overrides).unwrap_or_default();
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let others = rows.iter().map(|row| &row.loaded).filter(|loaded| !names_its_script(loaded, &text));
    let others: Vec<PathBuf> = others.filter_map(Loaded::script_path).collect();
    if others.is_empty() {
        return None;
    }
    let own = load(path, &Overrides { sets: Vec::new(), vars: Vec::new(), ..overrides.clone() });
    let own: Vec<PathBuf> =
        own.unwrap_or_default().iter().filter_map(|row| row.loaded.script_path()).collect();
    let help = "write a scenario with that script into the folder".to_owned();
    let is_other = others.iter().any(|script| !own.contains(script));
    is_other.then(|| error_of("script.file", "a request may not choose the script".to_owned(), Some(help)))
}

/// Whether the name of the script stands in the text of the file, so that neither a flag nor a variable had a part
/// in it. True without a script.
fn names_its_script(loaded: &Loaded, text: &str) -> bool {
    let Some(script) = &loaded.scenario.script else { return true };
    let (Some(name), Some(place)) = (script.file.to_str(), loaded.place_of("script.file")) else {
        return false;
    };
    if place.flag.is_some() {
        return false;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
    let written: String = line.chars().skip(place.column.saturating_sub(1)).collect();
    let written = written.strip_prefix(['"', '\'']).unwrap_or(&written);
    // A variable that is empty may stand behind it.
    written.strip_prefix(name).is_some_and(|rest| !rest.starts_with('$'))
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

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: &str = "name: a\nload: { stages: [ { hold: 50, duration: 2s } ] }\n";
    const OTHER: &str = "redis://10.9.9.9:6379";

    /// A scenario in a folder with some scripts.
    fn written(scenario: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["one.lua", "two.lua"] {
            let hook = "function request(ctx, record) return record.value end\n";
            std::fs::write(dir.path().join(name), hook).expect("a script");
        }
        let path = dir.path().join("a.yaml");
        std::fs::write(&path, scenario).expect("a scenario");
        (dir, path)
    }

    fn looked_at(scenario: &str, changes: &Changes, url: &str, was_named: bool) -> Inspection {
        let (_dir, path) = written(scenario);
        inspect(&path, changes, &Given { url: url.to_owned(), was_named })
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn a_scenario_is_looked_at_with_the_store_that_its_run_gets() {
        let gives = |scenario: &str, was_named| {
            let inspection = looked_at(scenario, &Changes::default(), "redis://127.0.0.1:1", was_named);
            let about = inspection.about.unwrap_or_else(|| panic!("{:?}", inspection.findings));
            (about.gives_store, about.runs, about.scheduled)
        };
        assert_eq!(gives(LOAD, false), (true, 1, Some(100)));
        let names = format!("{LOAD}redis: {{ url: '{OTHER}' }}\n");
        assert_eq!(gives(&names, false), (false, 1, Some(100)));
        assert_eq!(gives(&names, true), (true, 1, Some(100)));
        // The named store takes the place of all that the matrix names.
        let matrix = format!("{LOAD}matrix: {{ redis.url: [embedded, '{OTHER}'] }}\n");
        assert_eq!(gives(&matrix, false), (false, 2, Some(200)));
        assert_eq!(gives(&matrix, true), (true, 1, Some(100)));
    }

    #[test]
    fn what_cannot_be_run_with_the_named_store_is_told_before_it_runs() {
        let target = "name: a\nload: { users: 2, requests: 10, mix: [ { payload: 'GET {key}' } ] }\n\
                      records: { source: template }\nmapping: { into: none }\n\
                      target: { addresses: store, framing: resp }\n";
        let alone = looked_at(target, &Changes::default(), "redis://127.0.0.1:1", true);
        assert!(alone.about.is_some(), "{:?}", alone.findings);
        let locked = looked_at(target, &Changes::default(), "redis://:swordfish@127.0.0.1:1", true);
        assert!(
            locked.about.is_none() && locked.findings.iter().any(|found| found.path == "target.addresses")
        );
        assert!(!format!("{locked:?}").contains("swordfish"));
    }

    #[test]
    fn the_environment_of_the_server_is_not_that_of_its_runs() {
        let env = overrides(&Changes::default(), None).env;
        assert!(OWN_VARIABLES.iter().all(|name| !env.contains_key(*name)));
        assert_eq!(overrides(&Changes::default(), Some(OTHER)).env["REDIS_URL"], OTHER);
    }

    #[test]
    fn a_request_may_not_choose_the_script_and_may_change_everything_else() {
        let needs = LOAD.replace("50", "${rate}");
        let one = "script: { file: one.lua, args: { a: \"${dir:-x}\" } }\n";
        let code = |scenario: &str, sets: &[(&str, &str)], vars: &[(&str, &str)]| {
            let changes = Changes { sets: pairs(sets), vars: pairs(vars), seed: None };
            let inspection = looked_at(scenario, &changes, "redis://127.0.0.1:1", false);
            let paths: Vec<String> = inspection.findings.into_iter().map(|found| found.path).collect();
            inspection.about.map(|about| about.scheduled).ok_or(paths)
        };
        let refused = Err(vec!["script.file".to_owned()]);
        for script in [one, "script:\n  file: 'one.lua'\n", "script: { \"file\": \"one.lua\" }\n"] {
            // It cannot be read without the request's variable.
            let scenario = format!("{needs}{script}");
            assert_eq!(code(&scenario, &[], &[("rate", "10")]), Ok(Some(20)), "{script}");
            let set = [("load.stages[0].hold", "10"), ("script.timeout", "60ms")];
            assert_eq!(code(&scenario, &set, &[]), Ok(Some(20)), "{script}");
            for (path, value) in [
                ("script.file", "two.lua"),
                ("script", "{file: two.lua}"),
                ("matrix", "{script.file: [one.lua, two.lua]}"),
                ("matrix.script.file", "[two.lua]"),
            ] {
                assert_eq!(code(&scenario, &[(path, value)], &[("rate", "10")]), refused, "{path}={value}");
            }
        }
        let same = [("script.file", "one.lua")];
        assert_eq!(code(&format!("{LOAD}{one}"), &same, &[]), Ok(Some(100)), "it is the one of the file");
        for script in
            ["'${which}'", "'one.lua${which}'", "\"${which:-one.lua}\"", "'${dir}/${which:-one.lua}'"]
        {
            let scenario = format!("{LOAD}vars: {{ dir: . }}\nscript: {{ file: {script} }}\n");
            let vars: &[_] = if script.contains("lua$") { &[("which", "")] } else { &[("which", "two.lua")] };
            assert_eq!(code(&scenario, &[], vars), refused, "{script}");
        }
        // Not the request but the file says which: nothing changes with it.
        let by_default = format!("{LOAD}script: {{ file: \"${{which:-one.lua}}\" }}\n");
        assert_eq!(code(&by_default, &[("load.stages[0].hold", "10")], &[]), Ok(Some(20)));
        let dir = format!("{LOAD}vars: {{ dir: . }}\nscript: {{ file: '${{dir}}/one.lua' }}\n");
        assert_eq!(code(&dir, &[("vars.dir", "..")], &[]), refused);
    }

    #[test]
    fn an_unknown_part_makes_an_unknown_sum() {
        assert_eq!(sum([Some(1), Some(2)].into_iter()), Some(3));
        assert_eq!(sum([Some(1), None].into_iter()), None);
        assert_eq!(sum([Some(u64::MAX), Some(1)].into_iter()), None);
    }
}
