//! `runner validate`: every problem of every scenario, without opening a socket.

use crate::app::error::{Error, exit};
use crate::app::prepare::prepare;
use crate::app::{colour, say, to_stdout};
use crate::cli::ValidateArgs;
use crate::plan::segment::Segment;

pub(super) fn validate(args: &ValidateArgs) -> Result<u8, Error> {
    let mut code = exit::PASSED;
    let mut wrong = 0;
    for path in &args.scenarios {
        match prepare(path, &args.overrides, Segment::WHOLE) {
            Ok(prepared) => {
                let (plan, path) = (&prepared.plan, path.display());
                let line = format!("{path}: ok, {} requests, plan {}\n", plan.scheduled(), plan.fingerprint);
                to_stdout(line.as_bytes());
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
