//! From the command line to a plan: loads the scenario and its script, and compiles them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::app::error::Error;
use crate::app::{colour, parts, say};
use crate::cli::OverrideArgs;
use crate::mapping;
use crate::mapping::form::Form;
use crate::plan::Plan;
use crate::plan::compile::{Violation, compile};
use crate::plan::segment::Segment;
use crate::records::generator::{self, Generator};
use crate::scenario::schema::{Scenario, StageKind};
use crate::scenario::{Loaded, Overrides};
use crate::script::{self, Script};

/// A scenario that can be run.
#[derive(Debug)]
pub(super) struct Prepared {
    pub loaded: Loaded,
    pub plan: Plan,
    /// What every worker's script is made from.
    pub script: Option<script::Config>,
}

/// Loads, checks and compiles. Warnings go to stderr.
pub(super) fn prepare(path: &Path, overrides: &OverrideArgs, segment: Segment) -> Result<Prepared, Error> {
    let loaded = load(path, overrides)?;
    if !loaded.warnings.is_empty() {
        say(&loaded.problems(loaded.warnings.clone()).render(colour()));
    }
    compiled(loaded, segment)
}

/// The same without a word; warnings are in [`Prepared::loaded`].
pub(super) fn examine(path: &Path, overrides: &OverrideArgs) -> Result<Prepared, Error> {
    compiled(load(path, overrides)?, Segment::WHOLE)
}

/// Reads the scenario and no more.
pub(super) fn load(path: &Path, overrides: &OverrideArgs) -> Result<Loaded, Error> {
    Scenario::load(path, &overrides_of(overrides)).map_err(|problems| Error::Scenario(Box::new(problems)))
}

fn compiled(loaded: Loaded, segment: Segment) -> Result<Prepared, Error> {
    let config = script_config(&loaded)?;
    let mut script = config.as_ref().map(Script::load).transpose()?;
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
    let plan = match compiled {
        Ok(plan) if violations.is_empty() => plan,
        Ok(_) => return Err(in_their_place(&loaded, violations)),
        Err(more) => {
            violations.extend(more);
            return Err(in_their_place(&loaded, violations));
        }
    };
    Ok(Prepared { loaded, plan, script: config })
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
    violations
}

fn overrides_of(args: &OverrideArgs) -> Overrides {
    // A variable that is not text cannot stand in a scenario.
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
        // What opens the server is no scenario's business.
        .filter(|(name, _)| name != "RUNNER_TOKEN")
        .collect();
    Overrides {
        sets: args.set.clone(),
        vars: args.var.clone(),
        seed: args.seed,
        redis: args.redis.clone(),
        env,
    }
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
