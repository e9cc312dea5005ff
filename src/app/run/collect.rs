//! While a run goes: waits until all are ready, gives time zero, and takes in what workers and lanes
//! tell until all are done.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use crate::app::error::Error;
use crate::app::run::{LEAD, Run, give_up, vanished};
use crate::app::{lane, parts};
use crate::clock::{self, Clock};
use crate::engine::{Cause, Event, Gauges, Totals, Trouble};
use crate::live::{Moment, Now, Phase};
use crate::plan::Plan;
use crate::recorder::histogram::{histogram, percentile_us};
use crate::recorder::summary::{Collector, ErrorRow, SecondRow};
use crate::report;
use crate::report::counts::{CountsCsv, Scope};
use crate::report::csv::{ConnectionRow, ConnectionsCsv, SecondsCsv};
use crate::report::hdr::LatencyLog;
use crate::report::progress::Live;
use crate::scenario::schema::ReportFile;
use crate::thresholds::Watch;
use crate::units::Nanos;

/// How often the screen is brought up to date.
const TICK: Duration = Duration::from_millis(50);

/// The same of a simulation, in which many seconds pass meanwhile.
const SIMULATED_TICK: Duration = Duration::from_millis(500);

/// Different errors that are told apart.
const MAX_ERRORS: usize = 256;

/// Connections that ended, or could not be opened, before time zero and are remembered until then.
const MAX_EARLY: usize = 1 << 16;

/// What was collected in a run.
pub(super) struct Collected {
    pub started_at: SystemTime,
    pub collector: Collector,
    pub totals: Vec<Totals>,
    pub lanes: Vec<lane::Totals>,
    pub ends: BTreeMap<&'static str, u64>,
    pub errors: Vec<ErrorRow>,
    pub failure: Option<Error>,
    pub overloaded: bool,
    /// Somebody has asked the run to stop.
    pub stopped: bool,
    pub watch: Watch,
    pub connect_time: Histogram<u64>,
    /// Finished when the summary is known.
    pub latency_log: Option<LatencyLog>,
    seconds_csv: Option<SecondsCsv>,
    pub counts_csv: Option<CountsCsv>,
    connections_csv: Option<ConnectionsCsv>,
    latest: Option<(u64, u64, u64)>,
    sent_before: (u64, u64),
    rate: f64,
}

impl Run {
    /// From ready to all done.
    pub(super) fn collect(&mut self) -> Result<Collected, Error> {
        self.wait_until_ready()?;
        let clock = Clock::starting_in(LEAD);
        // Nobody else sets it.
        let _ = self.crew.clock.set(clock);
        for start in self.crew.starts.drain(..) {
            // A worker that is gone shows when its account is missing.
            let _ = start.send(clock);
        }
        let mut collected = self.nothing_yet()?;
        if self.ui.is_on() {
            collected.watch.keep_standing();
        }
        self.ui.started(collected.started_at);
        for event in self.crew.early.drain(..) {
            take_lane_event(event, &mut collected);
        }
        for (worker, event) in std::mem::take(&mut self.crew.early_events) {
            self.take_event(worker, event, &mut collected);
        }
        self.take_in(&clock, &mut collected);
        self.wheel.let_go();
        self.tell_that_all_is_sent(&clock, &mut collected);
        if collected.totals.len() < self.crew.workers as usize {
            // Without its account nobody knows what it has sent: where only time ends the load, sums would fit.
            collected.failure.get_or_insert_with(|| vanished("go on with a worker"));
        }
        self.settle_lanes(&mut collected);
        let through = collected_through(self, &collected);
        let finished = collected.finish_files(through);
        self.or_drain(finished, &mut collected);
        Ok(collected)
    }

    fn nothing_yet(&self) -> Result<Collected, Error> {
        let files = &self.prepared.loaded.scenario.report.files;
        let plan = &self.prepared.plan;
        let seconds_csv = match files.contains(&ReportFile::Seconds) {
            true => Some(SecondsCsv::new(&self.folder, plan)?),
            false => None,
        };
        let connections_csv = match files.contains(&ReportFile::Connections) {
            true => Some(ConnectionsCsv::new(&self.folder)?),
            false => None,
        };
        let started_at = clock::wall() + LEAD;
        let latency_log = match files.contains(&ReportFile::Latency) {
            true => Some(LatencyLog::new(&self.folder, plan, started_at)?),
            false => None,
        };
        let counts_csv = match parts::keeps_counts(&self.prepared.loaded.scenario) {
            true => Some(CountsCsv::new(&self.folder)?),
            false => None,
        };
        Ok(Collected {
            started_at,
            latency_log,
            collector: Collector::new(self.crew.workers as usize, plan.stages.len()),
            totals: Vec::new(),
            lanes: Vec::new(),
            ends: BTreeMap::new(),
            errors: Vec::new(),
            failure: None,
            overloaded: false,
            stopped: false,
            watch: Watch::new(plan),
            connect_time: histogram(),
            seconds_csv,
            counts_csv,
            connections_csv,
            latest: None,
            sent_before: (0, 0),
            rate: 0.0,
        })
    }

