//! Health: how far the numbers of a run can be trusted, and who held it back.

use std::time::Duration;

use serde::Serialize;

use crate::ledger::{Outcome, Outcomes};
use crate::recorder::histogram::percentile_us;
use crate::recorder::summary::{Summary, ThresholdRow};
use crate::report::figures::{count, duration, grouped, micros, percent, rate};

/// Above this share of a processor a worker has no time left to be punctual.
const BUSY: f64 = 0.95;

/// From this lag (p99) on, requests are not sent when they are due.
const LATE_US: u64 = 1_000;

/// From this lag (p99) on, somebody held the run back, whoever it was.
const VERY_LATE_US: u64 = 10_000;

/// From this share of requests that waited for room on, or found none, connections were what they waited for:
/// the share that the 99th percentile leaves out.
const CROWDED: f64 = 0.01;

/// A target that takes less than this many times longer at the median than at its quickest has time to spare.
const UNHURRIED: u64 = 2;

/// With less than this share of the planned rate, the plan was not carried out.
const CARRIED_OUT: f64 = 0.99;

/// From this response time (p99) on, and with a lag of a tenth of it at most, the target is slow.
const SLOW_US: u64 = 100_000;

/// From this on, a write of mappings is slow.
const SLOW_WRITE: Duration = Duration::from_millis(500);

/// Who held a run back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// Nobody.
    None,
    /// The runner itself: its numbers say nothing about the target.
    Generator,
    /// The Lua hooks.
    Script,
    /// Redis, or what stands for it.
    Store,
    /// The connections that the plan gives to the target.
    Connections,
    /// The service under test.
    Target,
}

impl Party {
    /// The word used in files and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Party::None => "none",
            Party::Generator => "generator",
            Party::Script => "script",
            Party::Store => "store",
            Party::Connections => "connections",
            Party::Target => "target",
        }
    }
}

/// Who held a run back, and why that is thought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bottleneck {
    /// Who.
    pub party: Party,
    /// Why, in a sentence without a full stop.
    pub because: String,
}

/// The numbers that the rules look at.
struct Facts {
    lag_us: u64,
    response_us: u64,
    service_us: u64,
    busiest: f64,
    /// Lua time as a share of the run's time.
    script_share: f64,
    /// Requests in flight per connection slot, mean over the run (Little's law).
    in_flight: f64,
    slots: u64,
    /// Lag p99 is above 1 ms, or 1 % of the requests were so late that they were dropped.
    late: bool,
    /// The same with 10 ms.
    very_late: bool,
    /// Requests that waited for room or found none, as a share of those that came due.
    crowded: f64,
    /// Service time at its quickest (5th percentile) and at the median, in microseconds.
    quick_us: u64,
    median_us: u64,
}

impl Facts {
    fn of(summary: &Summary) -> Facts {
        let seconds = summary.duration.as_secs_f64();
        let share = |time: Duration| if seconds > 0.0 { time.as_secs_f64() / seconds } else { 0.0 };
        let latencies = &summary.latencies;
        let service = &latencies.service;
        let answered = summary.ledger.outcomes.of(Outcome::Matched) as f64;
        let mean_s = if service.is_empty() { 0.0 } else { service.mean() / 1e9 };
        let slots = summary.connections_opened.saturating_sub(summary.reconnects);
        let in_flight =
            if seconds > 0.0 && slots > 0 { answered * mean_s / seconds / slots as f64 } else { 0.0 };
        let lag_us = percentile_us(&latencies.lag, 99.0);
        let (due, outcomes) = counted(summary);
        let dropped_late = outcomes.of(Outcome::Late);
        let too_late = dropped_late > 0 && dropped_late as f64 >= CROWDED * due as f64;
        Facts {
            lag_us,
            response_us: percentile_us(&latencies.response, 99.0),
            service_us: percentile_us(service, 99.0),
            busiest: summary.health.worker_cpu.iter().map(|&time| share(time)).fold(0.0, f64::max),
            script_share: share(summary.health.script_time),
            in_flight,
            slots,
            late: lag_us > LATE_US || too_late,
            very_late: lag_us > VERY_LATE_US || too_late,
            crowded: crowded(summary),
            quick_us: percentile_us(service, 5.0),
            median_us: percentile_us(service, 50.0),
        }
    }

