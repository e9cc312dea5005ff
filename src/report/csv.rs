//! CSV files of a run. The columns named in the contract come first and never move; what is ours to
//! add stands after them. Times are whole microseconds with `_us` in the name.
//!
//! Cells hold what others have said (keys, responses, error texts), so each is guarded against spreadsheets that
//! would run it as a formula.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;

use crate::ledger::{Outcome, Outcomes};
use crate::plan::Plan;
use crate::recorder::histogram::{Latencies, max_us, percentile_us};
use crate::recorder::shard::{KindTally, Window};
use crate::recorder::summary::{KindRow, SecondRow, StageRow, Summary};
use crate::report::figures::{exact_seconds, to_micros};
use crate::report::{Error, Folder, PartFile, timestamp};
use crate::units::{NANOS_PER_SEC, Nanos};

/// Columns of `seconds.csv`.
pub const SECONDS: &str = "second,stage,scheduled,sent,matched,failed,timed_out,dropped,in_flight,connections,\
                           response_p50_us,response_p99_us,lag_p99_us,service_p99_us,response_max_us,error_replies,planned";

/// Columns of `stages.csv`.
pub const STAGES: &str = "stage,kind,duration_s,scheduled,sent,matched,rate_planned,rate_actual,response_p50_us,\
                          response_p99_us,response_max_us,service_p99_us,lag_p99_us,failed,timed_out,dropped,warmup,error_replies";

/// Columns of `summary.csv`.
pub const SUMMARY: &str = "run_id,scenario,plan,seed,started_at,duration_s,outcome,exit_code,scheduled,sent,dropped,\
                           not_reached,matched,failed,timed_out,duplicate,late,unknown,malformed,mapped,map_failed,\
                           rate_planned,rate_actual,connections_opened,reconnects,response_p50_us,response_p90_us,\
                           response_p99_us,response_p99_9_us,response_max_us,service_p50_us,service_p90_us,\
                           service_p99_us,service_p99_9_us,service_max_us,lag_p50_us,lag_p90_us,lag_p99_us,\
                           lag_p99_9_us,lag_max_us,received,failed_reset,failed_eof,failed_protocol,failed_refused,\
                           dropped_late,dropped_overload,dropped_no_record,dropped_script,dropped_stopped,reason,\
                           error_replies,simulated";

/// Columns of `mix.csv`.
pub const MIX: &str = "kind,weight,sent,matched,failed,timed_out,dropped,error_replies,error_rate,rate_actual,\
                       response_p50_us,response_p99_us,response_max_us,service_p50_us,service_p99_us,lag_p99_us";

/// Columns of `errors.csv`.
pub const ERRORS: &str = "kind,address,count,first_us,last_us,detail";

/// Columns of `connections.csv`.
pub const CONNECTIONS: &str = "slot,generation,address,opened_us,connect_us,closed_us,sent,matched,end";

/// A CSV file that is written while the run goes.
#[derive(Debug)]
pub(super) struct Rows {
    writer: ::csv::Writer<PartFile>,
}

impl Rows {
    /// Begins it with its header.
    pub(super) fn new(folder: &Folder, name: &str, columns: &str) -> Result<Rows, Error> {
        let writer = ::csv::WriterBuilder::new().buffer_capacity(1 << 16).from_writer(folder.file(name)?);
        let mut rows = Rows { writer };
        rows.row(columns.split(','))?;
        // A run that is killed at once leaves files that say what would have been in them.
        rows.flush()?;
        Ok(rows)
    }

    /// Writes one row.
    pub(super) fn row<T: AsRef<[u8]>>(&mut self, fields: impl IntoIterator<Item = T>) -> Result<(), Error> {
        for field in fields {
            self.writer.write_field(guarded(field.as_ref())).map_err(|error| self.failed(error.into()))?;
        }
        self.writer.write_record(None::<&[u8]>).map_err(|error| self.failed(error.into()))
    }

    /// Gives everything to the system.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush().map_err(|error| self.failed(error))
    }

    /// Renames the file into place.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.flush()?;
        match self.writer.into_inner() {
            Ok(file) => file.finish(),
            Err(error) => {
                let source = io::Error::new(error.error().kind(), error.error().to_string());
                Err(error.into_inner().get_ref().failed(source))
            }
        }
    }

    pub(super) fn failed(&self, source: io::Error) -> Error {
        self.writer.get_ref().failed(source)
    }
}

