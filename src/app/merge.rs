//! `runner merge`: the parts of one plan as one run.

use std::path::Path;
use std::time::SystemTime;

use crate::app::error::{Error, exit};
use crate::app::prepare::{Prepared, SCRIPT_COPY, prepare_again};
use crate::app::run::{decided, plan_json, worst};
use crate::app::{flush, replay, say, to_stdout};
use crate::cli::{MergeArgs, OverrideArgs};
use crate::plan::segment::Segment;
use crate::recorder::summary::{SecondRow, Summary};
use crate::report::hdr::LatencyLog;
use crate::report::merge::{Judge, merge};
use crate::report::saved::{self, Saved};
use crate::report::{self, Folder};
use crate::scenario::schema::ReportFile;
use crate::thresholds::Watch;

pub(super) fn merge_runs(args: &MergeArgs) -> Result<u8, Error> {
    // A run that was killed has no summary, and what it has measured is still worth something.
    let is_taken = [saved::NAME, report::PLAN].iter().any(|name| args.out.join(name).exists());
    if is_taken || args.out.is_dir() && !flush::journals(&args.out)?.is_empty() {
        return Err(Error::OutTaken(args.out.clone()));
    }
    let folder = Folder::create(&args.out)?;
    let first = args.runs.first().map_or(Path::new(""), |run| run.as_path());
    let plan = whole_plan(first)?;
    let mut judge = Bench { folder: &folder, plan: plan.as_ref(), watch: None, log: None };
    let saved = merge(&args.runs, &folder, &mut judge)?;
    copy_of(first, &folder)?;
    if let Some(prepared) = &plan {
        folder.write(
            "plan.json",
            plan_json(prepared, saved.run_id(), &args.out, saved.is_simulated()).as_bytes(),
        )?;
    }
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

/// The plan of the whole, from what the first part was made from. `None` where that is not there, or not what was
/// sent.
fn whole_plan(part: &Path) -> Result<Option<Prepared>, Error> {
    if !part.join("effective.yaml").exists() {
        say("effective.yaml is not there: thresholds are not judged again");
        return Ok(None);
    }
    let mut prepared = prepare_again(part, &OverrideArgs::default(), Segment::WHOLE)?;
    if let Some(speed) = replay::speed_of(part)? {
        let replayed = prepared.plan.replayed(speed, None);
        prepared.plan = replayed.map_err(|error| Error::Replay(error.to_string()))?;
    }
    let sent = Saved::of_folder(part)?;
    if sent.plan() != prepared.plan.fingerprint {
        say(&format!(
            "effective.yaml makes the plan {} and {} was sent: thresholds are not judged again",
            prepared.plan.fingerprint,
            sent.plan()
        ));
        return Ok(None);
    }
    Ok(Some(prepared))
}

/// Takes over what the first part was made from.
fn copy_of(part: &Path, folder: &Folder) -> Result<(), Error> {
    for name in ["effective.yaml", SCRIPT_COPY] {
        let path = part.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => folder.write(name, &bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Read { path, source }),
        }
    }
    Ok(())
}

/// Judges the merged run as the parts were judged.
struct Bench<'a> {
    folder: &'a Folder,
    plan: Option<&'a Prepared>,
    watch: Option<Watch>,
    log: Option<LatencyLog>,
}

impl Judge for Bench<'_> {
    fn judges_again(&self, code: u8) -> bool {
        code == exit::THRESHOLD && self.watch.is_some()
    }

    fn worst(&self, codes: &[u8]) -> u8 {
        worst(codes.iter().copied())
    }

    fn begins(&mut self, started_at: SystemTime) -> Result<(), report::Error> {
        let Some(Prepared { plan, loaded, .. }) = self.plan else { return Ok(()) };
        self.watch = Some(Watch::new(plan));
        if loaded.scenario.report.files.contains(&ReportFile::Latency) {
            self.log = Some(LatencyLog::new(self.folder, plan, started_at)?);
        }
        Ok(())
    }

    fn second(&mut self, second: &SecondRow) -> Result<(), report::Error> {
        if let Some(watch) = &mut self.watch {
            watch.second(second);
        }
        self.log.as_mut().map_or(Ok(()), |log| log.row(second))
    }

    fn ends(&mut self, summary: &mut Summary) -> Result<(), report::Error> {
        if let Some(log) = self.log.take() {
            log.finish(&summary.latencies)?;
        }
        let Some(watch) = &self.watch else { return Ok(()) };
        summary.thresholds = watch.judge(summary);
        if summary.verdict.passed {
            summary.verdict = decided(summary);
        }
        Ok(())
    }
}