    /// Requests left late, and it was not for want of room on their connections.
    fn late_with_room(&self) -> bool {
        self.late && self.crowded < CROWDED
    }
}

/// What came due outside of warm-up stages, whose lag is not counted either, and how it ended.
fn counted(summary: &Summary) -> (u64, Outcomes) {
    let (mut due, mut outcomes) = (0, Outcomes::default());
    for row in summary.stages.iter().filter(|row| !row.warmup) {
        due += row.window.scheduled;
        outcomes.merge(&row.window.outcomes);
    }
    (due, outcomes)
}

/// Says who held the run back. The first rule that holds decides. Lag is that of requests that were sent: where 1 % or
/// more were so late that they were dropped, it counts as above both bounds.
///
/// 1. A worker used more than 95 % of its processor, lag p99 is above 1 ms, and connections had room: the generator.
///    Without room it is not known what it was that a worker, which polls while it waits, was waiting for.
/// 2. Workers waited for payloads, lag p99 is above 1 ms, and connections had room: the script if Lua ran for at
///    least half of the time, else the store.
/// 3. Lag p99 is above 10 ms and at least 1 % of the requests waited for room on their connection, or found none:
///    the connections if the target was as quick as ever (service_time p50 at most twice its p5), else the
///    target. With fewer, the generator.
/// 4. Requests failed or timed out, or response p99 is above 100 ms and ten times the lag: the target.
/// 5. The store was away, or a write took longer than 500 ms: the store. It delays no request.
/// 6. Else nobody.
pub fn bottleneck(summary: &Summary) -> Bottleneck {
    let facts = Facts::of(summary);
    let lag = micros(facts.lag_us);
    let health = &summary.health;
    let outcomes = &summary.ledger.outcomes;
    let found = |party, because| Bottleneck { party, because };
    if facts.busiest > BUSY && facts.late_with_room() {
        let busy = percent(facts.busiest, 1.0);
        let because =
            format!("a worker used {busy} of its processor and lag p99 is {lag}; add workers or machines");
        return found(Party::Generator, because);
    }
    if health.starved > 0 && facts.late_with_room() {
        let waited = format!("workers waited {} for payloads", count(health.starved, "time"));
        if facts.script_share >= 0.5 {
            let lua = percent(facts.script_share, 1.0);
            return found(Party::Script, format!("{waited} and Lua ran for {lua} of the time"));
        }
        let slowest = duration(health.slowest_fetch);
        return found(Party::Store, format!("{waited}; the slowest fetch of records took {slowest}"));
    }
    if facts.very_late {
        return very_late(&facts, &lag);
    }
    let (timed_out, failed) = (outcomes.of(Outcome::TimedOut), outcomes.failed());
    if timed_out + failed > 0 {
        let because =
            format!("{} had no response in time and {} failed", count(timed_out, "request"), grouped(failed));
        return found(Party::Target, because);
    }
    if facts.response_us > SLOW_US && facts.response_us / 10 > facts.lag_us {
        let response = micros(facts.response_us);
        return found(Party::Target, format!("response_time p99 is {response} with a lag p99 of {lag}"));
    }
    if health.outages > 0 || health.slowest_write > SLOW_WRITE {
        let slowest = duration(health.slowest_write);
        let because = format!(
            "it was away {} and its slowest write took {slowest}; no request waited for it",
            count(health.outages, "time")
        );
        return found(Party::Store, because);
    }
    found(Party::None, nobody(summary, &lag))
}

