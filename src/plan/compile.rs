//! Compile: from what was typed to what will happen. All arithmetic and every rule between keys of a
//! scenario is here; what a single key may hold was checked when the file was read.

use std::sync::Arc;

use crate::plan::closed::{Closed, Think, Until};
use crate::plan::connections::Connections;
use crate::plan::fingerprint;
use crate::plan::keys::{Keys, Order};
use crate::plan::mix::{Kind, Mix};
use crate::plan::schedule::{Arrivals, Piece, SAMPLE_NS, Schedule, Shape, StageTotals};
use crate::plan::search::first_trial;
use crate::plan::segment::Segment;
use crate::plan::{Plan, Stage, thresholds};
use crate::scenario::schema::{self, OnExhausted, Scenario, StageKind};
use crate::seeded;
use crate::units::{Nanos, Tps};

/// The longest stage whose rate a Lua function gives: its samples are kept.
const MAX_LUA_STAGE: Nanos = Nanos::from_secs(24 * 3600);

/// The most requests of a plan.
const MAX_REQUESTS: u64 = 1_000_000_000_000_000;

const PURPOSE_ARRIVALS: u64 = 0x6172_7269;

/// A rule that a scenario breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key, such as `load.stages[2].ramp`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Violation {
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>, help: &str) -> Violation {
        let help = (!help.is_empty()).then(|| help.to_string());
        Violation { path: path.into(), message: message.into(), help }
    }
}

/// Gives the rate of a Lua function at a second of its stage, in requests per second.
pub type RateAt<'a> = dyn FnMut(&str, f64) -> Result<f64, String> + 'a;