    fn wait_until_ready(&mut self) -> Result<(), Error> {
        let (mut ready, mut silent) = (0, 0);
        while ready < self.crew.workers {
            self.hear_lanes()?;
            // A run that drains for another reason has a lane that failed, which is heard here, or in the run if the
            // workers are ready first: they wait for nothing any more.
            if self.heed_before_start() || self.interrupts.seen() {
                return Err(give_up(&self.control, &mut self.crew.starts, Error::Interrupted));
            }
            match self.crew.events.recv_timeout(TICK) {
                Ok((_, Event::Ready)) => ready += 1,
                Ok((_, Event::Unreachable(trouble))) => {
                    let error = Error::Target(trouble);
                    return Err(give_up(&self.control, &mut self.crew.starts, error));
                }
                Ok((worker, event)) => self.keep_early(worker, event)?,
                // No thread ends before time zero unless something went wrong with it; what it had to
                // say has been heard after another turn.
                Err(RecvTimeoutError::Timeout) => {
                    silent += u32::from(self.crew.threads.iter().any(|thread| thread.is_finished()));
                    if silent > 1 {
                        let error = vanished("start a thread of the run");
                        return Err(give_up(&self.control, &mut self.crew.starts, error));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(vanished("start a worker")),
            }
        }
        // A lane that failed after its first payload is heard before time zero too.
        self.hear_lanes()?;
        // Workers of a run that drains wait for nothing any more, and are ready.
        if self.interrupts.seen() {
            return Err(give_up(&self.control, &mut self.crew.starts, Error::Interrupted));
        }
        Ok(())
    }

    /// Connections that end before time zero are in the files like all others. A target that goes on closing them is
    /// none that can be loaded.
    fn keep_early(&mut self, worker: u64, event: Event) -> Result<(), Error> {
        let address = match &event {
            Event::Connection(record) => record.address,
            Event::Trouble(trouble) => trouble.address,
            // Nothing else is told before time zero.
            _ => return Ok(()),
        };
        if self.crew.early_events.len() < MAX_EARLY {
            self.crew.early_events.push((worker, event));
            return Ok(());
        }
        let detail =
            format!("connections ended or failed {MAX_EARLY} times before the first request was due");
        let trouble = Trouble { at: Nanos::ZERO, kind: "connect", address, detail };
        Err(give_up(&self.control, &mut self.crew.starts, Error::Target(trouble)))
    }

    /// Before time zero: a lane that failed ends the run; one that has fed all it had to is remembered.
    fn hear_lanes(&mut self) -> Result<(), Error> {
        while let Ok(event) = self.crew.lane_events.try_recv() {
            match event {
                lane::Event::Failed(error) => {
                    return Err(give_up(&self.control, &mut self.crew.starts, error));
                }
                settled => self.crew.early.push(settled),
            }
        }
        Ok(())
    }

    fn take_in(&mut self, clock: &Clock, collected: &mut Collected) {
        let mut next_tick = clock::Stopwatch::start();
        let tick = if self.dial.is_some() { SIMULATED_TICK } else { TICK };
        while collected.totals.len() < self.crew.workers as usize {
            match self.crew.events.recv_timeout(TICK) {
                Ok((worker, event)) => self.take_event(worker, event, collected),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Ok(event) = self.crew.lane_events.try_recv() {
                take_lane_event(event, collected);
            }
            if next_tick.elapsed() >= tick {
                next_tick = clock::Stopwatch::start();
                self.interrupts.announce();
                self.heed(clock, collected);
                let flushed = write_to(&mut collected.connections_csv, ConnectionsCsv::flush);
                self.or_drain(flushed, collected);
                let live = self.live(self.now(clock), collected);
                if let Some(progress) = &mut self.progress {
                    progress.tick(&live);
                }
                self.ui.tick(self.phase(), || self.moment(&live, collected));
            }
        }
    }

    fn take_event(&mut self, worker: u64, event: Event, collected: &mut Collected) {
        match event {
            Event::Window(closed) => {
                if let Some(spare) = collected.collector.add(worker as usize, closed) {
                    // A worker that is gone needs no window.
                    let _ = self.crew.windows_back[worker as usize].send(spare);
                }
                for row in collected.collector.seconds(false) {
                    self.take_second(&row, collected);
                }
            }
            Event::Connection(record) => {
                *collected.ends.entry(record.end.word()).or_default() += 1;
                collected.connect_time.saturating_record(record.connect_time.0);
                let row = ConnectionRow {
                    slot: record.slot,
                    generation: record.generation,
                    address: record.address,
                    opened_us: record.opened.0 / 1000,
                    connect_us: record.connect_time.0 / 1000,
                    closed_us: record.closed.0 / 1000,
                    sent: record.sent,
                    matched: record.matched,
                    end: record.end.word(),
                };
                let written = write_to(&mut collected.connections_csv, |csv| csv.row(row));
                self.or_drain(written, collected);
            }
            Event::Trouble(trouble) => {
                collected.error(
                    trouble.kind.to_string(),
                    Some(trouble.address),
                    trouble.at,
                    trouble.detail,
                    1,
                );
            }
            Event::Overloaded => collected.overloaded = true,
            Event::Finished(totals) => {
                collected.collector.done(worker as usize);
                collected.totals.push(*totals);
            }
            // Whoever asked may be gone.
            Event::Mark(heard) => drop(heard.send(())),
            Event::Ready | Event::Unreachable(_) => {}
        }
    }

    /// A second whose requests have all ended. Where it breaks a threshold that says so, nothing more is sent.
    fn take_second(&self, row: &SecondRow, collected: &mut Collected) {
        let written = collected.second(row);
        self.or_drain(written, collected);
        self.ui.second(row, self.plan_now());
        if collected.watch.second(row) {
            self.control.drain(Cause::Threshold);
        }
    }

    /// A report that cannot be written ends the run, but what is in flight is waited for and accounted, and the other
    /// files go on.
    pub(super) fn or_drain(&self, written: Result<(), report::Error>, collected: &mut Collected) {
        if let Err(error) = written {
            self.control.drain(Cause::Failed);
            collected.failure.get_or_insert(error.into());
        }
    }

    /// How far the run is, on the clock that it goes by.
    pub(super) fn now(&self, clock: &Clock) -> Nanos {
        self.dial.as_ref().map_or_else(|| clock.now(), |dial| dial.now())
    }

    fn live(&self, elapsed: Nanos, collected: &mut Collected) -> Live {
        let sum = |of: fn(&Gauges) -> &std::sync::atomic::AtomicU64| {
            self.crew.gauges.iter().map(|gauges| of(gauges).load(Relaxed)).sum::<u64>()
        };
        let plan = self.plan_now();
        let sent = sum(|g| &g.sent);
        let (before_ns, before) = collected.sent_before;
        if elapsed.0 >= before_ns + 1_000_000_000 {
            collected.rate = (sent - before) as f64 / ((elapsed.0 - before_ns) as f64 / 1e9);
            collected.sent_before = (elapsed.0, sent);
        } else if before_ns == 0 && elapsed.0 > 0 {
            collected.rate = sent as f64 / (elapsed.0 as f64 / 1e9);
        }
        let (p50_us, p99_us, lag_p99_us) = collected.latest.unwrap_or_default();
        Live {
            elapsed,
            stage: match plan.closed {
                Some(_) => 0,
                None => plan.stage_at(elapsed),
            },
            due: sum(|g| &g.due),
            sent,
            matched: sum(|g| &g.matched),
            failed: sum(|g| &g.failed),
            dropped: sum(|g| &g.dropped),
            in_flight: sum(|g| &g.in_flight),
            connections: sum(|g| &g.connections),
            rate_planned: plan.schedule.rate_at(elapsed).as_f64() / plan.segment.of() as f64,
            rate_actual: collected.rate,
            p50_us,
            p99_us,
            lag_p99_us,
        }
    }

    fn phase(&self) -> Phase {
        match (self.control.is_draining(), self.is_paused()) {
            (true, _) => Phase::Stopping,
            (false, true) => Phase::Paused,
            (false, false) => Phase::Running,
        }
    }

    /// No worker sends any more. What follows (mappings, files) may take a while, in which nothing is told.
    fn tell_that_all_is_sent(&self, clock: &Clock, collected: &mut Collected) {
        if !self.ui.is_on() {
            return;
        }
        let live = self.live(self.now(clock), collected);
        let live = Live { in_flight: 0, rate_planned: 0.0, rate_actual: 0.0, ..live };
        self.ui.tell(Moment { phase: Phase::Stopping, ..self.moment(&live, collected) });
    }

    /// What those who look at the run are told.
    fn moment(&self, live: &Live, collected: &Collected) -> Moment {
        let opened: u64 = self.crew.gauges.iter().map(|gauges| gauges.opened.load(Relaxed)).sum();
        let cpu_ns: u64 = self.crew.gauges.iter().map(|gauges| gauges.cpu_ns.load(Relaxed)).sum();
        Moment {
            phase: self.phase(),
            now: Now {
                elapsed_s: live.elapsed.as_secs_f64(),
                stage: live.stage,
                due: live.due,
                sent: live.sent,
                matched: live.matched,
                failed: live.failed,
                dropped: live.dropped,
                in_flight: live.in_flight,
                connections: live.connections,
                opened,
                rate_planned: live.rate_planned,
                rate_actual: live.rate_actual,
                worker_cpu_s: cpu_ns as f64 / 1e9,
            },
            ends: collected.ends.iter().map(|(&end, &count)| (end, count)).collect(),
            thresholds: collected.watch.so_far(),
        }
    }

    /// Waits until every lane has written what it had to write.
    fn settle_lanes(&mut self, collected: &mut Collected) {
        while collected.lanes.len() < self.crew.workers as usize {
            match self.crew.lane_events.recv_timeout(TICK) {
                Ok(event) => take_lane_event(event, collected),
                Err(RecvTimeoutError::Timeout) => self.interrupts.announce(),
                // A lane that could not start has said so and will not settle.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if collected.failure.is_some() && self.crew.threads.iter().all(|thread| thread.is_finished()) {
                break;
            }
        }
        while let Ok((worker, event)) = self.crew.events.try_recv() {
            self.take_event(worker, event, collected);
        }
        for row in collected.collector.seconds(true) {
            self.take_second(&row, collected);
        }
    }
}

/// Up to which second rows are written: the whole schedule, unless the run was cut short.
fn collected_through(run: &Run, collected: &Collected) -> u64 {
    use crate::ledger::Outcome;
    let cut = collected.totals.iter().any(|totals| totals.outcomes.of(Outcome::NotReached) > 0);
    // The rows of a closed load are those that the workers have handed over.
    if cut { 0 } else { run.prepared.plan.schedule.end().0.div_ceil(1_000_000_000) }
}

/// Writes to a file, where it is there. One that cannot be written is given up.
fn write_to<T>(
    file: &mut Option<T>,
    write: impl FnOnce(&mut T) -> Result<(), report::Error>,
) -> Result<(), report::Error> {
    let written = file.as_mut().map_or(Ok(()), write);
    if written.is_err() {
        *file = None;
    }
    written
}

fn take_lane_event(event: lane::Event, collected: &mut Collected) {
    match event {
        lane::Event::Failed(error) => {
            collected.failure.get_or_insert(error);
        }
        lane::Event::Settled(totals) => collected.lanes.push(*totals),
        lane::Event::Done(_) => {}
    }
}

impl Collected {
    /// The plan is another for the seconds that are still to come.
    pub(super) fn follow(&mut self, plan: &Plan) {
        self.watch.follow(plan);
        if let Some(csv) = &mut self.seconds_csv {
            csv.follow(plan);
        }
        if let Some(log) = &mut self.latency_log {
            log.follow(plan);
        }
    }

    fn second(&mut self, row: &SecondRow) -> Result<(), report::Error> {
        if let Some(latencies) = &row.window.latencies {
            self.latest = Some((
                percentile_us(&latencies.response, 50.0),
                percentile_us(&latencies.response, 99.0),
                percentile_us(&latencies.lag, 99.0),
            ));
        }
        // Each for itself, so that what stops one leaves the others whole.
        let seconds = write_to(&mut self.seconds_csv, |csv| csv.row(row));
        let log = write_to(&mut self.latency_log, |log| log.row(row));
        let counts = write_to(&mut self.counts_csv, |csv| match &row.window.latencies {
            Some(latencies) => csv.row(Scope::Second, row.second, latencies),
            None => Ok(()),
        });
        seconds.and(log).and(counts)
    }

    /// Counts an error with others of its kind and address.
    pub(super) fn error(
        &mut self,
        kind: String,
        address: Option<SocketAddr>,
        at: Nanos,
        detail: String,
        count: u64,
    ) {
        let known = self.errors.iter_mut().find(|row| row.kind == kind && row.address == address);
        if let Some(row) = known {
            row.count += count;
            row.first = row.first.min(at);
            row.last = row.last.max(at);
        } else if self.errors.len() < MAX_ERRORS {
            self.errors.push(ErrorRow { kind, address, count, first: at, last: at, detail });
        }
    }

    fn finish_files(&mut self, through: u64) -> Result<(), report::Error> {
        let seconds = self.seconds_csv.take().map_or(Ok(()), |csv| csv.finish(through));
        let connections = self.connections_csv.take().map_or(Ok(()), ConnectionsCsv::finish);
        seconds.and(connections)
    }
}
