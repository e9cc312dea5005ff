//! Merge: the parts of one plan that several machines have sent, as one run.
//!
//! 1. All parts have the same plan, seed and stages; each request belongs to exactly one of them.
//! 2. Counts are added; latencies are added bucket by bucket (`counts.csv`), so that the percentiles are those
//!    of the whole. Nothing is averaged.
//! 3. Seconds are those of the schedule, whenever each machine began with it.
//! 4. Thresholds are judged again, on the whole, of parts that were sent to their end. What else went wrong in a part
//!    went wrong, and so did what a threshold has ended before its time: the verdict is that of the worst part.
//! 5. The whole was carried out until the first of its parts ended: from then on the load was another.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use serde::Deserialize;

use crate::ledger::{Ledger, Mapped, Outcome};
use crate::plan::segment::{self, Segment};
use crate::recorder::histogram::{Latencies, histogram};
use crate::recorder::shard::{KindTally, Window};
use crate::recorder::summary::{
    Ended, ErrorRow, Health, KindRow, ReadBack, ResponderCount, ScriptCounts, SecondRow, StageRow, Summary,
    Verdict,
};
use crate::report::counts::{CountsCsv, Reader, Row, Scope};
use crate::report::csv::{self, CONNECTIONS, Rows, SECONDS, second_fields};
use crate::report::json::{Whole, outcomes_of};
use crate::report::requests::REQUESTS;
use crate::report::saved::{self, Part, Saved};
use crate::report::timeline::{self, SecondLine};
use crate::report::{Error, Folder, instant, junit, run_id};
use crate::units::Nanos;

/// The most runs that are merged at once; each has its files open.
const MAX_PARTS: usize = 256;

/// Machines whose clocks or starts are further apart than this did not send at the same time.
const APART: Duration = Duration::from_secs(1);

/// One of the runs.
struct OnePart {
    folder: PathBuf,
    whole: Whole,
    segment: Segment,
    lines: Vec<SecondLine>,
    counts: Reader,
    /// The row that was read and does not belong to what is being written yet.
    ahead: Option<Row>,
}

impl OnePart {
    fn open(folder: &Path) -> Result<OnePart, Error> {
        let whole = saved::read_whole(folder)?;
        let name = folder.display();
        if whole.events.iter().any(|event| event.event != "stop") {
            let why = "it was changed while it ran, which the other machines did not know";
            return Err(Error::Parts(format!("{name} cannot be a part: {why}")));
        }
        let needs =
            |file: &str| Error::Parts(format!("{name} has no {file}, which holds what is to be added"));
        let lines = timeline::seconds(folder)?.ok_or_else(|| needs("seconds.csv"))?;
        let mut counts = Reader::open(folder)?.ok_or_else(|| needs("counts.csv"))?;
        let segment = whole.segment.parse::<Segment>();
        let segment = segment.map_err(|error| Error::Parts(format!("{name} has an {error}")))?;
        let ahead = counts.next_row()?;
        Ok(OnePart { folder: folder.to_path_buf(), whole, segment, lines, counts, ahead })
    }

    /// The latencies of a second, stage or kind; rows must be asked for in the order of the file.
    fn latencies(&mut self, scope: Scope, index: u64) -> Result<Option<Latencies>, Error> {
        match self.ahead.take() {
            Some((found, number, latencies)) if (found, number) == (scope, index) => {
                self.ahead = self.counts.next_row()?;
                Ok(Some(latencies))
            }
            other => {
                self.ahead = other;
                Ok(None)
            }
        }
    }
}

/// The latencies of all parts for the same second, stage or kind; `None` where none has any.
fn added(parts: &mut [OnePart], scope: Scope, index: u64) -> Result<Option<Latencies>, Error> {
    let mut sum: Option<Latencies> = None;
    for part in parts {
        if let Some(latencies) = part.latencies(scope, index)? {
            match &mut sum {
                Some(sum) => sum.merge(&latencies),
                None => sum = Some(latencies),
            }
        }
    }
    Ok(sum)
}

/// What decides on the merged run, and is shown it second by second.
pub trait Judge {
    /// Whether what a part has failed with says nothing, since the whole is judged again.
    fn judges_again(&self, code: u8) -> bool;

