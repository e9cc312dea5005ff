//! Runs one after the other until the highest rate is found that keeps a limit. Which rate comes next is
//! `plan/search.rs`; each trial is a whole run with a folder of its own.
//!
//! 1. A trial that passes holds; one that breaks a threshold (the limit is one of them), or whose target
//!    refuses or does not answer, breaks; one whose generator was saturated bounds the search from above.
//! 2. Whatever else a trial ends with ends the search, with the same exit code.
//! 3. A target that cannot be reached has broken at this rate if it held a lower one before.
//! 4. Ctrl-C, or a stop that was asked for, ends the trial that goes, and the search.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::app::error::{Error, exit};
use crate::app::prepare::{Prepared, prepare_trial};
use crate::app::run::interrupt::Interrupts;
use crate::app::run::series::{folder_name, worst};
use crate::app::run::simulated::announce;
use crate::app::run::ui::Ui;
use crate::app::run::{Order, concern_in_words, finish, start_logging};
use crate::app::{colour, say, to_stdout};
use crate::cli::RunArgs;
use crate::clock;
use crate::plan::preflight::Concern;
use crate::plan::search::{Course, Finding, Terms, Trial};
use crate::recorder::summary::Verdict;
use crate::report::figures::rate;
use crate::report::progress::Mode;
use crate::report::search::{self, Figures, Search};
use crate::report::{self, Folder};
use crate::scenario::schema;

/// Whether rates are searched for.
pub(super) fn is_search(rows: &[Prepared]) -> bool {
    rows.iter().any(|row| row.loaded.scenario.search.is_some())
}

/// The most runs that a search makes.
pub(super) fn most_trials(search: &schema::Search) -> u64 {
    Terms::of(search).most_trials()
}

/// A search in each row.
pub(super) fn run(args: &RunArgs, path: &Path, rows: Vec<Prepared>) -> Result<u8, Error> {
    let Some(first) = rows.first() else { return Ok(exit::PASSED) };
    let run_id = args.run_id.clone().unwrap_or_else(|| report::run_id(&first.plan.name, clock::wall()));
    let base = args.out.clone().unwrap_or_else(|| first.loaded.scenario.report.dir.join(&run_id));
    if args.dry_run {
        return Ok(dry_run(args, path, &rows, &base));
    }
    if args.keep_store && !args.quiet {
        say("warning: --keep-store is not used: the store of each trial ends with it");
    }
    announce(args, &first.loaded.scenario);
    let mode = start_logging(args)?;
    let interrupts = Rc::new(Interrupts::watch(args.quiet)?);
    let ui = Rc::new(Ui::start(args)?);
    let hunted = hunts(args, path, &rows, (&run_id, &base), mode, &interrupts, &ui);
    finish(ui, &interrupts);
    let (codes, json) = hunted?;
    if args.json {
        let text = match &json[..] {
            [one] => one.clone(),
            all => format!("[{}]\n", all.join(",")),
        };
        to_stdout(text.as_bytes());
    }
    Ok(worst(codes.into_iter()))
}

/// A search for each row; the exit codes and what was found as JSON.
fn hunts(
    args: &RunArgs,
    path: &Path,
    rows: &[Prepared],
    (run_id, base): (&str, &Path),
    mode: Mode,
    interrupts: &Rc<Interrupts>,
    ui: &Rc<Ui>,
) -> Result<(Vec<u8>, Vec<String>), Error> {
    let digits = rows.len().to_string().len();
    let (mut codes, mut json) = (Vec::new(), Vec::new());
    for (index, row) in rows.iter().enumerate() {
        let Some(search) = &row.loaded.scenario.search else { continue };
        if interrupts.is_last() {
            codes.push(exit::INTERRUPTED);
            break;
        }
        let values: String = row.values.iter().map(|(path, value)| format!("-{path}={value}")).collect();
        let folder = match row.values.is_empty() {
            true => base.to_path_buf(),
            false => base.join(folder_name(&format!("{:0digits$}{values}", index + 1))),
        };
        let hunt = Hunt {
            args,
            path,
            row,
            search,
            mode,
            interrupts,
            ui,
            is_last: index + 1 == rows.len(),
            course: Course::new(Terms::of(search)),
            found: nothing_yet(row, search, run_id, args),
            folder: Folder::create(&folder)?,
            said: Vec::new(),
        };
        let (code, found) = hunt.run()?;
        codes.push(code);
        json.push(found);
    }
    Ok((codes, json))
}

