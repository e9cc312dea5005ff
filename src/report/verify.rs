//! Verify: whether the files of a run agree with each other, long after it.
//!
//! The same requests are counted in many places: in the summary, by stage, by second, by connection, in the
//! counts of latencies, and one by one in `requests.csv`. Whatever was lost, edited or cut off shows as a
//! difference.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ledger::Outcome;
use crate::recorder::histogram::Latencies;
use crate::report::counts::{self, Scope};
use crate::report::events;
use crate::report::figures::{Tone, columns, grouped, paint, plain};
use crate::report::json::{Account, Times, Whole, written};
use crate::report::saved;
use crate::report::timeline::{self, ConnectionLine, rows};
use crate::report::{Error, csv};

/// Differences that are named in one check; more are counted.
const NAMED: usize = 5;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It holds.
    Holds,
    /// It does not.
    Wrong,
    /// The file that it needs was not written.
    Absent,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The file, and what of it.
    pub what: String,
    /// How it came out.
    pub finding: Finding,
    /// What was counted, or what is wrong.
    pub detail: String,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The run.
    pub run_id: String,
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.finding != Finding::Wrong)
    }

    /// How many checks came out so.
    pub fn count(&self, finding: Finding) -> usize {
        self.checks.iter().filter(|check| check.finding == finding).count()
    }

    /// For people.
    pub fn text(&self, colour: bool) -> String {
        let rows = self.checks.iter().map(|check| {
            let (word, tone) = match check.finding {
                Finding::Holds => ("ok", Tone::Good),
                Finding::Wrong => ("WRONG", Tone::Bad),
                Finding::Absent => ("no file", Tone::Faint),
            };
            vec![paint(word, tone, colour), check.what.clone(), plain(&check.detail, 400)]
        });
        columns(2, 3, rows.collect())
    }

    /// For programs, ending in a newline.
    pub fn json(&self) -> String {
        written(self)
    }
}

/// Compares numbers and remembers what differs.
#[derive(Default)]
struct Compared {
    /// The first of them.
    wrong: Vec<String>,
    wrongs: usize,
    held: Vec<String>,
}

impl Compared {
    fn same<T: PartialEq + Display>(&mut self, name: &str, found: T, expected: T) {
        if found == expected {
            self.held.push(format!("{name} {found}"));
        } else {
            self.wrong(format!("{name} is {found} and should be {expected}"));
        }
    }

    fn wrong(&mut self, what: String) {
        self.wrongs += 1;
        if self.wrong.len() < NAMED {
            self.wrong.push(what);
        }
    }

    fn check(self, what: &str) -> Check {
        let (finding, list) = match self.wrongs {
            0 => (Finding::Holds, self.held),
            _ => (Finding::Wrong, self.wrong),
        };
        let mut detail = list.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if self.wrongs > NAMED {
            let _ = write!(detail, " and {} more", self.wrongs - NAMED);
        }
        Check { what: what.to_string(), finding, detail }
    }
}

fn absent(what: &str) -> Check {
    Check { what: what.to_string(), finding: Finding::Absent, detail: String::new() }
}

/// Looks at every file of a run folder.
///
/// # Errors
/// When there is no `summary.json`, or a file cannot be read as what it is.
pub fn verify(folder: &Path) -> Result<Verified, Error> {
    let whole = saved::read_whole(folder)?;
    let mut checks = vec![
        ledger(&whole),
        summary(folder, &whole)?,
        plan(folder, &whole)?,
        stages(folder, &whole)?,
        seconds(folder, &whole)?,
        connections(folder, &whole)?,
        latencies(folder, &whole)?,
        requests(folder, &whole)?,
        journal(folder, &whole)?,
    ];
    checks.extend(events(folder, &whole)?);
    Ok(Verified { run_id: whole.run_id, checks })
}

/// The equations of the ledger, and the sums of its kinds.
fn ledger(whole: &Whole) -> Check {
    let account = &whole.ledger;
    let mut compared = Compared::default();
    let by = |kinds: &BTreeMap<String, u64>| kinds.values().sum::<u64>();
    compared.same("dropped", by(&account.dropped_by), account.dropped);
    compared.same("failed", by(&account.failed_by), account.failed);
    for imbalance in account.ledger().balance().err().unwrap_or_default() {
        compared.wrong(imbalance.to_string());
    }
    if let Some(back) = &whole.read_back
        && back.found + back.missing + back.different != back.expected
    {
        compared.wrong(format!("{} mappings were looked for and not all are accounted for", back.expected));
    }
    let mut check = compared.check("summary.json: the ledger balances");
    if check.finding == Finding::Holds {
        check.detail = format!(
            "scheduled {}, sent {}, matched {}",
            grouped(account.scheduled),
            grouped(account.sent),
            grouped(account.matched)
        );
    }
    check
}