fn very_late(facts: &Facts, lag: &str) -> Bottleneck {
    if facts.crowded >= CROWDED {
        let unhurried = facts.median_us <= facts.quick_us.saturating_mul(UNHURRIED);
        let (party, help) = match unhurried {
            true => (
                Party::Connections,
                "the target was as quick as ever: raise connections.count or connections.window",
            ),
            false => (
                Party::Target,
                "raise connections.count or connections.window to tell the target from its connections",
            ),
        };
        let because = format!(
            "requests waited for room: {} in flight on each of {} (mean), service_time p50 {} and p99 {}, \
             lag p99 {lag}; {help}",
            rate(facts.in_flight),
            count(facts.slots, "connection"),
            micros(facts.median_us),
            micros(facts.service_us),
        );
        return Bottleneck { party, because };
    }
    let because = format!("lag p99 is {lag} although connections had room; the machine was busy elsewhere");
    Bottleneck { party: Party::Generator, because }
}

fn nobody(summary: &Summary, lag: &str) -> String {
    if summary.ledger.sent == 0 {
        "nothing was sent".to_string()
    } else {
        format!("requests were sent when they were due (lag p99 {lag})")
    }
}

fn crowded(summary: &Summary) -> f64 {
    let overload = summary.ledger.outcomes.of(Outcome::Overload);
    match summary.operations() {
        0 => 0.0,
        operations => (summary.health.waited + overload) as f64 / operations as f64,
    }
}

/// Why what was measured says nothing about the target; `None` where it does.
///
/// The generator was saturated when requests left late (lag p99 above 1 ms) and what stood in their way was its own: a
/// worker without processor time (rule 1 of [`bottleneck`]), payloads that were not ready (rule 2), or a machine
/// that was busy elsewhere (rule 3). That makes a run invalid only where something was missed by it: every
/// threshold that does not hold is one that the lag or the dropped requests alone have broken, or all hold, but less
/// than 99 % of the planned rate was sent, since requests came too late or found no room in a queue.
pub fn saturation(summary: &Summary) -> Option<String> {
    let blame = bottleneck(summary);
    let waited_for_store = summary.health.starved > 0 && Facts::of(summary).late_with_room();
    let own = match blame.party {
        Party::Generator | Party::Script => true,
        Party::Store => waited_for_store,
        Party::None | Party::Connections | Party::Target => false,
    };
    let broken: Vec<&ThresholdRow> = summary.broken().collect();
    if !own || !broken.iter().all(|row| row.suffers_from_generator) {
        return None;
    }
    let missed = match broken.first() {
        Some(first) => format!("{} is broken by that", first.check),
        None if is_behind(summary) && dropped_itself(summary) => {
            let (planned, actual) = (rate(summary.rate_planned()), rate(summary.rate_actual()));
            format!("{actual} requests per second were sent where {planned} were planned")
        }
        None => return None,
    };
    Some(format!("the generator was saturated, so the result is not valid: {missed}; {}", blame.because))
}

/// Whether 1 % of the requests or more were dropped for want of time.
fn dropped_itself(summary: &Summary) -> bool {
    let (due, outcomes) = counted(summary);
    let own = outcomes.of(Outcome::Late) + outcomes.of(Outcome::Overload);
    own > 0 && own as f64 >= (1.0 - CARRIED_OUT) * due as f64
}

/// Whether less was sent than was planned, in a run that was not cut short.
fn is_behind(summary: &Summary) -> bool {
    let planned = summary.rate_planned();
    !summary.is_cut_short() && planned > 0.0 && summary.rate_actual() < CARRIED_OUT * planned
}

/// What is to be doubted, a sentence each. Empty when all is well.
pub fn warnings(summary: &Summary) -> Vec<String> {
    let mut found: Vec<String> =
        summary.imbalances.iter().map(|i| format!("the ledger does not balance: {i}")).collect();
    parties(summary, &mut found);
    punctuality(summary, &mut found);
    responses(summary, &mut found);
    found
}

fn parties(summary: &Summary, found: &mut Vec<String>) {
    if let Some(responder) = summary.responder.filter(|responder| !responder.agrees()) {
        found.push(format!(
            "the responder issued {} and {} were received, with {} unanswered",
            count(responder.issued, "id"),
            grouped(responder.received),
            count(responder.unanswered, "request")
        ));
    }
    if let Some(back) = summary.read_back.filter(|back| back.missing + back.different > 0) {
        found.push(format!(
            "of {} looked for in the store, {} are missing and {} hold another response",
            count(back.expected, "mapping"),
            grouped(back.missing),
            grouped(back.different)
        ));
    }
    if summary.journaled > 0 {
        let waiting = count(summary.journaled, "response");
        found.push(format!(
            "{waiting} wait in the journal; `runner flush` writes them when the store is back"
        ));
    }
    if summary.health.outages > 0 {
        found.push(format!("the store was away {}", count(summary.health.outages, "time")));
    }
}

