//! After a run: the account, the three-way comparison, the verdict and the files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::app::error::{Error, exit};
use crate::app::run::Run;
use crate::app::run::collect::Collected;
use crate::app::run::steering::event_rows;
use crate::app::{lane, parts, say};
use crate::clock;
use crate::datastore::Datastore;
use crate::engine::Cause;
use crate::ledger::{Ledger, Mapped, Outcome};
use crate::mapping;
use crate::mapping::verify::{self, Verified};
use crate::recorder::histogram::Latencies;
use crate::recorder::shard::KindTally;
use crate::recorder::summary::{
    CutBy, Ended, ErrorRow, Health, KindRow, ReadBack, ResponderCount, ScriptCounts, StageRow, Summary,
    Verdict,
};
use crate::report;
use crate::report::compare::Judgement;
use crate::report::counts::{CountsCsv, Scope};
use crate::report::figures::{count, found, plain};
use crate::report::health::saturation;
use crate::report::junit::{REGRESSION, UNDECIDED};
use crate::report::requests::RequestsCsv;
use crate::report::saved::{self, Saved};
use crate::report::{PAGE, csv, junit};
use crate::scenario::schema::{Addresses, ReportFile};
use crate::script::Tallies;
use crate::units::Nanos;

impl Run {
    /// Runs until everything is settled and sums it up.
    pub(super) fn execute(&mut self) -> Result<Summary, Error> {
        let mut collected = self.collect()?;
        let mut lanes = lane::Totals::default();
        for lane in &collected.lanes {
            lanes.feed.merge(&lane.feed);
            lanes.mapping.merge(&lane.mapping);
            lanes.tallies.merge(&lane.tallies);
        }
        let responder_stats = self.responder.take().map(crate::responder::Responder::stop);
        let ledger = self.ledger(&collected, &lanes.mapping);
        let read_back = self.read_back(&lanes.mapping, &collected).unwrap_or_else(|error| {
            // The run is over: what it measured is reported all the same.
            collected.failure = Some(error);
            None
        });
        let issued = responder_stats.map(|stats| stats.issued).or(self.issued_by_model());
        let responder = issued.map(|issued| ResponderCount {
            issued,
            received: ledger.receipts.received - ledger.receipts.malformed,
            unanswered: ledger.outcomes.failed() + ledger.outcomes.of(Outcome::TimedOut),
        });
        self.counts = collected.counts_csv.take();
        let mut summary = self.summary(collected, &lanes, ledger, responder, read_back);
        self.done_hooks(&mut summary);
        Ok(summary)
    }

    /// What the model of a simulation has answered, where it stands for the built-in responder.
    fn issued_by_model(&self) -> Option<u64> {
        let is_ours = self.prepared.loaded.scenario.target.addresses == Addresses::Responder;
        self.dial.as_ref().filter(|_| is_ours).map(|dial| dial.issued.load(Relaxed))
    }

    fn ledger(&self, collected: &Collected, mapping: &mapping::Totals) -> Ledger {
        let plan = &self.prepared.plan;
        // Where only time ends a closed load, what users began is what there was to do.
        let begun = || collected.totals.iter().map(|totals| totals.begun).sum();
        let scheduled = plan.total().map_or_else(begun, |_| plan.scheduled());
        let mut ledger = Ledger { scheduled, ..Ledger::default() };
        for totals in &collected.totals {
            ledger.sent += totals.sent;
            ledger.outcomes.merge(&totals.outcomes);
            ledger.receipts.merge(&totals.receipts);
        }
        let mapped = Mapped { mapped: mapping.mapped, map_failed: mapping.map_failed };
        ledger.mapping = self.form.as_ref().map(|_| mapped);
        ledger
    }