/// Compiles a scenario for one segment; of a search, its first trial. `rate_at` answers for `lua` stages.
///
/// # Errors
/// Every rule that is broken.
pub fn compile(
    scenario: &Scenario,
    segment: Segment,
    rate_at: &mut RateAt<'_>,
) -> Result<Plan, Vec<Violation>> {
    if let Some(search) = &scenario.search {
        return first_trial(scenario, search, segment, rate_at);
    }
    let mut violations = Vec::new();
    let mut shapes = Vec::with_capacity(scenario.load.stages.len());
    for (index, stage) in scenario.load.stages.iter().enumerate() {
        match shape(stage, rate_at) {
            Ok(shape) => shapes.push(shape),
            Err((message, help)) => {
                violations.push(Violation::new(format!("load.stages[{index}]"), message, help));
            }
        }
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    let arrivals = match scenario.load.arrivals {
        schema::Arrivals::Uniform => Arrivals::Uniform,
        schema::Arrivals::Poisson => {
            Arrivals::Poisson { seed: seeded::choice(scenario.seed, PURPOSE_ARRIVALS, 0) }
        }
    };
    let keys = keys(scenario)?;
    let mix = mix(scenario);
    let (schedule, closed, stages) = match scenario.load.model {
        schema::Model::Open => {
            let schedule = schedule(scenario, shapes, arrivals, &keys)?;
            let stages = stages(scenario, &schedule);
            (schedule, None, stages)
        }
        schema::Model::Closed => {
            let closed = closed(scenario, segment, &keys)?;
            (Schedule::new(Vec::new(), Arrivals::Uniform), Some(closed), vec![closed_stage(&closed)])
        }
    };
    let thresholds = thresholds::of(&scenario.thresholds, &stages, closed.as_ref())?;
    let of = fingerprint::Of {
        schedule: &schedule,
        closed: closed.as_ref(),
        keys: &keys,
        key_template: &scenario.records.key,
        kinds: &mix,
        seed: scenario.seed,
    };
    let (fingerprint, undrawn) = (fingerprint::of(of), fingerprint::undrawn(of));
    Ok(Plan {
        name: scenario.name.clone(),
        seed: scenario.seed,
        fingerprint,
        undrawn,
        schedule: Arc::new(schedule),
        only: None,
        events: Vec::new(),
        closed,
        mix: Arc::new(mix),
        keys: Arc::new(keys),
        stages,
        thresholds,
        segment,
        connections: connections(&scenario.connections),
    })
}

fn keys(scenario: &Scenario) -> Result<Keys, Vec<Violation>> {
    let ranges = &scenario.records.range;
    let count = ranges.iter().try_fold(0u64, |sum, range| sum.checked_add(range.count()));
    // Zipf counts one further than the last.
    if count.is_none_or(|count| count >= u64::MAX / 2) {
        let message = "the ranges hold more records than can be counted";
        return Err(vec![Violation::new("records.range", message, "name the records that there are")]);
    }
    let order = match scenario.records.order {
        schema::Order::Sequential => Order::Sequential,
        schema::Order::Shuffle => Order::Shuffle,
        schema::Order::Random => Order::Random,
        schema::Order::Zipf => Order::Zipf,
    };
    Ok(Keys::new(ranges.clone(), order, scenario.seed))
}

fn schedule(
    scenario: &Scenario,
    shapes: Vec<Shape>,
    arrivals: Arrivals,
    keys: &Keys,
) -> Result<Schedule, Vec<Violation>> {
    let schedule = Schedule::new(shapes, arrivals);
    if schedule.never_sends() {
        let help = "give at least one stage a rate above 0";
        return Err(vec![Violation::new("load.stages", "the stages never send anything", help)]);
    }
    if schedule.total() > MAX_REQUESTS {
        let message = format!("the stages send {} requests, the limit is {MAX_REQUESTS}", schedule.total());
        return Err(vec![Violation::new("load.stages", message, "shorten a stage or lower its rate")]);
    }
    let exhausts = matches!(keys.order(), Order::Sequential | Order::Shuffle);
    match scenario.records.on_exhausted {
        OnExhausted::Stop if exhausts => Ok(schedule.truncated(keys.count())),
        OnExhausted::Fail if exhausts && schedule.total() > keys.count() => {
            let (needed, there) = (schedule.total(), keys.count());
            let message = format!(
                "the stages send {needed} requests but the range holds {there} records, and on_exhausted is `fail`"
            );
            let help = "widen the range, shorten the stages, or set on_exhausted to loop or stop";
            Err(vec![Violation::new("records.range", message, help)])
        }
        _ => Ok(schedule),
    }
}

fn mix(scenario: &Scenario) -> Mix {
    let kinds = scenario.load.mix.iter().map(|kind| Kind {
        name: kind.name.clone(),
        weight: kind.weight.into(),
        payload: kind.payload.clone(),
    });
    Mix::new(kinds.collect(), scenario.seed)
}

/// The closed load, and whether it can be shared out.
fn closed(scenario: &Scenario, segment: Segment, keys: &Keys) -> Result<Closed, Vec<Violation>> {
    let load = &scenario.load;
    let wrong = |path: &str, message: String, help: &str| Err(vec![Violation::new(path, message, help)]);
    let until = match (load.requests, load.duration) {
        (Some(requests), _) if requests > MAX_REQUESTS => {
            let message = format!("{requests} requests are more than the limit of {MAX_REQUESTS}");
            return wrong("load.requests", message, "write fewer");
        }
        (Some(requests), _) => Until::Requests(requests),
        (None, duration) => Until::Time(duration.unwrap_or_default()),
    };
    let users = u64::from(load.users.unwrap_or(scenario.connections.count));
    if users < segment.of() {
        let message = format!("{users} users cannot be shared out among {} segments", segment.of());
        return wrong("load.users", message, "write at least one user for each segment");
    }
    let exhausts = matches!(keys.order(), Order::Sequential | Order::Shuffle);
    let at_most = match (scenario.records.on_exhausted, until) {
        (OnExhausted::Stop, _) if exhausts => Some(keys.count()),
        (OnExhausted::Fail, Until::Requests(needed)) if exhausts && needed > keys.count() => {
            let message = format!(
                "the load sends {needed} requests but the range holds {} records, and on_exhausted is `fail`",
                keys.count()
            );
            let help = "widen the range, lower load.requests, or set on_exhausted to loop or stop";
            return wrong("records.range", message, help);
        }
        (OnExhausted::Fail, Until::Time(_)) if exhausts => {
            let message = "nobody knows beforehand how many requests a closed load with a duration sends";
            return wrong("records.on_exhausted", message.to_string(), "write loop or stop");
        }
        _ => None,
    };
    let think = Think { from: load.think.from, to: load.think.to };
    Ok(Closed { users, until, at_most, think, ramp_up: load.ramp_up })
}

/// The one stage that reports show of a closed load.
fn closed_stage(closed: &Closed) -> Stage {
    let totals = StageTotals {
        start: Nanos::ZERO,
        end: closed.end().unwrap_or(Nanos::ZERO),
        first: 0,
        scheduled: closed.total().unwrap_or(0),
        peak: Tps::ZERO,
    };
    let (name, kind) = ("closed".to_string(), "closed");
    Stage { name, kind, from: Tps::ZERO, to: Tps::ZERO, warmup: false, totals }
}

fn shape(stage: &schema::Stage, rate_at: &mut RateAt<'_>) -> Result<Shape, (String, &'static str)> {
    let duration_ns = stage.duration.unwrap_or_default().0;
    let flat = |rate: Tps, duration_ns: u64| Piece { duration_ns, from: rate.units(), to: rate.units() };
    Ok(match &stage.kind {
        StageKind::Hold(rate) => Shape::Pieces(vec![flat(*rate, duration_ns)]),
        StageKind::Pause => Shape::Pieces(vec![flat(Tps::ZERO, duration_ns)]),
        StageKind::Ramp { from, to } => {
            Shape::Pieces(vec![Piece { duration_ns, from: from.units(), to: to.units() }])
        }
        StageKind::Step { from, to, by, every } => {
            let levels = levels(from.units(), to.units(), by.units());
            Shape::Pieces(levels.into_iter().map(|rate| flat(Tps::from_units(rate), every.0)).collect())
        }
        StageKind::Sine { mean, amplitude, period } => {
            Shape::Sine { mean: mean.units(), amplitude: amplitude.units(), period_ns: period.0, duration_ns }
        }
        StageKind::Lua(function) => {
            if duration_ns > MAX_LUA_STAGE.0 {
                let message = format!("a lua stage of {} is longer than 24h", Nanos(duration_ns));
                return Err((message, "cut it into several stages"));
            }
            let rates = sample(function, duration_ns, rate_at).map_err(|message| {
                (message, "the function returns requests per second, from 0 to 10,000,000")
            })?;
            Shape::Samples { rates, duration_ns }
        }
    })
}

/// The levels of a stair: from `from` in steps of `by`, never past `to`.
fn levels(from: u64, to: u64, by: u64) -> Vec<u64> {
    let steps = from.abs_diff(to) / by.max(1);
    (0..=steps).map(|step| if to >= from { from + step * by } else { from - step * by }).collect()
}

fn sample(function: &str, duration_ns: u64, rate_at: &mut RateAt<'_>) -> Result<Vec<u64>, String> {
    (0..Shape::samples_needed(duration_ns))
        .map(|index| {
            let at = Nanos((index * SAMPLE_NS).min(duration_ns));
            let rate = rate_at(function, at.as_secs_f64())?;
            let units = (rate * Tps::UNITS_PER_TPS as f64).round();
            if units >= 0.0 && units <= Tps::MAX.units() as f64 {
                Ok(units as u64)
            } else {
                Err(format!("{function}({}) is {rate}", at.as_secs_f64()))
            }
        })
        .collect()
}

fn stages(scenario: &Scenario, schedule: &Schedule) -> Vec<Stage> {
    let typed = scenario.load.stages.iter().zip(schedule.shapes()).zip(schedule.stages());
    typed
        .enumerate()
        .map(|(index, ((stage, shape), totals))| {
            let kind = stage.kind.word();
            let (from, to) = shape.ends();
            Stage {
                name: stage.name.clone().unwrap_or_else(|| format!("{kind}-{}", index + 1)),
                kind,
                from: Tps::from_units(from),
                to: Tps::from_units(to),
                warmup: stage.warmup,
                totals,
            }
        })
        .collect()
}

fn connections(typed: &schema::Connections) -> Connections {
    Connections {
        count: typed.count.into(),
        limit: typed.limit,
        window: typed.window as usize,
        stagger: typed.stagger,
        connect_timeout: typed.connect_timeout,
        request_timeout: typed.request_timeout,
        source_addresses: typed.source_addresses.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Overrides;
    use std::path::Path;

    fn compiled(yaml: &str) -> Result<Plan, Vec<Violation>> {
        let loaded = Scenario::from_text("test.yaml", Path::new("."), yaml, &Overrides::default())
            .expect("a scenario");
        compile(&loaded.scenario, Segment::WHOLE, &mut |_, t| Ok(100.0 * t))
    }

    #[test]
    fn a_closed_load_ends_with_its_requests_its_time_or_its_records() {
        let plan = |load: &str, records: &str| {
            compiled(&format!("name: t\nrecords: {{ range: 1..300{records} }}\nload: {{ {load} }}\n"))
        };
        let requests = plan("users: 5, requests: 1000", "").expect("compiles");
        assert_eq!((requests.total(), requests.end(), requests.scheduled()), (Some(1000), None, 1000));
        assert_eq!(requests.connections.count, 5, "connections follow the users");
        let timed = plan("users: 5, duration: 3s", "").expect("compiles");
        assert_eq!((timed.total(), timed.end()), (None, Some(Nanos::from_secs(3))));
        let stopped = plan("users: 5, requests: 1000", ", on_exhausted: stop").expect("compiles");
        assert_eq!(stopped.total(), Some(300));
        for (load, path) in [
            ("users: 5, requests: 1000", "records.range"),
            ("users: 5, duration: 3s", "records.on_exhausted"),
            ("users: 5, requests: 2000000000000000", "load.requests"),
        ] {
            assert_eq!(plan(load, ", on_exhausted: fail").expect_err("refused")[0].path, path);
        }
    }

    #[test]
    fn a_segment_without_a_user_is_refused() {
        let yaml = "name: t\nload: { users: 2, requests: 10 }\n";
        let loaded = Scenario::from_text("test.yaml", Path::new("."), yaml, &Overrides::default())
            .expect("a scenario");
        let third = Segment::new(0, 3).expect("a third");
        let violations = compile(&loaded.scenario, third, &mut |_, _| Ok(0.0)).expect_err("no user");
        assert_eq!(violations[0].path, "load.users");
    }

    const HEAD: &str = "name: t\nrecords: { range: 1..100 }\nscript: { file: x.lua }\n";

    #[test]
    fn every_kind_of_stage_has_the_total_of_its_area() {
        let plan = compiled(&format!(
            "{HEAD}load:\n  stages:\n\
             \x20   - {{ hold: 50, duration: 4s, warmup: true }}\n\
             \x20   - {{ name: up, ramp: {{ from: 0, to: 100 }}, duration: 10s }}\n\
             \x20   - {{ step: {{ from: 100, to: 300, by: 100, every: 1s }} }}\n\
             \x20   - {{ sine: {{ mean: 30, amplitude: 10, period: 2s }}, duration: 4s }}\n\
             \x20   - {{ pause: {{}}, duration: 1s }}\n\
             \x20   - {{ lua: tps_at, duration: 2s }}\n"
        ))
        .expect("compiles");
        let rows: Vec<(&str, u64)> =
            plan.stages.iter().map(|s| (s.name.as_str(), s.totals.scheduled)).collect();
        assert_eq!(
            rows,
            [("hold-1", 200), ("up", 500), ("step-3", 600), ("sine-4", 120), ("pause-5", 1), ("lua-6", 199)]
        );
        assert_eq!(plan.scheduled(), 1620);
        assert!(plan.stages[0].warmup && !plan.stages[1].warmup);
        assert_eq!(plan.stages[2].duration(), Nanos::from_secs(3));
        assert_eq!(plan.peak(), Tps::per_second(300));
    }

    #[test]
    fn stairs_go_down_too_and_never_past_their_end() {
        assert_eq!(levels(100, 500, 100), [100, 200, 300, 400, 500]);
        assert_eq!(levels(5, 0, 2), [5, 3, 1]);
        assert_eq!(levels(7, 7, 3), [7]);
    }

    #[test]
    fn exhausted_records_end_the_plan_or_refuse_it_as_asked() {
        let stages = "load: { stages: [ { hold: 100, duration: 10s } ] }\n";
        let with = |policy: &str| {
            compiled(&format!("name: t\nrecords: {{ range: 1..300, on_exhausted: {policy} }}\n{stages}"))
        };
        assert_eq!(with("loop").expect("compiles").scheduled(), 1000);
        assert_eq!(with("stop").expect("compiles").scheduled(), 300);
        let violations = with("fail").expect_err("too few records");
        assert_eq!(violations[0].path, "records.range");
    }

    #[test]
    fn a_lua_rate_that_is_none_is_a_problem_of_its_stage() {
        let loaded = Scenario::from_text(
            "test.yaml",
            Path::new("."),
            &format!("{HEAD}load: {{ stages: [ {{ lua: f, duration: 1s }} ] }}\n"),
            &Overrides::default(),
        )
        .expect("a scenario");
        let violations =
            compile(&loaded.scenario, Segment::WHOLE, &mut |_, _| Err("f(0) failed".to_string()))
                .expect_err("no rate");
        assert_eq!(
            (violations[0].path.as_str(), violations[0].message.as_str()),
            ("load.stages[0]", "f(0) failed")
        );
    }
}
