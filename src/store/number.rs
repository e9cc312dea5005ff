//! Doubles as Redis reads and writes them: C's `strtod`, and `%.17g`.

use std::io::Write;

/// A double that fills the whole text, as Redis reads scores: decimal or hexadecimal, `inf` or
/// `infinity` in any case, with or without sign.
///
/// `None` for an empty text, a blank anywhere, `nan`, a number too large for a double, and one other
/// than zero that would become zero.
#[inline]
pub fn parse_double(text: &[u8]) -> Option<f64> {
    if let Some(value) = short_integer(text) {
        return Some(value);
    }
    if text.first().is_none_or(|&byte| is_blank(byte)) {
        return None;
    }
    let prefix = strtod(text);
    (prefix.len == text.len() && !prefix.out_of_range && !prefix.value.is_nan()).then_some(prefix.value)
}

/// What [`strtod`] has found at the start of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prefix {
    /// The number; 0 when there is none.
    pub value: f64,
    /// Bytes up to its end, leading blanks included; 0 when there is none.
    pub len: usize,
    /// It was too large and has become infinite, or was not zero and has become so.
    pub out_of_range: bool,
}

/// The longest number at the start of a text, as C's function of this name finds it: after blanks,
/// with `nan` and `nan(...)`.
pub fn strtod(text: &[u8]) -> Prefix {
    let none = Prefix { value: 0.0, len: 0, out_of_range: false };
    let blanks = text.iter().take_while(|&&byte| is_blank(byte)).count();
    let (negative, signed) = match text.get(blanks) {
        Some(b'-') => (true, 1),
        Some(b'+') => (false, 1),
        _ => (false, 0),
    };
    let start = blanks + signed;
    let Some((value, len, out_of_range)) = unsigned(&text[start..]) else { return none };
    Prefix { value: if negative { -value } else { value }, len: start + len, out_of_range }
}

/// Appends a double in 17 significant digits, the shorter of plain and scientific form, without
/// trailing zeros: C's `%.17g`.
#[inline]
pub fn format_double(value: f64, out: &mut Vec<u8>) {
    // Below this bound 17 digits show every digit of an integer.
    if value.abs() < 1e17 && value as i64 as f64 == value && !is_negative_zero(value) {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        format_any(value, out);
    }
}

fn is_negative_zero(value: f64) -> bool {
    value == 0.0 && value.is_sign_negative()
}

fn format_any(value: f64, out: &mut Vec<u8>) {
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if !value.is_finite() {
        out.extend_from_slice(if value.is_nan() { b"nan" } else { b"inf" });
        return;
    }
    // One digit, a point, 16 digits, `e`, the exponent: at most 24 bytes.
    let mut text = [0u8; 32];
    let mut rest = &mut text[..];
    // Writing to a slice fails only when it is full.
    let _ = write!(rest, "{:.16e}", value.abs());
    let unused = rest.len();
    let text = &text[..text.len() - unused];
    let (mantissa, exponent) = match text.iter().position(|&byte| byte == b'e') {
        Some(at) => (&text[..at], decimal(&text[at + 1..])),
        None => (text, 0),
    };
    let mut digits = [b'0'; 17];
    let written = mantissa.iter().filter(|byte| byte.is_ascii_digit());
    digits.iter_mut().zip(written).for_each(|(to, &digit)| *to = digit);
    let significant = digits.iter().rposition(|&digit| digit != b'0').map_or(1, |last| last + 1);
    place_point(&digits[..significant], exponent, out);
}

/// A small number with an optional minus, as the formatter writes exponents.
fn decimal(text: &[u8]) -> i32 {
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    let value = digits.fold(0, |value, &digit| value * 10 + i32::from(digit - b'0'));
    if text.first() == Some(&b'-') { -value } else { value }
}

