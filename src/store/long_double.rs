//! The 80-bit floating point numbers of INCRBYFLOAT and HINCRBYFLOAT.
//!
//! Redis reads them with `strtold`, adds them as `long double`, and writes them with `%.17Lf` less the
//! zeros at the end. So that clients see the same digits, this is that format (64 bits of mantissa, 15
//! of exponent, rounded to nearest, ties to even) in plain integers: it does not depend on the
//! processor.

use num_bigint::BigUint;

/// The exponent of the smallest number: 2^-16445.
const MIN_EXPONENT: i64 = -16445;
/// All numbers are below 2^16384.
const MAX_BITS: i64 = 16384;
/// Texts of more bytes are refused.
const MAX_TEXT: usize = 5 * 1024 - 1;
/// Digits after the point.
const PLACES: u32 = 17;

/// `mantissa` times two to the power of `exponent`, or infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    infinite: bool,
    mantissa: u64,
    exponent: i64,
}

impl LongDouble {
    /// An integer, which is always exact.
    pub fn from_integer(value: i64) -> LongDouble {
        let (negative, mantissa) = (value < 0, value.unsigned_abs());
        LongDouble { negative, infinite: false, mantissa, exponent: 0 }
    }

    /// Whether it is infinite.
    pub fn is_infinite(self) -> bool {
        self.infinite
    }

    fn infinity(negative: bool) -> LongDouble {
        LongDouble { negative, infinite: true, mantissa: 0, exponent: 0 }
    }

    /// The number nearest to `value` times two to the power of `exponent`; with `more`, to one that is
    /// larger by less than a unit of `value`, which then has 66 bits at least. `None` when it is too
    /// large.
    fn nearest(negative: bool, value: u128, exponent: i64, more: bool) -> Option<LongDouble> {
        let drop = (bits(value) - 64).max(MIN_EXPONENT - exponent).max(0);
        let (mut kept, rest) = if drop < 128 { (value >> drop, value & !(!0 << drop)) } else { (0, value) };
        // Above 128 bits even the largest value is less than half a unit.
        if (1..=128).contains(&drop) {
            let half = 1u128 << (drop - 1);
            kept += u128::from(rest > half || rest == half && (more || kept & 1 == 1));
        }
        let mut exponent = exponent + drop;
        if kept >> 64 != 0 {
            kept >>= 1;
            exponent += 1;
        }
        let mantissa = kept as u64;
        let fits = mantissa == 0 || bits(kept) + exponent <= MAX_BITS;
        fits.then_some(LongDouble { negative, infinite: false, mantissa, exponent })
    }

    /// [`LongDouble::nearest`] for a value of any size.
    fn nearest_big(negative: bool, value: &BigUint, exponent: i64, more: bool) -> Option<LongDouble> {
        let drop = value.bits().saturating_sub(128);
        let more = more || value.trailing_zeros().unwrap_or(0) < drop;
        let mut limbs = (value >> drop).iter_u64_digits().collect::<Vec<u64>>().into_iter();
        let (low, high) = (limbs.next().unwrap_or(0), limbs.next().unwrap_or(0));
        let value = u128::from(high) << 64 | u128::from(low);
        LongDouble::nearest(negative, value, exponent + drop as i64, more)
    }

    /// The mantissa with its highest bit set, and the exponent that belongs to it.
    fn normal(self) -> (u128, i64) {
        let shift = self.mantissa.leading_zeros() % 64;
        (u128::from(self.mantissa << shift), self.exponent - i64::from(shift))
    }
}

/// How many bits `value` has without leading zeros.
fn bits(value: u128) -> i64 {
    128 - i64::from(value.leading_zeros())
}

/// Reads a number as Redis does: decimal or hexadecimal with an optional exponent, or infinity.
/// `None` for NaN, a space before or after, a number too large, one that would become zero, and
/// everything else.
pub fn parse(text: &[u8]) -> Option<LongDouble> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
        return Some(LongDouble::infinity(negative));
    }
    let (hex, text) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let parts = Parts::of(text, if hex { 16 } else { 10 })?;
    if parts.digits.is_empty() {
        return Some(LongDouble { negative, infinite: false, mantissa: 0, exponent: 0 });
    }
    let number = if hex { parts.hexadecimal(negative) } else { parts.decimal(negative) };
    number.filter(|number| number.mantissa != 0)
}

/// A number as it is written.
struct Parts {
    /// The values of its digits, without zeros before the first and after the last other one.
    digits: Vec<u8>,
    /// How far its point lies to the right of the last of them; negative: to the left.
    shift: i64,
    /// The number after `e` or `p`.
    exponent: i64,
}