fn nothing_yet(row: &Prepared, search: &schema::Search, run_id: &str, args: &RunArgs) -> Search {
    let values: String = row.values.iter().map(|(path, value)| format!(" {path}={value}")).collect();
    Search {
        run_id: format!("{run_id}{values}"),
        scenario: row.plan.name.clone(),
        check: search.condition.to_string(),
        metric: search.metric.trim().to_string(),
        limit: search.condition.bound,
        unit: search.condition.unit(),
        from: search.from,
        to: search.to,
        bounds: Course::new(Terms::of(search)).bounds(),
        trials: Vec::new(),
        cut_short: String::new(),
        simulated: args.simulate,
    }
}

fn dry_run(args: &RunArgs, path: &Path, rows: &[Prepared], base: &Path) -> u8 {
    let mut sheets = Vec::new();
    for row in rows {
        let Some(search) = &row.loaded.scenario.search else { continue };
        let terms = Terms::of(search);
        let order = Order::new(path, row.clone(), None, Some(base.to_path_buf()));
        if args.json {
            let mut sheet: serde_json::Value =
                serde_json::from_str(&order.sheet().json()).unwrap_or_default();
            let rising: Vec<f64> = terms.rising().into_iter().map(|tps| tps.as_f64()).collect();
            sheet["search"] = serde_json::json!({
                "check": search.condition.to_string(), "rising": rising, "halvings": terms.halvings(),
                "most_trials": terms.most_trials(),
            });
            sheets.push(sheet);
        } else {
            let of_trial = format!("each sends for {}, then measures for {}", search.warmup, search.trial);
            let text = search::plan_text(
                &search.condition.to_string(),
                &terms.rising(),
                terms.halvings(),
                terms.most_trials(),
                &of_trial,
                colour(),
            );
            let values = row.values.iter().map(|(path, value)| format!("{path}={value}\n"));
            let head: String = values.collect();
            let sheet = order.sheet().text();
            to_stdout(format!("{head}{text}\nthe first trial:\n\n{sheet}\n").as_bytes());
        }
    }
    if args.json {
        let value = if sheets.len() == 1 { sheets.remove(0) } else { serde_json::json!({ "rows": sheets }) };
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        to_stdout(format!("{text}\n").as_bytes());
    }
    exit::PASSED
}

/// One search while it goes.
struct Hunt<'a> {
    args: &'a RunArgs,
    path: &'a Path,
    row: &'a Prepared,
    search: &'a schema::Search,
    mode: Mode,
    interrupts: &'a Rc<Interrupts>,
    ui: &'a Rc<Ui>,
    /// Whether no other search follows.
    is_last: bool,
    course: Course,
    found: Search,
    folder: Folder,
    /// What does not fit, and was said.
    said: Vec<Concern>,
}

/// How a trial ended.
struct Ended {
    verdict: Verdict,
    reason: String,
    figures: Option<Figures>,
    /// `None` where it ends the search.
    finding: Option<Finding>,
}

