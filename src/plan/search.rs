//! Search: which rate is tried next, and which is the highest that holds.
//!
//! 1. The first trial is at `from`; as long as trials hold, the next is at twice the rate, the last at `to`.
//! 2. A trial that does not hold is repeated once, and counts only if it does not hold again: one bad moment
//!    of the machine is not the limit of the target.
//! 3. Between the highest rate that holds and the lowest that does not, the middle is tried, rounded to a
//!    number that can be read, until they lie no further apart than the resolution.
//! 4. A rate at which the generator was saturated is not exceeded, like one that breaks; what it bounds is
//!    the generator.
//!
//! What is here is arithmetic: it runs nothing and knows nothing of time.

use crate::plan::Plan;
use crate::plan::compile::{RateAt, Violation, compile};
use crate::plan::segment::Segment;
use crate::scenario::schema::{Condition, Scenario, Search, Stage, StageKind, Threshold};
use crate::units::{Nanos, Share, Tps};

/// By how much the rate grows while trials hold.
const GROWTH: u64 = 2;

/// Trials at one rate: one, and its repetition.
const ATTEMPTS: u64 = 2;

/// The most trials of a search.
const MAX_TRIALS: u64 = 200;

/// The finest rate that is tried between others, in units of [`Tps`]: a millionth of a request per second.
const FINEST: u64 = Tps::UNITS_PER_TPS / 1_000_000;

/// What a search looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The rate of the first trial, above 0.
    pub from: Tps,
    /// The highest rate that is tried, not below `from`.
    pub to: Tps,
    /// How far apart the two rates may lie that bound the limit, as a share of the lower one; above 0.
    pub resolution: Share,
}

/// A trial that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Its rate.
    pub rate: Tps,
    /// 1, or 2 for a repetition.
    pub attempt: u64,
}

/// What a trial has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The limit is kept.
    Holds,
    /// It is not kept.
    Breaks,
    /// The generator could not send this rate as planned.
    Saturated,
}

impl Finding {
    /// The word used in files and on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            Finding::Holds => "holds",
            Finding::Breaks => "breaks",
            Finding::Saturated => "saturated",
        }
    }
}

/// What is known of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The highest rate that holds.
    pub holds: Option<Tps>,
    /// The lowest rate above it that does not, and how that showed.
    pub breaks: Option<(Tps, Finding)>,
}

/// A search that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    terms: Terms,
    bounds: Bounds,
    /// A rate that did not hold once.
    suspect: Option<Tps>,
    made: u64,
}

impl Terms {
    /// Those of a scenario.
    pub fn of(search: &Search) -> Terms {
        Terms { from: search.from, to: search.to, resolution: search.resolution }
    }

    /// The rates that are tried as long as trials hold.
    pub fn rising(&self) -> Vec<Tps> {
        let mut rates = vec![self.from];
        let mut rate = self.from;
        while rate < self.to {
            rate = self.above(rate);
            rates.push(rate);
        }
        rates
    }

    fn above(&self, rate: Tps) -> Tps {
        Tps::from_units(rate.units().saturating_mul(GROWTH)).min(self.to)
    }

    /// The most rates that are tried between two of [`Terms::rising`].
    ///
    /// Their distance is at most the lower rate, and a trial halves it, except for half a rounding of at most
    /// half the resolution `r`: after `k` trials it is at most `1 / 2^k + r / 2`, which is not above `r` once
    /// `2^k ≥ 2 / r`.
    pub fn halvings(&self) -> u64 {
        let doubled = 2 * u64::from(Share::WHOLE.millionths());
        let least = doubled.div_ceil(u64::from(self.resolution.millionths().max(1)));
        u64::from(least.next_power_of_two().trailing_zeros())
    }

    /// The most trials, if each rate has to be tried twice.
    pub fn most_trials(&self) -> u64 {
        ATTEMPTS * (self.rising().len() as u64 + self.halvings())
    }

    /// Whether two rates are near enough.
    fn are_near(&self, low: Tps, high: Tps) -> bool {
        if high.units() - low.units() <= FINEST {
            return true;
        }
        let apart = u128::from(high.units() - low.units()) * u128::from(Share::WHOLE.millionths());
        apart <= u128::from(low.units()) * u128::from(self.resolution.millionths())
    }

    /// A rate between two others, in the middle but for a rounding to 1, 2 or 5 times a power of ten.
    fn between(&self, low: Tps, high: Tps) -> Tps {
        let (low, high) = (low.units(), high.units());
        let middle = low + (high - low) / 2;
        let share = u128::from(low) * u128::from(self.resolution.millionths());
        let coarsest = u64::try_from(share / u128::from(2 * Share::WHOLE.millionths())).unwrap_or(u64::MAX);
        let (mut step, mut power) = (1, FINEST);
        while let Some(next) =
            [1, 2, 5].map(|digit| digit * power).into_iter().rfind(|next| *next <= coarsest)
        {
            (step, power) = (next, power.saturating_mul(10));
            if power >= coarsest {
                break;
            }
        }
        let rounded = (middle + step / 2) / step * step;
        Tps::from_units(if low < rounded && rounded < high { rounded } else { middle })
    }
}

