//! Figures: how numbers and times are written for people. Files hold plain numbers instead.

use std::time::Duration;

use owo_colors::{OwoColorize, Style};

use crate::recorder::summary::ThresholdRow;
use crate::units::{Nanos, Unit};

/// A whole number in groups of three: `13 500`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Requests per second, with decimals where they tell something: `0.5`, `33.3`, `1 000`.
pub fn rate(per_second: f64) -> String {
    if !per_second.is_finite() || per_second <= 0.0 {
        return "0".to_string();
    }
    let places = if per_second < 10.0 { 2 } else { 1 };
    let text = format!("{per_second:.places$}");
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let whole = whole.parse().map_or_else(|_| whole.to_string(), grouped);
    match decimals.trim_end_matches('0') {
        "" => whole,
        decimals if per_second < 1000.0 => format!("{whole}.{decimals}"),
        _ => grouped(per_second.round() as u64),
    }
}

/// A share of a whole, such as `99.4 %`; `0 %` of nothing. Never rounded up to all of it.
pub fn percent(part: f64, whole: f64) -> String {
    let share = if whole > 0.0 && part.is_finite() { 100.0 * part / whole } else { 0.0 };
    let shown = if share < 100.0 { share.min(99.9) } else { share };
    let text = format!("{shown:.1}");
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

/// A measured value with what it is: `81 ms`, `0.25 %`, `3`, `950/s`.
pub fn measure(value: f64, unit: Unit) -> String {
    match unit {
        // A float beyond the integers becomes the last of them.
        Unit::Time => time(Nanos(value.round() as u64)),
        Unit::Share => share(value),
        Unit::Count if value.fract() == 0.0 && (0.0..1e15).contains(&value) => grouped(value as u64),
        Unit::Count => value.to_string(),
        Unit::PerSecond => format!("{}/s", rate(value)),
    }
}

/// What was found of a threshold: `measured 81 ms (the worst second)`.
pub fn found(row: &ThresholdRow) -> String {
    match row.measured {
        None => row.note.clone(),
        Some(value) if row.note.is_empty() => format!("measured {}", measure(value, row.unit)),
        Some(value) => format!("measured {} ({})", measure(value, row.unit), row.note),
    }
}

/// A share with as many decimals as a small one needs: `0.003 %`.
fn share(share: f64) -> String {
    let percents = share * 100.0;
    if percents <= 0.0 || percents >= 1.0 {
        return percent(share, 1.0);
    }
    let places = if percents >= 0.01 { 3 } else { 6 };
    let text = format!("{percents:.places$}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A time with three digits and the unit that fits: `84 µs`, `1.31 ms`, `12.5 s`, `2m 05s`.
pub fn time(time: Nanos) -> String {
    let ns = time.0;
    match ns {
        0 => "0".to_string(),
        1..=999 => format!("{ns} ns"),
        // The bounds lie where rounding to three digits reaches the next unit.
        1000..=999_499 => three_digits(ns as f64 / 1e3, "µs"),
        999_500..=999_499_999 => three_digits(ns as f64 / 1e6, "ms"),
        999_500_000..=119_949_999_999 => three_digits(ns as f64 / 1e9, "s"),
        _ => minutes(ns),
    }
}

/// Microseconds in the same way.
pub fn micros(us: u64) -> String {
    time(Nanos(us.saturating_mul(1000)))
}

/// A standard duration in the same way.
pub fn duration(duration: Duration) -> String {
    time(Nanos::from(duration))
}

/// Elapsed time for a bar: `7.5s`, `1m10s`, `2h05m`.
pub fn clock(time: Nanos) -> String {
    let seconds = time.0 / 1_000_000_000;
    match seconds {
        0..=59 => format!("{}.{}s", seconds, time.0 / 100_000_000 % 10),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// An instant of the schedule in seconds to the millisecond: `30.010 s`.
pub fn instant(at: Nanos) -> String {
    let ms = at.0 / 1_000_000;
    format!("{}.{:03} s", grouped(ms / 1000), ms % 1000)
}

/// Exact seconds for files: `10`, `0.0005`, `119.970214`.
pub fn exact_seconds(time: Nanos) -> String {
    let (whole, rest) = (time.0 / 1_000_000_000, time.0 % 1_000_000_000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{}", format!("{rest:09}").trim_end_matches('0'))
}

/// Nanoseconds as whole microseconds, rounded to the nearest.
pub fn to_micros(ns: u64) -> u64 {
    ns.saturating_add(500) / 1000
}

fn three_digits(value: f64, unit: &str) -> String {
    let places = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.places$}");
    let text = if places > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

fn minutes(ns: u64) -> String {
    let seconds = ns.saturating_add(500_000_000) / 1_000_000_000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{}h {minutes:02}m {seconds:02}s", grouped(hours))
    } else {
        format!("{minutes}m {seconds:02}s")
    }
}

/// Text from a peer, a script or a system, safe on a terminal: one line, no control characters, at
/// most `limit` characters.
pub fn plain(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == limit {
            out.push('…');
            break;
        }
        out.push(if character.is_control() { ' ' } else { character });
    }
    out
}

/// A plural with its number: `1 request`, `13 500 requests`.
pub fn count(number: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// What colour, where there is one, tells besides the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It went well.
    Good,
    /// It did not.
    Bad,
    /// To be doubted.
    Doubt,
    /// A heading.
    Head,
    /// Of less weight.
    Faint,
}

/// Text in its tone; unchanged without colour.
pub fn paint(text: &str, tone: Tone, colour: bool) -> String {
    if !colour {
        return text.to_string();
    }
    let style = match tone {
        Tone::Good => Style::new().green().bold(),
        Tone::Bad => Style::new().red().bold(),
        Tone::Doubt => Style::new().yellow(),
        Tone::Head => Style::new().bold(),
        Tone::Faint => Style::new().dimmed(),
    };
    text.style(style).to_string()
}

/// Rows in columns: the first `left` columns are aligned to the left, the others to the right.
/// Indented by `indent` spaces, without borders and without spaces at the ends of lines.
pub fn columns(indent: u16, left: usize, rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let widest = rows.iter().map(Vec::len).max().unwrap_or(0);
    for mut row in rows {
        row.resize(widest, String::new());
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding(if index == 0 { (indent, 0) } else { (2, 0) });
        if index >= left {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_grouped_in_threes() {
        let shown = [0, 7, 999, 1000, 13_500, 1_000_000, u64::MAX].map(grouped);
        assert_eq!(shown, ["0", "7", "999", "1 000", "13 500", "1 000 000", "18 446 744 073 709 551 615"]);
    }

    #[test]
    fn times_have_three_digits_and_the_unit_that_fits() {
        let cases = [
            (0, "0"),
            (999, "999 ns"),
            (1000, "1 µs"),
            (84_400, "84.4 µs"),
            (999_499, "999 µs"),
            (999_500, "1 ms"),
            (1_310_000, "1.31 ms"),
            (9_995_000, "10 ms"),
            (999_499_999, "999 ms"),
            (999_500_000, "1 s"),
            (119_970_000_000, "2m 00s"),
            (90_000_000_000, "90 s"),
            (125_000_000_000, "2m 05s"),
            (7_325_000_000_000, "2h 02m 05s"),
        ];
        for (ns, text) in cases {
            assert_eq!(time(Nanos(ns)), text, "{ns}");
        }
        assert_eq!(exact_seconds(Nanos(500_000)), "0.0005");
        assert_eq!(exact_seconds(Nanos::from_secs(10)), "10");
        assert_eq!(instant(Nanos(30_010_000_000)), "30.010 s");
        let clocks = [500_000_000, 70_000_000_000, 7_500_000_000_000].map(|ns| clock(Nanos(ns)));
        assert_eq!(clocks, ["0.5s", "1m10s", "2h05m"]);
    }

    #[test]
    fn rates_and_shares_of_nothing_are_zero_and_never_nan() {
        assert_eq!([f64::NAN, f64::INFINITY, -1.0, 0.0].map(rate), ["0", "0", "0", "0"]);
        assert_eq!(
            [0.5, 33.333, 999.96, 1234.5, 10_000.0].map(rate),
            ["0.5", "33.3", "1 000", "1 235", "10 000"]
        );
        assert_eq!(percent(0.0, 0.0), "0 %");
        assert_eq!(percent(99_999.0, 100_000.0), "99.9 %");
        assert_eq!(percent(1.0, 1.0), "100 %");
    }

    #[test]
    fn a_measured_value_is_shown_with_its_unit_and_small_shares_with_their_digits() {
        let shown = [(81e6, Unit::Time), (0.0025, Unit::Share), (0.000_03, Unit::Share), (0.0, Unit::Share)]
            .map(|(value, unit)| measure(value, unit));
        assert_eq!(shown, ["81 ms", "0.25 %", "0.003 %", "0 %"]);
        assert_eq!(measure(13_500.0, Unit::Count), "13 500");
        assert_eq!([measure(-1.5, Unit::Count), measure(950.0, Unit::PerSecond)], ["-1.5", "950/s"]);
    }

    #[test]
    fn what_a_peer_says_cannot_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\nc", 100), "a [2Jb c");
        assert_eq!(plain("abcdef", 3), "abc…");
    }

    proptest! {
        #[test]
        fn every_time_is_shown_short_and_with_a_digit(ns in any::<u64>()) {
            let text = time(Nanos(ns));
            prop_assert!(text.chars().any(|c| c.is_ascii_digit()) && text.chars().count() <= 18, "{text}");
        }

        #[test]
        fn exact_seconds_read_back_to_the_same_time(ns in 0..1u64 << 50) {
            let text = exact_seconds(Nanos(ns));
            let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
            let back = whole.parse::<u64>().expect("digits") * 1_000_000_000
                + format!("{rest:0<9}").parse::<u64>().expect("digits");
            prop_assert_eq!(back, ns);
        }
    }
}
