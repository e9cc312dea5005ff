//! Several runs in a row: the rows of a matrix, and two targets in turns. Each is a whole run with a
//! folder of its own; at the end there is one table.
//!
//! 1. Every row is compiled, and held against the machine, before the first begins.
//! 2. With two targets each row is run against the first, then the second, as often as is asked.
//! 3. A run that fails does not keep the next from running; the exit code is the worst of all.
//! 4. Ctrl-C, or a stop that was asked for, ends the run that goes, and those behind it do not begin.

use std::path::Path;
use std::rc::Rc;

use crate::app::error::{Error, exit};
use crate::app::prepare::Prepared;
use crate::app::run::interrupt::Interrupts;
use crate::app::run::search::most_trials;
use crate::app::run::simulated::announce;
use crate::app::run::ui::Ui;
use crate::app::run::{Order, Run, concern_in_words, finish, start_logging, stays};
use crate::app::{colour, parts, say, to_stdout};
use crate::cli::RunArgs;
use crate::clock;
use crate::plan::Plan;
use crate::report::progress::Mode;
use crate::report::series::{self, Measured, Pass, Side, Target};
use crate::report::{self, Folder};
use crate::scenario::schema::Addresses;

/// A text as the name of a folder: bounded, and without what means something to a shell.
pub(super) fn folder_name(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._=-".contains(c) { c } else { '_' };
    text.chars().map(safe).take(100).collect()
}

/// Whether there is more than one run to be made, or a table is wanted.
pub(super) fn is_series(rows: &[Prepared]) -> bool {
    rows.iter().any(|row| !row.values.is_empty() || row.loaded.scenario.compare_with.is_some())
}

/// How many runs a row makes; of a search, at most.
pub(in crate::app) fn runs_of(row: &Prepared) -> u64 {
    if let Some(search) = &row.loaded.scenario.search {
        return most_trials(search);
    }
    row.loaded.scenario.compare_with.as_ref().map_or(1, |compare| 2 * u64::from(compare.rounds))
}

/// One run of the series.
struct Turn {
    row: usize,
    round: u32,
    /// Who is loaded, where there are two.
    target: Option<Target>,
    prepared: Prepared,
}

impl Turn {
    /// The name of its folder below that of the series. What no two of them share stands in front, where
    /// it is never cut off.
    fn folder(&self, digits: usize) -> String {
        let values = self.prepared.values.iter().map(|(path, value)| format!("-{path}={value}"));
        let target = self.target.as_ref().map_or_else(String::new, |target| {
            let side = if target.side == Side::First { 'a' } else { 'b' };
            format!("-{}{side}-{}", self.round, target.name)
        });
        let name = format!("{:0digits$}{target}{}", self.row, values.collect::<String>());
        folder_name(&name)
    }

    fn title(&self) -> String {
        let values = self.prepared.values.iter().map(|(path, value)| format!("{path}={value}"));
        let target = self.target.as_ref().map(|target| format!("{}, round {}", target.name, self.round));
        values.chain(target).collect::<Vec<_>>().join("  ")
    }
}

/// All runs in their order.
fn turns(rows: Vec<Prepared>) -> Vec<Turn> {
    let mut turns = Vec::new();
    for (index, mut prepared) in rows.into_iter().enumerate() {
        let row = index + 1;
        // Each run is for itself: its `effective.yaml` is the scenario of that run.
        let Some(compare) = prepared.loaded.scenario.compare_with.take() else {
            turns.push(Turn { row, round: 1, target: None, prepared });
            continue;
        };
        let name = parts::target_in_words(&prepared.loaded.scenario);
        let first = Target { name, side: Side::First };
        let second = Target { name: compare.target.to_string(), side: Side::Second };
        let mut other = prepared.clone();
        other.loaded.scenario.target.addresses = Addresses::Given(vec![compare.target.clone()]);
        for round in 1..=compare.rounds {
            turns.push(Turn { row, round, target: Some(first.clone()), prepared: prepared.clone() });
            turns.push(Turn { row, round, target: Some(second.clone()), prepared: other.clone() });
        }
    }
    turns
}

