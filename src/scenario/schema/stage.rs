//! The words of a stage: its kinds, and how it stands in the file.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use crate::units::{Nanos, Tps};

/// One stage of the load.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(into = "StageInFile")]
pub struct Stage {
    /// Name in the reports; unique in the scenario.
    pub name: Option<String>,
    /// The shape of the rate.
    pub kind: StageKind,
    /// How long the stage lasts. None for a step, whose levels say how long they last.
    pub duration: Option<Nanos>,
    /// Whether its requests are sent but left out of the statistics.
    pub warmup: bool,
}

/// The shape of the rate in a stage.
#[derive(Debug, Clone, PartialEq)]
pub enum StageKind {
    /// One rate all the time.
    Hold(Tps),
    /// A straight line from one rate to another.
    Ramp {
        /// The rate at the start.
        from: Tps,
        /// The rate at the end.
        to: Tps,
    },
    /// Stairs: levels from `from` to `to`, each `every` long. `to` is a level when the steps meet it.
    Step {
        /// The first level.
        from: Tps,
        /// The last level, which may lie below the first. No level lies past it.
        to: Tps,
        /// The height of one step. A magnitude: `from` and `to` give the direction.
        by: Tps,
        /// How long each level lasts.
        every: Nanos,
    },
    /// A wave around a mean rate.
    Sine {
        /// The rate in the middle of the wave, with which it starts, rising.
        mean: Tps,
        /// How far it swings to both sides; never above the mean.
        amplitude: Tps,
        /// How long one wave lasts.
        period: Nanos,
    },
    /// No requests.
    Pause,
    /// The rate that a function of the script gives, by name.
    Lua(String),
}

impl StageKind {
    /// The word of the file for this kind.
    pub fn word(&self) -> &'static str {
        match self {
            StageKind::Hold(_) => "hold",
            StageKind::Ramp { .. } => "ramp",
            StageKind::Step { .. } => "step",
            StageKind::Sine { .. } => "sine",
            StageKind::Pause => "pause",
            StageKind::Lua(_) => "lua",
        }
    }
}

/// A stage as it stands in the file: exactly one of the six kinds is set.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename = "Stage")]
#[schemars(deny_unknown_fields, transform = exactly_one_kind)]
struct StageInFile {
    /// Name in the reports; unique in the scenario.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Za-z0-9._-]+$"))]
    name: Option<String>,
    /// One rate all the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<RateInFile>,
    /// A straight line from one rate to another.
    #[serde(skip_serializing_if = "Option::is_none")]
    ramp: Option<RampInFile>,
    /// Stairs: levels from `from` to `to`, each `every` long. `to` is a level when the steps meet it.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<StepInFile>,
    /// A wave around a mean rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    sine: Option<SineInFile>,
    /// No requests. Takes no settings: `pause: {}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<PauseInFile>,
    /// The rate that this function of the script gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    lua: Option<String>,
    /// How long the stage lasts; required, except for `step`, which has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<Nanos>,
    /// Whether its requests are sent but left out of the statistics.
    #[schemars(default)]
    warmup: bool,
}

/// The ends of a ramp.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename = "Ramp")]
#[schemars(deny_unknown_fields)]
struct RampInFile {
    /// The rate at the start.
    from: RateInFile,
    /// The rate at the end.
    to: RateInFile,
}

/// The levels of a step stage.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename = "Step")]
#[schemars(deny_unknown_fields)]
struct StepInFile {
    /// The first level.
    from: RateInFile,
    /// The last level, which may lie below the first.
    to: RateInFile,
    /// The height of one step.
    by: RateInFile,
    /// How long each level lasts.
    every: Nanos,
}

/// The shape of a wave.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename = "Sine")]
#[schemars(deny_unknown_fields)]
struct SineInFile {
    /// The rate in the middle of the wave, with which it starts, rising.
    mean: RateInFile,
    /// How far it swings to both sides; never above the mean.
    amplitude: RateInFile,
    /// How long one wave lasts.
    period: Nanos,
}

/// The settings of a pause, of which there are none.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename = "Pause")]
#[schemars(deny_unknown_fields)]
struct PauseInFile {}

impl From<Stage> for StageInFile {
    fn from(stage: Stage) -> StageInFile {
        let mut file = StageInFile {
            name: stage.name,
            duration: stage.duration,
            warmup: stage.warmup,
            ..StageInFile::default()
        };
        match stage.kind {
            StageKind::Hold(rate) => file.hold = Some(RateInFile(rate)),
            StageKind::Ramp { from, to } => {
                file.ramp = Some(RampInFile { from: RateInFile(from), to: RateInFile(to) });
            }
            StageKind::Step { from, to, by, every } => {
                let (from, to, by) = (RateInFile(from), RateInFile(to), RateInFile(by));
                file.step = Some(StepInFile { from, to, by, every });
            }
            StageKind::Sine { mean, amplitude, period } => {
                let (mean, amplitude) = (RateInFile(mean), RateInFile(amplitude));
                file.sine = Some(SineInFile { mean, amplitude, period });
            }
            StageKind::Pause => file.pause = Some(PauseInFile {}),
            StageKind::Lua(function) => file.lua = Some(function),
        }
        file
    }
}

impl JsonSchema for Stage {
    fn schema_name() -> Cow<'static, str> {
        "Stage".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        StageInFile::json_schema(generator)
    }
}

/// Adds to the schema of a stage that exactly one kind stands in it.
fn exactly_one_kind(schema: &mut Schema) {
    let kinds = ["hold", "ramp", "step", "sine", "pause", "lua"];
    let one_of: Vec<_> = kinds.iter().map(|kind| serde_json::json!({ "required": [kind] })).collect();
    schema.insert("oneOf".to_string(), one_of.into());
}

/// A rate that is written so that it reads back as exactly the same number of units.
#[derive(Debug, Clone, Copy)]
pub(super) struct RateInFile(pub(super) Tps);

impl Serialize for RateInFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let units = self.0.units();
        if units.is_multiple_of(Tps::UNITS_PER_TPS) {
            return serializer.serialize_u64(units / Tps::UNITS_PER_TPS);
        }
        // A unit is a millionth of a request per hour: six decimals of the first denominator
        // that divides are exact.
        for (per_denominator, name) in [(3600, ""), (60, "/m"), (1, "/h")] {
            if units.is_multiple_of(per_denominator) {
                let millionths = units / per_denominator;
                let decimals = format!("{:06}", millionths % 1_000_000);
                let decimals = decimals.trim_end_matches('0');
                let dot = if decimals.is_empty() { "" } else { "." };
                return serializer
                    .collect_str(&format_args!("{}{dot}{decimals}{name}", millionths / 1_000_000));
            }
        }
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for RateInFile {
    fn schema_name() -> Cow<'static, str> {
        Tps::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Tps::json_schema(generator)
    }
}
