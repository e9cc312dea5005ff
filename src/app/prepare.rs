//! From the command line to a plan: loads the scenario and its script, and compiles them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::app::error::Error;
use crate::app::{colour, parts, say};
use crate::cli::OverrideArgs;
use crate::feed::payload::{self, Payloads};
use crate::mapping;
use crate::mapping::form::Form;
use crate::plan::Plan;
use crate::plan::compile::{Violation, compile};
use crate::plan::fingerprint;
use crate::plan::mix::Kind;
use crate::plan::search::trial_of;
use crate::plan::segment::Segment;
use crate::records::generator::{self, Generator};
use crate::scenario::schema::{Scenario, Search, StageKind};
use crate::scenario::{Loaded, Overrides, Problems, Row};
use crate::script::{self, Script};
use crate::units::Tps;

/// A scenario, or one row of its matrix, that can be run.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    /// The paths of the matrix and what stands there in this row; empty without a matrix.
    pub values: Vec<(String, String)>,
    pub loaded: Loaded,
    pub plan: Plan,
    /// What requests of a mix look like.
    pub payloads: Arc<Payloads>,
    /// What every worker's script is made from.
    pub script: Option<script::Config>,
}

impl Prepared {
    /// A fingerprint of what the bytes of requests follow from, beside the plan: records and script. What is read
    /// from a store of somebody else is not known beforehand, and passwords have no part in it.
    pub(super) fn content(&self) -> String {
        let scenario = &self.loaded.scenario;
        let source = self.script.as_ref().map(|script| script.source.as_str());
        fingerprint::of_content(&[
            &scenario.seed.to_string(),
            &scenario.records.key,
            &scenario.records.template,
            source.unwrap_or_default(),
            &self.loaded.masked_args().to_string(),
        ])
    }
}

/// Loads, checks and compiles every row of a scenario, one without a matrix. Warnings go to stderr.
pub(super) fn prepare(
    path: &Path,
    overrides: &OverrideArgs,
    segment: Segment,
) -> Result<Vec<Prepared>, Error> {
    let rows = load(path, &overrides_of(overrides))?;
    warn(&rows);
    compiled(rows, segment)
}

/// The script as it was, in the folder of its run.
pub(super) const SCRIPT_COPY: &str = "script.lua";

/// What a run was made from, read from its folder.
pub(super) fn prepare_again(
    run: &Path,
    overrides: &OverrideArgs,
    segment: Segment,
) -> Result<Prepared, Error> {
    // What stands in `effective.yaml` has been substituted.
    let overrides = Overrides { env: BTreeMap::new(), ..overrides_of(overrides) };
    let mut rows = load(&run.join("effective.yaml"), &overrides)?;
    let has_copy = run.join(SCRIPT_COPY).exists();
    for row in &mut rows {
        if let Some(script) = row.loaded.scenario.script.as_mut().filter(|_| has_copy) {
            script.file = SCRIPT_COPY.into();
        }
    }
    let row = compiled(rows, segment)?.pop();
    row.ok_or_else(|| Error::Replay("effective.yaml holds no scenario".to_string()))
}

/// The same without a word; warnings are in [`Prepared::loaded`].
pub(super) fn examine(path: &Path, overrides: &Overrides) -> Result<Vec<Prepared>, Error> {
    compiled(load(path, overrides)?, Segment::WHOLE)
}

/// Reads every row of the scenario and no more.
pub(super) fn load(path: &Path, overrides: &Overrides) -> Result<Vec<Row>, Error> {
    Scenario::load_rows(path, overrides).map_err(|problems| Error::Scenario(Box::new(problems)))
}

/// One trial of a search: the same scenario with this rate and the limit as a threshold.
pub(super) fn prepare_trial(of: &Prepared, search: &Search, rate: Tps) -> Result<Prepared, Error> {
    let mut loaded = of.loaded.clone();
    loaded.scenario = trial_of(&of.loaded.scenario, search, rate);
    // Its stages have rates that are written.
    let mut rate_at = |function: &str, _: f64| Err(format!("no stage of a trial asks `{function}`"));
    let plan = compile(&loaded.scenario, Segment::WHOLE, &mut rate_at);
    let plan = plan.map_err(|violations| in_their_place(&of.loaded, violations))?;
    let (payloads, script) = (of.payloads.clone(), of.script.clone());
    Ok(Prepared { values: of.values.clone(), loaded, plan, payloads, script })
}

fn compiled(rows: Vec<Row>, segment: Segment) -> Result<Vec<Prepared>, Error> {
    let searches = |row: &&Row| row.loaded.scenario.search.is_some();
    if let (Some(row), Some(_)) = (rows.iter().find(searches), rows.iter().find(|row| !searches(row))) {
        let message = "some rows of the matrix search, and some do not";
        let help = Some("make two scenarios of it".to_string());
        let problem = row.loaded.problem("search", message, help);
        return Err(Error::Scenario(Box::new(row.loaded.problems(vec![problem]))));
    }
    let mut prepared = Vec::with_capacity(rows.len());
    let mut wrong: Vec<Problems> = Vec::new();
    for row in rows {
        match prepare_row(row, segment) {
            Ok(row) => prepared.push(row),
            // What is wrong with any row is told at once.
            Err(Error::Scenario(problems)) => wrong.push(*problems),
            Err(other) => return Err(other),
        }
    }
    Problems::of_rows(wrong).map_or(Ok(prepared), |problems| Err(Error::Scenario(Box::new(problems))))
}

