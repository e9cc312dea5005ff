//! `runner report`: makes the reports of a run again, from the files in its folder.

use crate::app::error::{Error, exit};
use crate::app::{say, to_stdout};
use crate::cli::ReportArgs;
use crate::report::saved::{self, Saved};
use crate::report::{Folder, junit};

pub(super) fn report(args: &ReportArgs) -> Result<u8, Error> {
    let saved = Saved::read(&args.run)?;
    let folder = Folder::create(args.out.as_deref().unwrap_or(&args.run))?;
    folder.write(saved::NAME, saved.json().as_bytes())?;
    folder.write("report.html", saved.html().as_bytes())?;
    folder.write(junit::NAME, saved.junit().as_bytes())?;
    if args.json {
        to_stdout(saved.json().as_bytes());
    }
    let (run, place) = (saved.run_id(), folder.path().display());
    say(&format!("{}, report.html and {} of {run} are in {place}", saved::NAME, junit::NAME));
    Ok(exit::PASSED)
}
