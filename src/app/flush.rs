//! `runner flush`: writes what a run has left in its journals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::app::error::{Error, exit};
use crate::app::say;
use crate::cli::FlushArgs;
use crate::datastore::{Config, Datastore};
use crate::mapping::Totals;
use crate::mapping::journal::Journal;
use crate::mapping::writer;
use crate::scenario::Overrides;
use crate::scenario::schema::Scenario;

/// Longer than in a run: nobody's schedule waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn flush(args: &FlushArgs) -> Result<u8, Error> {
    let journals = journals(&args.run)?;
    if journals.is_empty() {
        return Err(Error::NoJournal(args.run.clone()));
    }
    let url = store_of(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { what: "start a runtime", source })?;
    let mut totals = Totals::default();
    runtime.block_on(async {
        let datastore = Datastore::connect(&Config { url, timeout: TIMEOUT }).await?;
        for path in journals {
            let mut journal = Journal::open(path)?;
            totals.merge(&writer::flush(&mut journal, &datastore).await?);
        }
        Ok::<_, Error>(())
    })?;
    if totals.map_failed > 0 {
        let why = totals.refusals.keys().next().cloned().unwrap_or_default();
        return Err(Error::FlushRefused(totals.map_failed, why));
    }
    say(&format!("{} mappings written; the journal is empty", totals.mapped));
    Ok(exit::PASSED)
}

/// The journals in a run folder.
pub(super) fn journals(run: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read { path: run.to_path_buf(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(run).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "journal") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Where to write: what was typed, or where the run wrote.
fn store_of(args: &FlushArgs) -> Result<String, Error> {
    if let Some(url) = &args.redis {
        return Ok(url.clone());
    }
    let unknown = |used: &str| Error::NoStore { run: args.run.clone(), used: used.to_string() };
    let loaded = Scenario::load(&args.run.join("effective.yaml"), &Overrides::default())
        .map_err(|problems| Error::Scenario(Box::new(problems)))?;
    let redis = &loaded.scenario.redis;
    match redis.is_embedded() {
        true => Err(unknown("an embedded store")),
        false if redis.url.contains(":***@") => Err(unknown("a store with a password")),
        false => Ok(redis.url.clone()),
    }
}
