//! `runner records`: generates, reads back, counts and deletes.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::app::error::{Error, exit};
use crate::app::prepare::environment;
use crate::app::{say, to_stdout};
use crate::cli::{
    ClearArgs, CountArgs, ExistingArg, GenerateArgs, PatternArgs, RecordsArgs, RecordsCommand,
    RecordsTalkArgs, VerifyArgs,
};
use crate::clock::{self, Stopwatch};
use crate::datastore::{Config, Datastore};
use crate::records::{self, Fill, Filled, Generator, Settings, Verified};
use crate::report::figures::{count as counted, grouped, rate};
use crate::report::progress::{Counted, Mode};
use crate::scenario::Overrides;
use crate::scenario::schema::{Records, Scenario};
use crate::units::IdRange;

/// Where records are when nothing else is said.
const DEFAULT_URL: &str = "redis://127.0.0.1:6379";

/// How long what is on its way may take after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);

pub(super) fn records(command: &RecordsCommand) -> Result<u8, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { what: "start a runtime", source })?;
    runtime.block_on(async {
        match command {
            RecordsCommand::Generate(args) => generate(args).await,
            RecordsCommand::Verify(args) => verify(args).await,
            RecordsCommand::Count(args) => count(args).await,
            RecordsCommand::Clear(args) => clear(args).await,
        }
    })
}

/// What was typed and what the scenario says, as one.
struct DataSet {
    url: String,
    generator: Generator,
    ranges: Vec<IdRange>,
}

impl DataSet {
    fn of(args: &RecordsArgs) -> Result<DataSet, Error> {
        let (url, typed, seed) = match &args.scenario {
            None => (None, Records::default(), 1),
            Some(file) => {
                let overrides = Overrides {
                    vars: args.var.clone(),
                    seed: args.seed,
                    env: environment(),
                    ..Overrides::default()
                };
                let loaded = Scenario::load(file, &overrides)
                    .map_err(|problems| Error::Scenario(Box::new(problems)))?;
                let redis = loaded.scenario.redis;
                // A scenario with its own store may still say what its records are.
                let url = (!redis.is_embedded()).then_some(redis.url);
                (url, loaded.scenario.records, loaded.scenario.seed)
            }
        };
        let url = url_of(args.redis.as_deref().or(url.as_deref()))?;
        let key = args.key.as_ref().unwrap_or(&typed.key);
        let template = match &args.template {
            Some(template) => template_of(template)?,
            None => typed.template,
        };
        let ranges = ranges_of(args, typed.range)?;
        let generator = Generator::seeded(key, &template, args.seed.unwrap_or(seed)).map_err(usage)?;
        generator.fits(ranges.iter().map(|range| range.last()).max().unwrap_or(0)).map_err(usage)?;
        Ok(DataSet { url, generator, ranges })
    }

    fn asked(&self) -> u64 {
        self.ranges.iter().fold(0, |sum, range| sum.saturating_add(range.count()))
    }

    /// All ids, until `stop` is set.
    fn ids(&self, stop: &Arc<AtomicBool>) -> impl Iterator<Item = u64> + Clone + use<> {
        let stop = stop.clone();
        let ranges = self.ranges.clone();
        ranges
            .into_iter()
            .flat_map(|range| range.first()..=range.last())
            .take_while(move |_| !stop.load(Ordering::Relaxed))
    }
}

/// Templates that come from the command line are wrong usage.
fn usage(error: records::Error) -> Error {
    let name = |text: String| text.replace("records.key", "--key").replace("records.template", "--template");
    match error {
        records::Error::Datastore(_) | records::Error::ShutDown => Error::Records(error),
        error => Error::RecordsUsage(name(error.to_string())),
    }
}

fn template_of(template: &str) -> Result<String, Error> {
    let Some(path) = template.strip_prefix('@') else { return Ok(template.to_string()) };
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
    // The line end that an editor puts there is no part of a value.
    Ok(text
        .strip_suffix('\n')
        .map(|text| text.strip_suffix('\r').unwrap_or(text))
        .unwrap_or(&text)
        .to_string())
}