impl Parts {
    fn of(text: &[u8], base: u32) -> Option<Parts> {
        let mut parts = Parts { digits: Vec::new(), shift: 0, exponent: 0 };
        let (mut point, mut any) = (false, false);
        let mut rest = text;
        while let [byte, tail @ ..] = rest {
            if let Some(digit) = char::from(*byte).to_digit(base) {
                any = true;
                parts.shift -= i64::from(point);
                if digit != 0 || !parts.digits.is_empty() {
                    parts.digits.push(digit as u8);
                }
            } else if *byte == b'.' && !point {
                point = true;
            } else {
                break;
            }
            rest = tail;
        }
        while parts.digits.pop_if(|digit| *digit == 0).is_some() {
            parts.shift += 1;
        }
        let letter = if base == 16 { b'p' } else { b'e' };
        parts.exponent = match rest {
            [] => 0,
            [byte, exponent @ ..] if byte.eq_ignore_ascii_case(&letter) => small_integer(exponent)?,
            _ => return None,
        };
        any.then_some(parts)
    }

    fn hexadecimal(&self, negative: bool) -> Option<LongDouble> {
        // Thirty digits of four bits are more than the format keeps.
        let (first, rest) = self.digits.split_at(self.digits.len().min(30));
        let value = first.iter().fold(0u128, |value, &digit| value << 4 | u128::from(digit));
        let exponent = (self.shift + rest.len() as i64) * 4 + self.exponent;
        LongDouble::nearest(negative, value, exponent, !rest.is_empty())
    }

    fn decimal(&self, negative: bool) -> Option<LongDouble> {
        let (len, power) = (self.digits.len() as i64, self.shift + self.exponent);
        // Far outside of the format, where exact arithmetic would only cost time.
        if !(-5000..5000).contains(&(len + power)) {
            return None;
        }
        if len <= 19 && (-18..=19).contains(&power) {
            let value = self.digits.iter().fold(0, |value, &digit| value * 10 + u64::from(digit));
            return small_decimal(negative, value, power);
        }
        let value = BigUint::from_radix_be(&self.digits, 10)?;
        let scale = BigUint::from(10u8).pow(power.unsigned_abs() as u32);
        if power >= 0 {
            return LongDouble::nearest_big(negative, &(value * scale), 0, false);
        }
        let shift = (66 + scale.bits()).saturating_sub(value.bits());
        let value = value << shift;
        let quotient = &value / &scale;
        let exact = &quotient * scale == value;
        LongDouble::nearest_big(negative, &quotient, -(shift as i64), !exact)
    }
}

/// `value` times ten to the power of `power`, which lies between -18 and 19.
fn small_decimal(negative: bool, value: u64, power: i64) -> Option<LongDouble> {
    let (value, scale) = (u128::from(value), 10u128.pow(power.unsigned_abs() as u32));
    if power >= 0 {
        return LongDouble::nearest(negative, value * scale, 0, false);
    }
    let shift = value.leading_zeros();
    let value = value << shift;
    LongDouble::nearest(negative, value / scale, -i64::from(shift), !value.is_multiple_of(scale))
}

/// The number of an exponent. What is beyond all bounds stays there without growing.
fn small_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1 << 40));
    Some(if negative { -value } else { value })
}

/// The sum; `None` when it is no number or infinite.
pub fn add(a: LongDouble, b: LongDouble) -> Option<LongDouble> {
    if a.infinite || b.infinite {
        return None;
    }
    if a.mantissa == 0 || b.mantissa == 0 {
        let sum = if a.mantissa == 0 { b } else { a };
        return Some(LongDouble { negative: sum.negative && (sum.mantissa != 0 || a.negative), ..sum });
    }
    let ((large, large_exponent), (small, small_exponent)) = (a.normal(), b.normal());
    if large_exponent < small_exponent {
        return add(b, a);
    }
    let (distance, exponent) = (large_exponent - small_exponent, large_exponent - 63);
    let large = large << 63;
    let (small, lost) = match distance {
        0..=63 => (small << (63 - distance), false),
        64..=126 => (small >> (distance - 63), small & !(!0 << (distance - 63)) != 0),
        _ => (0, true),
    };
    if a.negative == b.negative {
        return LongDouble::nearest(a.negative, large + small, exponent, lost);
    }
    if large < small {
        return LongDouble::nearest(b.negative, small - large, exponent, false);
    }
    // What was lost is less than one: take one more away, and there is something above it.
    let difference = large - small - u128::from(lost);
    LongDouble::nearest(a.negative && difference != 0, difference, exponent, lost)
}