pub(super) fn run(args: &RunArgs, path: &Path, rows: Vec<Prepared>) -> Result<u8, Error> {
    let Some(name) = rows.first().map(|row| row.plan.name.clone()) else { return Ok(exit::PASSED) };
    let run_id = args.run_id.clone().unwrap_or_else(|| report::run_id(&name, clock::wall()));
    let dir = rows.first().map(|row| row.loaded.scenario.report.dir.join(&run_id)).unwrap_or_default();
    let base = args.out.clone().unwrap_or(dir);
    let turns = turns(rows);
    let digits = turns.last().map_or(1, |turn| turn.row.to_string().len());
    let order = |turn: &Turn| Order::of_several(path, turn.prepared.clone(), base.join(turn.folder(digits)));
    if args.dry_run {
        return Ok(dry_run(args, &turns, order));
    }
    if let Some(first) = turns.first() {
        announce(args, &first.prepared.loaded.scenario);
    }
    let mut said = Vec::new();
    for turn in &turns {
        for concern in order(turn).concerns {
            if concern.fatal && !args.simulate {
                return Err(Error::Preflight(concern));
            }
            // What is the same for many of them is said once.
            if !args.quiet && !said.contains(&concern) {
                concern_in_words(&concern);
                said.push(concern);
            }
        }
    }
    let mode = start_logging(args)?;
    let interrupts = Rc::new(Interrupts::watch(args.quiet)?);
    let ui = Rc::new(Ui::start(args)?);
    let ran = run_all(args, (&name, &run_id, &base), &turns, order, mode, &interrupts, &ui);
    finish(ui, &interrupts);
    ran
}

/// All runs one after the other, and the table; gives the exit code.
fn run_all(
    args: &RunArgs,
    (name, run_id, base): (&str, &str, &Path),
    turns: &[Turn],
    order: impl Fn(&Turn) -> Order,
    mode: Mode,
    interrupts: &Rc<Interrupts>,
    ui: &Rc<Ui>,
) -> Result<u8, Error> {
    let folder = Folder::create(base)?;
    let name = name.to_string();
    let mut done = Series { folder, name, passes: Vec::new(), json: Vec::new(), kept: None };
    let of = turns.len();
    for (number, turn) in turns.iter().enumerate() {
        if interrupts.is_last() {
            break;
        }
        if !args.quiet {
            say(&format!("run {} of {of}: {}", number + 1, turn.title()));
        }
        let lookers = (ui, (number as u64 + 1, of as u64));
        done.take(args, turn, order(turn), mode, interrupts, lookers);
        // What is there after each run is there if the next one is killed.
        done.folder.write("matrix.csv", &series::csv(&done.passes))?;
    }
    let kept = done.kept.take();
    interrupts.forget_earlier();
    let store = kept.as_ref().and_then(|run| run.store_url());
    let code = done.conclude(args, run_id, of, store.as_deref(), (ui, interrupts))?;
    if kept.is_some() {
        interrupts.wait_for_next();
    }
    Ok(code)
}

fn dry_run(args: &RunArgs, turns: &[Turn], order: impl Fn(&Turn) -> Order) -> u8 {
    let mut sheets = Vec::new();
    for turn in turns {
        let order = order(turn);
        if args.json {
            let plan: serde_json::Value = serde_json::from_str(&order.sheet().json()).unwrap_or_default();
            let target = turn.target.as_ref().map(|target| &target.name);
            sheets.push(serde_json::json!({ "values": values(turn), "target": target, "plan": plan }));
        } else {
            to_stdout(format!("\u{2500}\u{2500} {}\n\n{}\n", turn.title(), order.sheet().text()).as_bytes());
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "rows": sheets })).unwrap_or_default();
        to_stdout(format!("{text}\n").as_bytes());
    }
    exit::PASSED
}

fn values(turn: &Turn) -> serde_json::Value {
    let text = |value: &String| serde_json::Value::String(value.clone());
    turn.prepared.values.iter().map(|(path, value)| (path.clone(), text(value))).collect()
}

/// What the series has come to so far.
struct Series {
    folder: Folder,
    name: String,
    passes: Vec<Pass>,
    json: Vec<serde_json::Value>,
    /// The last run, where its store stays up.
    kept: Option<Run>,
}

