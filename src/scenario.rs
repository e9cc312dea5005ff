//! What the user wrote: the scenario file as types, with every problem at its place.
//!
//! ```text
//! file ── tree ──► --set ──► rows ──► ${vars} ──► sections, stages ──► check ──► Scenario
//!         limits   sets      matrix   vars        decode: each field by itself
//! ```
//!
//! The file is first read as a tree of values with places (`tree`), and only then as types, field by
//! field, so that one wrong field does not hide the next. Nothing here computes: totals and due times
//! are made by the plan, which turns its own findings into problems with [`Loaded::problem`].

mod check;
mod decode;
mod diagnostics;
mod matrix;
pub mod schema;
mod sections;
mod sets;
mod stages;
mod thresholds;
mod tree;
mod vars;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;

pub use diagnostics::{Problem, Problems, Severity};
pub use schema::{Scenario, Stage, StageKind};

use diagnostics::{Distinct, Sink, Sources};
use tree::Node;

/// What the command line and the environment say about a scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--set PATH=VALUE`: path and value, applied in order.
    pub sets: Vec<(String, String)>,
    /// `--var NAME=VALUE`: name and value.
    pub vars: Vec<(String, String)>,
    /// `--seed N`.
    pub seed: Option<u64>,
    /// `--redis URL`.
    pub redis: Option<String>,
    /// The environment that `${NAME}` sees.
    pub env: BTreeMap<String, String>,
}

/// A scenario that was read, and where everything in it stands.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The scenario, substituted, overridden and with every default.
    pub scenario: Scenario,
    /// What is probably not meant; the scenario runs all the same.
    pub warnings: Vec<Problem>,
    /// The folder that paths in the scenario are relative to.
    pub dir: PathBuf,
    root: Node,
    sources: Sources,
}

/// One row of a scenario's matrix, or the one scenario of a file that has none.
#[derive(Debug, Clone)]
pub struct Row {
    /// The paths of the matrix and what stands there in this row; empty without a matrix.
    pub values: Vec<(String, String)>,
    /// The scenario of this row.
    pub loaded: Loaded,
}

/// Where a key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Line from 1.
    pub line: usize,
    /// Column from 1, in characters.
    pub column: usize,
    /// The flag it was given with, when it does not stand in the file.
    pub flag: Option<String>,
}

impl Scenario {
    /// Reads a scenario file; the first row where there is a matrix.
    ///
    /// # Errors
    /// Everything that is wrong with the file, at once.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Loaded, Problems> {
        Scenario::load_rows(path, overrides).map(first_row)
    }

    /// Reads a scenario file with all rows of its matrix, in their order. There is at least one.
    ///
    /// # Errors
    /// Everything that is wrong with any row, at once.
    pub fn load_rows(path: &Path, overrides: &Overrides) -> Result<Vec<Row>, Problems> {
        let file = path.display().to_string();
        let refuse = |text: &str, message: String, help: &str| {
            let sources = Sources::new(file.clone(), text);
            let problem = sources.problem_of_file(message, help);
            Err(Problems::new(&sources, vec![problem]))
        };
        let mut bytes = Vec::new();
        let limit = tree::MAX_FILE as u64 + 1;
        let read = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        if let Err(error) = read {
            return refuse("", format!("the file cannot be read: {error}"), "check the path of the scenario");
        }
        if bytes.len() > tree::MAX_FILE {
            return refuse("", "the file is larger than 1 MiB".to_string(), "a scenario is a few kilobytes");
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match String::from_utf8(bytes) {
            Ok(text) => Scenario::rows_from_text(&file, dir, &text, overrides),
            Err(error) => Err(not_utf8(&file, error.as_bytes(), error.utf8_error().valid_up_to())),
        }
    }

    /// Reads a scenario from its text. `file` is its name in problems, `dir` what its paths are
    /// relative to.
    ///
    /// # Errors
    /// Everything that is wrong with the text, at once.
    pub fn from_text(file: &str, dir: &Path, text: &str, overrides: &Overrides) -> Result<Loaded, Problems> {
        Scenario::rows_from_text(file, dir, text, overrides).map(first_row)
    }

    /// Reads all rows of a scenario from its text, as [`Scenario::load_rows`] does.
    ///
    /// # Errors
    /// Everything that is wrong with any row, at once.
    pub fn rows_from_text(
        file: &str,
        dir: &Path,
        text: &str,
        overrides: &Overrides,
    ) -> Result<Vec<Row>, Problems> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut sources = Sources::new(file.to_string(), text);
        if text.len() > tree::MAX_FILE {
            let problem = sources.problem_of_file(
                "the file is larger than 1 MiB".to_string(),
                "a scenario is a few kilobytes",
            );
            return Err(Problems::new(&sources, vec![problem]));
        }
        let mut set_flags = sets::flags_of(&overrides.sets, &mut sources);
        if let Some(seed) = overrides.seed {
            set_flags.push(sets::named("--seed", "seed", &seed.to_string(), &mut sources));
        }
        if let Some(url) = &overrides.redis {
            set_flags.push(sets::named("--redis", "redis.url", url, &mut sources));
        }
        let var_flags = vars::flags_of(&overrides.vars, &mut sources);
        let given = vars::Given { vars: &var_flags, env: &overrides.env };

        let mut sink = Sink::new(&sources);
        let base = tree::parse(text, 0, 0, &mut sink).map(|mut root| {
            sets::apply(&mut root, &set_flags, &mut sink);
            let axes = matrix::axes(&mut root, &set_flags, &mut sink);
            (root, axes)
        });
        let mut problems = Distinct::default();
        problems.more += sink.more;
        problems.extend(sink.list);
        let mut rows = Vec::new();
        if let Some((root, axes)) = base {
            for row in 0..matrix::rows(&axes) {
                let mut sink = Sink::new(&sources);
                let root = matrix::tree_of(&root, &axes, row, &mut sink);
                let read = read(root, &axes, &given, &mut sink);
                problems.more += sink.more;
                let failed = check::has_errors(&sink);
                if !failed && let Some((root, values, scenario)) = read {
                    let (sources, dir) = (sources.clone(), dir.to_path_buf());
                    let loaded = Loaded { scenario, warnings: sink.list.clone(), dir, root, sources };
                    rows.push(Row { values, loaded });
                }
                // What is wrong in every row is told once.
                problems.extend(sink.list);
            }
        }
        if problems.has_errors() || rows.is_empty() {
            let more = problems.more;
            let mut list = problems.into_list();
            if list.is_empty() {
                list.push(sources.problem_of_file("the scenario cannot be read".to_string(), ""));
            }
            return Err(Problems { more, ..Problems::new(&sources, list) });
        }
        for row in &mut rows {
            diagnostics::sort(&mut row.loaded.warnings);
        }
        Ok(rows)
    }
}