    /// The worst of the exit codes of parts; 0 where there is none.
    fn worst(&self, codes: &[u8]) -> u8;

    /// Shown before everything else: when the first part began.
    ///
    /// # Errors
    /// When something cannot be written.
    fn begins(&mut self, started_at: SystemTime) -> Result<(), Error>;

    /// Shown each second, in order.
    ///
    /// # Errors
    /// When something cannot be written.
    fn second(&mut self, second: &SecondRow) -> Result<(), Error>;

    /// Judges what has been added up, and may change its verdict.
    ///
    /// # Errors
    /// When something cannot be written.
    fn ends(&mut self, summary: &mut Summary) -> Result<(), Error>;
}

/// Merges runs into a folder.
///
/// # Errors
/// [`Error::Parts`] when they are no whole, and whatever reading and writing has.
pub fn merge(folders: &[PathBuf], out: &Folder, judge: &mut impl Judge) -> Result<Saved, Error> {
    if folders.len() > MAX_PARTS {
        return Err(Error::Parts(format!("{} runs are more than {MAX_PARTS}", folders.len())));
    }
    let mut parts = folders.iter().map(|folder| OnePart::open(folder)).collect::<Result<Vec<_>, _>>()?;
    alike(&parts)?;
    let segments: Vec<Segment> = parts.iter().map(|part| part.segment).collect();
    segment::cover(&segments).map_err(|error| Error::Parts(error.to_string()))?;
    // In the order of their numbers, so that it does not matter how they were typed.
    parts.sort_by_key(|part| (part.segment.of(), part.segment.index()));
    let started_at = parts.iter().filter_map(|part| instant(&part.whole.started_at)).min();
    let started_at = started_at.ok_or_else(|| Error::Parts("no part says when it began".to_string()))?;
    judge.begins(started_at)?;
    let mut counts = CountsCsv::new(out)?;
    seconds(&mut parts, out, &mut counts, judge)?;
    let mut summary = summed_up(&mut parts, &mut counts, started_at, judge)?;
    judge.ends(&mut summary)?;
    counts.finish()?;
    if let Some(part) = parts.iter().find(|part| part.ahead.is_some()) {
        let what = "a row stands behind those it belongs to, or for a stage that is not there".to_string();
        return Err(part.counts.wrong(0, what));
    }
    joined(&parts, out, "connections.csv", CONNECTIONS)?;
    joined(&parts, out, "requests.csv", REQUESTS)?;
    out.write("summary.csv", &csv::summary_csv(&summary))?;
    out.write("stages.csv", &csv::stages_csv(&summary))?;
    out.write("errors.csv", &csv::errors_csv(&summary))?;
    if !summary.kinds.is_empty() {
        out.write("mix.csv", &csv::mix_csv(&summary))?;
    }
    let drawn = |part: &OnePart| part.whole.drawn.clone().unwrap_or_default();
    let scenario = parts.first().map(|part| drawn(part).scenario).unwrap_or_default();
    let mut saved = Saved::of(out.path(), &summary, &scenario, saved::Machine::default())?;
    if let Some(drawn_of_all) = &mut saved.whole.drawn {
        drawn_of_all.parts = parts
            .iter()
            .map(|part| Part {
                run_id: part.whole.run_id.clone(),
                segment: part.whole.segment.clone(),
                started_at: part.whole.started_at.clone(),
                outcome: part.whole.outcome.clone(),
                ended: part.whole.ended.clone(),
                sent: part.whole.ledger.sent,
                machine: drawn(part).machine,
            })
            .collect();
    }
    saved.whole.warnings.extend(apart(&parts));
    out.write(saved::NAME, saved.json().as_bytes())?;
    out.write("report.html", saved.html().as_bytes())?;
    out.write(junit::NAME, saved.junit().as_bytes())?;
    Ok(saved)
}

