//! Timeline: a run second by second, from the files in its folder, in a bounded number of points.
//!
//! A long run has more seconds than a chart has pixels. As many seconds as needed are joined to one point:
//! counts are added, gauges are those of the last second, and latencies are those of all requests of the
//! point together, because `counts.csv` has them in buckets that can be added.

use std::path::Path;

use hdrhistogram::Histogram;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::recorder::histogram::{Latencies, max_us, percentile_us};
use crate::report::Error;
use crate::report::counts::{Reader, Scope};
use crate::report::reading::Table;

/// The most points of a timeline.
pub(super) const POINTS: u64 = 600;

/// The most seconds that are held in memory at once: those of 365 days, the longest load that a scenario may have.
const MAX_SECONDS: u64 = 365 * 86_400;

/// The most that is counted in a second. What is added up over a year of them does not overflow.
const MAX_IN_SECOND: u64 = 1 << 36;

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

impl SecondLine {
    fn counts(&self) -> [u64; 10] {
        [
            self.scheduled,
            self.sent,
            self.matched,
            self.failed,
            self.timed_out,
            self.dropped,
            self.in_flight,
            self.connections,
            self.error_replies,
            self.planned,
        ]
    }
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
    let Some(mut table) = Table::open(folder, name)? else { return Ok(false) };
    while let Some(row) = table.next()? {
        take(row)?;
    }
    Ok(true)
}

/// Reads the rows of `seconds.csv` one by one, none left out. Returns how many there are; `None` where there is no
/// such file.
pub(super) fn each_second(
    folder: &Path,
    mut take: impl FnMut(SecondLine) -> Result<(), Error>,
) -> Result<Option<u64>, Error> {
    let mut expected = 0;
    let found = rows(folder, "seconds.csv", |line: SecondLine| {
        if line.second != expected {
            let what = format!("second {} stands where {expected} is expected", line.second);
            return Err(Error::Content { path: folder.join("seconds.csv"), line: expected + 2, what });
        }
        if let Some(count) = line.counts().into_iter().find(|&count| count > MAX_IN_SECOND) {
            let what = format!("{count} is more than any run counts in a second");
            return Err(Error::Content { path: folder.join("seconds.csv"), line: expected + 2, what });
        }
        expected += 1;
        take(line)
    })?;
    Ok(found.then_some(expected))
}

/// All rows of `seconds.csv`, for as long as a run may last; `None` where there is no such file.
pub(super) fn seconds(folder: &Path) -> Result<Option<Vec<SecondLine>>, Error> {
    let mut lines: Vec<SecondLine> = Vec::new();
    let found = each_second(folder, |line| {
        if line.second >= MAX_SECONDS {
            let what = format!("there are more than {MAX_SECONDS} seconds");
            return Err(Error::Content { path: folder.join("seconds.csv"), line: line.second + 2, what });
        }
        lines.push(line);
        Ok(())
    })?;
    Ok(found.map(|_| lines))
}