fn punctuality(summary: &Summary, found: &mut Vec<String>) {
    let facts = Facts::of(summary);
    if facts.lag_us > LATE_US {
        let lag = micros(facts.lag_us);
        found.push(format!(
            "1 % of the requests left {lag} or more after they were due; response_time counts that"
        ));
    }
    // Exact pacing polls while it waits, so a busy worker alone says nothing.
    if facts.busiest > 0.8 && facts.lag_us > LATE_US {
        let busy = percent(facts.busiest, 1.0);
        found.push(format!("the busiest worker used {busy} of a processor; its numbers are near its limits"));
    }
    let starved = summary.health.starved;
    if starved > 0 {
        found.push(format!("workers waited {} for payloads; raise redis.prefetch", count(starved, "time")));
    }
    if is_behind(summary) {
        let (planned, actual) = (rate(summary.rate_planned()), rate(summary.rate_actual()));
        found.push(format!("{actual} requests per second were sent where {planned} were planned"));
    }
}

fn responses(summary: &Summary, found: &mut Vec<String>) {
    let receipts = &summary.ledger.receipts;
    let odd = [
        (receipts.duplicate, "came twice"),
        (receipts.late, "came after their time-out"),
        (receipts.unknown, "belong to no request"),
        (receipts.malformed, "could not be read"),
    ];
    let refused = receipts.error_replies;
    if refused > 0 {
        let of = grouped(summary.ledger.outcomes.of(Outcome::Matched));
        found.push(format!("{} of {of} answered that the request is refused", count(refused, "response")));
    }
    for (number, what) in odd.into_iter().filter(|(number, _)| *number > 0) {
        found.push(format!("{} {what}", count(number, "response")));
    }
    if summary.ledger.sent > 0 && summary.latencies.lag.is_empty() {
        found.push("all requests were sent in warm-up stages: the latencies are empty".to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{blank, typical};
    use crate::units::Nanos;

    fn lagging(lag_ms: u64) -> Summary {
        let mut summary = typical();
        summary.latencies.lag.saturating_record_n(lag_ms * 1_000_000, 1_000_000);
        summary
    }

    #[test]
    fn nobody_is_blamed_for_a_run_that_went_as_planned() {
        assert_eq!(bottleneck(&typical()).party, Party::None);
        assert_eq!(warnings(&typical()), Vec::<String>::new());
        let idle = bottleneck(&blank());
        assert_eq!((idle.party, idle.because.as_str()), (Party::None, "nothing was sent"));
    }

    #[test]
    fn a_busy_worker_that_is_late_is_the_generators_fault() {
        let mut summary = lagging(2);
        assert_eq!(bottleneck(&summary).party, Party::None);
        summary.health.worker_cpu = vec![Duration::ZERO, summary.duration.as_duration()];
        assert_eq!(bottleneck(&summary).party, Party::Generator);
        assert_eq!(bottleneck(&lagging(20)).party, Party::Generator);
    }

    #[test]
    fn a_run_that_is_late_because_its_connections_are_full_is_held_back_by_the_target() {
        let mut summary = lagging(20);
        summary.ledger.outcomes.add(Outcome::Overload, 200);
        summary.latencies.service.saturating_record_n(100_000_000, 20_000);
        assert_eq!(bottleneck(&summary).party, Party::Target);

        let mut summary = lagging(20);
        summary.health.waited = 134;
        assert_eq!(bottleneck(&summary).party, Party::Generator, "less than 1 %");
        summary.health.waited = 135;
        summary.latencies.service.saturating_record_n(100_000_000, 20_000);
        assert_eq!(bottleneck(&summary).party, Party::Target);
    }

    #[test]
    fn a_target_that_is_as_quick_as_ever_waits_for_connections() {
        let mut summary = lagging(20);
        summary.health.waited = 13_000;
        assert_eq!(bottleneck(&summary).party, Party::Connections);
    }

    /// 500 requests more come due in a stage that counts, and are dropped.
    fn drop_late(summary: &mut Summary) {
        summary.ledger.scheduled += 500;
        summary.ledger.outcomes.add(Outcome::Late, 500);
        let row = summary.stages.iter_mut().find(|row| !row.warmup).expect("a stage that counts");
        row.window.scheduled += 500;
        row.window.outcomes.add(Outcome::Late, 500);
    }

    fn broken(suffers_from_generator: bool) -> ThresholdRow {
        ThresholdRow {
            check: "lag p(99) < 1ms".to_string(),
            terms: String::new(),
            passed: false,
            measured: Some(20e6),
            unit: crate::units::Unit::Time,
            note: String::new(),
            suffers_from_generator,
        }
    }

    #[test]
    fn a_saturated_generator_makes_a_run_invalid_only_where_something_was_missed_by_it() {
        let mut busy = lagging(2);
        busy.health.worker_cpu = vec![busy.duration.as_duration()];
        assert_eq!(saturation(&busy), None, "late, and nobody minds");
        busy.thresholds = vec![broken(true)];
        let reason = saturation(&busy).expect("saturated");
        assert!(reason.contains("lag p(99) < 1ms is broken by that; a worker used 100 %"), "{reason}");
        busy.health.waited = 5000;
        assert_eq!(saturation(&busy), None, "its connections were full");
        busy.health.waited = 0;
        busy.thresholds.push(broken(false));
        assert_eq!(saturation(&busy), None, "the target has failed on its own");

        let mut behind = lagging(20);
        drop_late(&mut behind);
        assert!(saturation(&behind).expect("saturated").contains("112.5 requests per second were sent"));
        behind.health.waited = 5000;
        assert_eq!(saturation(&behind), None, "its connections were full");

        let mut starved = lagging(2);
        starved.thresholds = vec![broken(true)];
        assert_eq!(saturation(&starved), None, "on time, as far as is known");
        starved.health.starved = 3;
        assert!(saturation(&starved).is_some());
        let mut dropped = typical();
        dropped.health.starved = 3;
        drop_late(&mut dropped);
        assert_eq!(bottleneck(&dropped).party, Party::Store, "those that were sent left in time");
        assert!(saturation(&dropped).is_some());
        let mut slow = typical();
        slow.thresholds = vec![broken(true)];
        assert_eq!(saturation(&slow), None);
    }

    #[test]
    fn waiting_for_payloads_is_the_scripts_fault_or_the_stores() {
        let mut summary = lagging(2);
        summary.health.starved = 7;
        assert_eq!(bottleneck(&summary).party, Party::Store);
        summary.health.script_time = summary.duration.as_duration() * 6 / 10;
        assert_eq!(bottleneck(&summary).party, Party::Script);
    }

    #[test]
    fn time_outs_and_slow_responses_are_the_targets_fault() {
        let mut summary = typical();
        summary.ledger.outcomes.add(Outcome::TimedOut, 1);
        assert_eq!(bottleneck(&summary).party, Party::Target);
        let mut summary = typical();
        summary.latencies.response.saturating_record_n(200_000_000, 13_500);
        assert_eq!(bottleneck(&summary).party, Party::Target);
    }

    #[test]
    fn a_slow_write_is_named_although_no_request_waited_for_it() {
        let mut summary = typical();
        summary.health.slowest_write = Duration::from_secs(1);
        assert_eq!(bottleneck(&summary).party, Party::Store);
    }

    #[test]
    fn a_run_of_no_time_divides_by_nothing() {
        let mut summary = typical();
        summary.duration = Nanos::ZERO;
        summary.scheduled_duration = Nanos::ZERO;
        assert_eq!(bottleneck(&summary).party, Party::None);
        assert!(warnings(&summary).iter().all(|text| !text.contains("NaN") && !text.contains("inf")));
    }
}