fn ranges_of(args: &RecordsArgs, typed: Vec<IdRange>) -> Result<Vec<IdRange>, Error> {
    let Some(count) = args.count else {
        return Ok(if args.range.is_empty() { typed } else { args.range.clone() });
    };
    let first = args.start.unwrap_or(1);
    if count == 0 {
        return Err(Error::RecordsUsage("--count is 0: write how many, from 1".to_string()));
    }
    let last = first.checked_add(count - 1);
    last.and_then(|last| IdRange::new(first, last).ok()).map(|range| vec![range]).ok_or_else(|| {
        Error::RecordsUsage(format!("--count {count} from --start {first} ends beyond the largest id"))
    })
}

fn url_of(given: Option<&str>) -> Result<String, Error> {
    match given {
        Some("embedded") => Err(Error::NoEmbedded),
        Some(url) if !url.is_empty() => Ok(url.to_string()),
        _ => Ok(DEFAULT_URL.to_string()),
    }
}

async fn connect(url: &str, talk: &RecordsTalkArgs) -> Result<Datastore, Error> {
    Ok(Datastore::connect(&Config { url: url.to_string(), timeout: talk.timeout.as_duration() }).await?)
}

fn mode(talk: &RecordsTalkArgs) -> Mode {
    Mode::of_stderr(talk.quiet)
}