impl Course {
    /// Begins.
    pub fn new(terms: Terms) -> Course {
        Course { terms, bounds: Bounds::default(), suspect: None, made: 0 }
    }

    /// The next trial; `None` when nothing is left to be found.
    pub fn next(&self) -> Option<Trial> {
        if self.made >= self.terms.most_trials() {
            return None;
        }
        if let Some(rate) = self.suspect {
            return Some(Trial { rate, attempt: ATTEMPTS });
        }
        let rate = match (self.bounds.holds, self.bounds.breaks) {
            (None, None) => self.terms.from,
            (None, Some(_)) => return None,
            (Some(low), None) if low >= self.terms.to => return None,
            (Some(low), None) => self.terms.above(low),
            (Some(low), Some((high, _))) if self.terms.are_near(low, high) => return None,
            (Some(low), Some((high, _))) => self.terms.between(low, high),
        };
        Some(Trial { rate, attempt: 1 })
    }

    /// What the trial has shown that [`Course::next`] asked for.
    pub fn take(&mut self, finding: Finding) {
        let Some(trial) = self.next() else { return };
        self.made += 1;
        match finding {
            Finding::Holds => {
                self.suspect = None;
                self.bounds.holds = Some(trial.rate);
            }
            Finding::Breaks | Finding::Saturated if self.suspect.is_none() => self.suspect = Some(trial.rate),
            Finding::Breaks | Finding::Saturated => {
                self.suspect = None;
                self.bounds.breaks = Some((trial.rate, finding));
            }
        }
    }

    /// The same for what would show again however often it is tried.
    pub fn take_for_certain(&mut self, finding: Finding) {
        self.take(finding);
        if self.suspect.is_some() {
            self.take(finding);
        }
    }

    /// What is known by now.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether nothing is left to be tried.
    pub fn is_over(&self) -> bool {
        self.next().is_none()
    }
}

/// The scenario of a trial: a warm-up and one rate, held against the limit.
pub fn trial_of(scenario: &Scenario, search: &Search, rate: Tps) -> Scenario {
    let stage = |name: &str, duration: Nanos, warmup: bool| Stage {
        name: Some(name.to_string()),
        kind: StageKind::Hold(rate),
        duration: Some(duration),
        warmup,
    };
    let mut trial = scenario.clone();
    trial.search = None;
    trial.load.stages = vec![stage(Search::TRIAL, search.trial, false)];
    if search.warmup > Nanos::ZERO {
        trial.load.stages.insert(0, stage(Search::WARMUP, search.warmup, true));
    }
    // Behind those that are written, so that what is wrong with one of these is said in its place.
    trial.thresholds.push(Threshold::new(search.condition.clone()));
    // Cannot fail: a share is written as it is read.
    if let Ok(errors) = Condition::parse(&format!("error rate <= {}", search.errors)) {
        trial.thresholds.push(Threshold::new(errors));
    }
    trial
}

