//! `junit.xml`: how the run ended and each threshold as a test case, for systems that read JUnit.
//!
//! A threshold that does not hold is a failure. Whatever else the run ended with is an error of its first case.

use std::io;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::recorder::summary::{Summary, ThresholdRow};
use crate::report::figures::found;
use crate::report::{Error, Folder};

/// The name of the file.
pub const NAME: &str = "junit.xml";

/// The case of the run itself.
const RUN: &str = "the run is valid and complete";

/// The word of a verdict that thresholds alone have made.
const BY_THRESHOLDS: &str = "threshold";

/// Writes the file.
///
/// # Errors
/// When it cannot be written.
pub fn write(folder: &Folder, summary: &Summary) -> Result<(), Error> {
    let written = report(summary).to_string();
    let xml = written.map_err(|error| Error::Write {
        path: folder.path().join(NAME),
        source: io::Error::other(error.to_string()),
    })?;
    folder.write(NAME, xml.as_bytes())
}

fn report(summary: &Summary) -> Report {
    let time = summary.duration.as_duration();
    let mut suite = TestSuite::new(summary.scenario.as_str());
    suite.set_time(time);
    suite.add_property(("run", summary.run_id.as_str()));
    suite.add_property(("plan", summary.plan.as_str()));
    suite.add_property(("seed", summary.seed.to_string().as_str()));
    suite.add_test_case(of_run(summary, time));
    for row in &summary.thresholds {
        suite.add_test_case(of_threshold(row, summary));
    }
    let mut report = Report::new(summary.run_id.as_str());
    report.set_time(time);
    report.add_test_suite(suite);
    report
}

fn of_run(summary: &Summary, time: Duration) -> TestCase {
    let verdict = &summary.verdict;
    let status = if verdict.passed || verdict.word == BY_THRESHOLDS {
        TestCaseStatus::success()
    } else {
        let message = format!("{} (exit {})", verdict.reason, verdict.exit_code);
        not_ok(NonSuccessKind::Error, verdict.word, &message)
    };
    let mut case = TestCase::new(RUN, status);
    case.set_classname(summary.scenario.as_str()).set_time(time);
    case
}

fn of_threshold(row: &ThresholdRow, summary: &Summary) -> TestCase {
    let status = match row.passed {
        true => TestCaseStatus::success(),
        false => not_ok(NonSuccessKind::Failure, BY_THRESHOLDS, &found(row)),
    };
    let terms = if row.terms.is_empty() { String::new() } else { format!(" ({})", row.terms) };
    let mut case = TestCase::new(format!("{}{terms}", row.check), status);
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
        let report = report(summary);
        (report.tests, report.failures, report.errors)
    }

    #[test]
    fn a_broken_threshold_is_a_failure_and_anything_else_an_error_of_the_run() {
        let mut summary = typical();
        summary.thresholds = vec![row(true), row(false)];
        (summary.verdict.passed, summary.verdict.word) = (false, "threshold");
        assert_eq!(counts(&summary), (3, 1, 0));
        let xml = report(&summary).to_string().expect("XML");
        assert!(xml.contains("measured 81 ms") && xml.contains("&lt; 50ms (stage up)"), "{xml}");
        (summary.verdict.word, summary.verdict.reason) = ("lost", "2 are <missing>\u{1b}".to_string());
        assert_eq!(counts(&summary), (3, 1, 1));
        let xml = report(&summary).to_string().expect("XML");
        assert!(xml.contains("2 are &lt;missing&gt;") && !xml.contains('\u{1b}'), "{xml}");
    }
}