/// The first Ctrl-C sets `stop` and gives what is on its way some time; the second ends it at once, as does the
/// first where there is nothing to set. `None` then.
async fn until_interrupted<T>(
    stop: Option<&AtomicBool>,
    work: impl Future<Output = T>,
) -> Result<Option<T>, Error> {
    let failed = |source| Error::System { what: "watch for signals", source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return Ok(Some(done)),
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    let Some(stop) = stop else { return Ok(None) };
    stop.store(true, Ordering::Relaxed);
    tokio::select! {
        done = clock::timeout(GRACE, work) => Ok(done),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    }
}

async fn generate(args: &GenerateArgs) -> Result<u8, Error> {
    let set = DataSet::of(&args.records)?;
    let watch = Stopwatch::start();
    let datastore = connect(&set.url, &args.talk).await?;
    let settings = Settings {
        fill: match args.existing {
            ExistingArg::Keep => Fill::Missing,
            ExistingArg::Overwrite => Fill::All,
            ExistingArg::Refuse => Fill::Refuse,
        },
        ttl: (args.ttl.0 > 0).then(|| args.ttl.as_duration()),
        connections: usize::from(args.connections),
        patience: args.talk.timeout.as_duration(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let asked = set.asked();
    let mut progress = Counted::new("records", asked, mode(&args.talk));
    let so_far = Cell::new(Filled::default());
    let load = set.generator.load(&datastore, set.ids(&stop), &settings, |done| {
        so_far.set(done);
        progress.tick(done.asked, watch.elapsed());
    });
    let ended = until_interrupted(Some(&*stop), load).await;
    progress.finish();
    let filled = match ended? {
        Some(ended) => ended?,
        None => so_far.get(),
    };
    let seconds = watch.elapsed().as_secs_f64();
    if filled.asked < asked {
        // Data of a part would be taken for data of the whole.
        if !args.talk.json {
            say(&format!("{} written, {} kept", grouped(filled.written), grouped(filled.kept())));
        }
        let next = next(args.existing, filled.asked);
        return Err(Error::RecordsInterrupted { done: filled.asked, asked: Some(asked), next });
    }
    if !args.verify {
        return Ok(generated(&filled, seconds, &datastore, None, &args.talk));
    }
    let verified = read_back(&set, &datastore, &args.talk).await?;
    let code = generated(&filled, seconds, &datastore, Some(&verified), &args.talk);
    judged(&verified, &filled, code)
}

/// What to do after an interruption to have the rest.
fn next(existing: ExistingArg, done: u64) -> &'static str {
    match existing {
        ExistingArg::Keep => "run it again to go on",
        ExistingArg::Overwrite => "run it again: it begins with the first record",
        ExistingArg::Refuse if done == 0 => "nothing was written: run it again",
        // What is there now would be refused.
        ExistingArg::Refuse => "run it again with --existing keep to go on",
    }
}

/// Tells the differences where there are some.
fn judged(verified: &Verified, filled: &Filled, code: u8) -> Result<u8, Error> {
    if verified.is_whole() && verified.checksum == filled.checksum {
        return Ok(code);
    }
    differ(verified)
}

fn differ(verified: &Verified) -> Result<u8, Error> {
    for difference in &verified.first {
        say(&match &difference.found {
            None => format!("missing    {}", difference.key),
            Some(found) => {
                format!(
                    "different  {}\n  expected {}\n  found    {found}",
                    difference.key, difference.expected
                )
            }
        });
    }
    Err(Error::RecordsDiffer {
        asked: verified.asked,
        missing: verified.missing,
        different: verified.different,
    })
}

async fn read_back(set: &DataSet, datastore: &Datastore, talk: &RecordsTalkArgs) -> Result<Verified, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let watch = Stopwatch::start();
    let asked = set.asked();
    let mut progress = Counted::new("read back", asked, mode(talk));
    let so_far = Cell::new(0);
    let patience = talk.timeout.as_duration();
    let work = set.generator.verify(datastore, set.ids(&stop), patience, |verified| {
        so_far.set(verified.asked);
        progress.tick(verified.asked, watch.elapsed());
    });
    let ended = until_interrupted(Some(&*stop), work).await;
    progress.finish();
    let done = match ended? {
        Some(verified) => match verified? {
            verified if verified.asked < asked => verified.asked,
            verified => return Ok(verified),
        },
        None => so_far.get(),
    };
    let next = "`runner records verify` reads all of them again";
    Err(Error::RecordsInterrupted { done, asked: Some(asked), next })
}

/// Prints what was done: data on stdout when it is asked for as JSON, else talk.
fn generated(
    filled: &Filled,
    seconds: f64,
    datastore: &Datastore,
    verified: Option<&Verified>,
    talk: &RecordsTalkArgs,
) -> u8 {
    let per_second = filled.asked as f64 / seconds.max(1e-9);
    if talk.json {
        let mut json = serde_json::json!({
            "redis": datastore.url(),
            "asked": filled.asked,
            "written": filled.written,
            "kept": filled.kept(),
            "resent": filled.resent,
            "bytes": filled.bytes,
            "seconds": seconds,
            "records_per_second": per_second,
            "checksum": format!("{:032x}", filled.checksum),
        });
        if let Some(verified) = verified {
            json["verified"] = verified_json(verified);
        }
        return to_stdout(format!("{json:#}\n").as_bytes());
    }
    say(&format!(
        "{}: {} written, {} kept in {seconds:.2} s, {} records/s, {} bytes",
        counted(filled.asked, "record"),
        grouped(filled.written),
        grouped(filled.kept()),
        rate(per_second),
        grouped(filled.bytes),
    ));
    if filled.resent > 0 {
        say(&format!(
            "{} sent again after a connection broke; those that had arrived before count as kept",
            grouped(filled.resent)
        ));
    }
    say(&format!("checksum {:032x}", filled.checksum));
    if let Some(verified) = verified {
        say(&format!("read back: {} of {} equal", grouped(verified.equal), grouped(verified.asked)));
    }
    exit::PASSED
}

fn verified_json(verified: &Verified) -> serde_json::Value {
    serde_json::json!({
        "asked": verified.asked,
        "equal": verified.equal,
        "missing": verified.missing,
        "different": verified.different,
        "checksum": format!("{:032x}", verified.checksum),
    })
}

async fn verify(args: &VerifyArgs) -> Result<u8, Error> {
    let set = DataSet::of(&args.records)?;
    let datastore = connect(&set.url, &args.talk).await?;
    let watch = Stopwatch::start();
    let verified = read_back(&set, &datastore, &args.talk).await?;
    let seconds = watch.elapsed().as_secs_f64();
    let code = if args.talk.json {
        let mut json = verified_json(&verified);
        json["redis"] = datastore.url().into();
        json["seconds"] = seconds.into();
        to_stdout(format!("{json:#}\n").as_bytes())
    } else {
        say(&format!(
            "read back: {} of {} equal in {seconds:.2} s",
            grouped(verified.equal),
            grouped(verified.asked)
        ));
        say(&format!("checksum {:032x}", verified.checksum));
        exit::PASSED
    };
    if verified.is_whole() { Ok(code) } else { differ(&verified) }
}

async fn count(args: &CountArgs) -> Result<u8, Error> {
    let PatternArgs { redis, pattern, talk } = &args.keys;
    let datastore = connect(&url_of(redis.as_deref())?, talk).await?;
    let watch = Stopwatch::start();
    let Some(total) = until_interrupted(None, records::count(&datastore, pattern)).await? else {
        let next = "run it again: it counts from the beginning";
        return Err(Error::RecordsInterrupted { done: 0, asked: None, next });
    };
    let total = total?;
    let seconds = watch.elapsed().as_secs_f64();
    Ok(to_stdout(
        match talk.json {
            true => {
                let url = datastore.url();
                let json = serde_json::json!({
                    "redis": url, "pattern": pattern, "total_records": total, "seconds": seconds
                });
                format!("{json:#}\n")
            }
            false => format!("{total}\n"),
        }
        .as_bytes(),
    ))
}

async fn clear(args: &ClearArgs) -> Result<u8, Error> {
    let PatternArgs { redis, pattern, talk } = &args.keys;
    let datastore = connect(&url_of(redis.as_deref())?, talk).await?;
    if !args.yes && !confirmed(pattern, datastore.url()) {
        return Err(Error::NotConfirmed(pattern.clone()));
    }
    let watch = Stopwatch::start();
    let mut progress = Counted::new("deleted", 0, mode(talk));
    let so_far = Cell::new(0);
    let work = records::clear_with(&datastore, pattern, |deleted| {
        so_far.set(deleted);
        progress.tick(deleted, watch.elapsed());
    });
    let ended = until_interrupted(None, work).await;
    progress.finish();
    let Some(deleted) = ended? else {
        let next = "run it again to delete the rest";
        return Err(Error::RecordsInterrupted { done: so_far.get(), asked: None, next });
    };
    let (deleted, seconds) = (deleted?, watch.elapsed().as_secs_f64());
    if talk.json {
        let url = datastore.url();
        let json = serde_json::json!({
            "redis": url, "pattern": pattern, "deleted": deleted, "seconds": seconds
        });
        return Ok(to_stdout(format!("{json:#}\n").as_bytes()));
    }
    say(&format!("{} deleted in {seconds:.2} s", counted(deleted, "key")));
    Ok(exit::PASSED)
}

/// Asks in a terminal; elsewhere nobody can say yes.
fn confirmed(pattern: &str, url: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    let mut stderr = std::io::stderr();
    // A terminal that is gone says no.
    let _ = write!(stderr, "delete all keys that match `{pattern}` on {url}? [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_interrupted_is_told_how_to_have_the_rest() {
        assert!(next(ExistingArg::Keep, 5).contains("to go on"));
        assert!(next(ExistingArg::Overwrite, 5).contains("the first record"));
        assert!(
            next(ExistingArg::Refuse, 5).contains("--existing keep"),
            "the same command would be refused"
        );
        assert!(next(ExistingArg::Refuse, 0).contains("nothing was written"));
        for (done, asked, text) in
            [(7, Some(9), " after 7 records of 9"), (7, None, " after 7 records"), (0, None, "")]
        {
            let error = Error::RecordsInterrupted { done, asked, next: "do that" };
            assert_eq!(error.to_string(), format!("finish: interrupted{text}"));
            assert_eq!(error.hint().as_deref(), Some("do that"));
        }
    }
}
