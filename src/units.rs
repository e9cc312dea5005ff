//! Units: the numbers of a run as types, so that a rate is never taken for a duration.
//!
//! Every type parses what a person writes in a scenario (`"6000/m"`, `"30s"`, `"32MiB"`, `1..10000`),
//! prints it back the same way, and is an integer inside: the schedule never sees a float.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nanoseconds in one second.
pub const NANOS_PER_SEC: u64 = 1_000_000_000;

/// Why a value with a unit could not be read. Fits after "failed to read".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a rate.
    #[error(
        "invalid rate `{0}`: write requests per second (100, 0.5) or per minute or hour (\"6000/m\", \"90/h\")"
    )]
    Rate(String),
    /// A rate above [`Tps::MAX`].
    #[error("rate `{0}` is above the limit of 10,000,000 per second")]
    RateTooHigh(String),
    /// A rate below zero.
    #[error("rate `{0}` is negative: a rate must be 0 or more")]
    RateNegative(String),
    /// Not a duration.
    #[error("invalid duration `{0}`: write a number with a unit, such as 500ms, 10s, 2m or 1h30m")]
    Duration(String),
    /// A duration above [`Nanos::MAX_DURATION`].
    #[error("duration `{0}` is above the limit of 30 days")]
    DurationTooLong(String),
    /// Not a share.
    #[error("invalid share `{0}`: write a share such as 1% or 0.01, at most 100%")]
    Share(String),
    /// Not a size.
    #[error("invalid size `{0}`: write bytes with a unit, such as 64KiB, 32MiB or 1GiB")]
    Size(String),
    /// Not a range.
    #[error("invalid range `{0}`: write first..last, such as 1..10000 (both ends count)")]
    Range(String),
    /// A range whose end lies before its start.
    #[error("range `{0}` runs backwards: the first number must not be above the last")]
    RangeBackwards(String),
}

/// What a measured value is, where values of several sorts stand side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Time,
    /// A share of a whole, from 0 to 1.
    Share,
    /// A number.
    Count,
    /// A number per second.
    PerSecond,
}

// ---------------------------------------------------------------------------------------------
// Rates

/// Transactions per second, held as an integer number of millionths of a request **per hour**.
///
/// Per hour, so that `"1/m"` and `"1/h"` are exact; millionths, so that `0.000001` per hour is the
/// smallest step. One request per second is [`Tps::UNITS_PER_TPS`] units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tps(u64);

impl Tps {
    /// Units in one request per second: 3,600 seconds of a million millionths.
    pub const UNITS_PER_TPS: u64 = 3_600_000_000;
    /// The highest rate that is accepted: ten million requests per second.
    pub const MAX: Tps = Tps(10_000_000 * Self::UNITS_PER_TPS);
    /// No requests.
    pub const ZERO: Tps = Tps(0);

    /// A rate from raw units (millionths of a request per hour).
    pub const fn from_units(units: u64) -> Tps {
        Tps(units)
    }

    /// A whole number of requests per second.
    pub const fn per_second(tps: u64) -> Tps {
        Tps(tps * Self::UNITS_PER_TPS)
    }

    /// The raw units (millionths of a request per hour).
    pub const fn units(self) -> u64 {
        self.0
    }

    /// Requests per second, for display only.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / Self::UNITS_PER_TPS as f64
    }

    fn from_decimal(text: &str, units_per_one: u64, whole: &str) -> Result<Tps, Error> {
        let bad = || Error::Rate(whole.to_string());
        if let Some(rest) = text.strip_prefix('-') {
            return match Self::from_decimal(rest, units_per_one, whole) {
                Ok(Tps(0)) => Ok(Tps(0)),
                Ok(_) | Err(Error::RateTooHigh(_)) => Err(Error::RateNegative(whole.to_string())),
                Err(other) => Err(other),
            };
        }
        let (int, frac) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if int.is_empty() || !digits(int) || !digits(frac) || (text.contains('.') && frac.is_empty()) {
            return Err(bad());
        }
        let int: u64 = int.parse().map_err(|_| Error::RateTooHigh(whole.to_string()))?;
        let mut units = u128::from(int) * u128::from(units_per_one);
        // Decimal places beyond the twelfth are below one unit at any of the three denominators.
        let frac = &frac[..frac.len().min(12)];
        if !frac.is_empty() {
            let numerator: u128 = frac.parse().map_err(|_| bad())?;
            let denominator = 10u128.pow(frac.len() as u32);
            units += (numerator * u128::from(units_per_one) + denominator / 2) / denominator;
        }
        match u64::try_from(units) {
            Ok(units) if units <= Self::MAX.0 => Ok(Tps(units)),
            _ => Err(Error::RateTooHigh(whole.to_string())),
        }
    }
}

