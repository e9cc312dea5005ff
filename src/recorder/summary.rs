//! What a run comes to: windows of all workers merged, ready to be printed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use crate::ledger::{Imbalance, Ledger, Outcome};
use crate::recorder::histogram::Latencies;
use crate::recorder::shard::{Closed, KindTally, Window};
use crate::units::{Nanos, Tps, Unit};

/// One row of `seconds.csv`: what was due in one second of the schedule.
#[derive(Debug, Clone)]
pub struct SecondRow {
    /// The second, from 0.
    pub second: u64,
    /// What happened to its requests.
    pub window: Window,
}

/// One row of `stages.csv`: what was due in one stage.
#[derive(Debug, Clone)]
pub struct StageRow {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Cow<'static, str>,
    /// How long it was planned to be.
    pub duration: Nanos,
    /// Sent, but outside of the statistics.
    pub warmup: bool,
    /// Requests that this process had to send in it.
    pub planned: u64,
    /// What happened to them.
    pub window: Window,
}

/// One row of `mix.csv`: what happened to one kind of request, warm-up left out.
#[derive(Debug, Clone)]
pub struct KindRow {
    /// Its name.
    pub name: String,
    /// Its weight in the mix.
    pub weight: u64,
    /// What happened.
    pub tally: KindTally,
}

impl KindRow {
    /// Requests that did not get the answer they wanted: failed, timed out, dropped, or answered with an
    /// error.
    pub fn errors(&self) -> u64 {
        let outcomes = &self.tally.outcomes;
        outcomes.failed() + outcomes.of(Outcome::TimedOut) + outcomes.dropped() + self.tally.error_replies
    }
}

impl StageRow {
    /// The kind of the one stage of a closed load.
    pub const CLOSED: &str = "closed";

    /// Requests per second that were planned; 0 in the closed model, which plans none.
    pub fn rate_planned(&self) -> f64 {
        if self.kind == StageRow::CLOSED {
            return 0.0;
        }
        per_second(self.planned, self.duration)
    }

    /// Requests per second that were sent.
    pub fn rate_actual(&self) -> f64 {
        per_second(self.window.sent, self.duration)
    }
}

/// Requests per second; 0 for no time.
pub fn per_second(requests: u64, duration: Nanos) -> f64 {
    if duration.0 == 0 { 0.0 } else { requests as f64 / duration.as_secs_f64() }
}

/// Merges the windows of all workers. A second is complete when every worker that is not done has
/// handed it over.
#[derive(Debug)]
pub struct Collector {
    /// For each worker, the second that it hands over next; `u64::MAX` when it is done.
    next_of: Vec<u64>,
    /// Seconds by number.
    open: BTreeMap<u64, Window>,
    next: u64,
    stages: Vec<Window>,
    last_second: Option<Window>,
}

impl Collector {
    /// For this many workers and stages.
    pub fn new(workers: usize, stages: usize) -> Collector {
        Collector {
            next_of: vec![0; workers],
            open: BTreeMap::new(),
            next: 0,
            stages: vec![Window::default(); stages],
            last_second: None,
        }
    }

    /// Takes a window of a worker. Returns an emptied one for it, where there is one to spare.
    pub fn add(&mut self, worker: usize, closed: Closed) -> Option<Window> {
        if let (Closed::Second(second, _), Some(next)) = (&closed, self.next_of.get_mut(worker)) {
            *next = second + 1;
        }
        let mut spare = match closed {
            Closed::Stage(index, window) => {
                if let Some(stage) = self.stages.get_mut(index) {
                    stage.merge(&window);
                }
                window
            }
            Closed::Second(second, window) => match self.open.get_mut(&second) {
                Some(merged) => {
                    merged.merge(&window);
                    window
                }
                None => {
                    self.open.insert(second, window);
                    return self.last_second.take().map(|mut window| {
                        window.clear();
                        window
                    });
                }
            },
        };
        spare.clear();
        Some(spare)
    }

    /// A worker has handed over its last window.
    pub fn done(&mut self, worker: usize) {
        if let Some(next) = self.next_of.get_mut(worker) {
            *next = u64::MAX;
        }
    }

