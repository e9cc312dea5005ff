//! `junit.xml`: how the run ended and each threshold as a test case, for systems that read JUnit.
//!
//! A threshold that does not hold is a failure. Whatever else the run ended with is an error of its first case.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::recorder::summary::Summary;
use crate::report::compare::{Compared, Judgement};
use crate::report::json::{Threshold, Whole, whole};

/// The name of the file.
pub const NAME: &str = "junit.xml";

/// The case of the run itself.
const RUN: &str = "the run is valid and complete";

/// The word of a verdict that thresholds alone have made.
const BY_THRESHOLDS: &str = "threshold";

/// The word of a verdict that an earlier run alone has made.
pub const REGRESSION: &str = "regression";

/// The word of the verdict on a run of which nobody can tell whether it is worse than an earlier one.
pub const UNDECIDED: &str = "undecided";

/// The file of a run, and of what it came to against an earlier one.
pub fn xml(summary: &Summary, compared: Option<&Compared>) -> String {
    text(&Whole { baseline: compared.cloned(), ..whole(summary) })
}

/// The file of a run that is summed up.
pub(super) fn text(whole: &Whole) -> String {
    // Cannot fail: it is written into memory.
    report(whole).to_string().unwrap_or_default()
}

fn report(summary: &Whole) -> Report {
    let time = Duration::try_from_secs_f64(summary.duration_s).unwrap_or_default();
    let mut suite = TestSuite::new(summary.scenario.as_str());
    suite.set_time(time);
    suite.add_property(("run", summary.run_id.as_str()));
    suite.add_property(("plan", summary.plan.as_str()));
    suite.add_property(("seed", summary.seed.to_string().as_str()));
    if summary.simulated {
        suite.add_property(("simulated", "true"));
    }
    suite.add_test_case(of_run(summary, time));
    for row in &summary.thresholds {
        suite.add_test_case(of_threshold(row, summary));
    }
    if let Some(compared) = &summary.baseline {
        suite.add_test_case(of_baseline(compared, summary));
    }
    let mut report = Report::new(summary.run_id.as_str());
    report.set_time(time);
    report.add_test_suite(suite);
    report
}

fn of_run(summary: &Whole, time: Duration) -> TestCase {
    let status =
        if summary.passed || [BY_THRESHOLDS, REGRESSION, UNDECIDED].contains(&summary.outcome.as_str()) {
            TestCaseStatus::success()
        } else {
            let message = format!("{} (exit {})", summary.reason, summary.exit_code);
            not_ok(NonSuccessKind::Error, &summary.outcome, &message)
        };
    let mut case = TestCase::new(RUN, status);
    case.set_classname(summary.scenario.as_str()).set_time(time);
    case
}

fn of_threshold(row: &Threshold, summary: &Whole) -> TestCase {
    let status = match row.passed {
        true => TestCaseStatus::success(),
        false => not_ok(NonSuccessKind::Failure, BY_THRESHOLDS, &row.found),
    };
    let terms = if row.terms.is_empty() { String::new() } else { format!(" ({})", row.terms) };
    let mut case = TestCase::new(format!("{}{terms}", row.check), status);
    case.set_classname(summary.scenario.as_str()).set_time(Duration::ZERO);
    case
}

fn of_baseline(compared: &Compared, summary: &Whole) -> TestCase {
    let status = match compared.failure() {
        None => TestCaseStatus::success(),
        Some((Judgement::TooShort, why)) => not_ok(NonSuccessKind::Error, UNDECIDED, &why),
        Some((_, why)) => not_ok(NonSuccessKind::Failure, REGRESSION, &why),
    };
    let mut case = TestCase::new(format!("no regression against {}", compared.names()[0]), status);
    case.set_classname(summary.scenario.as_str()).set_time(Duration::ZERO);
    case
}

fn not_ok(kind: NonSuccessKind, word: &str, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(word).set_message(message);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::summary::ThresholdRow;
    use crate::report::tests::typical;
    use crate::units::Unit;

    fn row(passed: bool) -> ThresholdRow {
        ThresholdRow {
            check: "response_time p(99) < 50ms".to_string(),
            terms: "stage up".to_string(),
            passed,
            measured: Some(81e6),
            unit: Unit::Time,
            note: String::new(),
            suffers_from_generator: true,
        }
    }

    fn counts(summary: &Summary) -> (usize, usize, usize) {
        let report = report(&whole(summary));
        (report.tests, report.failures, report.errors)
    }

    #[test]
    fn a_broken_threshold_is_a_failure_and_anything_else_an_error_of_the_run() {
        let mut summary = typical();
        summary.thresholds = vec![row(true), row(false)];
        (summary.verdict.passed, summary.verdict.word) = (false, "threshold".into());
        assert_eq!(counts(&summary), (3, 1, 0));
        let xml = super::xml(&summary, None);
        assert!(xml.contains("measured 81 ms") && xml.contains("&lt; 50ms (stage up)"), "{xml}");
        (summary.verdict.word, summary.verdict.reason) = ("lost".into(), "2 are <missing>\u{1b}".to_string());
        assert_eq!(counts(&summary), (3, 1, 1));
        let xml = super::xml(&summary, None);
        assert!(xml.contains("2 are &lt;missing&gt;") && !xml.contains('\u{1b}'), "{xml}");
    }
}
