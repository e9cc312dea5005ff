//! Thresholds as they will be looked at: with the stages that they name.

use crate::plan::Stage;
use crate::plan::closed::Closed;
use crate::plan::compile::Violation;
use crate::plan::replay::Speed;
use crate::scenario::schema::{self, Aggregate, Condition, Metric, NoData};
use crate::units::{NANOS_PER_SEC, Nanos, Unit};

/// What must hold for the run to pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    written: schema::Threshold,
    /// What is measured, and its bound.
    pub condition: Condition,
    /// What stands beside the condition, in words; empty where nothing does.
    pub terms: String,
    /// The stage that is looked at, by its place; `None` for all but warm-up.
    pub stage: Option<usize>,
    /// Seconds that begin earlier, from the start of the run or of the stage, are not looked at.
    pub after: Nanos,
    /// How long it must be broken, second by second; 0 where all seconds are taken together.
    pub hold_for: Nanos,
    /// Whether the run ends as soon as it is broken.
    pub abort: bool,
    /// The verdict when nothing was measured.
    pub passes_without_data: bool,
}

impl Threshold {
    /// The same in a plan that goes faster or slower.
    pub(super) fn at_speed(mut self, speed: Speed) -> Threshold {
        let time = |time: Nanos| Nanos(speed.end(time.0));
        (self.after, self.hold_for) = (time(self.after), time(self.hold_for));
        (self.written.after, self.written.hold_for) = (self.after, self.hold_for);
        self.terms = self.written.terms();
        self
    }
}

/// Finds the stages and holds the terms against them.
pub(super) fn of(
    typed: &[schema::Threshold],
    stages: &[Stage],
    closed: Option<&Closed>,
) -> Result<Vec<Threshold>, Vec<Violation>> {
    let (mut compiled, mut violations) = (Vec::with_capacity(typed.len()), Vec::new());
    for (index, threshold) in typed.iter().enumerate() {
        match one(&format!("thresholds[{index}]"), threshold, stages, closed) {
            Ok(threshold) => compiled.push(threshold),
            Err(violation) => violations.push(violation),
        }
    }
    if violations.is_empty() { Ok(compiled) } else { Err(violations) }
}

fn one(
    path: &str,
    threshold: &schema::Threshold,
    stages: &[Stage],
    closed: Option<&Closed>,
) -> Result<Threshold, Violation> {
    let stage = match &threshold.stage {
        None => None,
        Some(name) => {
            let found = stages.iter().position(|stage| stage.name == *name);
            Some(found.ok_or_else(|| {
                let names: Vec<&str> = stages.iter().take(20).map(|stage| stage.name.as_str()).collect();
                let help = format!("the stages are {}", names.join(", "));
                Violation::new(format!("{path}.stage"), format!("there is no stage `{name}`"), &help)
            })?)
        }
    };
    // Of a closed load that so many requests end, nobody knows how long it lasts.
    let end = match closed {
        None => stages.last().map(|stage| stage.totals.end),
        Some(closed) => closed.end(),
    };
    let length = match stage.and_then(|stage| stages.get(stage)).filter(|_| closed.is_none()) {
        Some(stage) => Some(stage.duration()),
        None => end,
    };
    if let Some(length) = length {
        let (after, hold_for) = (threshold.after, threshold.hold_for);
        if after > Nanos::ZERO && after >= length {
            let message = format!("nothing is left after {after} of {length}");
            return Err(Violation::new(format!("{path}.after"), message, "write less"));
        }
        if hold_for.0 > length.0 - after.0 {
            let message = format!("what lasts {} cannot be broken for {hold_for}", Nanos(length.0 - after.0));
            return Err(Violation::new(format!("{path}.for"), message, "write less"));
        }
    }
    by_seconds(path, threshold, stage.and_then(|stage| stages.get(stage)), end)?;
    Ok(Threshold {
        written: threshold.clone(),
        condition: threshold.check.clone(),
        terms: threshold.terms(),
        stage,
        after: threshold.after,
        hold_for: threshold.hold_for,
        abort: threshold.abort,
        passes_without_data: threshold.no_data == NoData::Pass,
    })
}