/// Writes `d.ddd * 10^exponent` in the form that `%.17g` chooses.
fn place_point(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    if !(-4..17).contains(&exponent) {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(exponent.abs()).as_bytes());
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend((exponent..-1).map(|_| b'0'));
        out.extend_from_slice(digits);
    } else {
        let whole = exponent as usize + 1;
        out.extend_from_slice(&digits[..whole.min(digits.len())]);
        out.extend((digits.len()..whole).map(|_| b'0'));
        if digits.len() > whole {
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

/// What C's `isspace` says.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Up to 15 digits with an optional minus: exact without further ado.
#[inline]
fn short_integer(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    let mut value = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    Some(if negative { -(value as f64) } else { value as f64 })
}

/// The number without sign at the start of a text, its length, and whether it was out of range.
fn unsigned(text: &[u8]) -> Option<(f64, usize, bool)> {
    let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if begins(b"infinity") {
        return Some((f64::INFINITY, 8, false));
    }
    if begins(b"inf") {
        return Some((f64::INFINITY, 3, false));
    }
    if begins(b"nan") {
        return Some((f64::NAN, 3 + nan_payload(&text[3..]), false));
    }
    if begins(b"0x")
        && let Some((value, len, out_of_range)) = hexadecimal(&text[2..])
    {
        return Some((value, 2 + len, out_of_range));
    }
    decimal_fraction(text)
}

/// The length of `(letters, digits, underscores)`.
fn nan_payload(text: &[u8]) -> usize {
    if text.first() != Some(&b'(') {
        return 0;
    }
    let inside = text[1..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    if text.get(1 + inside) == Some(&b')') { inside + 2 } else { 0 }
}

/// The bytes of digits with at most one point, and how many of them are digits.
fn mantissa_len(text: &[u8], is_digit: impl Fn(&u8) -> bool) -> (usize, usize) {
    let whole = text.iter().take_while(|byte| is_digit(byte)).count();
    if text.get(whole) != Some(&b'.') {
        return (whole, whole);
    }
    let fraction = text[whole + 1..].iter().take_while(|byte| is_digit(byte)).count();
    (whole + 1 + fraction, whole + fraction)
}

/// The length of an exponent that `mark` begins, and its value; (0, 0) when there is none.
fn exponent(text: &[u8], mark: u8) -> (usize, i64) {
    let Some((first, rest)) = text.split_first() else { return (0, 0) };
    if first.to_ascii_lowercase() != mark {
        return (0, 0);
    }
    let (negative, signed) = match rest.first() {
        Some(b'-') => (true, 1),
        Some(b'+') => (false, 1),
        _ => (false, 0),
    };
    let digits = rest[signed..].iter().take_while(|byte| byte.is_ascii_digit());
    let (mut len, mut value) = (0, 0i64);
    for digit in digits {
        len += 1;
        value = value.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
    }
    match len {
        0 => (0, 0),
        _ => (1 + signed + len, if negative { -value } else { value }),
    }
}

fn decimal_fraction(text: &[u8]) -> Option<(f64, usize, bool)> {
    let (mantissa, digits) = mantissa_len(text, u8::is_ascii_digit);
    if digits == 0 {
        return None;
    }
    let len = mantissa + exponent(&text[mantissa..], b'e').0;
    let value: f64 = std::str::from_utf8(&text[..len]).ok()?.parse().ok()?;
    let is_zero = text[..mantissa].iter().all(|&byte| matches!(byte, b'0' | b'.'));
    Some((value, len, value.is_infinite() || value == 0.0 && !is_zero))
}

/// What follows `0x`.
fn hexadecimal(text: &[u8]) -> Option<(f64, usize, bool)> {
    let (mantissa, digits) = mantissa_len(text, u8::is_ascii_hexdigit);
    if digits == 0 {
        return None;
    }
    // The leading bits; what does not fit is remembered in the lowest one.
    let (mut bits, mut power, mut after_point) = (0u64, 0i64, false);
    for &byte in &text[..mantissa] {
        let Some(digit) = char::from(byte).to_digit(16) else {
            after_point = true;
            continue;
        };
        if bits >> 60 == 0 {
            bits = bits << 4 | u64::from(digit);
            power -= if after_point { 4 } else { 0 };
        } else {
            bits |= u64::from(digit != 0);
            power += if after_point { 0 } else { 4 };
        }
    }
    let (exponent_len, exponent) = exponent(&text[mantissa..], b'p');
    let value = scaled(bits, power.saturating_add(exponent));
    Some((value, mantissa + exponent_len, value.is_infinite() || value == 0.0 && bits != 0))
}

/// `bits * 2^power`, rounded once, to the nearest and of two equally near ones to the even.
fn scaled(bits: u64, power: i64) -> f64 {
    if bits == 0 {
        return 0.0;
    }
    let width = 64 - i64::from(bits.leading_zeros());
    let top = power.saturating_add(width - 1);
    if top > 1023 {
        return f64::INFINITY;
    }
    if top < -1075 {
        return 0.0;
    }
    // The power of the last bit that a double of this size has.
    let last = (top - 52).max(-1074);
    let drop = last - power;
    let kept = match u32::try_from(drop) {
        Err(_) => bits << -drop,
        Ok(0) => bits,
        Ok(drop) => {
            let kept = bits.checked_shr(drop).unwrap_or(0);
            let rest = bits - if drop < 64 { kept << drop } else { 0 };
            let half = 1u64 << (drop - 1).min(63);
            let up = drop <= 64 && (rest > half || rest == half && kept & 1 == 1);
            kept + u64::from(up)
        }
    };
    // At most 2^53, and powers of two within range: both steps are exact, or overflow as they must.
    let step = kept as f64;
    if last < -1000 {
        step * 2f64.powi(-1000) * 2f64.powi((last + 1000) as i32)
    } else {
        step * 2f64.powi(last as i32)
    }
}

/// A decimal number without sign within `u64`; leading zeros are allowed.
pub fn parse_u64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ffi::CString;

    fn ours(value: f64) -> String {
        let mut out = Vec::new();
        format_double(value, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    fn libc_format(value: f64) -> String {
        let mut buffer = [0u8; 64];
        // SAFETY: the buffer is as long as the call says, and `%.17g` takes one double.
        let len =
            unsafe { libc::snprintf(buffer.as_mut_ptr().cast(), buffer.len(), c"%.17g".as_ptr(), value) };
        String::from_utf8_lossy(&buffer[..len as usize]).into_owned()
    }

    fn libc_strtod(text: &str) -> (f64, usize) {
        let text = CString::new(text).expect("no zero inside");
        let mut end = std::ptr::null_mut();
        // SAFETY: the text ends with a zero, and `end` is set to a place within it.
        let value = unsafe { libc::strtod(text.as_ptr(), &mut end) };
        (value, end as usize - text.as_ptr() as usize)
    }

    /// Ours and that of libc read the same.
    fn check(text: &str) {
        let (value, len) = libc_strtod(text);
        let found = strtod(text.as_bytes());
        assert_eq!(found.len, len, "{text:?}");
        assert!(
            found.value.to_bits() == value.to_bits() || found.value.is_nan() && value.is_nan(),
            "{text:?}: {:?} and {value:?}",
            found.value
        );
    }

    #[test]
    fn words_and_borders_are_read_as_libc_reads_them() {
        for text in [
            "",
            " ",
            "+",
            "-",
            ".",
            "-.",
            "e5",
            "1e",
            "1e+",
            "1e5",
            "1E-5x",
            " 1",
            "\t\n-2",
            "1 ",
            "+.5",
            "5.",
            "inf",
            "-INFINITY",
            "infinit",
            "in",
            "nan",
            "-nan",
            "NAN(abc_1)",
            "nan(",
            "nan(a b)",
            "0x",
            "0x.",
            "0xg",
            "0x1",
            "-0X1.8p1",
            "0x.8",
            "0x1p",
            "0x1p+",
            "0x1p-1074",
            "0x1p-1075",
            "0x1.8p-1075",
            "0x1.0000001p-1075",
            "0x1.fffffffffffffp1023",
            "0x1.fffffffffffff7p1023",
            "0x1.fffffffffffff8p1023",
            "0x1p1024",
            "0x10000000000000000000000001",
            "0x1fffffffffffff8",
            "0x0.000000000000000000000000000000001p100",
            "0x1p99999999999999999999",
            "0x0p99999999999999999999",
            "0x1p-99999999999999999999",
            "1e400",
            "-1e400",
            "1e-400",
            "0e999",
            "4.9e-324",
            "2.4e-324",
            "2.5e-324",
            "1.7976931348623157e308",
            "1.7976931348623159e308",
            "123456789012345",
            "1234567890123456789",
            "-0",
            "0.0000",
            "00012",
            "1.5e3.5",
            "1,5",
            "0b1",
        ] {
            check(text);
        }
    }

    #[test]
    fn a_whole_text_is_a_double_only_as_redis_says() {
        for (text, value) in [
            ("1", Some(1.0)),
            ("-0", Some(-0.0)),
            ("+5", Some(5.0)),
            ("0x10", Some(16.0)),
            ("1e3", Some(1000.0)),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("4.9e-324", Some(5e-324)),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("nan", None),
            ("-nan", None),
            ("1e400", None),
            ("-1e400", None),
            ("1e-400", None),
            ("x", None),
            ("1x", None),
            ("0x", None),
            ("1\0", None),
        ] {
            let found = parse_double(text.as_bytes());
            assert_eq!(found.map(f64::to_bits), value.map(f64::to_bits), "{text:?}");
        }
    }

    #[test]
    fn borders_are_written_as_libc_writes_them() {
        for value in [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.1,
            0.5,
            1e16,
            1e17,
            -1e17,
            99999999999999984.0,
            1e18,
            1e22,
            1e23,
            1e-4,
            1e-5,
            0.00012345,
            2f64.powi(50) + 0.25,
            2f64.powi(50) + 0.75,
            2251799813685249.5,
            4503599627370497.5,
            9007199254740993.0,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            5e-324,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            std::f64::consts::PI,
            99_999_999_999_999_984.0,
            1e100,
            123456.789,
            2f64.powi(52),
            2f64.powi(53) + 2.0,
            2f64.powi(63),
            -(2f64.powi(63)),
        ] {
            assert_eq!(ours(value), libc_format(value));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn every_double_is_written_as_libc_writes_it_and_read_back(bits: u64, small in -1_000_000_000i64..1_000_000_000, shift in 0u32..40) {
            for value in [f64::from_bits(bits), small as f64, small as f64 / 2f64.powi(shift as i32), small as f64 / 1000.0] {
                let text = ours(value);
                prop_assert_eq!(&text, &libc_format(value));
                if !value.is_nan() {
                    prop_assert_eq!(parse_double(text.as_bytes()).map(f64::to_bits), Some(value.to_bits()));
                }
            }
        }

        #[test]
        fn every_text_is_read_as_libc_reads_it(
            text in "[ ]?[-+]?([0-9]{0,25}[.]?[0-9]{0,25}([eE][-+]?[0-9]{0,4})?|0[xX][0-9a-fA-F]{0,20}[.]?[0-9a-fA-F]{0,20}([pP][-+]?[0-9]{0,4})?)[ x]?"
        ) {
            check(&text);
        }

        #[test]
        fn garbage_is_read_as_libc_reads_it(text in "[-+ .0-9a-fpxinty()_]{0,12}") {
            check(&text);
        }
    }
}