    /// Complete seconds in their order; all that are left when `finished`.
    pub fn seconds(&mut self, finished: bool) -> Vec<SecondRow> {
        let mut rows = Vec::new();
        let complete_before = self.next_of.iter().copied().min().unwrap_or(0);
        while let Some(entry) = self.open.first_entry() {
            let complete = *entry.key() == self.next && *entry.key() < complete_before;
            if !complete && !finished {
                break;
            }
            let (second, window) = entry.remove_entry();
            self.next = second + 1;
            rows.push(SecondRow { second, window: window.clone() });
            self.last_second = Some(window);
        }
        rows
    }

    /// What happened in each stage.
    pub fn stages(&self) -> &[Window] {
        &self.stages
    }
}

/// A kind of error and how often it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRow {
    /// What was being done, or how the request ended.
    pub kind: String,
    /// The peer, where there is one.
    pub address: Option<SocketAddr>,
    /// How often.
    pub count: u64,
    /// First time, from time zero.
    pub first: Nanos,
    /// Last time, from time zero.
    pub last: Nanos,
    /// The words of the first one.
    pub detail: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it passed.
    pub passed: bool,
    /// The exit code.
    pub exit_code: u8,
    /// One word: `passed`, `interrupted`, `unbalanced`, `lost`, `unreachable`, `threshold`,
    /// `regression`, `undecided`, `failed`.
    pub word: Cow<'static, str>,
    /// Why, in a sentence; empty when it passed.
    pub reason: String,
}

impl Verdict {
    /// Nothing stands against it.
    pub fn passed() -> Verdict {
        Verdict { passed: true, exit_code: 0, word: "passed".into(), reason: String::new() }
    }
}

/// How far a plan was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// All of it.
    Complete,
    /// From an instant on nothing more of it was sent.
    Cut {
        /// The instant, from time zero. A pause that was not ended is not carried out.
        at: Nanos,
        /// Why.
        by: CutBy,
    },
}

/// Why a run was ended before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CutBy {
    /// A signal came, or somebody asked for it.
    Stop,
    /// This threshold was broken, and says so.
    Threshold(String),
    /// Something failed: the verdict says what.
    Error,
}

/// A threshold, and whether what was measured keeps to it.
#[derive(Debug, Clone, PartialEq)]
pub struct ThresholdRow {
    /// Its condition as it was written, such as `response_time p(99) < 50ms`.
    pub check: String,
    /// Its other terms in words, such as `stage plateau, for 10s`; empty where it has none.
    pub terms: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was measured; `None` where nothing was. With `for`, the worst second.
    pub measured: Option<f64>,
    /// What that number is.
    pub unit: Unit,
    /// What else is to be said, such as when it was broken; empty where there is nothing.
    pub note: String,
    /// What the generator alone has done is enough to break it: its lag, or what it dropped.
    pub suffers_from_generator: bool,
}

/// Reading mappings back at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadBack {
    /// Mappings that were looked for.
    pub expected: u64,
    /// Mappings that hold the right response.
    pub found: u64,
    /// Mappings that are not there.
    pub missing: u64,
    /// Mappings that hold another response.
    pub different: u64,
    /// Only a sample of the records was looked at.
    pub sample: bool,
}

/// What the third party to the ledger says: the responder, where it is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponderCount {
    /// Response ids that it issued.
    pub issued: u64,
    /// Responses that the client received.
    pub received: u64,
    /// Requests whose connection or patience ended before a response: as many ids may have been
    /// issued and not received.
    pub unanswered: u64,
}

impl ResponderCount {
    /// Every id that was issued was received, or its request is accounted as unanswered.
    pub fn agrees(&self) -> bool {
        self.received <= self.issued && self.issued - self.received <= self.unanswered
    }
}

/// Something that was done to the run while it went: a row of `events.csv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// The first request that is not due before.
    pub n: u64,
    /// From when on it holds.
    pub at: Nanos,
    /// What was done, as in the files.
    pub event: Cow<'static, str>,
    /// The new rate, where that was it.
    pub rate: Option<Tps>,
    /// The name of the stage.
    pub stage: String,
}

/// How well the generator itself did.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Processor time of each worker.
    pub worker_cpu: Vec<Duration>,
    /// Processor time of the whole process, embedded parts too.
    pub process_cpu: Duration,
    /// Times that a worker waited for payloads that were already due.
    pub starved: u64,
    /// Requests that were due and had to wait for room on their connection.
    pub waited: u64,
    /// Time spent in Lua hooks.
    pub script_time: Duration,
    /// Calls of Lua hooks.
    pub script_calls: u64,
    /// The longest of them.
    pub script_slowest: Duration,
    /// The longest fetch of records.
    pub slowest_fetch: Duration,
    /// The longest write of mappings.
    pub slowest_write: Duration,
    /// Times that the datastore was found to be away.
    pub outages: u64,
    /// Records that were made because they were missing.
    pub generated: u64,
}

