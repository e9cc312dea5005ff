//! Timeline: a run second by second, from the files in its folder, in a bounded number of points.
//!
//! A long run has more seconds than a chart has pixels. As many seconds as needed are joined to one point:
//! counts are added, gauges are those of the last second, and latencies are those of all requests of the
//! point together, because `counts.csv` has them in buckets that can be added.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

use hdrhistogram::Histogram;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::recorder::histogram::{Latencies, max_us, percentile_us};
use crate::report::Error;
use crate::report::counts::{self, Scope};

/// The most points of a timeline.
pub(super) const POINTS: u64 = 600;

/// The most seconds that a file may speak of: 30 days.
const MAX_SECONDS: u64 = 30 * 86_400;

/// A run in equal steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Timeline {
    /// Seconds that are joined to one point.
    pub step_s: u64,
    pub points: Vec<Point>,
}

/// What happened in one step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    /// When it begins, in seconds from time zero.
    pub second: u64,
    /// How many seconds it is; the last point may be shorter than the others.
    pub seconds: u64,
    /// The stage it begins in.
    pub stage: String,
    /// Requests that the plan has here; 0 in the closed model.
    pub planned: u64,
    /// Requests that came due.
    pub scheduled: u64,
    pub sent: u64,
    pub matched: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub dropped: u64,
    pub error_replies: u64,
    /// At its end.
    pub in_flight: u64,
    /// Open at its end.
    pub connections: u64,
    /// Opened in it, of which in place of another.
    pub opened: u64,
    pub reconnects: u64,
    pub response_time: Spread,
    pub service_time: Spread,
    pub lag: Spread,
}

/// How latencies lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub count: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p99_9_us: u64,
    pub max_us: u64,
}

impl Spread {
    fn of(histogram: &Histogram<u64>) -> Spread {
        Spread {
            count: histogram.len(),
            p50_us: percentile_us(histogram, 50.0),
            p90_us: percentile_us(histogram, 90.0),
            p99_us: percentile_us(histogram, 99.0),
            p99_9_us: percentile_us(histogram, 99.9),
            max_us: max_us(histogram),
        }
    }
}

/// A row of `seconds.csv`, as far as it can be added to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct SecondLine {
    pub second: u64,
    pub stage: String,
    pub scheduled: u64,
    pub sent: u64,
    pub matched: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub dropped: u64,
    pub in_flight: u64,
    pub connections: u64,
    #[serde(default)]
    pub error_replies: u64,
    #[serde(default)]
    pub planned: u64,
}

/// A row of `connections.csv`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ConnectionLine {
    pub slot: u64,
    pub generation: u64,
    pub opened_us: u64,
    pub sent: u64,
    pub matched: u64,
}

/// Reads the rows of a CSV file one by one; `false` where there is no such file.
pub(super) fn rows<T: DeserializeOwned>(
    folder: &Path,
    name: &str,
    mut take: impl FnMut(T) -> Result<(), Error>,
) -> Result<bool, Error> {
    let path = folder.join(name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(Error::Read { path, source }),
    };
    let mut reader = ::csv::Reader::from_reader(BufReader::new(file));
    for row in reader.deserialize() {
        take(row.map_err(|error| {
            let line = error.position().map_or(0, ::csv::Position::line);
            Error::Content { path: path.clone(), line, what: error.to_string() }
        })?)?;
    }
    Ok(true)
}

/// The rows of `seconds.csv`, none left out; `None` where there is no such file.
pub(super) fn seconds(folder: &Path) -> Result<Option<Vec<SecondLine>>, Error> {
    let mut lines: Vec<SecondLine> = Vec::new();
    let found = rows(folder, "seconds.csv", |line: SecondLine| {
        let expected = lines.len() as u64;
        if line.second != expected || expected >= MAX_SECONDS {
            let what = format!("second {} stands where {expected} is expected", line.second);
            return Err(Error::Content { path: folder.join("seconds.csv"), line: expected + 2, what });
        }
        lines.push(line);
        Ok(())
    })?;
    Ok(found.then_some(lines))
}

/// Reads a run; nothing where its seconds were not written.
///
/// # Errors
/// When a file cannot be read or holds what no run writes.
pub(super) fn read(folder: &Path) -> Result<Timeline, Error> {
    let Some(lines) = seconds(folder)? else { return Ok(Timeline::default()) };
    let step_s = (lines.len() as u64).div_ceil(POINTS).max(1);
    let mut points: Vec<Point> = lines.chunks(step_s as usize).map(joined).collect();
    rows(folder, "connections.csv", |line: ConnectionLine| {
        // One that was opened after the last second belongs to it.
        let at = (line.opened_us / 1_000_000 / step_s).min((points.len() as u64).saturating_sub(1));
        if let Some(point) = points.get_mut(at as usize) {
            point.opened += 1;
            point.reconnects += u64::from(line.generation > 0);
        }
        Ok(())
    })?;
    spread(folder, step_s, &mut points)?;
    Ok(Timeline { step_s, points })
}

fn joined(lines: &[SecondLine]) -> Point {
    let mut point = Point { seconds: lines.len() as u64, ..Point::default() };
    if let Some(first) = lines.first() {
        (point.second, point.stage) = (first.second, first.stage.clone());
    }
    for line in lines {
        point.planned += line.planned;
        point.scheduled += line.scheduled;
        point.sent += line.sent;
        point.matched += line.matched;
        point.failed += line.failed;
        point.timed_out += line.timed_out;
        point.dropped += line.dropped;
        point.error_replies += line.error_replies;
        (point.in_flight, point.connections) = (line.in_flight, line.connections);
    }
    point
}

/// Fills in the latencies. The rows of a run come in the order of its seconds, so one point is open at a time.
fn spread(folder: &Path, step_s: u64, points: &mut [Point]) -> Result<(), Error> {
    let mut close = |at: u64, latencies: &Latencies| {
        if let Some(point) = points.get_mut(at as usize) {
            point.response_time = Spread::of(&latencies.response);
            point.service_time = Spread::of(&latencies.service);
            point.lag = Spread::of(&latencies.lag);
        }
    };
    let mut open: Option<(u64, Latencies)> = None;
    counts::read(folder, |scope, second, latencies| {
        if scope != Scope::Second {
            return Ok(());
        }
        let at = second / step_s;
        match &mut open {
            Some((now, sum)) if *now == at => sum.merge(&latencies),
            Some((now, _)) if *now > at => {
                let what = format!("second {second} stands behind a later one");
                return Err(Error::Content { path: folder.join(counts::NAME), line: 0, what });
            }
            _ => {
                if let Some((done, sum)) = open.replace((at, latencies)) {
                    close(done, &sum);
                }
            }
        }
        Ok(())
    })?;
    if let Some((done, sum)) = open {
        close(done, &sum);
    }
    Ok(())
}
