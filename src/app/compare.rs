//! `runner compare`: runs against an earlier one, and `run --baseline`: a run against one as it ends.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::app::error::{Error, exit};
use crate::app::{say, to_stdout};
use crate::cli::{BoundsArgs, CompareArgs, RunArgs};
use crate::plan::Plan;
use crate::report::compare::{self, BLOCKS, Bounds, Compared, Judgement, LEAST_SECONDS, Side};
use crate::report::figures::count;
use crate::report::saved::Saved;
use crate::report::{self, Folder};
use crate::scenario::schema::{ReportFile, Scenario};

pub(super) fn compare_runs(args: &CompareArgs) -> Result<u8, Error> {
    let base = side(&args.base)?;
    let news = args.new.iter().map(|path| side(path)).collect::<Result<Vec<_>, _>>()?;
    let bounds = bounds(&args.bounds);
    let all = news.iter().map(|new| compare::compare(&base, new, &bounds, args.force));
    let all = all.collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &args.html {
        write(path, compare::html(&base, &news, &all).as_bytes())?;
    }
    let text = match (args.json, args.markdown) {
        (true, _) => compare::json(&all),
        (_, true) => compare::markdown(&all),
        _ => {
            let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            compare::text(&all, wanted && std::io::stdout().is_terminal())
        }
    };
    to_stdout(text.as_bytes());
    for compared in all.iter().filter(|compared| !compared.differs().is_empty()) {
        let [base, new] = compared.names();
        say(&format!("warning: {base} and {new} had different loads: {}", compared.differs()));
    }
    let worse: Vec<&Compared> =
        all.iter().filter(|compared| compared.judgement() == Judgement::Regression).collect();
    match worse[..] {
        [] => {}
        [one] => return Err(Error::Regression(format!("{}: {}", one.names()[1], one.reason()))),
        _ => return Err(Error::Regression(format!("{} of {} runs are worse", worse.len(), all.len()))),
    }
    if let Some(short) = all.iter().find(|compared| compared.judgement() == Judgement::TooShort) {
        return Err(Error::Undecided(format!("{}: {}", short.names()[1], short.reason())));
    }
    for compared in &all {
        let reason = if compared.reason().is_empty() { "" } else { ": " };
        let words = compared.judgement().words();
        say(&format!("{words}: {}{reason}{}", compared.names()[1], compared.reason()));
    }
    Ok(exit::PASSED)
}

/// What was typed: a run folder, or the summary of one.
fn side(path: &Path) -> Result<Side, Error> {
    match path.exists() {
        true => Ok(Side::read(path)?),
        false => Err(Error::Baseline {
            baseline: path.to_path_buf(),
            why: "there is no such file or folder".to_string(),
        }),
    }
}

fn bounds(args: &BoundsArgs) -> Bounds {
    Bounds::new(args.min_change, args.min_time, args.min_share)
}

/// Writes a page where it was asked for, its folder too.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(Folder::create(folder)?.write(&name, bytes)?)
}

/// The earlier run that a run is held against.
#[derive(Debug)]
pub(super) struct Baseline {
    side: Side,
    bounds: Bounds,
    fails: bool,
}

impl Baseline {
    /// Reads what `--baseline` names, and whether a run of this plan can be held against it; before anything
    /// is sent.
    pub(super) fn of(args: &RunArgs, plan: &Plan, scenario: &Scenario) -> Result<Option<Baseline>, Error> {
        let Some(path) = &args.baseline else { return Ok(None) };
        let refused = |why: String| Err(Error::Baseline { baseline: path.clone(), why });
        let side = side(path)?;
        if let Some(differs) = side.differs_from(plan, args.simulate) {
            return refused(format!("it had another load: {differs}"));
        }
        let files = &scenario.report.files;
        if !files.contains(&ReportFile::Seconds) || !files.contains(&ReportFile::Json) {
            return refused(
                "the run must keep its seconds: leave `seconds` and `json` among report.files".to_string(),
            );
        }
        if args.fail_on_regression && !compare::is_long_enough(plan) {
            return refused(format!(
                "the plan is too short to tell a regression from chance: it needs {LEAST_SECONDS} seconds besides \
                 warm-up, with something to send in each"
            ));
        }
        let blocks = side.blocks_with(plan);
        if args.fail_on_regression && blocks < BLOCKS {
            return refused(format!(
                "it is too short to tell a regression from chance: it has {} of seconds in common with the plan, \
                 and {BLOCKS} are needed",
                count(blocks as u64, "block")
            ));
        }
        Ok(Some(Baseline { side, bounds: bounds(&args.bounds), fails: args.fail_on_regression }))
    }

    /// Whether a run fails that is worse.
    pub(super) fn decides(&self) -> bool {
        self.fails
    }

    /// Holds a run against it, from the files in its folder.
    pub(super) fn hold_against(&self, saved: Saved, folder: &Path) -> Result<Compared, report::Error> {
        let new = Side::of(saved, folder)?;
        let compared = compare::compare(&self.side, &new, &self.bounds, false)?;
        Ok(if self.fails { compared } else { compared.not_decisive() })
    }
}

/// Several runs cannot be held against one.
pub(super) fn only_one_run(baseline: &Path) -> Error {
    let why =
        "the scenario makes several runs, with `matrix` or `compare_with`; compare their folders".to_string();
    Error::Baseline { baseline: PathBuf::from(baseline), why }
}