/// `summary.csv` says what `summary.json` says.
fn summary(folder: &Path, whole: &Whole) -> Result<Check, Error> {
    const WHAT: &str = "summary.csv: the same numbers";
    let mut lines: Vec<BTreeMap<String, String>> = Vec::new();
    if !rows(folder, "summary.csv", |line| {
        lines.push(line);
        Ok(())
    })? {
        return Ok(absent(WHAT));
    }
    let mut compared = Compared::default();
    let [line] = &lines[..] else {
        compared.wrong(format!("{} rows stand where one is expected", lines.len()));
        return Ok(compared.check(WHAT));
    };
    let account = &whole.ledger;
    let (response, lag) = (&whole.response_time, &whole.lag);
    let texts = [("run_id", &whole.run_id), ("plan", &whole.plan), ("outcome", &whole.outcome)];
    let numbers = [
        ("scheduled", account.scheduled),
        ("sent", account.sent),
        ("dropped", account.dropped),
        ("not_reached", account.not_reached),
        ("matched", account.matched),
        ("failed", account.failed),
        ("timed_out", account.timed_out),
        ("duplicate", account.duplicate),
        ("late", account.late),
        ("unknown", account.unknown),
        ("malformed", account.malformed),
        ("received", account.received),
        ("mapped", account.mapped.unwrap_or(0)),
        ("map_failed", account.map_failed.unwrap_or(0)),
        ("connections_opened", whole.connections.opened),
        ("reconnects", whole.connections.reconnects),
        ("response_p99_us", response.p99_us),
        ("response_max_us", response.max_us),
        ("service_p99_us", whole.service_time.p99_us),
        ("lag_p99_us", lag.p99_us),
    ];
    let found = |name: &str| line.get(name).map_or("", String::as_str).to_string();
    for (name, expected) in texts {
        compared.same(name, found(name), expected.clone());
    }
    for (name, expected) in numbers {
        compared.same(name, found(name), expected.to_string());
    }
    Ok(compared.check(WHAT))
}

/// The plan that was to be sent.
fn plan(folder: &Path, whole: &Whole) -> Result<Check, Error> {
    #[derive(Deserialize)]
    struct PlanJson {
        plan: String,
        seed: u64,
        segment: String,
        scheduled: Option<u64>,
    }
    const WHAT: &str = "plan.json: what was planned";
    let path = folder.join("plan.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(absent(WHAT)),
        Err(source) => return Err(Error::Read { path, source }),
    };
    let plan: PlanJson = serde_json::from_str(&text).map_err(|error| Error::Content {
        path,
        line: error.line() as u64,
        what: error.to_string(),
    })?;
    let mut compared = Compared::default();
    compared.same("plan", &plan.plan, &whole.plan);
    compared.same("seed", plan.seed, whole.seed);
    compared.same("segment", &plan.segment, &whole.segment);
    if let Some(scheduled) = plan.scheduled {
        compared.same("scheduled", scheduled, whole.ledger.scheduled);
    }
    Ok(compared.check(WHAT))
}

/// What is added up from rows.
#[derive(Default)]
struct Sums {
    sent: u64,
    matched: u64,
    failed: u64,
    timed_out: u64,
    dropped: u64,
}

impl Sums {
    fn compare(&self, account: &Account, compared: &mut Compared) {
        compared.same("sent", self.sent, account.sent);
        compared.same("matched", self.matched, account.matched);
        compared.same("failed", self.failed, account.failed);
        compared.same("timed_out", self.timed_out, account.timed_out);
        compared.same("dropped", self.dropped, account.dropped);
    }
}

fn stages(folder: &Path, whole: &Whole) -> Result<Check, Error> {
    #[derive(Deserialize)]
    struct Line {
        stage: String,
        scheduled: u64,
        sent: u64,
        matched: u64,
        failed: u64,
        timed_out: u64,
        dropped: u64,
    }
    const WHAT: &str = "stages.csv: the stages add up to the ledger";
    let (mut sums, mut scheduled, mut names) = (Sums::default(), 0, Vec::new());
    let found = rows(folder, "stages.csv", |line: Line| {
        sums.sent += line.sent;
        sums.matched += line.matched;
        sums.failed += line.failed;
        sums.timed_out += line.timed_out;
        sums.dropped += line.dropped;
        scheduled += line.scheduled;
        names.push(line.stage);
        Ok(())
    })?;
    if !found {
        return Ok(absent(WHAT));
    }
    let mut compared = Compared::default();
    compared.same("scheduled", scheduled, whole.ledger.scheduled);
    sums.compare(&whole.ledger, &mut compared);
    let expected: Vec<String> = whole.stages.iter().map(|stage| csv::cell(&stage.stage)).collect();
    if names != expected {
        compared.wrong("the stages are others than in summary.json".to_string());
    }
    Ok(compared.check(WHAT))
}