/// `seconds.csv`: a row for each second of the schedule, in order, none left out.
#[derive(Debug)]
pub struct SecondsCsv {
    rows: Rows,
    /// Where stages begin, and their names.
    stages: Vec<(Nanos, String)>,
    plan: Plan,
    next: u64,
}

impl SecondsCsv {
    /// Begins the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(folder: &Folder, plan: &Plan) -> Result<SecondsCsv, Error> {
        Ok(SecondsCsv {
            rows: Rows::new(folder, "seconds.csv", SECONDS)?,
            stages: beginnings(plan),
            plan: plan.clone(),
            next: 0,
        })
    }

    /// The plan is another for the seconds that are still to be written.
    pub fn follow(&mut self, plan: &Plan) {
        (self.stages, self.plan) = (beginnings(plan), plan.clone());
    }

    /// Writes a second, after rows of zeros for seconds that were left out, and gives it to the system.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn row(&mut self, row: &SecondRow) -> Result<(), Error> {
        self.zeros(row.second)?;
        self.write(row.second, &row.window)?;
        self.next = self.next.max(row.second.saturating_add(1));
        self.rows.flush()
    }

    /// Writes rows of zeros for what is missing of the first `through` seconds, and finishes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self, through: u64) -> Result<(), Error> {
        self.zeros(through)?;
        self.rows.finish()
    }

    fn zeros(&mut self, before: u64) -> Result<(), Error> {
        let nothing = Window::default();
        while self.next < before {
            self.write(self.next, &nothing)?;
            self.next += 1;
        }
        Ok(())
    }

    fn write(&mut self, second: u64, window: &Window) -> Result<(), Error> {
        let numbers = [
            window.scheduled,
            window.sent,
            window.outcomes.of(Outcome::Matched),
            window.outcomes.failed(),
            window.outcomes.of(Outcome::TimedOut),
            window.outcomes.dropped(),
            window.in_flight,
            window.connections,
        ];
        let last = [window.error_replies, self.plan.due_in_second(second)];
        let stage = self.stage_at(second).to_string();
        self.rows.row(second_fields(second, stage, numbers, window.latencies.as_deref(), last))
    }

    /// The stage in which a second begins; the last one after the end.
    fn stage_at(&self, second: u64) -> &str {
        let at = Nanos(second.saturating_mul(NANOS_PER_SEC));
        let begun = self.stages.partition_point(|(start, _)| *start <= at);
        begun.checked_sub(1).and_then(|index| self.stages.get(index)).map_or("", |(_, name)| name)
    }
}

/// Where stages begin, and their names.
fn beginnings(plan: &Plan) -> Vec<(Nanos, String)> {
    plan.stages.iter().map(|stage| (stage.totals.start, stage.name.clone())).collect()
}

/// A row of `seconds.csv`: the counts before the latencies, the latencies, and the counts behind them.
pub(super) fn second_fields(
    second: u64,
    stage: String,
    numbers: [u64; 8],
    latencies: Option<&Latencies>,
    last: [u64; 2],
) -> Vec<String> {
    let times = latencies.map_or([0; 5], |latencies| {
        [
            percentile_us(&latencies.response, 50.0),
            percentile_us(&latencies.response, 99.0),
            percentile_us(&latencies.lag, 99.0),
            percentile_us(&latencies.service, 99.0),
            max_us(&latencies.response),
        ]
    });
    let mut fields = vec![second.to_string(), stage];
    fields.extend(numbers.iter().chain(&times).chain(&last).map(u64::to_string));
    fields
}

/// A connection that has ended: a row of `connections.csv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRow {
    /// Its slot.
    pub slot: u64,
    /// Which connection of the slot, from 0.
    pub generation: u64,
    /// The peer.
    pub address: SocketAddr,
    /// When it was open, from time zero; 0 for those opened before.
    pub opened_us: u64,
    /// How long opening took.
    pub connect_us: u64,
    /// When it ended.
    pub closed_us: u64,
    /// Requests sent on it.
    pub sent: u64,
    /// Responses matched on it.
    pub matched: u64,
    /// Why it ended.
    pub end: &'static str,
}

/// `connections.csv`: a row for each connection, in the order in which they ended.
#[derive(Debug)]
pub struct ConnectionsCsv {
    rows: Rows,
}

