//! `runner verify`: whether the files of a run agree with each other.

use std::collections::BTreeMap;
use std::path::Path;

use crate::app::error::{Error, exit};
use crate::app::{parts, prepare, say, to_stdout};
use crate::cli::VerifyRunArgs;
use crate::report::verify::{Finding, verify};
use crate::scenario::Overrides;

pub(super) fn verify_run(args: &VerifyRunArgs) -> Result<u8, Error> {
    use std::io::IsTerminal;
    let verified = verify(&args.run)?.where_asked_for(&asked_for(&args.run));
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let text = match args.json {
        true => verified.json(),
        false => verified.text(wanted && std::io::stdout().is_terminal()),
    };
    to_stdout(text.as_bytes());
    let (held, wrong) = (verified.count(Finding::Holds), verified.count(Finding::Wrong));
    if wrong > 0 {
        return Err(Error::FilesDisagree { run: args.run.clone(), wrong, of: held + wrong });
    }
    say(&format!("VERIFIED {}: {held} checks hold", verified.run_id));
    Ok(exit::PASSED)
}

/// The files that a run was to leave, by what it was made from; none where that cannot be read any more.
fn asked_for(run: &Path) -> Vec<String> {
    // What stands in `effective.yaml` has been substituted.
    let overrides = Overrides { env: BTreeMap::new(), ..Overrides::default() };
    let rows = prepare::load(&run.join("effective.yaml"), &overrides).unwrap_or_default();
    rows.first().map(|row| parts::file_names(&row.loaded.scenario)).unwrap_or_default()
}