fn first_row(rows: Vec<Row>) -> Loaded {
    // A file that could be read has a row: without a matrix, the file itself.
    rows.into_iter().next().map_or_else(|| unreachable!("a scenario has a row"), |row| row.loaded)
}

/// What became of the tree of one row.
type Read = (Node, Vec<(String, String)>, Scenario);

fn read(mut root: Node, axes: &[matrix::Axis], given: &vars::Given<'_>, sink: &mut Sink<'_>) -> Option<Read> {
    vars::apply(&mut root, given, sink);
    let values = matrix::values_of(&root, axes);
    let scenario = sections::scenario(&root, sink);
    check::tree(&root, sink);
    let scenario = scenario?;
    check::scenario(&scenario, &root, sink);
    Some((root, values, scenario))
}

fn not_utf8(file: &str, bytes: &[u8], at: usize) -> Problems {
    // The text before the bad byte is unchanged by the replacement, so that `at` holds in both.
    let text = String::from_utf8_lossy(bytes);
    let sources = Sources::new(file.to_string(), &text);
    let byte = bytes.get(at).copied().unwrap_or_default();
    let mut sink = Sink::new(&sources);
    let spot = diagnostics::Spot { source: 0, span: at..at + 1 };
    sink.error(&spot, "", format!("the byte 0x{byte:02x} is not UTF-8"), "save the file as UTF-8 text");
    Problems::new(&sources, sink.list)
}

impl Loaded {
    /// Where a key such as `load.stages[2].ramp` stands; for one that is not written, where its
    /// section stands. None when not even that is written.
    pub fn place_of(&self, path: &str) -> Option<Place> {
        let spot = tree::locate(&self.root, path);
        if *spot == self.root.spot {
            return None;
        }
        let Problem { line, column, flag, .. } =
            self.sources.problem(Severity::Error, spot, path, String::new());
        Some(Place { line, column, flag })
    }

    /// A problem that was found later, at the place of a key.
    pub fn problem(
        &self,
        path: &str,
        message: impl std::convert::Into<String>,
        help: Option<String>,
    ) -> Problem {
        let spot = tree::locate(&self.root, path);
        Problem { help, ..self.sources.problem(Severity::Error, spot, path, message.into()) }
    }

    /// Problems of this file, ready to be shown.
    pub fn problems(&self, list: Vec<Problem>) -> Problems {
        Problems::new(&self.sources, list)
    }

    /// The script's path as the program opens it; None without a script.
    pub fn script_path(&self) -> Option<PathBuf> {
        self.scenario.script.as_ref().map(|script| self.dir.join(&script.file))
    }

    /// What the script is handed over, passwords shown as `***`; null without a script.
    pub fn masked_args(&self) -> serde_json::Value {
        let Some(script) = &self.scenario.script else { return serde_json::Value::Null };
        let mut args = serde_json::Value::Object(script.args.clone().into_iter().collect());
        mask_passwords(&mut args);
        args
    }

    /// The scenario as YAML: substituted, with every default, passwords shown as `***`.
    ///
    /// It loads again to the same scenario, except for masked passwords.
    ///
    /// # Errors
    /// When the scenario cannot be written as YAML, which no scenario that was loaded should cause.
    pub fn effective_yaml(&self) -> Result<String, EffectiveError> {
        let mut scenario = self.scenario.clone();
        scenario.redis.url = scenario.redis.masked_url().into_owned();
        for value in scenario.vars.values_mut() {
            *value = schema::mask_password(value).into_owned();
        }
        if let Some(script) = &mut scenario.script {
            script.args.values_mut().for_each(mask_passwords);
        }
        let options = serde_yaml::ser_options! { prefer_block_scalars: false };
        let yaml = serde_yaml::to_string_with_options(&scenario, options)?;
        // Whatever still looks like a variable is text by now; it never stands in a key.
        Ok(yaml.replace("${", "$${"))
    }
}

/// Why a scenario could not be written. Fits after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("write the scenario as YAML: {0}")]
pub struct EffectiveError(#[from] serde_yaml::ser_error::Error);

fn mask_passwords(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = schema::mask_password(text).into_owned(),
        serde_json::Value::Array(items) => items.iter_mut().for_each(mask_passwords),
        serde_json::Value::Object(map) => map.values_mut().for_each(mask_passwords),
        _ => {}
    }
}

/// The JSON Schema (draft-07) of a scenario, for editors.
pub fn json_schema() -> String {
    let generator = SchemaSettings::draft07().into_generator();
    let schema = generator.into_root_schema_for::<Scenario>();
    // A schema is made of JSON values: it always prints.
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