/// The number with at most 17 digits after the point, and never with an exponent.
pub fn format(number: LongDouble) -> String {
    let sign = if number.negative { "-" } else { "" };
    if number.infinite {
        return format!("{sign}inf");
    }
    if number.exponent >= 0 {
        let digits = BigUint::from(number.mantissa) << number.exponent;
        return if number.mantissa == 0 { "0".to_string() } else { format!("{sign}{digits}") };
    }
    let one = 10u128.pow(PLACES);
    let (exact, shift) = (u128::from(number.mantissa) * one, number.exponent.unsigned_abs());
    let scaled = match shift {
        0..=127 => {
            let (scaled, rest, half) = (exact >> shift, exact & !(!0 << shift), 1u128 << (shift - 1));
            scaled + u128::from(rest > half || rest == half && scaled & 1 == 1)
        }
        _ => 0,
    };
    if scaled == 0 {
        return "0".to_string();
    }
    let places = PLACES as usize;
    let text = format!("{sign}{}.{:0places$}", scaled / one, scaled % one);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        Some(format(add(parse(a.as_bytes())?, parse(b.as_bytes())?)?))
    }

    #[test]
    fn sums_have_the_digits_that_redis_shows() {
        for (a, b, expected) in [
            ("0", "3", Some("3")),
            ("10.50", "0.1", Some("10.6")),
            ("5.0e3", "2.0e2", Some("5200")),
            ("3", "1.1", Some("4.1")),
            ("1", "-1", Some("0")),
            ("-0", "-0", Some("0")),
            ("-1e-20", "0", Some("0")),
            ("0x1.8p3", "0X.8", Some("12.5")),
            ("3.141592653589793238462643", "0", Some("3.14159265358979324")),
            ("17179869184", "1.5", Some("17179869185.5")),
            ("12345678901234567890", "0.5", Some("12345678901234567890")),
            ("1e300", "1", Some(&nearest_power(10, 300).to_string())),
            ("inf", "1", None),
            ("1e4932", "1e4932", None),
            ("", "1", None),
        ] {
            assert_eq!(sum(a, b).as_deref(), expected, "{a} + {b}");
        }
    }

    /// The number of 64 bits that is nearest to a power.
    fn nearest_power(base: u8, power: u32) -> BigUint {
        let exact = BigUint::from(base).pow(power);
        let drop = exact.bits() - 64;
        (((exact >> (drop - 1)) + 1u8) >> 1u8) << drop
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            " 1",
            "1 ",
            "1\n",
            "nan",
            "-nan",
            "nan(1)",
            "infx",
            "1e",
            "1e+",
            "e5",
            ".",
            "-",
            "+-1",
            "0x",
            "0x.",
            "0x1p",
            "0xg",
            "1x",
            "1.2.3",
            "1e5000",
            "-1e5000",
            "1e-5000",
            "0x1p16384",
            "0x1p-16446",
            "1,5",
            "--1",
            "1\0",
            "0b1",
            "1_000",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert!(parse(&[b'1'; 4932]).is_some() && parse(&[b'0'; 5119]).is_some());
        assert!(parse(&[b'2'; 4933]).is_none() && parse(&[b'0'; 5120]).is_none());
    }

    #[test]
    fn the_largest_and_the_smallest_number_are_read() {
        for text in [
            "1.18973149535723176502e+4932",
            "0xf.fffffffffffffffp16380",
            "3.6451995318824746025e-4951",
            "0x1p-16445",
            "0x1.000000000000000000000001p-16446",
            "1.",
            ".5",
            "+1",
            "InFiNiTy",
            "-INF",
            "0e99999",
            "0x0p99999999999999999999",
            "00000.00000",
        ] {
            assert!(parse(text.as_bytes()).is_some(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_integer_is_read_and_written_as_it_is(value: i64) {
            let text = value.to_string();
            prop_assert_eq!(parse(text.as_bytes()).map(format), Some(text.clone()));
            prop_assert_eq!(format(LongDouble::from_integer(value)), text);
        }

        #[test]
        fn sums_of_doubles_with_few_bits_are_exact(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000) {
            let text = |eighths: i64| (eighths as f64 / 8.0).to_string();
            prop_assert_eq!(sum(&text(a), &text(b)), Some(text(a + b)));
        }

        #[test]
        fn a_double_and_its_exact_decimal_are_the_same(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            let hex = parse(hex_of(value).as_bytes());
            let decimal = parse(format!("{value:.1100}").as_bytes());
            prop_assert_eq!(hex.map(|n| (n.negative, n.normal())), decimal.map(|n| (n.negative, n.normal())));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+]?(0x)?[0-9a-f]{0,40}[.]?[0-9a-f]{0,40}([ep][-+]?[0-9]{0,25})?") {
            if let Some(number) = parse(text.as_bytes()) {
                let _ = (format(number), add(number, number));
            }
        }
    }

    fn hex_of(value: f64) -> String {
        let bits = value.to_bits();
        let (exponent, fraction) = (bits >> 52 & 0x7ff, bits & ((1 << 52) - 1));
        let (mantissa, power) = match exponent {
            0 => (fraction, -1074),
            _ => (fraction | 1 << 52, exponent as i64 - 1075),
        };
        format!("{}0x{mantissa:x}p{power}", if value.is_sign_negative() { "-" } else { "" })
    }
}
