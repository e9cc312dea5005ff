//! Another schedule from an instant on.
//!
//! 1. What is due before the instant keeps its due time, to the nanosecond: its part of the schedule stays as it is
//!    and only ends earlier.
//! 2. A rate holds from the instant to the end of the stage; later stages are as planned. With uniform arrivals the
//!    area that was gathered before counts on, so the gap across the change is what both rates make of it. With
//!    Poisson arrivals what remains of the stage is drawn afresh: as many as would be due if arrivals were uniform,
//!    whether by chance more or fewer of them have come before.
//! 3. A pause shifts all that is due from the instant on by its length, the ends of stages too.
//! 4. Changes follow each other: none is earlier than the one before, or than the end of its pause.
//!
//! A changed schedule is as immutable as any other, and any thread can ask it for any request.

use std::sync::Arc;

use crate::plan::replay::Speed;
use crate::plan::schedule::{Arrivals, Behind, Curve, Schedule, Span};
use crate::units::{Nanos, Tps};

/// A pause of which nobody knows yet how long it will be: 146 years.
pub const FOREVER: Nanos = Nanos(1 << 62);

/// What is done to a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// This rate from the instant on, until the stage ends.
    Rate(Tps),
    /// Nothing for so long, and then everything as it would have been.
    Pause(Nanos),
}

