//! What should stand in the tables that are made from a summary, by what `summary.json` says.

use std::collections::BTreeMap;

use crate::ledger::Outcome;
use crate::report::csv::{DROPPED, FAILED, decimal};
use crate::report::figures::exact_seconds;
use crate::report::json::{Stage, Times, Whole};
use crate::units::Nanos;

/// Columns that earlier versions did not write.
pub(super) const LATER: [&str; 3] = ["error_replies", "simulated", "warmup"];

/// The row of `summary.csv`, in the order of its columns.
pub(super) fn summary(whole: &Whole) -> Vec<String> {
    let account = &whole.ledger;
    let mut row = vec![
        whole.run_id.clone(),
        whole.scenario.clone(),
        whole.plan.clone(),
        whole.seed.to_string(),
        whole.started_at.clone(),
        seconds(whole.duration_s),
        whole.outcome.clone(),
        whole.exit_code.to_string(),
    ];
    let counts = [
        account.scheduled,
        account.sent,
        account.dropped,
        account.not_reached,
        account.matched,
        account.failed,
        account.timed_out,
        account.duplicate,
        account.late,
        account.unknown,
        account.malformed,
        account.mapped.unwrap_or(0),
        account.map_failed.unwrap_or(0),
    ];
    row.extend(counts.map(|count| count.to_string()));
    row.extend([decimal(whole.rate_planned), decimal(whole.rate_actual)]);
    row.extend([whole.connections.opened, whole.connections.reconnects].map(|count| count.to_string()));
    for times in [&whole.response_time, &whole.service_time, &whole.lag] {
        let Times { p50_us, p90_us, p99_us, p99_9_us, max_us, .. } = times;
        row.extend([p50_us, p90_us, p99_us, p99_9_us, max_us].map(|time| time.to_string()));
    }
    row.push(account.received.to_string());
    let of = |kinds: &BTreeMap<String, u64>, outcome: &Outcome| {
        kinds.get(outcome.word()).copied().unwrap_or(0).to_string()
    };
    row.extend(FAILED.iter().map(|outcome| of(&account.failed_by, outcome)));
    row.extend(DROPPED.iter().map(|outcome| of(&account.dropped_by, outcome)));
    row.extend([whole.reason.clone(), account.error_replies.to_string(), whole.simulated.to_string()]);
    row
}

/// A row of `stages.csv`, in the order of its columns.
pub(super) fn stage(stage: &Stage) -> Vec<String> {
    let (response, service, lag) = (&stage.response_time, &stage.service_time, &stage.lag);
    let mut row = vec![stage.stage.clone(), stage.kind.clone(), seconds(stage.duration_s)];
    row.extend([stage.scheduled, stage.sent, stage.matched].map(|count| count.to_string()));
    row.extend([decimal(stage.rate_planned), decimal(stage.rate_actual)]);
    let numbers = [
        response.p50_us,
        response.p99_us,
        response.max_us,
        service.p99_us,
        lag.p99_us,
        stage.failed,
        stage.timed_out,
        stage.dropped,
    ];
    row.extend(numbers.map(|number| number.to_string()));
    row.extend([stage.warmup.to_string(), stage.error_replies.to_string()]);
    row
}

/// Seconds as they stand in a table: the same number to the nanosecond, for as long as a load may be.
fn seconds(seconds: f64) -> String {
    exact_seconds(Nanos((seconds * 1e9).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::csv::{STAGES, SUMMARY, stages_csv, summary_csv};
    use crate::report::json::whole;
    use crate::report::tests::typical;

    #[test]
    fn what_should_stand_in_a_table_is_what_is_written_into_it() {
        let mut summary = typical();
        (summary.verdict.word, summary.verdict.reason) = ("lost".into(), "2, \"and\" 3".to_string());
        summary.verdict.exit_code = 111;
        summary.stages[0].name = "=up".to_string();
        let whole = whole(&summary);
        let read = |bytes: Vec<u8>| {
            let mut reader = ::csv::Reader::from_reader(bytes.as_slice());
            let row = reader.records().next().expect("a row").expect("readable");
            row.iter().map(|cell| crate::report::csv::unguarded(cell).to_string()).collect::<Vec<_>>()
        };
        let (of_summary, of_stage) = (super::summary(&whole), stage(&whole.stages[0]));
        assert_eq!(of_summary, read(summary_csv(&summary)));
        assert_eq!(of_stage, read(stages_csv(&summary)));
        assert_eq!(of_summary.len(), SUMMARY.split(',').count());
        assert_eq!(of_stage.len(), STAGES.split(',').count());
    }
}