/// Whether all parts are parts of the same.
fn alike(parts: &[OnePart]) -> Result<(), Error> {
    let [first, others @ ..] = parts else {
        return Err(Error::Parts("there is none".to_string()));
    };
    for other in others {
        let differs = |what: &str, a: &str, b: &str| {
            let (one, two) = (first.folder.display(), other.folder.display());
            Err(Error::Parts(format!("{one} has {what} {a}, and {two} has {b}")))
        };
        let (a, b) = (&first.whole, &other.whole);
        if a.plan != b.plan {
            return differs("the plan", &a.plan, &b.plan);
        }
        if a.seed != b.seed {
            return differs("the seed", &a.seed.to_string(), &b.seed.to_string());
        }
        if a.model != b.model {
            return differs("the model", &a.model, &b.model);
        }
        if a.simulated != b.simulated {
            let (one, two) = (first.folder.display(), other.folder.display());
            return Err(Error::Parts(format!("of {one} and {two} one was simulated and the other measured")));
        }
        let stages = |whole: &Whole| {
            let names = whole.stages.iter().map(|stage| {
                let warm = if stage.warmup { " (warm-up)" } else { "" };
                // A closed stage is as long as its users took.
                match whole.model.as_str() {
                    "closed" => format!("{} {}{warm}", stage.kind, stage.stage),
                    _ => format!("{} {} of {} s{warm}", stage.kind, stage.stage, stage.duration_s),
                }
            });
            names.collect::<Vec<_>>().join(", ")
        };
        if stages(a) != stages(b) {
            return differs("the stages", &stages(a), &stages(b));
        }
        let kinds = |whole: &Whole| {
            whole
                .mix
                .iter()
                .map(|kind| format!("{} {}", kind.kind, kind.weight))
                .collect::<Vec<_>>()
                .join(", ")
        };
        if kinds(a) != kinds(b) {
            return differs("the kinds of requests", &kinds(a), &kinds(b));
        }
    }
    Ok(())
}

/// Machines that did not send at the same time have not been one load.
fn apart(parts: &[OnePart]) -> Option<String> {
    let starts: Vec<_> = parts.iter().filter_map(|part| instant(&part.whole.started_at)).collect();
    let (first, last) = (starts.iter().min()?, starts.iter().max()?);
    let between = last.duration_since(*first).unwrap_or_default();
    (between > APART).then(|| {
        let between = crate::report::figures::duration(between);
        format!(
            "the parts began up to {between} apart: what the target got at a time is not what was planned"
        )
    })
}

/// Writes `seconds.csv`, and the seconds of `counts.csv`.
fn seconds(
    parts: &mut [OnePart],
    out: &Folder,
    counts: &mut CountsCsv,
    judge: &mut impl Judge,
) -> Result<(), Error> {
    let mut rows = Rows::new(out, "seconds.csv", SECONDS)?;
    let last = parts.iter().map(|part| part.lines.len()).max().unwrap_or(0);
    for second in 0..last {
        let mut sum = SecondLine { second: second as u64, ..SecondLine::default() };
        for line in parts.iter().filter_map(|part| part.lines.get(second)) {
            if sum.stage.is_empty() {
                sum.stage.clone_from(&line.stage);
            }
            sum.scheduled += line.scheduled;
            sum.sent += line.sent;
            sum.matched += line.matched;
            sum.failed += line.failed;
            sum.timed_out += line.timed_out;
            sum.dropped += line.dropped;
            sum.in_flight += line.in_flight;
            sum.connections += line.connections;
            sum.error_replies += line.error_replies;
            sum.planned += line.planned;
        }
        let latencies = added(parts, Scope::Second, sum.second)?;
        if let Some(latencies) = &latencies {
            counts.row(Scope::Second, sum.second, latencies)?;
        }
        let numbers = [
            sum.scheduled,
            sum.sent,
            sum.matched,
            sum.failed,
            sum.timed_out,
            sum.dropped,
            sum.in_flight,
            sum.connections,
        ];
        let more = [sum.error_replies, sum.planned];
        judge.second(&SecondRow { second: sum.second, window: window(&sum, latencies.as_ref()) })?;
        rows.row(second_fields(sum.second, sum.stage, numbers, latencies.as_ref(), more))?;
    }
    rows.finish()
}