fn seconds(folder: &Path, whole: &Whole) -> Result<Check, Error> {
    const WHAT: &str = "seconds.csv: the seconds add up to the ledger";
    let Some(lines) = timeline::seconds(folder)? else { return Ok(absent(WHAT)) };
    let account = &whole.ledger;
    let sum = |of: fn(&timeline::SecondLine) -> u64| lines.iter().map(of).sum::<u64>();
    let sums = Sums {
        sent: sum(|line| line.sent),
        matched: sum(|line| line.matched),
        failed: sum(|line| line.failed),
        timed_out: sum(|line| line.timed_out),
        dropped: sum(|line| line.dropped),
    };
    let mut compared = Compared::default();
    compared.same(
        "scheduled and not_reached",
        sum(|line| line.scheduled) + account.not_reached,
        account.scheduled,
    );
    sums.compare(account, &mut compared);
    compared.same("error_replies", sum(|line| line.error_replies), account.error_replies);
    // The rows of a run that was cut short end with it.
    if whole.model != "closed" && account.not_reached == 0 {
        compared.same("planned", sum(|line| line.planned), account.scheduled);
        // Each second has what was planned for it, however often the plan was changed.
        for line in lines.iter().filter(|line| line.scheduled != line.planned) {
            let (second, scheduled, planned) = (line.second, line.scheduled, line.planned);
            compared.wrong(format!("second {second} has {scheduled} requests and {planned} were planned"));
        }
    }
    Ok(compared.check(WHAT))
}

/// What was done to the run is the same wherever it stands; `None` where nothing was.
fn events(folder: &Path, whole: &Whole) -> Result<Option<Check>, Error> {
    #[derive(Deserialize)]
    struct Line {
        n: u64,
        at_us: u64,
        event: String,
        rate: Option<f64>,
    }
    const WHAT: &str = "events.csv: what was done while it ran";
    let mut lines = Vec::new();
    let found = rows(folder, events::NAME, |line: Line| {
        lines.push((line.n, line.at_us, line.event, line.rate));
        Ok(())
    })?;
    if !found {
        return Ok((!whole.events.is_empty()).then(|| absent(WHAT)));
    }
    let mut compared = Compared::default();
    compared.same("events", lines.len(), whole.events.len());
    let micro = |rate: Option<f64>| rate.map(|rate| (rate * 1e6).floor() as u64);
    for (index, (line, event)) in lines.iter().zip(&whole.events).enumerate() {
        let (n, at_us, word, rate) = line;
        let is_same = (*n, *at_us, word) == (event.n, event.at_us, &event.event);
        // The file has six decimals of a rate.
        if !is_same || micro(*rate).unwrap_or(0).abs_diff(micro(event.rate).unwrap_or(0)) > 1 {
            compared.wrong(format!("event {} is another in summary.json", index + 1));
        }
    }
    Ok(Some(compared.check(WHAT)))
}

fn connections(folder: &Path, whole: &Whole) -> Result<Check, Error> {
    const WHAT: &str = "connections.csv: the connections add up to the ledger";
    let (mut opened, mut reconnects, mut sent, mut matched) = (0u64, 0u64, 0u64, 0u64);
    let found = rows(folder, "connections.csv", |line: ConnectionLine| {
        opened += 1;
        reconnects += u64::from(line.generation > 0);
        sent += line.sent;
        matched += line.matched;
        Ok(())
    })?;
    if !found {
        return Ok(absent(WHAT));
    }
    let mut compared = Compared::default();
    compared.same("opened", opened, whole.connections.opened);
    compared.same("reconnects", reconnects, whole.connections.reconnects);
    compared.same("sent", sent, whole.ledger.sent);
    compared.same("matched", matched, whole.ledger.matched);
    Ok(compared.check(WHAT))
}