    /// Reads mappings back, if there is anything that should be there.
    fn read_back(&self, mapping: &mapping::Totals, collected: &Collected) -> Result<Option<ReadBack>, Error> {
        let Some(form) = &self.form else { return Ok(None) };
        // A store that is away at the end has left a journal: that is the finding.
        if mapping.mapped == 0 || mapping.journaled > 0 || collected.failure.is_some() {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::System { what: "start a runtime", source })?;
        let verified: Verified = runtime.block_on(async {
            let datastore = Datastore::connect(&self.datastore).await?;
            verify::read_back(form, &datastore, &self.prepared.plan.keys, &self.last_written).await
        })?;
        let Verified { expected, found, missing, different, sample } = verified;
        Ok((expected > 0).then_some(ReadBack { expected, found, missing, different, sample }))
    }

    fn summary(
        &self,
        mut collected: Collected,
        lanes: &lane::Totals,
        ledger: Ledger,
        responder: Option<ResponderCount>,
        read_back: Option<ReadBack>,
    ) -> Summary {
        let plan = &self.prepared.plan;
        let totals = &collected.totals;
        let duration = totals.iter().map(|t| t.finished).max().unwrap_or(Nanos::ZERO);
        let scheduled_duration = plan.end().unwrap_or(duration);
        let stages: Vec<StageRow> = plan
            .stages
            .iter()
            .zip(collected.collector.stages())
            .map(|(stage, window)| StageRow {
                name: stage.name.clone(),
                kind: stage.kind.into(),
                duration: match plan.closed {
                    None => stage.duration(),
                    Some(_) => duration.min(scheduled_duration),
                },
                warmup: stage.warmup,
                planned: match plan.closed {
                    None => plan.share_of(stage).scheduled,
                    Some(_) => ledger.scheduled,
                },
                window: window.clone(),
            })
            .collect();
        let mut latencies = Latencies::default();
        for row in stages.iter().filter(|row| !row.warmup) {
            if let Some(of_stage) = &row.window.latencies {
                latencies.merge(of_stage);
            }
        }
        if let Some(log) = collected.latency_log.take()
            && let Err(error) = log.finish(&latencies)
        {
            collected.failure.get_or_insert(error.into());
        }
        let script = lanes.tallies.of_requests();
        let imbalances = ledger.balance().err().unwrap_or_default();
        let mut summary = Summary {
            run_id: self.run_id.clone(),
            segment: plan.segment.to_string(),
            scenario: plan.name.clone(),
            plan: plan.fingerprint.clone(),
            load: plan.load().map(str::to_string),
            seed: plan.seed,
            started_at: collected.started_at,
            duration,
            scheduled_duration,
            closed: plan.closed.is_some(),
            simulated: self.dial.is_some(),
            ended: Some(self.ended(&collected)),
            verdict: Verdict::passed(),
            thresholds: Vec::new(),
            ledger,
            imbalances,
            latencies,
            stages,
            events: event_rows(plan),
            kinds: self.kinds(&collected),
            connections_opened: totals.iter().map(|t| t.opened).sum(),
            reconnects: totals.iter().map(|t| t.reconnects).sum(),
            connect_time: collected.connect_time.clone(),
            connection_ends: collected.ends.iter().map(|(&end, &count)| (end.into(), count)).collect(),
            errors: errors(&collected, lanes, &ledger, duration),
            responder,
            read_back,
            journaled: lanes.mapping.journaled,
            health: Health {
                worker_cpu: totals.iter().map(|t| t.cpu).collect(),
                // What a simulation takes is no figure of the run.
                process_cpu: self.dial.as_ref().map_or_else(clock::process_cpu, |_| Duration::ZERO),
                starved: totals.iter().map(|t| t.starved).sum(),
                waited: totals.iter().map(|t| t.waited).sum(),
                script_time: Duration::from_nanos(script.total_ns),
                script_calls: script.calls,
                script_slowest: Duration::from_nanos(script.max_ns),
                slowest_fetch: lanes.feed.slowest_fetch,
                slowest_write: lanes.mapping.slowest_write,
                outages: lanes.feed.outages + lanes.mapping.outages,
                generated: lanes.feed.generated,
            },
            script: script_counts(&lanes.tallies),
        };
        summary.thresholds = collected.watch.judge(&summary);
        summary.verdict = self.verdict(&summary, &collected, lanes);
        summary
    }

