//! `runner report`: makes the reports of a run again, from the files in its folder.

use crate::app::error::{Error, exit};
use crate::app::{say, to_stdout};
use crate::cli::ReportArgs;
use crate::report::Folder;
use crate::report::saved::{self, Saved};

pub(super) fn report(args: &ReportArgs) -> Result<u8, Error> {
    let saved = Saved::read(&args.run)?;
    let folder = Folder::create(args.out.as_deref().unwrap_or(&args.run))?;
    folder.write(saved::NAME, saved.json().as_bytes())?;
    folder.write("report.html", saved.html().as_bytes())?;
    if args.json {
        to_stdout(saved.json().as_bytes());
    }
    say(&format!("{} and report.html of {} are in {}", saved::NAME, saved.run_id(), folder.path().display()));
    Ok(exit::PASSED)
}