/// Seconds and stages hold the same latencies, bucket for bucket, and the summary their percentiles.
fn latencies(folder: &Path, whole: &Whole) -> Result<Check, Error> {
    const WHAT: &str = "counts.csv: the latencies of seconds and stages are the same";
    let (mut seconds, mut stages, mut counted) =
        (Latencies::default(), Latencies::default(), Latencies::default());
    let mut compared = Compared::default();
    let found = counts::read(folder, |scope, index, latencies| {
        match scope {
            Scope::Second => seconds.merge(&latencies),
            Scope::Stage => {
                stages.merge(&latencies);
                match whole.stages.get(index as usize) {
                    Some(stage) if stage.warmup => {}
                    Some(_) => counted.merge(&latencies),
                    None => compared.wrong(format!("there is no stage {index}")),
                }
            }
            Scope::Kind => {}
        }
        Ok(())
    })?;
    if !found {
        return Ok(absent(WHAT));
    }
    let pairs = [
        ("response_time", &seconds.response, &stages.response, &counted.response, &whole.response_time),
        ("service_time", &seconds.service, &stages.service, &counted.service, &whole.service_time),
        ("lag", &seconds.lag, &stages.lag, &counted.lag, &whole.lag),
    ];
    for (name, of_seconds, of_stages, counted, said) in pairs {
        if of_seconds != of_stages {
            compared.wrong(format!("{name} of the seconds is not that of the stages"));
        }
        if Times::of(counted) != *said {
            compared.wrong(format!("{name} is not what summary.json says"));
        }
    }
    compared.same("responses", stages.response.len(), whole.ledger.matched);
    compared.same("sent", stages.lag.len(), whole.ledger.sent);
    Ok(compared.check(WHAT))
}

/// Each request once, ended as the ledger says, at times that follow each other.
fn requests(folder: &Path, whole: &Whole) -> Result<Check, Error> {
    #[derive(Deserialize)]
    struct Line {
        n: u64,
        response_id: String,
        intended_us: u64,
        sent_us: Option<u64>,
        received_us: Option<u64>,
        outcome: String,
    }
    const WHAT: &str = "requests.csv: every request once, ended as the ledger says";
    let mut numbers: Vec<u64> = Vec::new();
    let mut ids: Vec<Box<str>> = Vec::new();
    let mut ended: BTreeMap<String, u64> = BTreeMap::new();
    let mut compared = Compared::default();
    let found = rows(folder, "requests.csv", |line: Line| {
        let in_order = match (line.sent_us, line.received_us) {
            (Some(sent), Some(received)) => line.intended_us <= sent && sent <= received,
            (Some(sent), None) => line.intended_us <= sent,
            (None, None) => true,
            (None, Some(_)) => false,
        };
        if !in_order {
            compared.wrong(format!("the times of request {} do not follow each other", line.n));
        }
        numbers.push(line.n);
        if line.outcome == Outcome::Matched.word() {
            ids.push(line.response_id.into_boxed_str());
        }
        *ended.entry(line.outcome).or_default() += 1;
        Ok(())
    })?;
    if !found {
        return Ok(absent(WHAT));
    }
    let rows = numbers.len() as u64;
    numbers.sort_unstable();
    numbers.dedup();
    compared.same("requests", numbers.len() as u64, rows);
    let account = &whole.ledger;
    // Those that never came due have no row.
    compared.same("rows", rows, account.scheduled - account.not_reached.min(account.scheduled));
    compared.same("matched", ended.get(Outcome::Matched.word()).copied().unwrap_or(0), account.matched);
    compared.same("timed_out", ended.get(Outcome::TimedOut.word()).copied().unwrap_or(0), account.timed_out);
    for (word, count) in account.dropped_by.iter().chain(&account.failed_by) {
        compared.same(word, ended.get(word).copied().unwrap_or(0), *count);
    }
    // A foreign service may answer as it likes; ours never gives an id twice.
    if whole.responder.is_some() {
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        compared.same("response ids", ids.len(), all);
    }
    Ok(compared.check(WHAT))
}

/// What waits to be written to the store.
fn journal(folder: &Path, whole: &Whole) -> Result<Check, Error> {
    let failed = |source| Error::Read { path: folder.to_path_buf(), source };
    let mut journals = 0;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        journals += u64::from(path.extension().is_some_and(|extension| extension == "journal"));
    }
    let mut compared = Compared::default();
    let detail = match (whole.journaled, journals) {
        (0, 0) => "nothing waits",
        (_, 0) => "what waited has been written since",
        (0, _) => {
            compared.wrong("there is a journal although nothing waited at the end".to_string());
            ""
        }
        _ => "responses wait; `runner flush` writes them",
    };
    compared.held.push(detail.to_string());
    Ok(compared.check("journal: responses that wait for the store"))
}