/// What is known of a second of the whole. Which way requests failed or were dropped stands in no file.
fn window(sum: &SecondLine, latencies: Option<&Latencies>) -> Window {
    let mut window = Window::default();
    (window.scheduled, window.sent, window.error_replies) = (sum.scheduled, sum.sent, sum.error_replies);
    let ends = [
        (Outcome::Matched, sum.matched),
        (Outcome::Reset, sum.failed),
        (Outcome::TimedOut, sum.timed_out),
        (Outcome::Late, sum.dropped),
    ];
    for (outcome, number) in ends {
        window.outcomes.add(outcome, number);
    }
    window.latencies = latencies.cloned().map(Box::new);
    window
}

/// Writes the rows of all parts one after the other, where all of them have the file.
fn joined(parts: &[OnePart], out: &Folder, name: &str, columns: &str) -> Result<(), Error> {
    let mut readers = Vec::new();
    for part in parts {
        let path = part.folder.join(name);
        match File::open(&path) {
            Ok(file) => readers.push((::csv::Reader::from_reader(BufReader::new(file)), path)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(Error::Read { path, source }),
        }
    }
    let mut rows = Rows::new(out, name, columns)?;
    for (reader, path) in &mut readers {
        let wrong = |line: u64, what: String| Error::Content { path: path.clone(), line, what };
        let head = reader.headers().map_err(|error| wrong(1, error.to_string()))?;
        if !head.iter().eq(columns.split(',')) {
            return Err(wrong(1, format!("the columns are not {columns}")));
        }
        let mut row = ::csv::StringRecord::new();
        while reader.read_record(&mut row).map_err(|error| wrong(0, error.to_string()))? {
            // Read as it stands, and guarded again when it is written.
            rows.row(row.iter().map(csv::unguarded))?;
        }
    }
    rows.finish()
}

/// Adds up everything but the seconds, and writes the stages and kinds of `counts.csv`.
fn summed_up(
    parts: &mut [OnePart],
    counts: &mut CountsCsv,
    started_at: SystemTime,
    judge: &impl Judge,
) -> Result<Summary, Error> {
    let (stages, latencies) = stages(parts, counts)?;
    let kinds = kinds(parts, counts)?;
    let wholes: Vec<&Whole> = parts.iter().map(|part| &part.whole).collect();
    let Some(first) = wholes.first() else { return Err(Error::Parts("there is none".to_string())) };
    let longest = |of: fn(&Whole) -> f64| wholes.iter().map(|whole| of(whole)).fold(0.0, f64::max);
    let ledger = ledger(&wholes);
    let mut summary = Summary {
        run_id: format!("{}-merged", run_id(&first.scenario, started_at)),
        segment: Segment::WHOLE.to_string(),
        scenario: first.scenario.clone(),
        plan: first.plan.clone(),
        load: first.load.clone(),
        seed: first.seed,
        started_at,
        duration: nanos(longest(|whole| whole.duration_s)),
        scheduled_duration: nanos(longest(|whole| whole.scheduled_duration_s)),
        closed: first.model == "closed",
        simulated: first.simulated,
        ended: ended(&wholes),
        verdict: verdict(&wholes, judge),
        thresholds: Vec::new(),
        imbalances: ledger.balance().err().unwrap_or_default(),
        ledger,
        latencies,
        stages,
        events: Vec::new(),
        kinds,
        connections_opened: wholes.iter().map(|whole| whole.connections.opened).sum(),
        reconnects: wholes.iter().map(|whole| whole.connections.reconnects).sum(),
        connect_time: connect_time(parts)?,
        connection_ends: BTreeMap::new(),
        errors: errors(&wholes)?,
        responder: responder(&wholes),
        read_back: read_back(&wholes),
        journaled: wholes.iter().map(|whole| whole.journaled).sum(),
        health: health(&wholes),
        script: script(&wholes),
    };
    for (end, count) in wholes.iter().flat_map(|whole| &whole.connections.ends) {
        *summary.connection_ends.entry(end.clone().into()).or_default() += count;
    }
    Ok(summary)
}

/// Exact for every time up to some weeks: a float holds that many nanoseconds.
fn nanos(seconds: f64) -> Nanos {
    Nanos((seconds * 1e9).round() as u64)
}

/// The stages, and the latencies of those that count.
fn stages(parts: &mut [OnePart], counts: &mut CountsCsv) -> Result<(Vec<StageRow>, Latencies), Error> {
    let mut rows: Vec<StageRow> = Vec::new();
    let mut all = Latencies::default();
    let number = parts.first().map_or(0, |part| part.whole.stages.len());
    for index in 0..number {
        let latencies = added(parts, Scope::Stage, index as u64)?;
        if let Some(latencies) = &latencies {
            counts.row(Scope::Stage, index as u64, latencies)?;
        }
        let mut row: Option<StageRow> = None;
        // All have as many: they have been compared.
        for stage in parts.iter().filter_map(|part| part.whole.stages.get(index)) {
            let row = row.get_or_insert_with(|| StageRow {
                name: stage.stage.clone(),
                kind: stage.kind.clone().into(),
                duration: Nanos::ZERO,
                warmup: stage.warmup,
                planned: 0,
                window: Window::default(),
            });
            row.duration = row.duration.max(nanos(stage.duration_s));
            row.planned += stage.scheduled;
            row.window.scheduled += stage.scheduled;
            row.window.sent += stage.sent;
            row.window.error_replies += stage.error_replies;
            row.window.outcomes.merge(&outcomes_of(&stage.outcomes));
        }
        if let Some(mut row) = row {
            if let Some(latencies) = latencies {
                if !row.warmup {
                    all.merge(&latencies);
                }
                row.window.latencies = Some(Box::new(latencies));
            }
            rows.push(row);
        }
    }
    Ok((rows, all))
}

fn kinds(parts: &mut [OnePart], counts: &mut CountsCsv) -> Result<Vec<KindRow>, Error> {
    let mut rows: Vec<KindRow> = Vec::new();
    let number = parts.first().map_or(0, |part| part.whole.mix.len());
    for index in 0..number {
        let latencies = added(parts, Scope::Kind, index as u64)?.unwrap_or_default();
        counts.row(Scope::Kind, index as u64, &latencies)?;
        let mut row: Option<KindRow> = None;
        for kind in parts.iter().filter_map(|part| part.whole.mix.get(index)) {
            let row = row.get_or_insert_with(|| KindRow {
                name: kind.kind.clone(),
                weight: kind.weight,
                tally: KindTally::default(),
            });
            row.tally.sent += kind.sent;
            row.tally.error_replies += kind.error_replies;
            row.tally.outcomes.merge(&outcomes_of(&kind.outcomes));
        }
        if let Some(mut row) = row {
            row.tally.latencies = Box::new(latencies);
            rows.push(row);
        }
    }
    Ok(rows)
}

fn ledger(wholes: &[&Whole]) -> Ledger {
    let mut sum = Ledger::default();
    for ledger in wholes.iter().map(|whole| whole.ledger.ledger()) {
        sum.scheduled += ledger.scheduled;
        sum.sent += ledger.sent;
        sum.outcomes.merge(&ledger.outcomes);
        sum.receipts.merge(&ledger.receipts);
        if let Some(Mapped { mapped, map_failed }) = ledger.mapping {
            let sum = sum.mapping.get_or_insert_default();
            sum.mapped += mapped;
            sum.map_failed += map_failed;
        }
    }
    sum
}

/// How long opening took, from the rows of all connections.
fn connect_time(parts: &[OnePart]) -> Result<Histogram<u64>, Error> {
    #[derive(Deserialize)]
    struct Line {
        connect_us: u64,
    }
    let mut times = histogram();
    for part in parts {
        timeline::rows(&part.folder, "connections.csv", |line: Line| {
            times.saturating_record(micros(line.connect_us).0);
            Ok(())
        })?;
    }
    Ok(times)
}

/// How far the plan was carried out by all parts; `None` where one that may have ended first does not say.
fn ended(wholes: &[&Whole]) -> Option<Ended> {
    let known: Vec<Ended> = wholes.iter().filter_map(|whole| Some(whole.ended.as_ref()?.ended())).collect();
    let is_known = known.len() == wholes.len();
    let cut = |ended: &Ended| match ended {
        Ended::Complete => None,
        Ended::Cut { at, .. } => Some(*at),
    };
    let first =
        known.into_iter().min_by_key(|ended| cut(ended).map_or((true, Nanos::ZERO), |at| (false, at)));
    first.filter(|ended| is_known || *ended != Ended::Complete)
}

fn verdict(wholes: &[&Whole], judge: &impl Judge) -> Verdict {
    // A part that was ended before its time is a part that nobody can judge again: the rest was never sent.
    let stands =
        |whole: &&&Whole| !whole.passed && (whole.is_cut_short() || !judge.judges_again(whole.exit_code));
    let failed: Vec<&&Whole> = wholes.iter().filter(stands).collect();
    let code = judge.worst(&failed.iter().map(|whole| whole.exit_code).collect::<Vec<_>>());
    match failed.into_iter().find(|whole| whole.exit_code == code) {
        None => Verdict::passed(),
        Some(whole) => Verdict {
            passed: false,
            exit_code: code,
            word: whole.outcome.clone().into(),
            reason: format!("segment {}: {}", whole.segment, whole.reason),
        },
    }
}

fn errors(wholes: &[&Whole]) -> Result<Vec<ErrorRow>, Error> {
    let mut rows: Vec<ErrorRow> = Vec::new();
    for error in wholes.iter().flat_map(|whole| &whole.errors) {
        let address = error.address.as_deref().map(str::parse::<SocketAddr>).transpose();
        let address = address.map_err(|_| {
            Error::Parts(format!("`{}` is no address of an error", error.address.as_deref().unwrap_or("")))
        })?;
        let (first, last) = (micros(error.first_us), micros(error.last_us));
        match rows.iter_mut().find(|row| row.kind == error.kind && row.address == address) {
            Some(row) => {
                row.count += error.count;
                row.first = row.first.min(first);
                row.last = row.last.max(last);
            }
            None => rows.push(ErrorRow {
                kind: error.kind.clone(),
                address,
                count: error.count,
                first,
                last,
                detail: error.detail.clone(),
            }),
        }
    }
    Ok(rows)
}

fn micros(us: u64) -> Nanos {
    Nanos(us.saturating_mul(1000))
}

/// Each machine had its own; where one had none, nobody knows what all of them issued.
fn responder(wholes: &[&Whole]) -> Option<ResponderCount> {
    let mut sum = ResponderCount { issued: 0, received: 0, unanswered: 0 };
    for whole in wholes {
        let responder = whole.responder.as_ref()?;
        sum.issued += responder.issued;
        sum.received += responder.received;
        sum.unanswered += responder.unanswered;
    }
    Some(sum)
}

fn read_back(wholes: &[&Whole]) -> Option<ReadBack> {
    let mut sum = ReadBack { expected: 0, found: 0, missing: 0, different: 0, sample: false };
    for whole in wholes {
        let back = whole.read_back.as_ref()?;
        sum.expected += back.expected;
        sum.found += back.found;
        sum.missing += back.missing;
        sum.different += back.different;
        sum.sample |= back.sample;
    }
    Some(sum)
}

fn health(wholes: &[&Whole]) -> Health {
    let mut sum = Health::default();
    let time = |us: u64| Duration::from_micros(us);
    for generator in wholes.iter().map(|whole| &whole.generator) {
        let cpu = |seconds: f64| nanos(seconds).as_duration();
        sum.worker_cpu.extend(generator.worker_cpu_s.iter().map(|&seconds| cpu(seconds)));
        sum.process_cpu += cpu(generator.process_cpu_s);
        sum.starved += generator.starved;
        sum.waited += generator.waited_for_room;
        sum.script_slowest = sum.script_slowest.max(time(generator.script_max_us));
        sum.script_time += time(generator.script_us);
        sum.script_calls += generator.script_calls;
        sum.slowest_fetch = sum.slowest_fetch.max(time(generator.slowest_fetch_us));
        sum.slowest_write = sum.slowest_write.max(time(generator.slowest_write_us));
        sum.outages += generator.outages;
        sum.generated += generator.generated;
    }
    sum
}

fn script(wholes: &[&Whole]) -> ScriptCounts {
    let mut sum = ScriptCounts::default();
    for script in wholes.iter().map(|whole| &whole.script) {
        for (name, value) in &script.counters {
            *sum.counters.entry(name.clone()).or_default() += value.unwrap_or(f64::NAN);
        }
        for (name, check) in &script.checks {
            let (passed, failed) = sum.checks.entry(name.clone()).or_default();
            *passed += check.passed;
            *failed += check.failed;
        }
    }
    sum
}