impl FromStr for Tps {
    type Err = Error;

    fn from_str(text: &str) -> Result<Tps, Error> {
        let trimmed = text.trim();
        let (number, unit) = match trimmed.split_once('/') {
            None => (trimmed, "s"),
            Some((number, unit)) => (number.trim_end(), unit.trim_start()),
        };
        let units_per_one = match unit {
            "s" | "sec" | "second" => Tps::UNITS_PER_TPS,
            "m" | "min" | "minute" => Tps::UNITS_PER_TPS / 60,
            "h" | "hour" => Tps::UNITS_PER_TPS / 3600,
            _ => return Err(Error::Rate(text.to_string())),
        };
        let number: String = number.chars().filter(|&c| c != '_').collect();
        Tps::from_decimal(&number, units_per_one, text)
    }
}

impl fmt::Display for Tps {
    /// Per second with up to six decimal places, without trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0 / Self::UNITS_PER_TPS;
        let rest = self.0 % Self::UNITS_PER_TPS;
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let micro = (u128::from(rest) * 1_000_000 / u128::from(Self::UNITS_PER_TPS)) as u64;
        let decimals = format!("{micro:06}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

// ---------------------------------------------------------------------------------------------
// Shares

/// A share of a whole, held in millionths, so that arithmetic with it is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u32);

impl Share {
    /// All of it.
    pub const WHOLE: Share = Share(1_000_000);

    /// A share in millionths.
    pub const fn from_millionths(millionths: u32) -> Share {
        Share(millionths)
    }

    /// The millionths.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// From 0 to 1, for display only.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE.0)
    }
}

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Share, Error> {
        let bad = || Error::Share(text.to_string());
        let trimmed = text.trim();
        // Percents have four decimals, shares six.
        let (number, places) = match trimmed.strip_suffix('%') {
            Some(percent) => (percent.trim_end(), 4),
            None => (trimmed, 6),
        };
        let (int, frac) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(int) || !digits(frac) {
            return Err(bad());
        }
        let padded = format!("{frac:0<places$}");
        let frac: u64 = padded[..places].parse().map_err(|_| bad())?;
        let int: u64 = int.parse().map_err(|_| bad())?;
        let millionths = int.checked_mul(10u64.pow(places as u32)).and_then(|whole| whole.checked_add(frac));
        match millionths.and_then(|millionths| u32::try_from(millionths).ok()) {
            Some(millionths) if millionths <= Share::WHOLE.0 => Ok(Share(millionths)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Share {
    /// As percents, without trailing zeros: `2%`, `0.5%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        write!(f, "{whole}.{}%", format!("{rest:04}").trim_end_matches('0'))
    }
}

// ---------------------------------------------------------------------------------------------
// Time

/// A number of nanoseconds: a duration, or an instant counted from time zero of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// No time.
    pub const ZERO: Nanos = Nanos(0);
    /// The longest duration a scenario may name: thirty days.
    pub const MAX_DURATION: Nanos = Nanos(30 * 86_400 * NANOS_PER_SEC);

    /// Whole seconds.
    pub const fn from_secs(secs: u64) -> Nanos {
        Nanos(secs * NANOS_PER_SEC)
    }

    /// Whole milliseconds.
    pub const fn from_millis(millis: u64) -> Nanos {
        Nanos(millis * 1_000_000)
    }

    /// Seconds, for display only.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SEC as f64
    }

    /// As a standard duration.
    pub const fn as_duration(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0)
    }
}