impl ConnectionsCsv {
    /// Begins the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(folder: &Folder) -> Result<ConnectionsCsv, Error> {
        Ok(ConnectionsCsv { rows: Rows::new(folder, "connections.csv", CONNECTIONS)? })
    }

    /// Writes a connection. It may stay in memory until [`ConnectionsCsv::flush`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn row(&mut self, row: ConnectionRow) -> Result<(), Error> {
        self.rows.row([
            row.slot.to_string(),
            row.generation.to_string(),
            row.address.to_string(),
            row.opened_us.to_string(),
            row.connect_us.to_string(),
            row.closed_us.to_string(),
            row.sent.to_string(),
            row.matched.to_string(),
            row.end.to_string(),
        ])
    }

    /// Gives everything to the system; once a second is enough.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.rows.flush()
    }

    /// Finishes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        self.rows.finish()
    }
}

/// `summary.csv`: a header and one row. `mapped` and `map_failed` are 0 when nothing is mapped.
pub fn summary_csv(summary: &Summary) -> Vec<u8> {
    let ledger = &summary.ledger;
    let outcomes = &ledger.outcomes;
    let receipts = &ledger.receipts;
    let mapping = ledger.mapping.unwrap_or_default();
    let mut row = vec![
        summary.run_id.clone(),
        summary.scenario.clone(),
        summary.plan.clone(),
        summary.seed.to_string(),
        timestamp(summary.started_at),
        exact_seconds(summary.duration),
        summary.verdict.word.to_string(),
        summary.verdict.exit_code.to_string(),
    ];
    let counts = [
        ledger.scheduled,
        ledger.sent,
        outcomes.dropped(),
        outcomes.of(Outcome::NotReached),
        outcomes.of(Outcome::Matched),
        outcomes.failed(),
        outcomes.of(Outcome::TimedOut),
        receipts.duplicate,
        receipts.late,
        receipts.unknown,
        receipts.malformed,
        mapping.mapped,
        mapping.map_failed,
    ];
    row.extend(counts.iter().map(u64::to_string));
    row.extend([decimal(summary.rate_planned()), decimal(summary.rate_actual())]);
    row.extend([summary.connections_opened, summary.reconnects].map(|count| count.to_string()));
    row.extend(percentiles(&summary.latencies).iter().map(u64::to_string));
    row.push(receipts.received.to_string());
    row.extend(FAILED.iter().chain(&DROPPED).map(|&outcome| outcomes.of(outcome).to_string()));
    row.push(summary.verdict.reason.clone());
    row.push(receipts.error_replies.to_string());
    row.push(summary.simulated.to_string());
    table(&names(SUMMARY), [row])
}

/// The kinds of `failed`, in the order of their columns.
pub(super) const FAILED: [Outcome; 4] = [Outcome::Reset, Outcome::Eof, Outcome::Protocol, Outcome::Refused];

/// The kinds of `dropped`, in the order of their columns.
pub(super) const DROPPED: [Outcome; 5] =
    [Outcome::Late, Outcome::Overload, Outcome::NoRecord, Outcome::Script, Outcome::Stopped];

/// p50, p90, p99, p99.9 and the highest, of response, service and lag.
fn percentiles(latencies: &Latencies) -> Vec<u64> {
    [&latencies.response, &latencies.service, &latencies.lag]
        .iter()
        .flat_map(|histogram| {
            let percentile = |p| percentile_us(histogram, p);
            [percentile(50.0), percentile(90.0), percentile(99.0), percentile(99.9), max_us(histogram)]
        })
        .collect()
}

/// `stages.csv`: a row for each stage. `scheduled` is what was planned for it.
pub fn stages_csv(summary: &Summary) -> Vec<u8> {
    table(&names(STAGES), summary.stages.iter().map(stage_fields))
}