    /// How far the plan was carried out, by the accounts of the workers.
    fn ended(&self, collected: &Collected) -> Ended {
        let cut = match collected.totals.len() < self.crew.workers as usize {
            // Of a worker that is gone nobody knows what it has sent.
            true => Some(Nanos::ZERO),
            false => collected.totals.iter().filter_map(|totals| totals.cut).min(),
        };
        let Some(cut) = cut else { return Ended::Complete };
        // Who stops a run in a pause stops it where it was paused.
        let at = self.paused_since().map_or(cut, |since| since.min(cut));
        let by = match (self.control.cause(), collected.watch.ended_by()) {
            (Some(Cause::Stopped), _) => CutBy::Stop,
            (Some(Cause::Threshold), Some(condition)) => CutBy::Threshold(condition.to_string()),
            _ => CutBy::Error,
        };
        Ended::Cut { at, by }
    }

    /// What happened to each kind of request, over all workers.
    fn kinds(&self, collected: &Collected) -> Vec<KindRow> {
        let kinds = self.prepared.plan.mix.kinds().iter().enumerate();
        kinds
            .map(|(index, kind)| {
                let mut tally = KindTally::default();
                for of_worker in collected.totals.iter().filter_map(|totals| totals.kinds.get(index)) {
                    tally.merge(of_worker);
                }
                KindRow { name: kind.name.clone(), weight: kind.weight, tally }
            })
            .collect()
    }

