//! `runner validate`: every problem of every scenario, without opening a socket.

use crate::app::error::{Error, exit};
use crate::app::prepare::{Prepared, prepare};
use crate::app::run::runs_of;
use crate::app::{colour, say, to_stdout};
use crate::cli::ValidateArgs;
use crate::plan::segment::Segment;

pub(super) fn validate(args: &ValidateArgs) -> Result<u8, Error> {
    let mut code = exit::PASSED;
    let mut wrong = 0;
    for path in &args.scenarios {
        match prepare(path, &args.overrides, Segment::WHOLE) {
            Ok(rows) => {
                for row in rows {
                    to_stdout(found(&path.display().to_string(), &row).as_bytes());
                }
            }
            Err(error) => {
                wrong += 1;
                code = error.code();
                match &error {
                    Error::Scenario(problems) => say(&problems.render(colour())),
                    other => say(&format!("error: {}: {other}", path.display())),
                }
            }
        }
    }
    if wrong > 0 {
        let of = args.scenarios.len();
        say(&format!("error: {wrong} of {of} scenarios cannot be run (exit {code})"));
    }
    Ok(code)
}

/// What a scenario, or a row of its matrix, comes to.
fn found(path: &str, row: &Prepared) -> String {
    let plan = &row.plan;
    if let Some(search) = &row.loaded.scenario.search {
        let trials = runs_of(row);
        return format!(
            "{path}: ok, search from {} to {} per second in at most {trials} trials\n",
            search.from, search.to
        );
    }
    let values = row.values.iter().map(|(path, value)| format!(" {path}={value}"));
    let requests = match (plan.total(), plan.end()) {
        (None, Some(end)) => format!("requests for {end}"),
        _ => format!("{} requests", plan.scheduled()),
    };
    format!("{path}:{} ok, {requests}, plan {}\n", values.collect::<String>(), plan.fingerprint)
}
