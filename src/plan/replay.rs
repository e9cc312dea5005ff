//! Replay: a plan once more, faster or slower, all of it or only some requests.
//!
//! The bytes of a request follow from its number, so a part of a plan sends what the whole did. At another
//! speed every due time is divided by the same number; nothing else about the plan changes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::plan::events::Deed;
use crate::plan::{Plan, fingerprint};
use crate::units::{Nanos, Tps};

/// How many times as fast, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed(u64);

/// Why a speed could not be read. Fits after "failed to read".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid speed `{0}`: write a number from 0.01 to 100 with at most three decimals, such as 2 or 0.5")]
pub struct SpeedError(String);

impl Speed {
    /// As planned.
    pub const PLANNED: Speed = Speed(1000);

    /// A due time at this speed. Rounded down, so that what is before the end of a stage stays before it.
    pub fn due(self, at_ns: u64) -> u64 {
        self.divided(at_ns, 0)
    }

    /// The end of a stage at this speed, rounded up.
    pub fn end(self, at_ns: u64) -> u64 {
        self.divided(at_ns, self.0 - 1)
    }

    fn divided(self, ns: u64, more: u64) -> u64 {
        if self == Speed::PLANNED {
            return ns;
        }
        let scaled = (u128::from(ns) * 1000 + u128::from(more)) / u128::from(self.0);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// An instant of this speed on the clock of the plan.
    pub fn planned(self, at: Nanos) -> Nanos {
        if self == Speed::PLANNED {
            return at;
        }
        Nanos(u64::try_from(u128::from(at.0) * u128::from(self.0) / 1000).unwrap_or(u64::MAX))
    }

    /// A planned rate at this speed.
    pub fn rate(self, rate: Tps) -> Tps {
        let units = u128::from(rate.units()) * u128::from(self.0) / 1000;
        Tps::from_units(u64::try_from(units).unwrap_or(u64::MAX))
    }

    /// In thousandths.
    pub fn thousandths(self) -> u64 {
        self.0
    }
}

impl FromStr for Speed {
    type Err = SpeedError;

    fn from_str(text: &str) -> Result<Speed, SpeedError> {
        let bad = || SpeedError(text.to_string());
        let (whole, decimals) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let is_number = |part: &str| part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(decimals) {
            return Err(bad());
        }
        let thousandths: u64 = format!("{whole}{decimals:0<3}").parse().map_err(|_| bad())?;
        if (10..=100_000).contains(&thousandths) { Ok(Speed(thousandths)) } else { Err(bad()) }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 as f64 / 1000.0)
    }
}

/// Why a plan cannot be replayed so. Fits after "failed to replay the run: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody knows beforehand when a request of a closed load is due.
    #[error("in the closed model users decide when requests are sent: --only and --speed need stages")]
    Closed,
    /// There is no such request in the plan, or in this part of it.
    #[error("request {0} is not in the plan")]
    Foreign(u64),
}

impl Plan {
    /// The same plan at another speed, and only these requests of it where some are named. A plan that is
    /// changed has another fingerprint.
    ///
    /// # Errors
    /// [`Error`].
    pub fn replayed(mut self, speed: Speed, only: Option<Vec<u64>>) -> Result<Plan, Error> {
        if speed == Speed::PLANNED && only.is_none() {
            return Ok(self);
        }
        if self.closed.is_some() {
            return Err(Error::Closed);
        }
        let only = only.map(|mut only| {
            only.sort_unstable();
            only.dedup();
            only
        });
        let is_mine = |n: u64| n < self.schedule.total() && n % self.segment.of() == self.segment.index();
        if let Some(&n) = only.iter().flatten().find(|&&n| !is_mine(n)) {
            return Err(Error::Foreign(n));
        }
        let schedule = self.schedule.as_ref().clone().at_speed(speed);
        for (stage, totals) in self.stages.iter_mut().zip(schedule.stages()) {
            stage.totals = totals;
            (stage.from, stage.to) = (speed.rate(stage.from), speed.rate(stage.to));
        }
        self.thresholds = self.thresholds.into_iter().map(|threshold| threshold.at_speed(speed)).collect();
        for event in &mut self.events {
            event.at = Nanos(speed.due(event.at.0));
            if let Deed::Rate(rate) = &mut event.deed {
                *rate = speed.rate(*rate);
            }
        }
        let replayed = |of: &str| fingerprint::replayed(of, speed.thousandths(), only.as_deref());
        (self.fingerprint, self.undrawn) = (replayed(&self.fingerprint), replayed(&self.undrawn));
        self.schedule = Arc::new(schedule);
        self.only = only.map(Arc::from);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_speed_is_a_number_with_three_decimals_at_most() {
        let read = |text: &str| text.parse().map(Speed::thousandths);
        assert_eq!(
            ["2", "0.5", "1.125", "100", " 1.0 "].map(|text| read(text).expect(text)),
            [2000, 500, 1125, 100_000, 1000]
        );
        for text in ["", "0", "0.001", "101", "-1", "1.2345", "2x", "1e3", ".5", "1.2.3"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_before_the_end_stays_before_it(end in 1..1u64 << 50, before in 1..1u64 << 20, speed in 10..100_000u64) {
            let (speed, at) = (Speed(speed), end.saturating_sub(before));
            prop_assert!(speed.due(at) < speed.end(end));
            prop_assert!(speed.due(at) <= speed.due(at + 1));
        }
    }
}