impl From<std::time::Duration> for Nanos {
    /// Saturates at the end of `u64` (585 years).
    fn from(d: std::time::Duration) -> Nanos {
        Nanos(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl FromStr for Nanos {
    type Err = Error;

    fn from_str(text: &str) -> Result<Nanos, Error> {
        if text.trim() == "0" {
            return Ok(Nanos::ZERO);
        }
        let parsed: std::time::Duration =
            humantime::parse_duration(text.trim()).map_err(|_| Error::Duration(text.to_string()))?;
        let nanos = Nanos::from(parsed);
        if nanos > Nanos::MAX_DURATION { Err(Error::DurationTooLong(text.to_string())) } else { Ok(nanos) }
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration(self.as_duration()).to_string();
        f.write_str(&text.replace(' ', ""))
    }
}

// ---------------------------------------------------------------------------------------------
// Sizes

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Bytes, Error> {
        let size: bytesize::ByteSize = text.trim().parse().map_err(|_| Error::Size(text.to_string()))?;
        Ok(Bytes(size.as_u64()))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

// ---------------------------------------------------------------------------------------------
// Ranges

/// A range of record ids, both ends included. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdRange {
    first: u64,
    last: u64,
}

impl IdRange {
    /// `first..last`, both included.
    ///
    /// # Errors
    /// [`Error::RangeBackwards`] when `first` is above `last`, [`Error::Range`] when it holds more
    /// than `u64::MAX` ids.
    pub fn new(first: u64, last: u64) -> Result<IdRange, Error> {
        if first > last {
            return Err(Error::RangeBackwards(format!("{first}..{last}")));
        }
        if first == 0 && last == u64::MAX {
            return Err(Error::Range(format!("{first}..{last}")));
        }
        Ok(IdRange { first, last })
    }

    /// The first id.
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The last id, which belongs to the range.
    pub const fn last(self) -> u64 {
        self.last
    }

    /// How many ids.
    pub const fn count(self) -> u64 {
        self.last - self.first + 1
    }
}

impl FromStr for IdRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<IdRange, Error> {
        let bad = || Error::Range(text.to_string());
        let trimmed = text.trim();
        let (first, last) = match trimmed.split_once("..") {
            Some((first, last)) => (first.trim(), last.trim().trim_start_matches('=').trim_start()),
            None => (trimmed, trimmed),
        };
        let number = |s: &str| {
            let plain: String = s.chars().filter(|&c| c != '_').collect();
            if plain.is_empty() || !plain.bytes().all(|b| b.is_ascii_digit()) {
                return Err(bad());
            }
            plain.parse::<u64>().map_err(|_| bad())
        };
        let (first, last) = (number(first)?, number(last)?);
        IdRange::new(first, last).map_err(|error| match error {
            Error::RangeBackwards(_) => Error::RangeBackwards(text.to_string()),
            _ => bad(),
        })
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.first, self.last)
    }
}

// ---------------------------------------------------------------------------------------------
// How they stand in a file

/// Reads any of the units from a YAML scalar: a string, or a number printed back to its shortest
/// decimal text, which is what the person typed.
struct Scalar<T> {
    expecting: &'static str,
    parsed: std::marker::PhantomData<T>,
}

impl<T: FromStr<Err = Error>> Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }
}

