//! Verify: whether the files of a run agree with each other, long after it.
//!
//! The same requests are counted in many places: in the summary, by stage, by second, by connection, in the
//! counts of latencies, and one by one in `requests.csv`. Whatever was lost, edited or cut off shows as a
//! difference.

mod requests;
mod tables;

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::recorder::histogram::Latencies;
use crate::report::counts::{Reader, Scope};
use crate::report::events;
use crate::report::figures::{Tone, columns, count, grouped, paint, plain};
use crate::report::json::{Account, Times, Whole, written};
use crate::report::saved;
use crate::report::timeline::{self, ConnectionLine, SecondLine, rows};
use crate::report::{Error, csv, hdr};

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
    /// Whether it is made of several runs.
    #[serde(skip)]
    merged: bool,
}

impl Verified {
    /// The same where these files were asked for: one that is not there has been there. A merged run has those that
    /// all of its parts had, and asks for none.
    pub fn where_asked_for(mut self, files: &[String]) -> Verified {
        let is_asked_for =
            |what: &str| files.iter().any(|file| what.split(':').next() == Some(file.as_str()));
        let absent = self.checks.iter_mut().filter(|check| check.finding == Finding::Absent);
        for check in absent.filter(|check| !self.merged && is_asked_for(&check.what)) {
            check.finding = Finding::Wrong;
            check.detail = "effective.yaml asks for it, and it is not there".to_string();
        }
        self
    }

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