    /// The verdict: the first of these that applies.
    ///
    /// 1. A part failed for good: its own code.
    /// 2. The ledger does not balance.
    /// 3. The run was interrupted, or stopped when it was asked to.
    /// 4. `on_overload: fail` came to pass.
    /// 5. The target was out of reach at the end.
    /// 6. The target answered nothing at all, or nothing but errors.
    /// 7. Something was lost: responses that are not in the store, or that the responder issued and
    ///    nobody can account for.
    /// 8. The generator was saturated, and what was missed is its own doing.
    /// 9. A threshold does not hold.
    /// 10. It is worse than the baseline, and that is to fail it; known when its files are complete
    ///     ([`Run::hold_against_baseline`]).
    /// 11. Passed.
    fn verdict(&self, summary: &Summary, collected: &Collected, lanes: &lane::Totals) -> Verdict {
        let failed = |exit_code, word: &'static str, reason: String| Verdict {
            passed: false,
            exit_code,
            word: word.into(),
            reason,
        };
        if let Some(error) = &collected.failure {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            return failed(error.code(), "failed", format!("failed to {error}{hint}"));
        }
        if let Some(first) = summary.imbalances.first() {
            return failed(exit::LEDGER, "unbalanced", format!("the ledger does not balance: {first}"));
        }
        if self.interrupts.seen() || collected.stopped {
            let not_reached = summary.ledger.outcomes.of(Outcome::NotReached);
            let how = if self.interrupts.seen() { "interrupted" } else { "stopped when asked to" };
            let reason = match self.prepared.plan.total() {
                None => format!("{how} before its time"),
                Some(_) => format!("{how} with {not_reached} requests not yet due"),
            };
            return failed(exit::INTERRUPTED, "interrupted", reason);
        }
        if collected.overloaded {
            let reason = "a request found no room on its connection, and load.on_overload is `fail`";
            return failed(exit::UNEXPECTED, "overloaded", reason.to_string());
        }
        let unreachable: u64 = collected.totals.iter().map(|totals| totals.unreachable_slots).sum();
        if unreachable > 0 {
            let reason = format!(
                "the target could not be reached at the end: {unreachable} of {} connections were down",
                self.prepared.plan.connections.count
            );
            return failed(exit::UNREACHABLE, "unreachable", reason);
        }
        let outcomes = &summary.ledger.outcomes;
        if summary.ledger.sent > 0 && outcomes.of(Outcome::Matched) == 0 {
            let reason = format!("the target answered none of {} requests", summary.ledger.sent);
            return failed(exit::UNREACHABLE, "unanswered", reason);
        }
        let error_replies = summary.ledger.receipts.error_replies;
        if error_replies > 0 && error_replies == outcomes.of(Outcome::Matched) {
            let first = collected.totals.iter().find_map(|totals| totals.first_error_reply.as_deref());
            let said = plain(first.unwrap_or_default(), 200);
            let reason = format!("the target refused all of {error_replies} requests: {said}");
            return failed(exit::UNREACHABLE, "refused", reason);
        }
        if let Some(reason) = lost(summary, lanes) {
            return failed(exit::LEDGER, "lost", reason);
        }
        decided(summary)
    }

    /// Calls the `done` hook of the first worker, and waits for all lanes to end.
    fn done_hooks(&mut self, summary: &mut Summary) {
        let json = serde_json::from_str(&crate::report::screen::summary_json(summary)).unwrap_or_default();
        let mut summaries = self.crew.summaries.drain(..);
        if let Some(first) = summaries.next() {
            // A lane that is gone has no hook to call.
            let _ = first.send(json);
        }
        drop(summaries);
        for _ in 0..self.crew.workers {
            match self.crew.lane_events.recv() {
                Ok(lane::Event::Done(Some(error))) if summary.verdict.passed => {
                    summary.verdict = Verdict {
                        passed: false,
                        exit_code: error.code(),
                        word: "failed".into(),
                        reason: format!("failed to {error}"),
                    };
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        for thread in self.crew.threads.drain(..) {
            // A thread that panicked has said so on stderr, and its account is missing.
            let _ = thread.join();
        }
    }

    /// Writes the files of the report, the small ones first: what one of them has no room for, another may have. The
    /// first that cannot be written is the verdict of a run that had passed; nothing of it hides what was found.
    pub(super) fn keep_books(&mut self, summary: &mut Summary) {
        let said = summary.verdict.clone();
        let requests = self.requests.take().and_then(Arc::into_inner);
        let mut written = self.write_tables(summary);
        written.push(requests.map_or(Ok(()), RequestsCsv::finish));
        written.push(self.counts.take().map_or(Ok(()), |counts| finish_counts(counts, summary)));
        blame(written, summary);
        self.hold_against_baseline(summary);
        // It says how the run came out, so it comes when nothing else can fail.
        let reported = summary.verdict.clone();
        let written = self.write_report(summary);
        blame(written.into_iter().map(|(_, written)| written).collect(), summary);
        if summary.verdict != reported {
            self.correct(self.write_report(summary));
        }
        // What was written first knew of no comparison.
        if summary.verdict != said || self.compared.is_some() {
            self.correct(self.write_verdict(summary));
        }
    }

    /// Writes the tables that are made from the summary.
    fn write_tables(&self, summary: &Summary) -> Vec<Result<(), report::Error>> {
        let files = &self.prepared.loaded.scenario.report.files;
        let mut written: Vec<_> = files
            .iter()
            .map(|file| match file {
                ReportFile::Summary => self.folder.write("summary.csv", &csv::summary_csv(summary)),
                ReportFile::Stages => self.folder.write("stages.csv", &csv::stages_csv(summary)),
                ReportFile::Errors => self.folder.write("errors.csv", &csv::errors_csv(summary)),
                ReportFile::Junit => self.folder.write(junit::NAME, &self.junit(summary)),
                // Written while the run went, or from what was.
                ReportFile::Seconds
                | ReportFile::Connections
                | ReportFile::Latency
                | ReportFile::Json
                | ReportFile::Html => Ok(()),
            })
            .collect();
        written.extend(self.keep_events());
        if !summary.kinds.is_empty() {
            written.push(self.folder.write("mix.csv", &csv::mix_csv(summary)));
        }
        written
    }

    /// Holds the run against an earlier one, where one was named. It has passed by then, or what it fails with is
    /// worse than a regression.
    fn hold_against_baseline(&mut self, summary: &mut Summary) {
        let Some(baseline) = &self.baseline else { return };
        let saved = Saved::of(self.folder.path(), summary, "", saved::Machine::default());
        let compared = saved.and_then(|saved| baseline.hold_against(saved, self.folder.path()));
        let failed = match compared {
            Ok(compared) => {
                let failure = compared.failure();
                self.compared = Some(compared);
                failure.map(|(judgement, reason)| match judgement {
                    // Nobody knows whether it is worse: what `runner compare` ends with.
                    Judgement::TooShort => (exit::USAGE, UNDECIDED, reason),
                    _ => (exit::REGRESSION, REGRESSION, reason),
                })
            }
            // It was to be told and no more: a run that was changed while it went, or hardly begun, has passed.
            Err(error) if !baseline.decides() => {
                say(&format!("warning: failed to {error}"));
                None
            }
            Err(error) => {
                let error = Error::from(error);
                Some((error.code(), "failed", format!("failed to {error}")))
            }
        };
        if let Some((exit_code, word, reason)) = failed.filter(|_| summary.verdict.passed) {
            summary.verdict = Verdict { passed: false, exit_code, word: word.into(), reason };
        }
    }

    /// Writes the files that are made from the others, and says which.
    fn write_report(&self, summary: &Summary) -> Vec<(&'static str, Result<(), report::Error>)> {
        let loaded = &self.prepared.loaded;
        if !parts::keeps_counts(&loaded.scenario) {
            return Vec::new();
        }
        let scenario = loaded.effective_yaml().unwrap_or_else(|error| format!("# {error}\n"));
        let mut saved = match Saved::of(self.folder.path(), summary, &scenario, parts::machine_facts()) {
            Ok(saved) => saved,
            Err(error) => return vec![(saved::NAME, Err(error))],
        };
        if let Some(compared) = &self.compared {
            saved.against(compared.clone());
        }
        let files = &loaded.scenario.report.files;
        let mut written = Vec::new();
        if files.contains(&ReportFile::Json) {
            written.push((saved::NAME, self.folder.write(saved::NAME, saved.json().as_bytes())));
        }
        if files.contains(&ReportFile::Html) {
            written.push((PAGE, self.folder.write(PAGE, saved.html().as_bytes())));
        }
        written
    }

    /// Writes the tables that say how the run came out, and says which.
    fn write_verdict(&self, summary: &Summary) -> Vec<(&'static str, Result<(), report::Error>)> {
        let files = &self.prepared.loaded.scenario.report.files;
        let tables = [
            (ReportFile::Summary, "summary.csv", csv::summary_csv(summary)),
            (ReportFile::Junit, junit::NAME, self.junit(summary)),
        ];
        let tables = tables.into_iter().filter(|(file, ..)| files.contains(file));
        tables.map(|(_, name, bytes)| (name, self.folder.write(name, &bytes))).collect()
    }

    /// `junit.xml`, with what the run came to against another as far as that is known.
    fn junit(&self, summary: &Summary) -> Vec<u8> {
        junit::xml(summary, self.compared.as_ref()).into_bytes()
    }

    /// After files were written again because the run came out otherwise than they said. Where there was no room for
    /// that, no file is better than one that says what is not so.
    fn correct(&self, written: Vec<(&'static str, Result<(), report::Error>)>) {
        for (name, _) in written.iter().filter(|(_, written)| written.is_err()) {
            self.folder.withdraw(name);
        }
    }
}

/// A file that cannot be written fails a run that had passed. Of another the verdict says more, and the file is
/// mentioned.
fn blame(written: Vec<Result<(), report::Error>>, summary: &mut Summary) {
    for error in written.into_iter().filter_map(Result::err).map(Error::from) {
        if summary.verdict.passed {
            summary.verdict = Verdict {
                passed: false,
                exit_code: error.code(),
                word: "failed".into(),
                reason: format!("failed to {error}"),
            };
        } else {
            tracing::error!("failed to {error}");
        }
    }
}

/// Writes the latencies of stages and kinds behind those of the seconds.
fn finish_counts(mut counts: CountsCsv, summary: &Summary) -> Result<(), report::Error> {
    for (index, stage) in summary.stages.iter().enumerate() {
        if let Some(latencies) = &stage.window.latencies {
            counts.row(Scope::Stage, index as u64, latencies)?;
        }
    }
    for (index, kind) in summary.kinds.iter().enumerate() {
        counts.row(Scope::Kind, index as u64, &kind.tally.latencies)?;
    }
    counts.finish()
}

fn lost(summary: &Summary, lanes: &lane::Totals) -> Option<String> {
    if summary.journaled > 0 {
        return Some(format!(
            "{} responses are not in the store but in the journal: write them with `runner flush`",
            summary.journaled
        ));
    }
    if lanes.mapping.map_failed > 0 {
        let why = lanes.mapping.refusals.keys().next().map(String::as_str).unwrap_or("no reason given");
        return Some(format!("{} responses could not be mapped: {why}", lanes.mapping.map_failed));
    }
    if let Some(back) = summary.read_back.filter(|back| back.missing + back.different > 0) {
        return Some(format!(
            "of {} mappings read back, {} are missing and {} hold another response",
            back.expected, back.missing, back.different
        ));
    }
    let responder = summary.responder.filter(|responder| !responder.agrees())?;
    Some(format!(
        "the responder issued {} ids, {} responses were received and {} requests were given up",
        responder.issued, responder.received, responder.unanswered
    ))
}

/// The verdict on a run in which nothing went wrong: by its thresholds.
pub(in crate::app) fn decided(summary: &Summary) -> Verdict {
    let failed = |exit_code, word: &'static str, reason: String| Verdict {
        passed: false,
        exit_code,
        word: word.into(),
        reason,
    };
    if let Some(reason) = saturation(summary) {
        return failed(exit::SATURATED, "saturated", reason);
    }
    match broken(summary) {
        Some(reason) => failed(exit::THRESHOLD, "threshold", reason),
        None => Verdict::passed(),
    }
}

/// How many thresholds do not hold, and the first of them with what was measured.
fn broken(summary: &Summary) -> Option<String> {
    let first = summary.broken().next()?;
    let (broken, of) = (summary.broken().count(), count(summary.thresholds.len() as u64, "threshold"));
    Some(format!("{broken} of {of} failed: {}: {}", first.check, found(first)))
}

fn errors(collected: &Collected, lanes: &lane::Totals, ledger: &Ledger, end: Nanos) -> Vec<ErrorRow> {
    let mut rows = collected.errors.clone();
    let mut add = |kind: &str, count: u64, detail: String| {
        if count > 0 {
            let kind = kind.to_string();
            rows.push(ErrorRow { kind, address: None, count, first: Nanos::ZERO, last: end, detail });
        }
    };
    for outcome in Outcome::ALL.into_iter().filter(|&o| o != Outcome::Matched && o != Outcome::NotReached) {
        let sent = if outcome.was_sent() { "sent, then failed" } else { "dropped before sending" };
        add(outcome.word(), ledger.outcomes.of(outcome), sent.to_string());
    }
    let first = collected.totals.iter().find_map(|totals| totals.first_error_reply.clone());
    add("error_reply", ledger.receipts.error_replies, first.unwrap_or_default());
    for (text, &count) in &lanes.feed.misfits {
        add("payload", count, text.clone());
    }
    for (text, &count) in &lanes.mapping.refusals {
        add("mapping", count, text.clone());
    }
    rows
}

fn script_counts(tallies: &Tallies) -> ScriptCounts {
    let checks: BTreeMap<String, (u64, u64)> =
        tallies.checks.iter().map(|(name, check)| (name.clone(), (check.passed, check.failed))).collect();
    ScriptCounts { counters: tallies.counters.clone(), checks }
}