/// The plan of the first trial. Every rule is held against the last one too.
pub(super) fn first_trial(
    scenario: &Scenario,
    search: &Search,
    segment: Segment,
    rate_at: &mut RateAt<'_>,
) -> Result<Plan, Vec<Violation>> {
    if segment != Segment::WHOLE {
        let message = "a search looks at the whole load, and this is a segment of it";
        return Err(vec![Violation::new("search", message, "remove --segment")]);
    }
    let terms = Terms::of(search);
    let most = terms.most_trials();
    if most > MAX_TRIALS {
        let message = format!("the search may need {most} trials, the limit is {MAX_TRIALS}");
        let help = "begin at a higher rate, or write a coarser resolution";
        return Err(vec![Violation::new("search", message, help)]);
    }
    compile(&trial_of(scenario, search, search.to), segment, rate_at)?;
    let first = compile(&trial_of(scenario, search, search.from), segment, rate_at)?;
    if first.stages.last().is_some_and(|trial| trial.totals.scheduled == 0) {
        let message =
            format!("at {} per second no request is due in a trial of {}", search.from, search.trial);
        let help = "begin at a higher rate, or write a longer search.trial";
        return Err(vec![Violation::new("search.from", message, help)]);
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn terms(from: u64, to: u64, millionths: u32) -> Terms {
        let resolution = Share::from_millionths(millionths);
        Terms { from: Tps::per_second(from), to: Tps::per_second(to), resolution }
    }

    /// Tries until nothing is left, and gives the bounds and the trials.
    fn search(terms: Terms, mut shows: impl FnMut(Trial) -> Finding) -> (Bounds, Vec<Trial>) {
        let mut course = Course::new(terms);
        let mut trials = Vec::new();
        while let Some(trial) = course.next() {
            trials.push(trial);
            course.take(shows(trial));
        }
        (course.bounds(), trials)
    }

    fn capacity(units: u64) -> impl FnMut(Trial) -> Finding {
        move |trial| if trial.rate.units() <= units { Finding::Holds } else { Finding::Breaks }
    }

    #[test]
    fn the_rate_doubles_until_it_breaks_and_then_the_middle_is_tried() {
        let (bounds, trials) = search(terms(100, 20_000, 20_000), capacity(Tps::per_second(4300).units()));
        let rates: Vec<String> = trials.iter().map(|trial| trial.rate.to_string()).collect();
        let rising = ["100", "200", "400", "800", "1600", "3200", "6400", "6400"];
        assert_eq!(rates[..8], rising);
        assert_eq!(&rates[8..10], ["4800", "4800"], "what breaks is tried again");
        let (low, high) = (bounds.holds.expect("found"), bounds.breaks.expect("bounded").0);
        assert!(low <= Tps::per_second(4300) && high > Tps::per_second(4300), "{bounds:?}");
        assert!((high.as_f64() - low.as_f64()) <= 0.02 * low.as_f64(), "{bounds:?}");
        assert!(
            trials.iter().all(|trial| trial.rate.units().is_multiple_of(Tps::UNITS_PER_TPS)),
            "{rates:?}"
        );
    }

    #[test]
    fn one_bad_moment_does_not_count() {
        let mut bad = true;
        let (bounds, trials) = search(terms(100, 1600, 20_000), |trial| {
            let shows = trial.rate == Tps::per_second(400) && bad;
            bad &= !shows;
            if shows { Finding::Breaks } else { Finding::Holds }
        });
        assert_eq!(bounds, Bounds { holds: Some(Tps::per_second(1600)), breaks: None });
        let attempts: Vec<_> = trials.iter().map(|trial| trial.attempt).collect();
        assert_eq!(attempts, [1, 1, 1, 2, 1, 1]);
    }

    #[test]
    fn a_rate_that_breaks_at_once_ends_the_search_and_a_saturated_generator_bounds_it() {
        let (bounds, trials) = search(terms(100, 1600, 20_000), |_| Finding::Breaks);
        assert_eq!((bounds.holds, trials.len()), (None, 2));
        let saturated = |trial: Trial| match trial.rate > Tps::per_second(300) {
            true => Finding::Saturated,
            false => Finding::Holds,
        };
        let (bounds, _) = search(terms(100, 1600, 20_000), saturated);
        assert_eq!(bounds.breaks.map(|(_, finding)| finding), Some(Finding::Saturated));
        assert!(bounds.holds.is_some_and(|rate| rate > Tps::per_second(290)));
        let mut course = Course::new(terms(100, 1600, 20_000));
        course.take_for_certain(Finding::Saturated);
        assert!(course.is_over() && course.bounds().breaks.is_some());
    }

    #[test]
    fn the_last_trial_up_is_at_the_end_and_one_rate_alone_is_tried_once() {
        let rising = terms(100, 1000, 20_000).rising();
        assert_eq!(
            rising.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["100", "200", "400", "800", "1000"]
        );
        let (bounds, trials) = search(terms(100, 100, 20_000), |_| Finding::Holds);
        assert_eq!((bounds.holds, trials.len()), (Some(Tps::per_second(100)), 1));
    }

    proptest! {
        /// Whatever the capacity: it lies between the bounds, they are near enough, and no more trials were
        /// made than were announced.
        #[test]
        fn the_limit_is_bounded_to_the_resolution(
            from in 1u64..1_000_000,
            span in 0u32..20,
            share in 0u64..1000,
            capacity in any::<u64>(),
            millionths in 100u32..500_000,
        ) {
            let from = from * FINEST;
            let to = (from << span) + from * share / 1000;
            let terms = Terms {
                from: Tps::from_units(from),
                to: Tps::from_units(to),
                resolution: Share::from_millionths(millionths),
            };
            let capacity = capacity % (2 * to);
            let (bounds, trials) = search(terms, self::capacity(capacity));
            prop_assert!(trials.len() as u64 <= terms.most_trials());
            prop_assert!(trials.iter().all(|trial| trial.rate >= terms.from && trial.rate <= terms.to));
            match (bounds.holds, bounds.breaks) {
                (None, Some((rate, _))) => prop_assert!(rate == terms.from && capacity < from),
                (Some(low), None) => prop_assert!(low == terms.to && capacity >= to),
                (Some(low), Some((high, _))) => {
                    prop_assert!(low.units() <= capacity && capacity < high.units());
                    prop_assert!(terms.are_near(low, high), "{low} {high}");
                }
                (None, None) => prop_assert!(false, "nothing was found"),
            }
        }
    }
}