/// What a Lua script has counted: `metrics.counter` and `check`.
#[derive(Debug, Clone, Default)]
pub struct ScriptCounts {
    /// Counters by name.
    pub counters: BTreeMap<String, f64>,
    /// Checks by name: passed and failed.
    pub checks: BTreeMap<String, (u64, u64)>,
}

/// Everything about a run that is over.
#[derive(Debug, Clone)]
pub struct Summary {
    /// `<name>-<UTC time>`.
    pub run_id: String,
    /// The part of the plan that was sent: `0/1` for all of it.
    pub segment: String,
    /// The scenario's name.
    pub scenario: String,
    /// The plan's fingerprint.
    pub plan: String,
    /// The same without what the seed draws; `None` where the run was changed while it went.
    pub load: Option<String>,
    /// The seed.
    pub seed: u64,
    /// The wall clock at time zero.
    pub started_at: SystemTime,
    /// From time zero until the last request had ended.
    pub duration: Nanos,
    /// How long the schedule is; as long as the run where its requests end a closed load.
    pub scheduled_duration: Nanos,
    /// Whether users sent (closed model), and not a schedule.
    pub closed: bool,
    /// Whether nothing was sent, and a model answered.
    pub simulated: bool,
    /// How far its plan was carried out; `None` where a part of it comes from a version that did not say.
    pub ended: Option<Ended>,
    /// How it ended.
    pub verdict: Verdict,
    /// What the scenario demands, and whether it holds.
    pub thresholds: Vec<ThresholdRow>,
    /// Where every request ended.
    pub ledger: Ledger,
    /// Equations that do not hold.
    pub imbalances: Vec<Imbalance>,
    /// Three latencies, warm-up stages left out.
    pub latencies: Latencies,
    /// The stages.
    pub stages: Vec<StageRow>,
    /// What was done to the run while it went.
    pub events: Vec<EventRow>,
    /// The kinds of requests, where there are several.
    pub kinds: Vec<KindRow>,
    /// Connections opened.
    pub connections_opened: u64,
    /// Connections opened in place of another.
    pub reconnects: u64,
    /// How long opening each of them took.
    pub connect_time: Histogram<u64>,
    /// Why connections ended, and how many.
    pub connection_ends: BTreeMap<Cow<'static, str>, u64>,
    /// Errors by kind.
    pub errors: Vec<ErrorRow>,
    /// What the responder counted.
    pub responder: Option<ResponderCount>,
    /// What reading back has found.
    pub read_back: Option<ReadBack>,
    /// Responses that wait in the journal.
    pub journaled: u64,
    /// How well the generator did.
    pub health: Health,
    /// What the script counted.
    pub script: ScriptCounts,
}

impl Summary {
    /// Requests per second that were planned; 0 in the closed model, which plans none.
    pub fn rate_planned(&self) -> f64 {
        if self.closed {
            return 0.0;
        }
        per_second(self.ledger.scheduled, self.scheduled_duration)
    }

    /// Requests per second that were sent, over the time of the schedule that was run.
    pub fn rate_actual(&self) -> f64 {
        per_second(self.ledger.sent, self.time_of_rate())
    }

    /// Responses that are not where they should be: issued and not received, not written to the store, or not
    /// found there. `None` where nobody but the client knows of responses.
    pub fn lost(&self) -> Option<u64> {
        let on_the_way = self.responder.map(|responder| {
            let gone = responder.issued.saturating_sub(responder.received);
            gone.saturating_sub(responder.unanswered) + responder.received.saturating_sub(responder.issued)
        });
        let in_the_store = self.ledger.mapping.map(|mapping| {
            mapping.map_failed + self.read_back.map_or(0, |back| back.missing + back.different)
        });
        match (on_the_way, in_the_store) {
            (None, None) => None,
            (on_the_way, in_the_store) => Some(on_the_way.unwrap_or(0) + in_the_store.unwrap_or(0)),
        }
    }

    /// Thresholds that do not hold.
    pub fn broken(&self) -> impl Iterator<Item = &ThresholdRow> {
        self.thresholds.iter().filter(|row| !row.passed)
    }

