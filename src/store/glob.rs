//! Patterns of KEYS, SCAN and CONFIG GET: `*`, `?`, `[a-z]`, `[^a]`, `\`.
//!
//! They mean what they mean in Redis, its corners included:
//!
//! - Bytes are signed where a range compares them, and a range that is written backwards is turned round
//!   before upper and lower case become one.
//! - A class that is never closed ends with the pattern. In it, an escaped byte is compared as it is.
//! - A backslash at the end stands for itself.
//! - The empty text matches the empty pattern only. Commands that take `*` for everything ask before.

/// Whether `text` matches `pattern`. Takes time proportional to the product of their lengths at
/// most, and no stack.
pub fn matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on after the last star, should it have to swallow one byte more. No earlier star
    // need be tried again: what follows it has been found as far to the left as can be.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            if rest.is_empty() {
                return true;
            }
            retry = Some((rest, text));
            pattern = rest;
            continue;
        }
        let step = match text {
            [] if pattern.is_empty() => return true,
            [] => None,
            [byte, ..] => one(pattern, *byte, ignore_case),
        };
        match (step, retry) {
            (Some(rest), _) => {
                pattern = rest;
                text = &text[1..];
            }
            (None, Some((after_star, [_, later @ ..]))) => {
                retry = Some((after_star, later));
                pattern = after_star;
                text = later;
            }
            (None, _) => return false,
        }
    }
}

/// Matches one byte against the first element of `pattern` (no star); what follows it, or `None`.
fn one(pattern: &[u8], byte: u8, ignore_case: bool) -> Option<&[u8]> {
    let same = |a: u8| a == byte || ignore_case && a.eq_ignore_ascii_case(&byte);
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => class(rest, byte, ignore_case),
        [b'\\', escaped, rest @ ..] => same(*escaped).then_some(rest),
        [plain, rest @ ..] => same(*plain).then_some(rest),
    }
}

fn class(class: &[u8], byte: u8, ignore_case: bool) -> Option<&[u8]> {
    let fold = |b: u8| if ignore_case { b.to_ascii_lowercase() } else { b };
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [] => break,
            [b'\\', escaped, tail @ ..] => {
                found |= *escaped == byte;
                tail
            }
            [b']', tail @ ..] => {
                rest = tail;
                break;
            }
            [a, b'-', b, tail @ ..] => {
                let (low, high) = ((*a as i8).min(*b as i8), (*a as i8).max(*b as i8));
                found |= (fold(low as u8) as i8..=fold(high as u8) as i8).contains(&(fold(byte) as i8));
                tail
            }
            [plain, tail @ ..] => {
                found |= fold(*plain) == fold(byte);
                tail
            }
        };
    }
    (found != negated).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_redis() {
        for (pattern, text, expected) in [
            ("*", "abc", true),
            ("record:*", "record:17", true),
            ("record:*", "recor", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hxllo", false),
            ("[\\]]", "]", true),
            ("[abc", "b", true),
            ("[", "a", false),
            ("[^", "a", true),
            ("[\\", "\\", true),
            ("[a-]", "_", true),
            ("[a-]", "-", false),
            ("a\\", "a\\", true),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("*a", "aba", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("a**", "a", true),
            ("*", "", false),
            ("**", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), false), expected, "{pattern} {text}");
        }
        assert!(matches(b"MAX*", b"maxmemory", true) && !matches(b"MAX*", b"maxmemory", false));
    }

    #[test]
    fn ranges_compare_signed_bytes_and_fold_case_last() {
        assert!(matches(b"[\x7f-\x80]", b"a", false));
        assert!(matches(b"[\x80-\xff]", b"\x90", false) && !matches(b"[\x80-\xff]", b"a", false));
        assert!(matches(b"[A-C]", b"b", true) && !matches(b"[Z-a]", b"z", true));
        assert!(matches(b"[\\A]", b"A", true) && !matches(b"[\\A]", b"a", true));
    }

    #[test]
    fn many_stars_do_not_hang() {
        assert!(!matches(&b"*a".repeat(500), &b"a".repeat(499), false));
        assert!(!matches(&[b"a*".repeat(1000), b"b".to_vec()].concat(), &b"a".repeat(20_000), false));
    }
}