impl Schedule {
    /// The same until `at`, and changed from then on. An instant before that of an earlier change counts as that one;
    /// from the end of the schedule on there is nothing to be changed. Not for a schedule at another speed.
    pub fn changed(&self, at: Nanos, change: Change) -> Schedule {
        debug_assert!(self.speed == Speed::PLANNED, "instants would be on another clock");
        let at_ns = at.0.max(self.settled_ns);
        let index = self.spans.partition_point(|span| span.end_ns <= at_ns);
        let Some((current, later)) = self.spans[index..].split_first() else { return self.clone() };
        let first = self.due_before(Nanos(at_ns));
        let even = match self.arrivals {
            Arrivals::Uniform => first,
            Arrivals::Poisson { .. } => current.even_at(at_ns),
        };
        let mut spans = self.spans[..index].to_vec();
        if current.start_ns < at_ns {
            let scheduled = first - current.first;
            spans.push(Span { end_ns: at_ns, scheduled, ..current.clone() });
        }
        let mut next = Schedule {
            spans,
            total: first,
            end_ns: at_ns,
            settled_ns: at_ns,
            changes: self.changes + 1,
            ..*self
        };
        match change {
            Change::Rate(rate) => {
                let curve = Arc::new(Curve::flat(rate, current.end_ns - at_ns));
                let behind = Behind { area: current.area_at(at_ns), even };
                let mut behind = next.lay(current.stage, curve, behind, Some(next.changes));
                for span in later {
                    behind = next.lay(span.stage, span.curve.clone(), behind, None);
                }
            }
            Change::Pause(Nanos(0)) => return self.clone(),
            Change::Pause(Nanos(length_ns)) => {
                next.spans.push(Span {
                    curve: Arc::new(Curve::flat(Tps::ZERO, length_ns)),
                    stage: current.stage,
                    origin_ns: at_ns,
                    start_ns: at_ns,
                    end_ns: at_ns + length_ns,
                    area_before: 0,
                    first,
                    scheduled: 0,
                    even,
                    draw: None,
                });
                let scheduled = current.upto() - first;
                let rest = Span { start_ns: at_ns, first, scheduled, even, ..current.clone() };
                next.spans.extend([rest].iter().chain(later).map(|span| Span {
                    origin_ns: span.origin_ns + length_ns,
                    start_ns: span.start_ns + length_ns,
                    end_ns: span.end_ns + length_ns,
                    ..span.clone()
                }));
                (next.total, next.end_ns) = (self.total, self.end_ns + length_ns);
                next.settled_ns += length_ns;
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::schedule::tests::{arbitrary_shape, hold, ramp, scheduled, uniform};
    use crate::plan::schedule::{AREA_PER_REQUEST, Walker};
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn secs(tenths: u64) -> Nanos {
        Nanos(tenths * SECOND / 10)
    }

    #[test]
    fn a_rate_of_250_from_the_third_second_on_is_300_and_then_1750() {
        let planned = uniform(vec![hold(100, 10)]);
        let changed = planned.changed(secs(30), Change::Rate(Tps::per_second(250)));
        assert_eq!((changed.total(), changed.end()), (300 + 1750, Nanos::from_secs(10)));
        for n in 0..300 {
            assert_eq!(changed.due_at(n), planned.due_at(n));
        }
        for n in 300..2050 {
            assert_eq!(changed.due_at(n), Nanos(3 * SECOND + (n - 300) * 4_000_000));
        }
        assert_eq!(changed.rate_at(Nanos(3 * SECOND - 1)), Tps::per_second(100));
        assert_eq!(changed.rate_at(secs(30)), Tps::per_second(250));
        assert_eq!(changed.stages()[0].peak, Tps::per_second(250));
    }

    #[test]
    fn what_lies_behind_a_change_is_not_ahead_of_it() {
        let planned = uniform(vec![ramp(0, 900, 9), hold(30, 3)]);
        assert_eq!(planned.peak_ahead(), Tps::per_second(900));
        let slower = planned.changed(secs(50), Change::Rate(Tps::per_second(20)));
        assert_eq!(slower.peak_ahead(), Tps::per_second(30));
        let faster = slower.changed(secs(70), Change::Rate(Tps::per_second(50)));
        assert_eq!(faster.peak_ahead(), Tps::per_second(50));
        // The rest of the ramp comes when the pause is over, whenever that is.
        assert_eq!(planned.changed(secs(50), Change::Pause(FOREVER)).peak_ahead(), Tps::per_second(900));
        assert_eq!(planned.changed(secs(100), Change::Pause(secs(10))).peak_ahead(), Tps::per_second(30));
    }

    #[test]
    fn the_gap_across_a_change_is_made_of_both_rates() {
        // The change comes a quarter into a gap of 10 ms; the other three quarters take 3/4 of 4 ms.
        let changed =
            uniform(vec![hold(100, 10)]).changed(Nanos(3_002_500_000), Change::Rate(Tps::per_second(250)));
        assert_eq!(changed.due_at(300), Nanos::from_secs(3));
        assert_eq!(changed.due_at(301), Nanos(3_005_500_000));
        assert_eq!(changed.due_at(302), Nanos(3_009_500_000));
    }

    #[test]
    fn later_stages_are_as_planned_and_begin_when_planned() {
        let planned = uniform(vec![hold(100, 4), ramp(0, 100, 4), hold(7, 3)]);
        let changed = planned.changed(secs(20), Change::Rate(Tps::per_second(50)));
        assert_eq!(scheduled(&changed), [300, 200, 21]);
        let ends: Vec<Nanos> = changed.stages().iter().map(|stage| stage.end).collect();
        assert_eq!(ends, [4, 8, 11].map(Nanos::from_secs));
        assert_eq!(changed.rate_at(secs(60)), Tps::per_second(50));
    }

    #[test]
    fn a_rate_of_nothing_and_back_sends_nothing_in_between() {
        let nothing = uniform(vec![hold(100, 10)]).changed(Nanos(2 * SECOND - 1), Change::Rate(Tps::ZERO));
        assert_eq!(nothing.total(), 200);
        let back = nothing.changed(secs(50), Change::Rate(Tps::per_second(10)));
        assert_eq!(back.total(), 250);
        // All but a nanosecond of the gap had passed: a tenth of it is left at a tenth of the rate.
        assert_eq!((back.due_at(199), back.due_at(200)), (Nanos(1_990_000_000), Nanos(5 * SECOND + 10)));
        assert_eq!(back.due_at(201), Nanos(secs(51).0 + 10));
        // What is due at the very instant is due, as at the beginning of a stage of nothing.
        let at_its_instant = uniform(vec![hold(100, 10)]).changed(secs(20), Change::Rate(Tps::ZERO));
        assert_eq!((at_its_instant.total(), at_its_instant.due_at(200)), (201, secs(20)));
    }

    #[test]
    fn a_pause_shifts_all_that_comes_after_it() {
        let planned = uniform(vec![hold(100, 4), ramp(0, 100, 4)]);
        let paused = planned.changed(secs(25), Change::Pause(secs(17)));
        assert_eq!((paused.total(), paused.end()), (planned.total(), secs(80 + 17)));
        for n in 0..planned.total() {
            let shift = if n < 250 { 0 } else { secs(17).0 };
            assert_eq!(paused.due_at(n).0, planned.due_at(n).0 + shift, "{n}");
        }
        assert_eq!(paused.rate_at(secs(30)), Tps::ZERO);
        assert_eq!(paused.rate_at(secs(42)), Tps::per_second(100));
        let stages = paused.stages();
        assert_eq!((stages[0].start, stages[0].end), (Nanos::ZERO, secs(57)));
        assert_eq!((stages[1].start, stages[1].end), (secs(57), secs(97)));
    }

    #[test]
    fn a_change_at_the_very_boundary_belongs_to_the_stage_that_begins_there() {
        let planned = uniform(vec![hold(100, 1), hold(10, 1), hold(20, 1)]);
        let changed = planned.changed(secs(10), Change::Rate(Tps::per_second(50)));
        assert_eq!(scheduled(&changed), [100, 50, 20]);
        let paused = planned.changed(secs(10), Change::Pause(secs(5)));
        assert_eq!(scheduled(&paused), [100, 10, 20]);
        assert_eq!((paused.due_at(99), paused.due_at(100)), (Nanos(990_000_000), secs(15)));
        let before = planned.changed(Nanos(SECOND - 1), Change::Rate(Tps::per_second(50)));
        assert_eq!(scheduled(&before), [100, 10, 20]);
        let late = planned.changed(secs(30), Change::Rate(Tps::per_second(50)));
        assert_eq!((late.total(), late.end()), (planned.total(), planned.end()));
    }

    #[test]
    fn a_plan_that_is_cut_off_stays_cut_off() {
        let planned = uniform(vec![hold(100, 10)]).truncated(500);
        let faster = planned.changed(secs(10), Change::Rate(Tps::per_second(1000)));
        assert_eq!(faster.total(), 500);
        assert_eq!(faster.due_at(499), Nanos(SECOND + 399_000_000));
        let slower = planned.changed(secs(10), Change::Rate(Tps::per_second(10)));
        assert_eq!(slower.total(), 190);
    }

    #[test]
    fn what_remains_of_a_random_stage_has_the_new_rate_whatever_came_before() {
        for seed in 0..20 {
            let planned = Schedule::new(vec![hold(1000, 10)], Arrivals::Poisson { seed });
            let before = planned.due_before(secs(50));
            let changed = planned.changed(secs(50), Change::Rate(Tps::per_second(10)));
            assert_eq!(changed.due_before(secs(50)), before);
            assert_eq!(changed.total() - before, 50);
        }
    }

    #[test]
    fn what_remains_is_as_many_before_the_first_random_arrival_too() {
        for seed in 0..20 {
            let planned = Schedule::new(vec![hold(5, 10)], Arrivals::Poisson { seed });
            let changed = planned.changed(secs(1), Change::Rate(Tps::per_second(5)));
            // Request 0 would be due at once if arrivals were even, and has come by then or not.
            assert_eq!(changed.total() - changed.due_before(secs(1)), 49);
        }
    }

    /// A change a while after the one before.
    fn arbitrary_change() -> impl Strategy<Value = (u64, Change)> {
        let rate = (0u64..300 * Tps::UNITS_PER_TPS).prop_map(|units| Change::Rate(Tps::from_units(units)));
        let none = Just(Change::Rate(Tps::ZERO));
        let pause = (1u64..2 * SECOND).prop_map(|length| Change::Pause(Nanos(length)));
        (0u64..2 * SECOND, prop_oneof![3 => rate, 1 => none, 2 => pause])
    }

    /// Doubled area gathered until an instant by all parts that have begun, give or take one unit for each.
    fn area_upto(schedule: &Schedule, at_ns: u64) -> u128 {
        let parts = schedule.spans.iter().take_while(|span| span.start_ns < at_ns);
        parts
            .map(|span| {
                let upto = |ns: u64| span.curve.area_upto(ns - span.origin_ns);
                upto(at_ns.min(span.end_ns)) - upto(span.start_ns)
            })
            .sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// After a change of rate as many random arrivals come, in what is left of the stage and in each stage behind it,
        /// as even ones would.
        #[test]
        fn random_arrivals_behind_a_change_are_as_many_as_even_ones(
            shapes in prop::collection::vec(arbitrary_shape(), 1..4),
            seed in any::<u64>(),
            changes in prop::collection::vec(arbitrary_change(), 1..6),
        ) {
            let mut even = Schedule::new(shapes.clone(), Arrivals::Uniform);
            let mut random = Schedule::new(shapes, Arrivals::Poisson { seed });
            let mut at_ns = 0;
            for (after_ns, change) in changes {
                at_ns = (at_ns + after_ns).max(even.settled_ns);
                let at = Nanos(at_ns);
                (even, random) = (even.changed(at, change), random.changed(at, change));
                if matches!(change, Change::Rate(_)) {
                    let behind = |schedule: &Schedule| -> Vec<u64> {
                        let spans = schedule.spans.iter().filter(|span| span.start_ns >= at_ns);
                        spans.map(|span| span.scheduled).collect()
                    };
                    prop_assert_eq!(behind(&even), behind(&random));
                }
            }
        }

        /// What was due before a change keeps its due time; times never fall, lie in their stage, and all ways of
        /// asking agree.
        #[test]
        fn a_chain_of_changes_keeps_what_was_before_and_stays_a_schedule(
            shapes in prop::collection::vec(arbitrary_shape(), 1..4),
            poisson in any::<bool>(),
            changes in prop::collection::vec(arbitrary_change(), 1..6),
        ) {
            let arrivals = if poisson { Arrivals::Poisson { seed: 5 } } else { Arrivals::Uniform };
            let mut schedule = Arc::new(Schedule::new(shapes, arrivals));
            let mut at_ns = 0;
            for (after_ns, change) in changes {
                at_ns = (at_ns + after_ns).max(schedule.settled_ns);
                let at = Nanos(at_ns);
                let next = Arc::new(schedule.changed(at, change));
                let kept = schedule.due_before(at);
                prop_assert_eq!(next.due_before(at), kept);
                let (mut old, mut new) = (Walker::new(schedule.clone()), Walker::new(next.clone()));
                for n in 0..kept {
                    prop_assert_eq!(old.due_at(n), new.due_at(n));
                }
                if let Change::Pause(length) = change && at < schedule.end() {
                    prop_assert_eq!(next.total(), schedule.total());
                    for n in kept..next.total() {
                        let (due, stage) = old.due_at(n);
                        prop_assert_eq!(new.due_at(n), (Nanos(due.0 + length.0), stage));
                    }
                }
                schedule = next;
            }
            let stages = schedule.stages();
            let mut per_stage = vec![0; stages.len()];
            let (mut walker, mut last) = (Walker::new(schedule.clone()), Nanos::ZERO);
            for n in 0..schedule.total() {
                let (due, stage) = walker.due_at(n);
                prop_assert!(due >= last && due >= stages[stage].start && due < stages[stage].end);
                prop_assert_eq!(due, schedule.due_at(n));
                per_stage[stage] += 1;
                last = due;
            }
            let scheduled: Vec<u64> = stages.iter().map(|stage| stage.scheduled).collect();
            prop_assert_eq!(per_stage, scheduled);
            prop_assert_eq!(stages.last().map(|stage| stage.end), Some(schedule.end()));
            prop_assert!(stages.windows(2).all(|pair| pair[0].end == pair[1].start));
        }

        /// Evenly spread requests are due where the area under all parts together reaches their number.
        #[test]
        fn due_times_follow_the_area_of_all_parts(
            shapes in prop::collection::vec(arbitrary_shape(), 1..4),
            changes in prop::collection::vec(arbitrary_change(), 1..6),
        ) {
            let mut schedule = uniform(shapes);
            let mut at_ns = 0;
            for (after_ns, change) in changes {
                at_ns += after_ns;
                schedule = schedule.changed(Nanos(at_ns), change);
            }
            let slack = 4 * schedule.spans.len() as u128;
            let mut cursor = schedule.cursor();
            for n in 0..schedule.total() {
                let (due, target) = (cursor.due_at(n).0.0, u128::from(n) * AREA_PER_REQUEST);
                prop_assert!(area_upto(&schedule, due) + slack >= target, "{n}");
                prop_assert!(n == 0 || area_upto(&schedule, due.saturating_sub(1)) < target + slack, "{n}");
            }
            let reached = area_upto(&schedule, schedule.end().0) / AREA_PER_REQUEST;
            prop_assert!(u128::from(schedule.total()).abs_diff(reached) <= 1);
        }
    }
}