    /// Whether a part of its plan was not carried out. Of one that does not say, that is known where it had a number of
    /// requests.
    pub fn is_cut_short(&self) -> bool {
        match &self.ended {
            Some(ended) => *ended != Ended::Complete,
            None => self.ledger.outcomes.of(Outcome::NotReached) > 0,
        }
    }

    /// The time of the schedule that was run. A run that was cut short is measured by the time it had.
    fn time_of_rate(&self) -> Nanos {
        if self.is_cut_short() || self.closed {
            self.duration.min(self.scheduled_duration)
        } else {
            self.scheduled_duration
        }
    }

    /// Requests that came due or were begun by a user.
    pub fn operations(&self) -> u64 {
        self.ledger.scheduled - self.ledger.outcomes.of(Outcome::NotReached).min(self.ledger.scheduled)
    }

    /// Of these, those that did not get the answer they wanted: dropped, failed, timed out, or answered
    /// with an error.
    pub fn errors(&self) -> u64 {
        self.ledger.outcomes.dropped() + self.ledger.errors()
    }

    /// Errors as a share of the operations, from 0 to 1.
    pub fn error_rate(&self) -> f64 {
        match self.operations() {
            0 => 0.0,
            operations => self.errors() as f64 / operations as f64,
        }
    }

    /// Requests per second of one kind, warm-up stages left out as in its latencies.
    pub fn rate_of(&self, kind: &KindRow) -> f64 {
        let warm_up: u64 = self.stages.iter().filter(|row| row.warmup).map(|row| row.duration.0).sum();
        per_second(kind.tally.sent, Nanos(self.time_of_rate().0.saturating_sub(warm_up)))
    }
}

/// A summary with nothing in it.
#[cfg(test)]
pub(crate) fn blank() -> Summary {
    Summary {
        run_id: String::new(),
        segment: "0/1".to_string(),
        scenario: String::new(),
        plan: String::new(),
        load: None,
        seed: 0,
        started_at: SystemTime::UNIX_EPOCH,
        duration: Nanos::ZERO,
        scheduled_duration: Nanos::ZERO,
        closed: false,
        simulated: false,
        ended: None,
        verdict: Verdict::passed(),
        thresholds: Vec::new(),
        ledger: Ledger::default(),
        imbalances: Vec::new(),
        latencies: Latencies::default(),
        stages: Vec::new(),
        events: Vec::new(),
        kinds: Vec::new(),
        connections_opened: 0,
        reconnects: 0,
        connect_time: crate::recorder::histogram::histogram(),
        connection_ends: [].into(),
        errors: Vec::new(),
        responder: None,
        read_back: None,
        journaled: 0,
        health: Health::default(),
        script: ScriptCounts::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u64, scheduled: u64) -> Closed {
        let mut window = Window::default();
        window.scheduled = scheduled;
        Closed::Second(number, window)
    }

    #[test]
    fn a_second_is_complete_when_every_worker_has_handed_it_over() {
        let mut collector = Collector::new(2, 0);
        collector.add(0, second(0, 3));
        collector.add(0, second(1, 1));
        assert!(collector.seconds(false).is_empty());
        collector.add(1, second(0, 4));
        let rows = collector.seconds(false);
        assert_eq!((rows.len(), rows[0].second, rows[0].window.scheduled), (1, 0, 7));
        let rest = collector.seconds(true);
        assert_eq!((rest.len(), rest[0].second, rest[0].window.scheduled), (1, 1, 1));
    }

    #[test]
    fn a_worker_that_is_done_is_not_waited_for() {
        let mut collector = Collector::new(2, 0);
        collector.add(0, second(0, 1));
        collector.done(0);
        assert!(collector.seconds(false).is_empty());
        for number in 0..3 {
            collector.add(1, second(number, 1));
            let rows = collector.seconds(false);
            assert_eq!((rows.len(), rows[0].second), (1, number));
        }
        assert!(collector.open.is_empty());
    }

    #[test]
    fn the_responder_may_have_issued_what_nobody_waited_for_any_more() {
        let count = |issued, received, unanswered| ResponderCount { issued, received, unanswered }.agrees();
        assert!(count(100, 100, 0) && count(103, 100, 3) && count(100, 100, 5));
        assert!(!count(99, 100, 0) && !count(104, 100, 3));
    }
}
