//! `runner merge`: the parts of one plan as one run.

use crate::app::error::{Error, exit};
use crate::app::run::worst;
use crate::app::{say, to_stdout};
use crate::cli::MergeArgs;
use crate::report::Folder;
use crate::report::merge::merge;

pub(super) fn merge_runs(args: &MergeArgs) -> Result<u8, Error> {
    if args.out.join(crate::report::saved::NAME).exists() {
        return Err(Error::OutTaken(args.out.clone()));
    }
    let folder = Folder::create(&args.out)?;
    let saved = merge(&args.runs, &folder, |codes| worst(codes.iter().copied()))?;
    if args.json {
        to_stdout(saved.json().as_bytes());
    }
    let (code, reason) = saved.verdict();
    let word = if code == exit::PASSED { "PASSED" } else { "FAILED" };
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    say(&format!("{} runs are one in {}", args.runs.len(), folder.path().display()));
    say(&format!("{word} {} (exit {code}){why}", saved.run_id()));
    Ok(code)
}