/// Says what is probably not meant, each thing once.
fn warn(rows: &[Row]) {
    let warnings = rows.iter().map(|row| row.loaded.problems(row.loaded.warnings.clone()));
    if let Some(warnings) = Problems::of_rows(warnings).filter(|warnings| !warnings.list.is_empty()) {
        say(&warnings.render(colour()));
    }
}

fn prepare_row(row: Row, segment: Segment) -> Result<Prepared, Error> {
    let Row { values, loaded } = row;
    let config = script_config(&loaded)?;
    let mut script = config.as_ref().map(Script::load).transpose()?;
    let shapes_payloads = script.as_ref().is_some_and(|script| script.hooks().request);
    let mut failed = None;
    let mut rate_at = |function: &str, seconds: f64| match &mut script {
        None => Err("a lua stage needs a script".to_string()),
        Some(script) => script.rate_at(function, seconds).map_err(|error| {
            let text = error.to_string();
            failed.get_or_insert(error);
            text
        }),
    };
    let compiled = compile(&loaded.scenario, segment, &mut rate_at);
    if let Some(error) = failed {
        return Err(error.into());
    }
    let mut violations = templates(&loaded.scenario);
    if shapes_payloads && !loaded.scenario.load.mix.is_empty() {
        violations.push(Violation {
            path: "load.mix".to_string(),
            message: "the `request` hook of the script makes the payloads".to_string(),
            help: Some("remove the mix, or the hook".to_string()),
        });
    }
    let plan = match compiled {
        Ok(plan) if violations.is_empty() => plan,
        Ok(_) => return Err(in_their_place(&loaded, violations)),
        Err(more) => {
            violations.extend(more);
            return Err(in_their_place(&loaded, violations));
        }
    };
    // Those that are none are among the violations above.
    let payloads = payloads(&loaded.scenario).unwrap_or_default();
    Ok(Prepared { values, loaded, plan, payloads: Arc::new(payloads), script: config })
}

/// What the requests of the mix look like.
fn payloads(scenario: &Scenario) -> Result<Payloads, Vec<(usize, payload::Error)>> {
    let kinds = scenario.load.mix.iter().map(|kind| Kind {
        name: kind.name.clone(),
        weight: kind.weight.into(),
        payload: kind.payload.clone(),
    });
    Payloads::new(&kinds.collect::<Vec<_>>(), parts::codec(&scenario.target).framing)
}

fn payload_violation((index, error): (usize, payload::Error)) -> Violation {
    Violation { path: format!("load.mix[{index}].payload"), message: error.to_string(), help: None }
}

/// Placeholders that are none, in the templates of records and mappings.
fn templates(scenario: &Scenario) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut add = |path: &str, message: String| {
        violations.push(Violation { path: path.to_string(), message, help: None });
    };
    let last_id = scenario.records.range.iter().map(|range| range.last()).max().unwrap_or(0);
    match Generator::new(&scenario.records.key, &scenario.records.template)
        .and_then(|generator| generator.fits(last_id))
    {
        Ok(()) => {}
        Err(generator::Error::Value(error)) => add("records.template", error.to_string()),
        Err(generator::Error::Key(error)) => add("records.key", error.to_string()),
        Err(error) => add("records.key", error.to_string()),
    }
    if let Some(Err(mapping::Error::Template { path, source })) =
        parts::mapping(scenario, &scenario.name).map(Form::new)
        // A record key that is no template has been told already.
        && path != "records.key"
    {
        add(&path, source.to_string());
    }
    violations.extend(payloads(scenario).err().unwrap_or_default().into_iter().map(payload_violation));
    violations
}

fn overrides_of(args: &OverrideArgs) -> Overrides {
    Overrides {
        sets: args.set.clone(),
        vars: args.var.clone(),
        seed: args.seed,
        redis: args.redis.clone(),
        env: environment(),
    }
}

/// What scenarios see of the environment. A variable that is not text cannot stand in one.
pub(super) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
        // What opens the server is no scenario's business.
        .filter(|(name, _)| name != "RUNNER_TOKEN")
        .collect()
}

fn in_their_place(loaded: &Loaded, violations: Vec<Violation>) -> Error {
    let problems = violations.into_iter().map(|v| loaded.problem(&v.path, v.message, v.help)).collect();
    Error::Scenario(Box::new(loaded.problems(problems)))
}

fn script_config(loaded: &Loaded) -> Result<Option<script::Config>, Error> {
    let (Some(typed), Some(path)) = (&loaded.scenario.script, loaded.script_path()) else { return Ok(None) };
    let source = std::fs::read_to_string(&path).map_err(|error| {
        let message = format!("{} cannot be read: {error}", path.display());
        let help = Some("the path is relative to the scenario file".to_string());
        Error::Scenario(Box::new(loaded.problems(vec![loaded.problem("script.file", message, help)])))
    })?;
    let rates = loaded.scenario.load.stages.iter().filter_map(|stage| match &stage.kind {
        StageKind::Lua(function) => Some(function.clone()),
        _ => None,
    });
    Ok(Some(script::Config {
        path,
        source,
        args: serde_json::Value::Object(typed.args.clone().into_iter().collect()),
        seed: loaded.scenario.seed,
        timeout: typed.timeout.as_duration(),
        memory: typed.memory,
        rates: rates.collect(),
    }))
}