/// Whether what is looked at second by second has seconds, and whole ones where it matters.
fn by_seconds(
    path: &str,
    threshold: &schema::Threshold,
    stage: Option<&Stage>,
    end: Option<Nanos>,
) -> Result<(), Violation> {
    let condition = &threshold.check;
    if end.is_none() && threshold.hold_for > Nanos::ZERO && condition.unit() == Unit::PerSecond {
        let message = "nobody knows how long the last second of a load of so many requests is";
        let help = "remove `for`, or end the load by its duration";
        return Err(Violation::new(format!("{path}.for"), message.to_string(), help));
    }
    let worst_second = condition.metric == Metric::RateError && condition.aggregate == Aggregate::Max;
    let looks = threshold.hold_for > Nanos::ZERO || threshold.after > Nanos::ZERO || threshold.abort;
    let Some(stage) = stage.filter(|_| looks || worst_second) else { return Ok(()) };
    let from = stage.totals.start.0.saturating_add(threshold.after.0);
    if from.div_ceil(NANOS_PER_SEC).saturating_mul(NANOS_PER_SEC) < stage.totals.end.0 {
        return Ok(());
    }
    let message = format!("no second of the schedule begins in what is looked at of stage `{}`", stage.name);
    let help = "a second belongs to the stage in which it begins: let the stage be longer, or name none";
    Err(Violation::new(path.to_string(), message, help))
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;
    use crate::plan::compile::{Violation, compile};
    use crate::plan::segment::Segment;
    use crate::scenario::{Overrides, Scenario};
    use std::path::Path;

    fn compiled(thresholds: &str) -> Result<Plan, Vec<Violation>> {
        let stages = "{ name: up, hold: 10, duration: 4s }, { hold: 10, duration: 6s }";
        let text = format!("name: t\nload: {{ stages: [ {stages} ] }}\nthresholds: [ {thresholds} ]\n");
        let loaded = Scenario::from_text("t.yaml", Path::new("."), &text, &Overrides::default());
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        compile(&loaded.scenario, Segment::WHOLE, &mut |_, _| Ok(0.0))
    }

    #[test]
    fn a_stage_is_found_by_its_name_also_by_one_that_it_was_given() {
        let plan =
            compiled("\"lag{stage:up} max < 1s\", { check: lag max < 1s, stage: hold-2 }").expect("a plan");
        let stages: Vec<_> = plan.thresholds.iter().map(|threshold| threshold.stage).collect();
        assert_eq!(stages, [Some(0), Some(1)]);
        assert_eq!(plan.thresholds[1].terms, "stage hold-2");
    }

    #[test]
    fn a_stage_that_is_not_there_and_terms_that_do_not_fit_are_refused() {
        let cases = [
            ("{ check: lag max < 1s, stage: down }", "thresholds[0].stage", "there is no stage `down`"),
            ("{ check: lag max < 1s, after: 10s }", "thresholds[0].after", "nothing is left"),
            ("{ check: lag max < 1s, stage: up, after: 4s }", "thresholds[0].after", "nothing is left"),
            ("{ check: lag max < 1s, stage: up, after: 2s, for: 3s }", "thresholds[0].for", "lasts 2s"),
            ("{ check: lag max < 1s, stage: up, after: 3500ms }", "thresholds[0]", "no second"),
        ];
        for (threshold, path, message) in cases {
            let found = compiled(threshold).expect_err(threshold);
            assert!(found[0].path == path && found[0].message.contains(message), "{found:?}");
        }
        assert!(compiled("{ check: lag max < 1s, stage: up, after: 1s, for: 3s }").is_ok());
    }
}
