//! The plan on one sheet: what `--dry-run` prints and `plan.json` holds.

use std::path::Path;

use crate::app::parts;
use crate::app::prepare::Prepared;
use crate::plan::preflight::{Concern, Preflight};
use crate::report::dry_run::DryRun;

pub(super) struct Sheet<'a> {
    pub path: &'a Path,
    pub prepared: &'a Prepared,
    pub preflight: Preflight,
    pub concerns: &'a [Concern],
    pub folder: &'a Path,
    /// Whether nothing is sent.
    pub simulated: bool,
}

impl Sheet<'_> {
    fn with<T>(&self, print: impl FnOnce(DryRun<'_>) -> T) -> T {
        let scenario = &self.prepared.loaded.scenario;
        let mut target = parts::target_in_words(scenario);
        if let Some(compare) = &scenario.compare_with {
            target.push_str(&format!(", in turns with {}", compare.target));
        }
        let thresholds: Vec<String> = scenario.thresholds.iter().map(ToString::to_string).collect();
        print(DryRun {
            plan: &self.prepared.plan,
            content: &self.prepared.content(),
            preflight: &self.preflight,
            concerns: self.concerns,
            files: &parts::file_names(scenario),
            thresholds: &thresholds,
            scenario_path: &self.path.display().to_string(),
            folder: &self.folder.display().to_string(),
            simulated: self.simulated,
            target: &target,
            redis: &scenario.redis.masked_url(),
        })
    }

    /// For a person.
    pub(super) fn text(&self) -> String {
        use std::io::IsTerminal;
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        self.with(|sheet| sheet.text(wanted && std::io::stdout().is_terminal()))
    }

    /// For a program.
    pub(super) fn json(&self) -> String {
        self.with(|sheet| sheet.json())
    }
}