macro_rules! scalar_in_files {
    ($type:ty, $name:literal, $expecting:literal, $schema:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer
                    .deserialize_any(Scalar { expecting: $expecting, parsed: std::marker::PhantomData })
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

scalar_in_files!(Tps, "Tps", "a rate such as 100, 0.5 or \"6000/m\"", {
    "description": "Requests per second (100, 0.5), or per minute or hour (\"6000/m\", \"90/h\").",
    "type": ["number", "string"],
    "minimum": 0
});
scalar_in_files!(Nanos, "Duration", "a duration such as 500ms, 10s or 2m", {
    "description": "A duration with its unit: 500ms, 10s, 2m, 1h30m. 0 needs no unit.",
    "type": ["string", "integer"]
});
scalar_in_files!(Share, "Share", "a share such as 1% or 0.01", {
    "description": "A share of a whole: 1%, 0.5%, or 0.01.",
    "type": ["string", "number"]
});
scalar_in_files!(Bytes, "Size", "a size such as 64KiB or 32MiB", {
    "description": "A size with its unit: 64KiB, 32MiB, 1GiB. A bare number is bytes.",
    "type": ["string", "integer"],
    "minimum": 0
});
scalar_in_files!(IdRange, "IdRange", "a range such as 1..10000", {
    "description": "first..last, both ends included.",
    "type": ["string", "integer"],
    "pattern": "^[0-9_]+(\\.\\.=?[0-9_]+)?$"
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_written_in_percent_or_as_a_part_of_one_and_stays_exact() {
        let read = |text: &str| text.parse::<Share>().map(Share::millionths);
        for (text, millionths) in
            [("2%", 20_000), ("0.02", 20_000), ("0.5 %", 5000), ("1", 1_000_000), ("0", 0)]
        {
            assert_eq!(read(text), Ok(millionths), "{text}");
        }
        assert_eq!(
            ["2%", "0.0001%", "12.5%", "100%"].map(|t| t.parse::<Share>().map(|s| s.to_string())),
            [
                Ok("2%".to_string()),
                Ok("0.0001%".to_string()),
                Ok("12.5%".to_string()),
                Ok("100%".to_string())
            ]
        );
        for wrong in ["", "%", "-1%", "101%", "1.1", ".5", "1e-3", "99999999999999999999%"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_may_be_per_second_minute_or_hour_and_stays_exact() {
        assert_eq!("100".parse(), Ok(Tps::per_second(100)));
        assert_eq!("6000/m".parse(), Ok(Tps::per_second(100)));
        assert_eq!("0.5".parse(), Ok(Tps::from_units(1_800_000_000)));
        assert_eq!("1/m".parse(), Ok(Tps::from_units(60_000_000)));
        assert_eq!("1/h".parse(), Ok(Tps::from_units(1_000_000)));
        assert_eq!("100_000".parse(), Ok(Tps::per_second(100_000)));
    }

    #[test]
    fn a_rate_that_makes_no_sense_says_what_to_write() {
        assert_eq!("-5".parse::<Tps>(), Err(Error::RateNegative("-5".into())));
        for text in ["", ".nan", "NaN", "inf", "1e9", "10/d", "1.", ".5", "ten"] {
            assert_eq!(text.parse::<Tps>(), Err(Error::Rate(text.into())), "{text}");
        }
        assert_eq!("10000001".parse::<Tps>(), Err(Error::RateTooHigh("10000001".into())));
    }

    #[test]
    fn a_rate_prints_as_it_was_written() {
        for text in ["100", "0.5", "0", "33.333333"] {
            assert_eq!(text.parse::<Tps>().map(|t| t.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn durations_need_a_unit_except_zero() {
        assert_eq!("1m30s".parse(), Ok(Nanos::from_secs(90)));
        assert_eq!("0".parse(), Ok(Nanos::ZERO));
        assert_eq!("90".parse::<Nanos>(), Err(Error::Duration("90".into())));
        assert_eq!("40days".parse::<Nanos>(), Err(Error::DurationTooLong("40days".into())));
        assert_eq!(Nanos::from_millis(90_500).to_string(), "1m30s500ms");
    }

    #[test]
    fn both_ends_of_a_range_count() {
        let range: IdRange = "1..10000".parse().expect("a range");
        assert_eq!((range.first(), range.last(), range.count()), (1, 10_000, 10_000));
        assert_eq!("7".parse(), IdRange::new(7, 7));
        assert_eq!("9..1".parse::<IdRange>(), Err(Error::RangeBackwards("9..1".into())));
        assert_eq!("1..".parse::<IdRange>(), Err(Error::Range("1..".into())));
    }

    #[test]
    fn sizes_print_in_the_largest_whole_unit() {
        assert_eq!("32MiB".parse(), Ok(Bytes(32 << 20)));
        assert_eq!(Bytes(32 << 20).to_string(), "32MiB");
        assert_eq!(Bytes(1000).to_string(), "1000B");
    }
}
