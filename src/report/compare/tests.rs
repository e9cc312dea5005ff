use super::*;
use crate::report::blocks::{Cut, Laid, cuts};
use crate::report::json::whole;
use crate::report::tests::{plan, typical};
use crate::seeded::{choice, mix};

/// Numbers that look drawn, one after the other.
struct Drawn {
    seed: u64,
    next: u64,
}

impl Drawn {
    /// Evenly between 0 and 1.
    fn even(&mut self) -> f64 {
        self.next += 1;
        (choice(self.seed, 1, self.next) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        let (a, b) = (self.even().max(1e-300), self.even());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

/// A service whose time wanders from second to second: each second keeps `alike` of the one before.
#[derive(Clone, Copy)]
struct Service {
    us: f64,
    alike: f64,
    wanders: f64,
    per_second: u64,
    seconds: u64,
}

const SERVICE: Service = Service { us: 10_000.0, alike: 0.5, wanders: 0.05, per_second: 40, seconds: 60 };

impl Service {
    /// What a run against it has measured.
    fn run(self, seed: u64) -> Side {
        let mut drawn = Drawn { seed: mix(seed), next: 0 };
        let mut wander = drawn.normal();
        let of_second: Vec<Latencies> = (0..self.seconds)
            .map(|_| {
                wander = self.alike * wander + (1.0 - self.alike * self.alike).sqrt() * drawn.normal();
                let level = self.us * (self.wanders * wander).exp();
                let mut latencies = Latencies::default();
                for _ in 0..self.per_second {
                    let hiccup = if drawn.even() < 0.01 { 5.0 } else { 1.0 };
                    let us = level * hiccup * (0.2 * drawn.normal()).exp();
                    let (service, lag) = ((us * 1e3) as u64, (30e3 * drawn.even()) as u64);
                    latencies.service.saturating_record(service);
                    latencies.lag.saturating_record(lag);
                    latencies.response.saturating_record(service + lag);
                }
                latencies
            })
            .collect();
        let mut summary = typical();
        summary.run_id = format!("run-{seed}");
        summary.stages[0].duration = Nanos::from_secs(self.seconds);
        // As few blocks as are compared: what is cut finer is joined to the same ones.
        let laid = Laid { duration: Nanos::from_secs(self.seconds), warmup: false, sends: true };
        let blocks = cuts(&[laid], BLOCKS).iter().map(|cut| self.block(cut, &of_second)).collect();
        Side { blocks, whole: whole(&summary), file: PathBuf::new() }
    }

    fn block(self, cut: &Cut, of_second: &[Latencies]) -> Block {
        let mut block = Block::of(cut);
        let mut latencies = Latencies::default();
        of_second[block.from as usize..block.to as usize].iter().for_each(|second| latencies.merge(second));
        let requests = self.per_second * (block.to - block.from);
        (block.scheduled, block.sent, block.matched) = (requests, requests, requests);
        block.set_latencies(&latencies);
        block
    }
}

/// Everything that is no chance counts as a change.
const ANY: Bounds = Bounds { change: 0.0, time_us: 0, share: 0.0 };
const USUAL: Bounds = Bounds { change: 0.05, time_us: 500, share: 0.001 };

fn judge(base: &Side, new: &Side, bounds: &Bounds) -> Compared {
    compare(base, new, bounds, false).expect("comparable")
}

#[test]
fn equal_services_are_called_different_once_in_a_hundred_comparisons_however_seconds_resemble_each_other() {
    for alike in [0.0, 0.5] {
        let service = Service { alike, ..SERVICE };
        let called = (0..200u64).filter(|&trial| {
            let (base, new) = (service.run(2 * trial), service.run(2 * trial + 1));
            judge(&base, &new, &ANY).judgement() != Judgement::NoSignificantChange
        });
        let called = called.count();
        assert!(called <= 4, "{called} of 200, alike {alike}");
    }
}

#[test]
fn a_shift_of_a_few_percent_is_found_and_one_below_the_bounds_is_not_called() {
    let found = |factor: f64, judgement: Judgement| {
        let other = Service { us: SERVICE.us * factor, ..SERVICE };
        let found = (0..40u64).filter(|&trial| {
            judge(&SERVICE.run(1000 + trial), &other.run(2000 + trial), &USUAL).judgement() == judgement
        });
        found.count()
    };
    let (worse, better, little) = (
        found(1.09, Judgement::Regression),
        found(0.91, Judgement::Improvement),
        found(1.01, Judgement::NoSignificantChange),
    );
    assert!(worse >= 32 && better >= 32 && little >= 38, "{worse} {better} {little} of 40");
}

#[test]
fn five_milliseconds_more_are_a_regression_in_the_shortest_run_that_is_compared() {
    let short = Service { seconds: BLOCKS as u64, ..SERVICE };
    let slower = Service { us: SERVICE.us + 5000.0, ..short };
    let compared = judge(&short.run(1), &slower.run(2), &USUAL);
    assert_eq!(compared.judgement(), Judgement::Regression);
    assert!(compared.reason().starts_with("response_time p50 from 10"), "{}", compared.reason());
    let too_short = Service { seconds: BLOCKS as u64 - 1, ..SERVICE };
    let compared = judge(&too_short.run(1), &Service { us: 90_000.0, ..too_short }.run(2), &USUAL);
    assert_eq!(compared.judgement(), Judgement::TooShort);
    assert!(compared.metrics.iter().all(|of| of.probability.is_none() && of.finding == Finding::Shown));
    assert!(compared.failure().is_some() && compared.clone().not_decisive().failure().is_none());
}

#[test]
fn a_run_is_no_different_from_itself_and_one_long_hiccup_is_no_regression() {
    let run = SERVICE.run(7);
    let same = judge(&run, &run, &ANY);
    assert_eq!(same.judgement(), Judgement::NoSignificantChange);
    assert!(same.metrics.iter().all(|of| of.change.is_none_or(|change| change == 0.0)));
    let mut stalled = run.clone();
    let mut latencies = stalled.blocks[3].latencies().expect("latencies");
    latencies.response.saturating_record_n(5_000_000_000, 100);
    stalled.blocks[3].set_latencies(&latencies);
    let compared = judge(&run, &stalled, &USUAL);
    let p99 = compared.metrics.iter().find(|of| of.metric == "response_time p99").expect("p99");
    assert!(p99.change.expect("a change") > 1e6, "{p99:?}");
    assert_eq!(compared.judgement(), Judgement::NoSignificantChange);
}

#[test]
fn failing_requests_and_a_lower_rate_are_regressions_too() {
    let base = SERVICE.run(1);
    let mut failing = SERVICE.run(2);
    for block in &mut failing.blocks {
        block.errors = block.scheduled / 10;
        block.matched -= block.errors;
    }
    let compared = judge(&base, &failing, &USUAL);
    let worse: Vec<&str> = compared
        .metrics
        .iter()
        .filter(|of| of.finding == Finding::Worse)
        .map(|of| of.metric.as_str())
        .collect();
    assert_eq!(worse, ["rate", "errors"]);
    assert_eq!(judge(&failing, &base, &USUAL).judgement(), Judgement::Improvement);
}

/// The same run with so many failures in each of its blocks.
fn failing(run: &Side, failures: [u64; BLOCKS]) -> Side {
    let mut run = run.clone();
    for (block, failed) in run.blocks.iter_mut().zip(failures) {
        (block.errors, block.matched) = (failed, block.scheduled - failed);
    }
    run
}

#[test]
fn requests_that_fail_in_a_part_of_the_run_are_a_regression_and_one_burst_is_none() {
    let (base, new) = (SERVICE.run(1), SERVICE.run(2));
    let all = SERVICE.per_second * SERVICE.seconds / BLOCKS as u64;
    let broken = failing(&new, [0, 0, 0, 0, 0, 0, 0, all, all, all]);
    let compared = judge(&base, &broken, &USUAL);
    assert_eq!(compared.judgement(), Judgement::Regression);
    assert!(compared.reason().contains("errors from 0 % to 30 % in 3 of 10 blocks"), "{}", compared.reason());
    let errors = compared.metrics.iter().find(|of| of.metric == "errors").expect("errors");
    assert!(errors.probability.is_some_and(|probability| probability < 1e-9), "{errors:?}");
    assert_eq!(judge(&broken, &base, &USUAL).judgement(), Judgement::Improvement);
    // As it was before.
    let before = failing(&base, [0, 0, 0, 0, 0, 0, all, all, all, 0]);
    assert_eq!(judge(&before, &broken, &USUAL).judgement(), Judgement::NoSignificantChange);
    // One burst across a border, and two: told, and no change.
    for bursts in [[0, 0, 0, all, all, 0, 0, 0, 0, 0], [0, all, 0, 0, 0, 0, 0, 0, all, 0]] {
        let stalled = judge(&base, &failing(&new, bursts), &USUAL);
        assert_eq!(stalled.judgement(), Judgement::NoSignificantChange);
        let told = text(std::slice::from_ref(&stalled), false);
        assert!(
            told.contains("errors from 0 % to 20 % in 2 of 10 blocks: that may be a burst or two"),
            "{told}"
        );
        assert!(markdown(&[stalled]).contains("in 2 of 10 blocks: that may be a burst or two"));
    }
    let three = failing(&new, [0, all, 0, 0, all, 0, 0, 0, all, 0]);
    assert_eq!(judge(&base, &three, &USUAL).judgement(), Judgement::Regression);
    // Less than is to count.
    let tolerant = Bounds { share: 0.4, ..USUAL };
    assert_eq!(judge(&base, &broken, &tolerant).judgement(), Judgement::NoSignificantChange);
}

#[test]
fn equal_services_that_fail_by_chance_are_not_called_different() {
    let run = SERVICE.run(1);
    let all = SERVICE.per_second * SERVICE.seconds / BLOCKS as u64;
    for rate in [0.001, 0.01, 0.1] {
        let of = |seed: u64| {
            let mut drawn = Drawn { seed: mix(seed), next: 0 };
            failing(&run, [(); BLOCKS].map(|()| (0..all).filter(|_| drawn.even() < rate).count() as u64))
        };
        let called = (0..50u64).filter(|&trial| {
            let compared = judge(&of(2 * trial), &of(2 * trial + 1), &ANY);
            compared.metrics.iter().any(|of| of.part.is_some())
        });
        assert_eq!(called.count(), 0, "{rate}");
    }
}

#[test]
fn other_loads_are_refused_and_other_seeds_are_not() {
    let base = SERVICE.run(1);
    let mut other = SERVICE.run(2);
    (other.whole.plan, other.whole.load) = ("ffff".to_string(), Some("eeee".to_string()));
    let refused = compare(&base, &other, &USUAL, false).expect_err("another plan").to_string();
    assert!(refused.contains("plan 9f3c and plan ffff"), "{refused}");
    let forced = compare(&base, &other, &USUAL, true).expect("forced");
    assert!(forced.differs().contains("ffff") && forced.blocks == 10);
    // The same, drawn with another seed.
    other.whole.load = base.whole.load.clone();
    assert_eq!(judge(&base, &other, &USUAL).differs(), "");
    // Of a run of an earlier version nobody knows what was drawn.
    let mut old = base.clone();
    (old.whole.load, other.whole.load) = (None, None);
    assert!(compare(&old, &other, &USUAL, false).is_err());
    assert_eq!(judge(&old, &base, &USUAL).differs(), "");
    let mut part = SERVICE.run(3);
    part.whole.segment = "0/2".to_string();
    assert!(compare(&base, &part, &USUAL, false).is_err());
    let mut simulated = SERVICE.run(3);
    simulated.whole.simulated = true;
    let refused = compare(&base, &simulated, &USUAL, false).expect_err("no run").to_string();
    assert!(refused.contains("one measured and one simulated"), "{refused}");
    let forced = [compare(&base, &simulated, &USUAL, true).expect("forced")];
    assert!(text(&forced, false).contains("SIMULATED") && markdown(&forced).contains("**simulated**"));
    assert!(html(&base, &[simulated], &forced).contains("SIMULATED"));
}

#[test]
fn loads_that_differ_in_more_than_their_seed_are_told_apart() {
    let load =
        |seed: u64, rest: &str| plan(&format!("seed: {seed}\n{rest}")).load().expect("a load").to_string();
    let up = "load: { stages: [ { ramp: { from: 0, to: 200 }, duration: 20s } ] }";
    let poisson = up.replace("load: {", "load: { arrivals: poisson,");
    let users = "load: { users: 5, requests: 100, think: { from: 1ms, to: 9ms } }";
    for same in [up, &poisson, users] {
        assert_eq!(load(1, same), load(2, same), "{same}");
    }
    let others = [
        up.to_string(),
        up.replace("from: 0, to: 200", "from: 200, to: 0"),
        poisson.clone(),
        format!("{up}\nconnections: {{ count: 7 }}"),
        up.replace("load: {", "load: { mix: [ { name: a, weight: 1, payload: x } ],"),
        up.replace("load: {", "load: { mix: [ { name: a, weight: 1, payload: y } ],"),
        users.to_string(),
    ];
    for (index, one) in others.iter().enumerate() {
        for other in &others[..index] {
            // Connections are no part of the load.
            let is_same =
                one.contains("connections") && other == up || other.contains("connections") && one == up;
            assert_eq!(load(1, one) == load(2, other), is_same, "{one} and {other}");
        }
    }
}

#[test]
fn of_a_run_that_was_cut_short_the_common_blocks_count() {
    let (base, mut cut) = (SERVICE.run(1), SERVICE.run(2));
    cut.blocks.truncate(9);
    let compared = judge(&base, &cut, &USUAL);
    assert_eq!((compared.blocks, compared.seconds), (9, 54.0));
    assert_eq!(compared.judgement(), Judgement::TooShort);
    assert!(matches!(compared.failure(), Some((Judgement::TooShort, _))));
}

#[test]
fn what_is_said_is_a_table_markdown_and_json_without_markup_of_others() {
    let slower = Service { us: SERVICE.us * 2.0, ..SERVICE };
    let (base, mut new) = (SERVICE.run(1), slower.run(2));
    new.whole.scenario = "a|b`<c>".to_string();
    new.whole.outcome = "pas\u{1b}sed".to_string();
    let all = [judge(&base, &new, &USUAL)];
    let text = text(&all, false);
    assert!(text.starts_with("REGRESSION: response_time p50 from 10") && text.contains("WORSE"), "{text}");
    assert!(!text.contains('\u{1b}') && text.contains("60 s in 10 blocks"), "{text}");
    let markdown = markdown(&all);
    assert!(markdown.contains("a\\|b\\`\\<c\\>") && markdown.contains("**WORSE**"), "{markdown}");
    let rows: Vec<&str> = markdown.lines().filter(|line| line.starts_with("| ")).collect();
    assert!(rows.iter().all(|row| row.replace("\\|", "").matches('|').count() == 10), "{rows:?}");
    let value: serde_json::Value = serde_json::from_str(&json(&all)).expect("JSON");
    assert_eq!(value["compared"][0]["judgement"], "regression");
    let back: Compared = serde_json::from_value(value["compared"][0].clone()).expect("reads back");
    assert_eq!(back, all[0]);
    let page = html(&base, std::slice::from_ref(&new), &all);
    assert!(page.len() < 2_000_000 && page.contains("id=\"changes-0\"") && !page.contains("<c>"));
}