fn stage_fields(stage: &StageRow) -> Vec<String> {
    let window = &stage.window;
    let outcomes: &Outcomes = &window.outcomes;
    let times = window.latencies.as_deref().map_or([0; 5], |latencies| {
        [
            percentile_us(&latencies.response, 50.0),
            percentile_us(&latencies.response, 99.0),
            max_us(&latencies.response),
            percentile_us(&latencies.service, 99.0),
            percentile_us(&latencies.lag, 99.0),
        ]
    });
    let mut row = vec![
        stage.name.clone(),
        stage.kind.to_string(),
        exact_seconds(stage.duration),
        stage.planned.to_string(),
        window.sent.to_string(),
        outcomes.of(Outcome::Matched).to_string(),
        decimal(stage.rate_planned()),
        decimal(stage.rate_actual()),
    ];
    row.extend(times.map(|time| time.to_string()));
    row.extend(
        [outcomes.failed(), outcomes.of(Outcome::TimedOut), outcomes.dropped()]
            .map(|count| count.to_string()),
    );
    row.push(stage.warmup.to_string());
    row.push(window.error_replies.to_string());
    row
}

/// `mix.csv`: a row for each kind of request.
pub fn mix_csv(summary: &Summary) -> Vec<u8> {
    table(&names(MIX), summary.kinds.iter().map(|kind| kind_fields(summary, kind)))
}

fn kind_fields(summary: &Summary, kind: &KindRow) -> Vec<String> {
    let KindTally { sent, outcomes, error_replies, latencies } = &kind.tally;
    let counts = [
        kind.weight,
        *sent,
        outcomes.of(Outcome::Matched),
        outcomes.failed(),
        outcomes.of(Outcome::TimedOut),
        outcomes.dropped(),
        *error_replies,
    ];
    let times = [
        percentile_us(&latencies.response, 50.0),
        percentile_us(&latencies.response, 99.0),
        max_us(&latencies.response),
        percentile_us(&latencies.service, 50.0),
        percentile_us(&latencies.service, 99.0),
        percentile_us(&latencies.lag, 99.0),
    ];
    let operations = sent + outcomes.dropped();
    let error_rate = if operations == 0 { 0.0 } else { kind.errors() as f64 / operations as f64 };
    let mut row = vec![kind.name.clone()];
    row.extend(counts.map(|count| count.to_string()));
    row.push(format!("{error_rate:.6}"));
    row.push(decimal(summary.rate_of(kind)));
    row.extend(times.map(|time| time.to_string()));
    row
}

/// `errors.csv`: a row for each kind and address.
pub fn errors_csv(summary: &Summary) -> Vec<u8> {
    table(
        &names(ERRORS),
        summary.errors.iter().map(|error| {
            vec![
                error.kind.clone(),
                error.address.map_or_else(String::new, |address| address.to_string()),
                error.count.to_string(),
                to_micros(error.first.0).to_string(),
                to_micros(error.last.0).to_string(),
                error.detail.clone(),
            ]
        }),
    )
}

/// A rate with three decimals; 0 for what is no number.
pub(super) fn decimal(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "0.000".to_string() }
}

pub(super) fn names(columns: &str) -> Vec<String> {
    columns.split(',').map(str::to_string).collect()
}

/// A cell that a spreadsheet shows as it is: one that begins like a formula gets an apostrophe in front. So does one
/// that looks as if it had got one, so that [`unguarded`] gives every cell back as it was.
fn guarded(cell: &[u8]) -> Cow<'_, [u8]> {
    if !wants_guard(cell) {
        return Cow::Borrowed(cell);
    }
    let mut safe = Vec::with_capacity(cell.len() + 1);
    safe.push(b'\'');
    safe.extend_from_slice(cell);
    Cow::Owned(safe)
}

/// A cell as it was before it was guarded.
pub(super) fn unguarded(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if wants_guard(rest.as_bytes()) => rest,
        _ => cell,
    }
}

/// Whether a cell is a formula behind whatever apostrophes it has. A number is none.
fn wants_guard(cell: &[u8]) -> bool {
    let begin = cell.iter().position(|&byte| byte != b'\'').unwrap_or(cell.len());
    let bare = &cell[begin..];
    let is_number = || str::from_utf8(bare).is_ok_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite));
    matches!(bare.first(), Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r')) && !is_number()
}

pub(super) fn table(columns: &[String], rows: impl IntoIterator<Item = Vec<String>>) -> Vec<u8> {
    // Nothing here can fail: writing to memory does not, and rows may have any length.
    let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    let mut written = writer.write_record(columns).is_ok();
    for row in rows {
        written &= writer.write_record(row.iter().map(|cell| guarded(cell.as_bytes()))).is_ok();
    }
    debug_assert!(written);
    writer.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests;