impl Series {
    fn take(
        &mut self,
        args: &RunArgs,
        turn: &Turn,
        order: Order,
        mode: Mode,
        interrupts: &Rc<Interrupts>,
        (ui, number): (&Rc<Ui>, (u64, u64)),
    ) {
        let connections = connections_of(&turn.prepared.plan);
        let mut pass = Pass {
            row: turn.row,
            values: turn.prepared.values.clone(),
            target: turn.target.clone(),
            round: turn.round,
            outcome: String::new(),
            exit_code: exit::PASSED,
            connections,
            measured: None,
        };
        let mut json = serde_json::Value::Null;
        match order.carry_out(args, mode, interrupts, ui, number) {
            Ok((mut run, summary)) => {
                run.end_progress();
                pass.outcome = summary.verdict.word.to_string();
                pass.exit_code = summary.verdict.exit_code;
                pass.measured = Some(Measured::of(&summary));
                if args.json {
                    let text = report::screen::summary_json(&summary);
                    json = serde_json::from_str(&text).unwrap_or_default();
                }
                if !args.quiet {
                    say(&report::screen::last_line(&summary));
                }
                // The stores of the others end with their runs: each begins with an empty one.
                if number.0 == number.1 && run.keeps_store(args.keep_store) {
                    self.kept = Some(run);
                }
            }
            Err(error) => {
                pass.exit_code = error.code();
                pass.outcome =
                    if matches!(error, Error::Interrupted) { "interrupted" } else { "failed" }.to_string();
                if let (Some(hint), false) = (error.hint(), args.quiet) {
                    say(&format!("hint: {hint}"));
                }
                say(&format!("error: failed to {error} (exit {})", error.code()));
            }
        }
        if args.json {
            let target = turn.target.as_ref().map(|target| &target.name);
            self.json.push(serde_json::json!({
                "row": turn.row, "values": values(turn), "target": target, "round": turn.round,
                "exit_code": pass.exit_code, "summary": json,
            }));
        }
        self.passes.push(pass);
    }

    /// The table, the picture, and the last line, before which who looks has been told.
    fn conclude(
        self,
        args: &RunArgs,
        run_id: &str,
        of: usize,
        store: Option<&str>,
        (ui, interrupts): (&Ui, &Interrupts),
    ) -> Result<u8, Error> {
        let passes = &self.passes;
        self.folder.write("matrix.csv", &series::csv(passes))?;
        self.folder.write("matrix.svg", series::svg(&self.name, passes).as_bytes())?;
        let mut files = vec!["matrix.csv", "matrix.svg"];
        let mut tables = series::text(passes, colour());
        if passes.iter().any(|pass| pass.target.is_some()) {
            let found = series::comparisons(passes);
            self.folder.write("compare.csv", &series::comparison_csv(&found))?;
            files.push("compare.csv");
            tables.push('\n');
            tables.push_str(&series::comparison_text(&found, colour()));
        }
        if args.json {
            let text =
                serde_json::to_string_pretty(&serde_json::json!({ "rows": self.json })).unwrap_or_default();
            to_stdout(format!("{text}\n").as_bytes());
        }
        if !args.quiet {
            let folder = self.folder.path().display();
            say(&format!("\n{tables}\nFILES\n  {folder}\n  {}, and a folder for each run", files.join(", ")));
        }
        ui.settle(interrupts);
        // A signal that has ended that wait ends the store too.
        if let Some(url) = store.filter(|_| !interrupts.hurries()) {
            say(&stays(url));
        }
        let failed = passes.iter().filter(|pass| pass.exit_code != exit::PASSED).count();
        // A signal that came when all was done has interrupted nothing.
        let interrupted = passes.len() < of || passes.iter().any(|pass| pass.exit_code == exit::INTERRUPTED);
        let also = (passes.len() < of).then_some(exit::INTERRUPTED);
        let code = worst(passes.iter().map(|pass| pass.exit_code).chain(also));
        let (word, why) = match (interrupted, failed) {
            (true, _) => ("FAILED", format!(": interrupted after {} of {of} runs", passes.len())),
            (false, 0) => ("PASSED", String::new()),
            (false, failed) => ("FAILED", format!(": {failed} of {of} runs failed")),
        };
        say(&format!("{word} {run_id} (exit {code}){why}"));
        Ok(code)
    }
}

/// Slots that carry anything.
fn connections_of(plan: &Plan) -> u64 {
    plan.expected_connections().slots
}

/// What is worse stands further to the front.
const BY_WEIGHT: [u8; 11] = [
    exit::LEDGER,
    exit::UNEXPECTED,
    exit::SCRIPT,
    exit::PORT_IN_USE,
    exit::USAGE,
    exit::SCENARIO,
    exit::UNREACHABLE,
    exit::SATURATED,
    exit::THRESHOLD,
    exit::REGRESSION,
    exit::INTERRUPTED,
];

/// The worst of some exit codes.
pub(in crate::app) fn worst(codes: impl Iterator<Item = u8>) -> u8 {
    let codes: Vec<u8> = codes.collect();
    let known = BY_WEIGHT.into_iter().find(|code| codes.contains(code));
    known.or_else(|| codes.into_iter().max()).unwrap_or(exit::PASSED)
}