    /// Takes over what is wrong with something else.
    fn also(&mut self, other: Compared) {
        self.wrongs += other.wrongs;
        self.wrong.extend(other.wrong);
        self.wrong.truncate(NAMED);
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

/// A check and what it looks at.
type Looked = (&'static str, fn(&Path, &Whole, &'static str) -> Result<Check, Error>);

/// The checks, in the order in which they are made.
const CHECKS: [Looked; 12] = [
    ("summary.json: the ledger balances", ledger),
    ("summary.csv: the same numbers", summary),
    ("plan.json: what was planned", plan),
    ("stages.csv: the stages add up to the ledger", stages),
    ("mix.csv: the kinds are those of the summary", mix),
    ("seconds.csv: the seconds add up to the ledger", seconds),
    ("connections.csv: the connections add up to the ledger", connections),
    ("errors.csv: the errors are those of the summary", errors),
    ("counts.csv: the latencies of seconds and stages are the same", latencies),
    ("latency.hlog: the intervals add up to the summary", interval_log),
    ("requests.csv: every request once, ended as the ledger says", requests::requests),
    ("journal: responses that wait for the store", journal),
];

/// The check that is only made where a run was changed while it went, or has the file.
const EVENTS: &str = "events.csv: what was done while it ran";

/// Looks at the files of a run folder. One that is damaged is wrong, and the others are looked at all the same.
///
/// # Errors
/// When there is no `summary.json`, or the system does not let a file be read.
pub fn verify(folder: &Path) -> Result<Verified, Error> {
    let or_wrong = |what: &str, checked: Result<Check, Error>| match checked {
        Err(error @ Error::Content { .. }) => {
            Ok(Check { what: what.to_string(), finding: Finding::Wrong, detail: error.to_string() })
        }
        other => other,
    };
    let whole = match saved::read_whole(folder) {
        Ok(whole) => whole,
        // Everything else is held against it.
        Err(error) => {
            let check = or_wrong("summary.json: can be read", Err(error))?;
            return Ok(Verified { run_id: folder.display().to_string(), checks: vec![check], merged: false });
        }
    };
    let checks = CHECKS.iter().map(|(what, look)| or_wrong(what, look(folder, &whole, what)));
    let mut checks: Vec<Check> = checks.collect::<Result<_, _>>()?;
    if let Some(checked) = events(folder, &whole, EVENTS).transpose() {
        checks.push(or_wrong(EVENTS, checked)?);
    }
    Ok(Verified { merged: is_merged(&whole), run_id: whole.run_id, checks })
}

/// The equations of the ledger, and the sums of its kinds.
fn ledger(_: &Path, whole: &Whole, what: &'static str) -> Result<Check, Error> {
    let account = &whole.ledger;
    let mut compared = Compared::default();
    let by = |kinds: &BTreeMap<String, u64>| kinds.values().fold(0, |sum, kind| plus(sum, *kind));
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
    if !whole.is_cut_short() && account.not_reached > 0 {
        compared.wrong(format!("`ended` is complete, and {} requests were not reached", account.not_reached));
    }
    let mut check = compared.check(what);
    if check.finding == Finding::Holds {
        check.detail = format!(
            "scheduled {}, sent {}, matched {}",
            grouped(account.scheduled),
            grouped(account.sent),
            grouped(account.matched)
        );
    }
    Ok(check)
}

/// What a file says is added up whatever it says.
fn plus(sum: u64, more: u64) -> u64 {
    sum.saturating_add(more)
}

/// `summary.csv` says what `summary.json` says, in every column.
fn summary(folder: &Path, whole: &Whole, what: &'static str) -> Result<Check, Error> {
    let expected = tables::summary(whole);
    same_rows(folder, "summary.csv", csv::SUMMARY, &[(String::new(), expected)], what)
}

/// Holds the rows of a table against what should stand in them, cell by cell. A column that earlier versions did not
/// write may be missing. `expected`: what each row is of, and its cells in the order of `columns`.
fn same_rows(
    folder: &Path,
    name: &str,
    columns: &str,
    expected: &[(String, Vec<String>)],
    what: &'static str,
) -> Result<Check, Error> {
    let mut lines: Vec<BTreeMap<String, String>> = Vec::new();
    let mut many = 0;
    if !rows(folder, name, |line| {
        many += 1;
        // One more than there should be is enough to say so.
        if lines.len() <= expected.len() {
            lines.push(line);
        }
        Ok(())
    })? {
        return Ok(absent(what));
    }
    let mut compared = Compared::default();
    if many != expected.len() {
        let rows = count(many as u64, "row");
        compared.wrong(format!("{rows} where {} should be", grouped(expected.len() as u64)));
    }
    for (line, (of, cells)) in lines.iter().zip(expected) {
        for (column, cell) in columns.split(',').zip(cells) {
            let of = if of.is_empty() { String::new() } else { format!(" of {}", plain(of, 40)) };
            match line.get(column) {
                Some(found) => compared.same(&format!("{column}{of}"), found, cell),
                None if tables::LATER.contains(&column) => {}
                None => compared.wrong(format!("there is no column {column}")),
            }
        }
    }
    Ok(compared.check(what))
}

/// The plan that was to be sent.
fn plan(folder: &Path, whole: &Whole, what: &'static str) -> Result<Check, Error> {
    #[derive(Deserialize)]
    struct PlanJson {
        plan: String,
        seed: u64,
        segment: String,
        scheduled: Option<u64>,
    }
    let path = folder.join("plan.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(absent(what)),
        Err(source) => return Err(Error::Read { path, source }),
    };
    let plan: PlanJson = serde_json::from_slice(&text).map_err(|error| Error::Content {
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
    Ok(compared.check(what))
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

/// `stages.csv` says of each stage what `summary.json` says, and the stages add up.
fn stages(folder: &Path, whole: &Whole, what: &'static str) -> Result<Check, Error> {
    let expected: Vec<(String, Vec<String>)> =
        whole.stages.iter().map(|stage| (stage.stage.clone(), tables::stage(stage))).collect();
    let check = same_rows(folder, "stages.csv", csv::STAGES, &expected, what)?;
    if check.finding != Finding::Holds {
        return Ok(check);
    }
    let (mut sums, mut scheduled) = (Sums::default(), 0);
    for stage in &whole.stages {
        sums.sent = plus(sums.sent, stage.sent);
        sums.matched = plus(sums.matched, stage.matched);
        sums.failed = plus(sums.failed, stage.failed);
        sums.timed_out = plus(sums.timed_out, stage.timed_out);
        sums.dropped = plus(sums.dropped, stage.dropped);
        scheduled = plus(scheduled, stage.scheduled);
    }
    let mut compared = Compared::default();
    compared.same("scheduled", scheduled, whole.ledger.scheduled);
    sums.compare(&whole.ledger, &mut compared);
    Ok(compared.check(what))
}

fn seconds(folder: &Path, whole: &Whole, what: &'static str) -> Result<Check, Error> {
    let account = &whole.ledger;
    let (mut sums, mut scheduled, mut error_replies, mut planned) = (Sums::default(), 0, 0, 0);
    // The rows of a run that was cut short end with it.
    let is_planned = whole.model != "closed" && account.not_reached == 0;
    let mut uneven = Compared::default();
    let found = timeline::each_second(folder, |line| {
        sums.sent = plus(sums.sent, line.sent);
        sums.matched = plus(sums.matched, line.matched);
        sums.failed = plus(sums.failed, line.failed);
        sums.timed_out = plus(sums.timed_out, line.timed_out);
        sums.dropped = plus(sums.dropped, line.dropped);
        scheduled = plus(scheduled, line.scheduled);
        error_replies = plus(error_replies, line.error_replies);
        planned = plus(planned, line.planned);
        // Each second has what was planned for it, however often the plan was changed.
        if is_planned && line.scheduled != line.planned {
            let SecondLine { second, scheduled, planned, .. } = line;
            uneven.wrong(format!("second {second} has {scheduled} requests and {planned} were planned"));
        }
        Ok(())
    })?;
    if found.is_none() {
        return Ok(absent(what));
    }
    let mut compared = Compared::default();
    compared.same("scheduled and not_reached", plus(scheduled, account.not_reached), account.scheduled);
    sums.compare(account, &mut compared);
    compared.same("error_replies", error_replies, account.error_replies);
    if is_planned {
        compared.same("planned", planned, account.scheduled);
        compared.also(uneven);
    }
    Ok(compared.check(what))
}

/// What was done to the run is the same wherever it stands; `None` where nothing was.
fn events(folder: &Path, whole: &Whole, what: &'static str) -> Result<Option<Check>, Error> {
    #[derive(Deserialize)]
    struct Line {
        n: u64,
        at_us: u64,
        event: String,
        rate: Option<f64>,
    }
    let mut lines: Vec<Line> = Vec::new();
    let found = rows(folder, events::NAME, |line| {
        // One more than there should be is enough to say so.
        if lines.len() <= whole.events.len() {
            lines.push(line);
        }
        Ok(())
    })?;
    if !found {
        return Ok((!whole.events.is_empty()).then(|| absent(what)));
    }
    let mut compared = Compared::default();
    compared.same("events", lines.len(), whole.events.len());
    let micro = |rate: Option<f64>| rate.map(|rate| (rate * 1e6).floor() as u64);
    for (index, (line, event)) in lines.iter().zip(&whole.events).enumerate() {
        let is_same = (line.n, line.at_us, &line.event) == (event.n, event.at_us, &event.event);
        // The file has six decimals of a rate.
        if !is_same || micro(line.rate).unwrap_or(0).abs_diff(micro(event.rate).unwrap_or(0)) > 1 {
            compared.wrong(format!("event {} is another in summary.json", index + 1));
        }
    }
    Ok(Some(compared.check(what)))
}

fn connections(folder: &Path, whole: &Whole, what: &'static str) -> Result<Check, Error> {
    let (mut opened, mut reconnects, mut sent, mut matched) = (0u64, 0u64, 0u64, 0u64);
    let found = rows(folder, "connections.csv", |line: ConnectionLine| {
        opened += 1;
        reconnects += u64::from(line.generation > 0);
        sent = plus(sent, line.sent);
        matched = plus(matched, line.matched);
        Ok(())
    })?;
    if !found {
        return Ok(absent(what));
    }
    let mut compared = Compared::default();
    compared.same("opened", opened, whole.connections.opened);
    compared.same("reconnects", reconnects, whole.connections.reconnects);
    compared.same("sent", sent, whole.ledger.sent);
    compared.same("matched", matched, whole.ledger.matched);
    Ok(compared.check(what))
}

/// `mix.csv` says of each kind what `summary.json` says.
fn mix(folder: &Path, whole: &Whole, what: &'static str) -> Result<Check, Error> {
    #[derive(Deserialize)]
    struct Line {
        kind: String,
        weight: u64,
        sent: u64,
        matched: u64,
        failed: u64,
        timed_out: u64,
        dropped: u64,
        error_replies: u64,
        response_p99_us: u64,
    }
    let mut lines: Vec<Line> = Vec::new();
    let found = rows(folder, "mix.csv", |line| {
        // One more than there should be is enough to say so.
        if lines.len() <= whole.mix.len() {
            lines.push(line);
        }
        Ok(())
    })?;
    let mut compared = Compared::default();
    match (found, whole.mix.is_empty()) {
        (false, true) => {
            compared.held.push("kinds are not told apart".to_string());
            return Ok(compared.check(what));
        }
        (false, false) => return Ok(absent(what)),
        (true, _) => {}
    }
    compared.same("kinds", lines.len(), whole.mix.len());
    for (line, kind) in lines.iter().zip(&whole.mix) {
        let name = |column: &str| format!("{column} of {}", plain(&kind.kind, 40));
        compared.same("kind", &line.kind, &kind.kind);
        for (column, found, expected) in [
            ("weight", line.weight, kind.weight),
            ("sent", line.sent, kind.sent),
            ("matched", line.matched, kind.matched),
            ("failed", line.failed, kind.failed),
            ("timed_out", line.timed_out, kind.timed_out),
            ("dropped", line.dropped, kind.dropped),
            ("error_replies", line.error_replies, kind.error_replies),
            ("response_p99_us", line.response_p99_us, kind.response_time.p99_us),
        ] {
            compared.same(&name(column), found, expected);
        }
    }
    Ok(compared.check(what))
}

/// `errors.csv` has the errors of `summary.json`, row for row.
fn errors(folder: &Path, whole: &Whole, what: &'static str) -> Result<Check, Error> {
    #[derive(Deserialize)]
    struct Line {
        kind: String,
        address: Option<String>,
        count: u64,
        first_us: u64,
        last_us: u64,
    }
    let mut lines: Vec<Line> = Vec::new();
    let found = rows(folder, "errors.csv", |line| {
        if lines.len() <= whole.errors.len() {
            lines.push(line);
        }
        Ok(())
    })?;
    if !found {
        return Ok(absent(what));
    }
    let mut compared = Compared::default();
    compared.same("rows", lines.len(), whole.errors.len());
    for (number, (line, error)) in lines.iter().zip(&whole.errors).enumerate() {
        let found = (&line.kind, &line.address, line.count, line.first_us, line.last_us);
        if found != (&error.kind, &error.address, error.count, error.first_us, error.last_us) {
            compared.wrong(format!("row {} is another than in summary.json", number + 1));
        }
    }
    Ok(compared.check(what))
}

/// The intervals of each tag add up to the percentiles of the summary.
fn interval_log(folder: &Path, whole: &Whole, what: &'static str) -> Result<Check, Error> {
    let Some(sum) = hdr::sum(folder)? else { return Ok(absent(what)) };
    let mut compared = Compared::default();
    for (name, summed, said) in [
        ("response_time", &sum.response, &whole.response_time),
        ("service_time", &sum.service, &whole.service_time),
        ("lag", &sum.lag, &whole.lag),
    ] {
        if Times::of(summed) != *said {
            compared.wrong(format!("{name} is not what summary.json says"));
        }
    }
    compared.same("responses", sum.response.len(), whole.response_time.count);
    compared.same("sent", sum.lag.len(), whole.lag.count);
    Ok(compared.check(what))
}

/// Seconds and stages hold the same latencies, bucket for bucket, and the summary their percentiles.
fn latencies(folder: &Path, whole: &Whole, what: &'static str) -> Result<Check, Error> {
    let [mut seconds, mut stages, mut counted, mut kinds] = [(); 4].map(|()| Latencies::default());
    let mut compared = Compared::default();
    let Some(mut counts) = Reader::open(folder)? else { return Ok(absent(what)) };
    while let Some((scope, index)) = counts.advance()? {
        match scope {
            Scope::Second => counts.add_to(&mut seconds)?,
            Scope::Stage => {
                counts.add_to(&mut stages)?;
                match whole.stages.get(index as usize) {
                    Some(stage) if stage.warmup => {}
                    Some(_) => counts.add_to(&mut counted)?,
                    None => compared.wrong(format!("there is no stage {index}")),
                }
            }
            Scope::Kind => counts.add_to(&mut kinds)?,
        }
    }
    // Each request is of a kind, and those of warm-up stages are left out.
    if !whole.mix.is_empty() && (kinds.response != counted.response || kinds.lag != counted.lag) {
        compared.wrong("the latencies of the kinds are not those of the stages".to_string());
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
    Ok(compared.check(what))
}

fn is_merged(whole: &Whole) -> bool {
    whole.drawn.as_ref().is_some_and(|drawn| !drawn.parts.is_empty())
}

/// What waits to be written to the store.
fn journal(folder: &Path, whole: &Whole, what: &'static str) -> Result<Check, Error> {
    let failed = |source| Error::Read { path: folder.to_path_buf(), source };
    let mut journals = 0;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        journals += u64::from(path.extension().is_some_and(|extension| extension == "journal"));
    }
    let mut compared = Compared::default();
    let detail = match (whole.journaled, journals) {
        (0, 0) => "nothing waits",
        // Journals stay with the runs that wrote them.
        (_, 0) if is_merged(whole) => "what waits is in the folders of the runs that were merged",
        (_, 0) => "what waited has been written since",
        (0, _) => {
            compared.wrong("there is a journal although nothing waited at the end".to_string());
            ""
        }
        _ => "responses wait; `runner flush` writes them",
    };
    compared.held.push(detail.to_string());
    Ok(compared.check(what))
}