/// Reads a run; nothing where its seconds were not written. However long the run was, no more than its points are
/// in memory: its seconds are counted first, and joined when they are read again.
///
/// # Errors
/// When a file cannot be read or holds what no run writes.
pub(super) fn read(folder: &Path) -> Result<Timeline, Error> {
    let Some(lines) = each_second(folder, |_| Ok(()))? else { return Ok(Timeline::default()) };
    let step_s = lines.div_ceil(POINTS).max(1);
    let mut points: Vec<Point> = Vec::new();
    each_second(folder, |line| {
        if line.second % step_s == 0 {
            points.push(Point { second: line.second, stage: line.stage.clone(), ..Point::default() });
        }
        if let Some(point) = points.last_mut() {
            point.join(&line);
        }
        Ok(())
    })?;
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

impl Point {
    fn join(&mut self, line: &SecondLine) {
        self.seconds += 1;
        self.planned += line.planned;
        self.scheduled += line.scheduled;
        self.sent += line.sent;
        self.matched += line.matched;
        self.failed += line.failed;
        self.timed_out += line.timed_out;
        self.dropped += line.dropped;
        self.error_replies += line.error_replies;
        (self.in_flight, self.connections) = (line.in_flight, line.connections);
    }
}

/// Fills in the latencies. The rows of a run come in the order of its seconds, so one point is open at a time.
fn spread(folder: &Path, step_s: u64, points: &mut [Point]) -> Result<(), Error> {
    let Some(mut counts) = Reader::open(folder)? else { return Ok(()) };
    let mut close = |at: u64, latencies: &Latencies| {
        if let Some(point) = points.get_mut(at as usize) {
            point.response_time = Spread::of(&latencies.response);
            point.service_time = Spread::of(&latencies.service);
            point.lag = Spread::of(&latencies.lag);
        }
    };
    let mut open: Option<u64> = None;
    let mut sum = Latencies::default();
    while let Some((scope, second)) = counts.advance()? {
        if scope != Scope::Second {
            continue;
        }
        let at = second / step_s;
        match open {
            Some(now) if now == at => {}
            Some(now) if now > at => {
                let what = format!("second {second} stands behind a later one");
                return Err(counts.wrong(counts.line(), what));
            }
            _ => {
                if let Some(done) = open.replace(at) {
                    close(done, &sum);
                    sum.clear();
                }
            }
        }
        counts.add_to(&mut sum)?;
    }
    if let Some(done) = open {
        close(done, &sum);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Folder;
    use crate::report::counts::CountsCsv;
    use std::fmt::Write;

    fn write_seconds(dir: &Path, lines: u64) {
        let mut text =
            "second,stage,scheduled,sent,matched,failed,timed_out,dropped,in_flight,connections,planned\n"
                .to_string();
        for second in 0..lines {
            let _ = writeln!(text, "{second},s{second},2,2,1,1,0,0,{second},4,3");
        }
        std::fs::write(dir.join("seconds.csv"), text).expect("written");
    }

    #[test]
    fn a_long_run_is_drawn_in_as_many_points_as_a_short_one_and_nothing_of_it_is_lost() {
        let dir = tempfile::tempdir().expect("a folder");
        let lines = 3595;
        write_seconds(dir.path(), lines);
        let folder = Folder::create(dir.path()).expect("made");
        let mut counts = CountsCsv::new(&folder).expect("begun");
        let mut latencies = Latencies::default();
        latencies.response.saturating_record(5_000_000);
        for second in [0, 5, 6, lines - 1] {
            counts.row(Scope::Second, second, &latencies).expect("written");
        }
        counts.finish().expect("finished");
        let timeline = read(dir.path()).expect("read");
        assert_eq!((timeline.step_s, timeline.points.len()), (6, 600));
        let sum = |of: fn(&Point) -> u64| timeline.points.iter().map(of).sum::<u64>();
        assert_eq!([sum(|p| p.sent), sum(|p| p.planned), sum(|p| p.seconds)], [2 * lines, 3 * lines, lines]);
        let second = &timeline.points[1];
        assert_eq!((second.second, second.stage.as_str(), second.in_flight), (6, "s6", 11));
        let counted: Vec<u64> = timeline.points.iter().map(|point| point.response_time.count).collect();
        assert_eq!((counted[0], counted[1], counted[599], counted.iter().sum::<u64>()), (2, 1, 1, 4));
    }

    #[test]
    fn a_second_that_is_missing_and_a_number_that_no_run_counts_are_named() {
        let dir = tempfile::tempdir().expect("a folder");
        write_seconds(dir.path(), 3);
        let path = dir.path().join("seconds.csv");
        let text = std::fs::read_to_string(&path).expect("there");
        let most = format!("s1,{},", u64::MAX);
        for (changed, words) in [
            (text.replace("\n1,s1", "\n7,s1"), "second 7 stands where 1 is"),
            (text.replace("s1,2,", &most), "more than any run counts in a second"),
        ] {
            std::fs::write(&path, changed).expect("written");
            let error = read(dir.path()).expect_err("refused").to_string();
            assert!(error.contains("line 3") && error.contains(words), "{error}");
        }
    }
}
