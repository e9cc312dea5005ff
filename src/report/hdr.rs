//! `latency.hlog`: the three latencies as an interval log, which other HDR histogram tools read.
//!
//! Each second of the schedule is an interval with the tags `response`, `service` and `lag`, in nanoseconds. Warm-up
//! stages are left out, so that the sum of a tag's intervals is what the summary says. A second in which a warm-up
//! stage begins or ends cannot be told apart any more: what counts of such seconds is one interval at the end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};

use crate::plan::Plan;
use crate::recorder::histogram::Latencies;
use crate::recorder::summary::SecondRow;
use crate::report::{Error, Folder, PartFile, counts};
use crate::units::NANOS_PER_SEC;

/// The name of the file.
pub const NAME: &str = "latency.hlog";

/// The most bytes of a line: a histogram and a little more.
const MAX_LINE: u64 = 1 << 20;

/// What viewers expect above the intervals.
const LEGEND: &str =
    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

/// The log, written while the run goes.
pub struct LatencyLog {
    file: PartFile,
    serializer: V2DeflateSerializer,
    /// Start and end of the warm-up stages.
    warm_up: Vec<(u64, u64)>,
    /// When the schedule ends, where that is known.
    end_ns: u64,
    written: Latencies,
    /// From the first to the last second that was left out.
    left_out: Option<(u64, u64)>,
}

impl LatencyLog {
    /// Begins the file. `started_at` is the wall clock at time zero.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(folder: &Folder, plan: &Plan, started_at: SystemTime) -> Result<LatencyLog, Error> {
        let mut log = LatencyLog {
            file: folder.file(NAME)?,
            serializer: V2DeflateSerializer::new(),
            warm_up: Vec::new(),
            end_ns: 0,
            written: Latencies::default(),
            left_out: None,
        };
        log.follow(plan);
        let begun = IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment("[Values: nanoseconds; tags: response, service, lag]")
            .with_start_time(started_at)
            .with_base_time(started_at)
            .begin_log_with(&mut log.file, &mut log.serializer)
            .map(drop);
        let begun =
            begun.and_then(|()| log.file.write_all(LEGEND.as_bytes())).and_then(|()| log.file.flush());
        begun.map_err(|source| log.file.failed(source))?;
        Ok(log)
    }

    /// The plan is another for the seconds that are still to be written.
    pub fn follow(&mut self, plan: &Plan) {
        let warm_up = plan.stages.iter().filter(|stage| stage.warmup);
        self.warm_up = warm_up.map(|stage| (stage.totals.start.0, stage.totals.end.0)).collect();
        self.end_ns = plan.end().map_or(u64::MAX, |end| end.0);
    }

    /// Writes a second, unless it lies in a warm-up stage, and gives it to the system.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn row(&mut self, row: &SecondRow) -> Result<(), Error> {
        let Some(latencies) = &row.window.latencies else { return Ok(()) };
        let start_ns = row.second.saturating_mul(NANOS_PER_SEC);
        let end_ns = start_ns.saturating_add(NANOS_PER_SEC).min(self.end_ns.max(start_ns));
        if self.warm_up.iter().any(|&(from, to)| from < end_ns && start_ns < to) {
            let (first, last) = self.left_out.unwrap_or((start_ns, end_ns));
            self.left_out = Some((first.min(start_ns), last.max(end_ns)));
            return Ok(());
        }
        self.written.merge(latencies);
        self.interval(latencies, (start_ns, end_ns)).map_err(|source| self.file.failed(source))
    }

    /// Writes what counts and is not written yet, and finishes the file. `all` are the latencies of the summary.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self, all: &Latencies) -> Result<(), Error> {
        let mut rest = all.clone();
        let parts = [
            (&mut rest.response, &self.written.response),
            (&mut rest.service, &self.written.service),
            (&mut rest.lag, &self.written.lag),
        ];
        for (rest, written) in parts {
            // What was written is part of the whole, so nothing falls below zero, unless the plan is not that of
            // the run.
            if rest.subtract(written).is_err() {
                let why = "more was written than there is in all: the seconds are not those of the stages";
                return Err(self.file.failed(io::Error::other(why)));
            }
        }
        if let Some(span) = self.left_out {
            self.interval(&rest, span).map_err(|source| self.file.failed(source))?;
        }
        self.file.finish()
    }

    fn interval(&mut self, latencies: &Latencies, (start_ns, end_ns): (u64, u64)) -> io::Result<()> {
        let (start, length) = (Duration::from_nanos(start_ns), Duration::from_nanos(end_ns - start_ns));
        let tagged: [(&str, &Histogram<u64>); 3] =
            [("response", &latencies.response), ("service", &latencies.service), ("lag", &latencies.lag)];
        for (tag, histogram) in tagged.into_iter().filter(|(_, histogram)| !histogram.is_empty()) {
            IntervalLogWriterBuilder::new()
                .begin_log_with(&mut self.file, &mut self.serializer)?
                .write_histogram(histogram, start, length, Tag::new(tag))
                .map_err(|error| io::Error::other(error.to_string()))?;
        }
        self.file.flush()
    }
}