impl Hunt<'_> {
    /// To its end. Gives the exit code and what was found as JSON.
    fn run(mut self) -> Result<(u8, String), Error> {
        let most = most_trials(self.search);
        let mut stopped = None;
        while let Some(trial) = self.course.next() {
            if self.interrupts.is_last() {
                stopped = Some(exit::INTERRUPTED);
                self.found.cut_short = "interrupted".to_string();
                break;
            }
            let number = self.found.trials.len() + 1;
            let again = if trial.attempt > 1 { ", once more" } else { "" };
            let shown = rate(trial.rate.as_f64());
            self.say(&format!("trial {number} of at most {most}: {shown}/s{again}"));
            let folder = folder_name(&format!("{number:02}-{}", trial.rate));
            let ended = self.trial(trial, &folder)?;
            let taken = search::Trial {
                trial: number,
                rate: trial.rate.as_f64(),
                attempt: trial.attempt,
                verdict: ended.finding.map_or("", Finding::word),
                outcome: ended.verdict.word.to_string(),
                exit_code: ended.verdict.exit_code,
                reason: ended.reason,
                folder,
                figures: ended.figures,
            };
            self.say(&taken.line(&self.found));
            if ended.finding.is_none() {
                stopped = Some(taken.exit_code);
                self.found.cut_short = format!("trial {number} ended the search: {}", taken.reason);
            }
            self.found.trials.push(taken);
            self.found.bounds = self.course.bounds();
            // What is there after each trial is there if the next one is killed.
            self.folder.write(search::CSV, &self.found.csv())?;
            if stopped.is_some() {
                break;
            }
        }
        self.conclude(stopped)
    }

    fn say(&self, text: &str) {
        if !self.args.quiet {
            say(text);
        }
    }

    /// One trial, and what the search takes from it.
    fn trial(&mut self, trial: Trial, folder: &str) -> Result<Ended, Error> {
        let prepared = prepare_trial(self.row, self.search, trial.rate)?;
        let folder: PathBuf = self.folder.path().join(folder);
        let order = Order::of_several(self.path, prepared, folder);
        let has_held = self.course.bounds().holds.is_some();
        if let Some(concern) = order.concerns.iter().find(|concern| concern.fatal && !self.args.simulate) {
            if !has_held {
                return Err(Error::Preflight(concern.clone()));
            }
            // What the machine lacks it would lack again.
            self.course.take_for_certain(Finding::Saturated);
            return Ok(not_run(
                "preflight",
                exit::SATURATED,
                concern.message.clone(),
                Some(Finding::Saturated),
            ));
        }
        for concern in &order.concerns {
            if !self.args.quiet && !self.said.contains(concern) {
                concern_in_words(concern);
                self.said.push(concern.clone());
            }
        }
        let turn = (self.found.trials.len() as u64 + 1, most_trials(self.search));
        let ended = match order.carry_out(self.args, self.mode, self.interrupts, self.ui, turn) {
            Ok((mut run, summary)) => {
                run.end_progress();
                let finding = finding_of(&summary.verdict);
                let reason = search::reason(&summary);
                let figures = Some(Figures::of(&summary, &self.found.check));
                Ended { verdict: summary.verdict, reason, figures, finding }
            }
            Err(error @ Error::Target(_)) if has_held => {
                not_run("unreachable", error.code(), format!("failed to {error}"), Some(Finding::Breaks))
            }
            Err(Error::Interrupted) => {
                not_run("interrupted", exit::INTERRUPTED, "interrupted".to_string(), None)
            }
            Err(error) if self.found.trials.is_empty() => return Err(error),
            Err(error) => {
                if let Some(hint) = error.hint() {
                    self.say(&format!("hint: {hint}"));
                }
                not_run("failed", error.code(), format!("failed to {error}"), None)
            }
        };
        match ended.finding {
            // The same again would be the same to the bit.
            Some(finding) if self.args.simulate => self.course.take_for_certain(finding),
            Some(finding) => self.course.take(finding),
            None => {}
        }
        Ok(ended)
    }

    /// The files, the screen, and the last line.
    fn conclude(self, stopped: Option<u8>) -> Result<(u8, String), Error> {
        let Hunt { args, folder, found, ui, interrupts, is_last, .. } = self;
        let json = found.json();
        folder.write(search::CSV, &found.csv())?;
        folder.write(search::JSON, json.as_bytes())?;
        folder.write(search::HTML, found.html().as_bytes())?;
        let sentence = found.found();
        if !args.quiet {
            let files = [search::CSV, search::JSON, search::HTML].join(", ");
            let place = folder.path().display();
            let trials = found.text(colour());
            say(&format!(
                "\n{sentence}\n\n{trials}\nFILES\n  {place}\n  {files}, and a folder for each trial"
            ));
        }
        if is_last || interrupts.is_last() {
            interrupts.forget_earlier();
            ui.settle(interrupts);
        }
        let code = stopped.unwrap_or_else(|| code_of(&found));
        let word = if code == exit::PASSED { "PASSED" } else { "FAILED" };
        let simulated = if found.simulated { " (SIMULATED)" } else { "" };
        say(&format!("{word}{simulated} {} (exit {code}): {sentence}", found.run_id));
        Ok((code, json))
    }
}

fn not_run(word: &'static str, exit_code: u8, reason: String, finding: Option<Finding>) -> Ended {
    let verdict = Verdict { passed: false, exit_code, word: word.into(), reason: reason.clone() };
    Ended { verdict, reason, figures: None, finding }
}

fn finding_of(verdict: &Verdict) -> Option<Finding> {
    match verdict.exit_code {
        exit::PASSED => Some(Finding::Holds),
        exit::THRESHOLD | exit::UNREACHABLE => Some(Finding::Breaks),
        exit::SATURATED => Some(Finding::Saturated),
        // `on_overload: fail` came to pass: the connections had no room.
        _ if verdict.word == "overloaded" => Some(Finding::Breaks),
        _ => None,
    }
}

/// The exit code of a search that came to its end: where no rate holds, that of its trials.
fn code_of(found: &Search) -> u8 {
    if found.bounds.holds.is_some() {
        return exit::PASSED;
    }
    let all = |code| found.trials.iter().all(|trial| trial.exit_code == code);
    match found.bounds.breaks {
        Some((_, Finding::Saturated)) => exit::SATURATED,
        _ if all(exit::UNREACHABLE) => exit::UNREACHABLE,
        _ => exit::THRESHOLD,
    }
}
