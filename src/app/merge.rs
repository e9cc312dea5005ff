//! `runner merge`: the parts of one plan as one run.

use std::path::Path;
use std::time::SystemTime;

use crate::app::error::{Error, exit};
use crate::app::prepare::{Prepared, SCRIPT_COPY, prepare_again};
use crate::app::run::{decided, plan_json, worst};
use crate::app::{say, to_stdout};
use crate::cli::{MergeArgs, OverrideArgs};
use crate::plan::segment::Segment;
use crate::recorder::summary::{SecondRow, Summary};
use crate::report::hdr::LatencyLog;
use crate::report::merge::{Judge, merge};
use crate::report::{self, Folder};
use crate::scenario::schema::ReportFile;
use crate::thresholds::Watch;

pub(super) fn merge_runs(args: &MergeArgs) -> Result<u8, Error> {
    if args.out.join(crate::report::saved::NAME).exists() {
        return Err(Error::OutTaken(args.out.clone()));
    }
    let folder = Folder::create(&args.out)?;
    let first = args.runs.first().map_or(Path::new(""), |run| run.as_path());
    let plan = whole_plan(first)?;
    let mut judge = Bench { folder: &folder, plan: plan.as_ref(), watch: None, log: None };
    let saved = merge(&args.runs, &folder, &mut judge)?;
    copy_of(first, &folder)?;
    if let Some(prepared) = &plan {
        folder.write("plan.json", plan_json(prepared, saved.run_id(), &args.out).as_bytes())?;
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

/// The plan of the whole, from what the first part was made from. `None` where that is not there.
fn whole_plan(part: &Path) -> Result<Option<Prepared>, Error> {
    if part.join("effective.yaml").exists() {
        return prepare_again(part, &OverrideArgs::default(), Segment::WHOLE).map(Some);
    }
    say("effective.yaml is not there: thresholds are not judged again");
    Ok(None)
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
    fn worst(&self, codes: &[u8]) -> u8 {
        let judged_again = |code: u8| code == exit::THRESHOLD && self.watch.is_some();
        worst(codes.iter().copied().filter(|&code| !judged_again(code)))
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