/// The intervals of a log added up; `None` where there is none.
///
/// # Errors
/// When it cannot be read or holds what no run writes.
pub(super) fn sum(folder: &Path) -> Result<Option<Latencies>, Error> {
    let path = folder.join(NAME);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Read { path, source }),
    };
    let mut file = BufReader::new(file);
    let (mut sum, mut text, mut plain) = (Latencies::default(), Vec::new(), Vec::new());
    for line in 1.. {
        text.clear();
        let read = (&mut file).take(MAX_LINE).read_until(b'\n', &mut text);
        if read.map_err(|source| Error::Read { path: path.clone(), source })? == 0 {
            break;
        }
        let wrong = |what: &str| Error::Content { path: path.clone(), line, what: what.to_string() };
        if text.starts_with(b"#") || text.starts_with(b"\"") {
            continue;
        }
        // Only what is whole: a cut line may still be an interval of its own.
        if !text.ends_with(b"\n") {
            return Err(wrong("the line is cut, or longer than any of ours"));
        }
        let entry = IntervalLogIterator::new(&text).next();
        let Some(Ok(LogEntry::Interval(interval))) = entry else { return Err(wrong("it is no interval")) };
        let place = match interval.tag().map(|tag| tag.as_str()) {
            Some("response") => &mut sum.response,
            Some("service") => &mut sum.service,
            Some("lag") => &mut sum.lag,
            _ => return Err(wrong("an interval has no tag of ours")),
        };
        counts::add(interval.encoded_histogram(), &mut plain, place).map_err(|what| wrong(&what))?;
    }
    Ok(Some(sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::shard::Window;
    use crate::report::tests::{afternoon, plan};
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use std::collections::BTreeMap;

    fn latencies(response_ns: u64, count: u64) -> Latencies {
        let mut latencies = Latencies::default();
        latencies.response.saturating_record_n(response_ns, count);
        latencies.service.saturating_record_n(response_ns / 2, count);
        latencies.lag.saturating_record_n(1000, count);
        latencies
    }

    fn second(second: u64, latencies: Latencies) -> SecondRow {
        let mut window = Window::default();
        window.latencies = Some(Box::new(latencies));
        SecondRow { second, window }
    }

    #[test]
    fn the_intervals_of_a_tag_add_up_to_the_summary_also_around_a_warm_up_of_half_seconds() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::create(dir.path()).expect("made");
        let plan = plan(
            "load: { stages: [ { hold: 10, duration: 2500ms, warmup: true }, { hold: 10, duration: 2s } ] }",
        );
        let mut log = LatencyLog::new(&folder, &plan, afternoon()).expect("begun");
        let whole = latencies(7_000_000, 5);
        let mut mixed = latencies(9_000_000, 5);
        mixed.merge(&whole);
        log.row(&second(0, latencies(1, 10))).expect("written");
        log.row(&second(2, mixed)).expect("written");
        log.row(&second(3, latencies(20_000_000, 10))).expect("written");
        log.row(&second(4, latencies(30_000_000, 5))).expect("written");
        let mut all = whole;
        all.merge(&latencies(20_000_000, 10));
        all.merge(&latencies(30_000_000, 5));
        log.finish(&all).expect("finished");

        let text = std::fs::read(dir.path().join(NAME)).expect("there");
        let mut sums: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
        let mut spans = Vec::new();
        for entry in IntervalLogIterator::new(&text) {
            let Ok(LogEntry::Interval(interval)) = entry else { continue };
            let bytes = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                interval.encoded_histogram(),
            );
            let read =
                Deserializer::new().deserialize(&mut bytes.expect("base64").as_slice()).expect("a histogram");
            let tag = interval.tag().expect("a tag").as_str().to_string();
            sums.entry(tag).or_insert_with(crate::recorder::histogram::histogram).add(&read).expect("bounds");
            spans.push((interval.start_timestamp().as_millis(), interval.duration().as_millis()));
        }
        assert_eq!(sums["response"], all.response);
        assert_eq!((&sums["service"], &sums["lag"]), (&all.service, &all.lag));
        spans.dedup();
        // The last second is as long as what is left of the schedule.
        assert_eq!(spans, [(3000, 1000), (4000, 500), (0, 3000)]);
    }
}
