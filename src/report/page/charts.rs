//! Charts of the report: SVG by `kuva`, with a legend and a table of the same numbers beside each.
//!
//! Colours are names of the page's style, so that a chart follows light, dark and print; lines differ in
//! their strokes too, so that it is read without colour. Logarithms are taken here: an axis is always linear
//! to `kuva`, and its ticks are labelled with what they stand for.

use std::fmt::Write;
use std::sync::Arc;

use kuva::backend::svg::SvgBackend;
use kuva::plot::{LinePlot, LineStyle};
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;
use kuva::render::render::render_multiple;
use kuva::render::theme::Theme;

use crate::report::figures::{grouped, micros, plain, rate};
use crate::report::page::escaped;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 260.0;

/// What the labels under an axis need.
const UNDER: f64 = 26.0;

/// What the places of a chart are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Along {
    /// Seconds from time zero.
    Seconds,
    /// The decimal logarithm of microseconds.
    Micros,
    /// Nines of a percentile: 2 is 99 %.
    Nines,
    /// Requests per second.
    Rate,
}

/// What its values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Requests per second.
    Rate,
    /// Whole numbers.
    Count,
    /// Microseconds, drawn by their logarithm.
    Micros,
    /// Percents.
    Percent,
}

/// A line and its numbers; where there is none, it has a gap.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub name: &'static str,
    pub values: Vec<Option<f64>>,
    /// Stays level from one place to the next.
    pub steps: bool,
}

/// One picture.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    /// Its name in the page, unique.
    pub id: &'static str,
    pub title: &'static str,
    /// What is seen, in a sentence.
    pub note: String,
    pub along: Along,
    /// The places, rising.
    pub at: Vec<f64>,
    /// Where the last place ends, if places are stretches.
    pub end: Option<f64>,
    pub of: Of,
    pub lines: Vec<Line>,
    /// What lies between these two lines is shaded.
    pub band: Option<(usize, usize)>,
}

/// Strokes and colours, by number of the line. No two strokes are the same.
const STYLES: [(&str, &str, f64); 5] = [
    // Wider, so that it is seen under another that runs along it.
    ("var(--a)", "", 3.2),
    ("var(--b)", "7 4", 2.0),
    ("var(--c)", "2 3", 2.0),
    ("var(--d)", "9 3 2 3", 1.6),
    ("var(--e)", "1 5", 1.6),
];

/// Where the axes lie: values at the ends, and a step between ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    from: f64,
    to: f64,
    step: f64,
}

impl Chart {
    /// The figure as HTML; nothing where there are no numbers.
    pub(super) fn html(&self, out: &mut String) {
        let places = self.at.len() + usize::from(self.end.is_some());
        if self.at.is_empty()
            || places < 2
            || self.lines.iter().all(|line| line.values.iter().all(Option::is_none))
        {
            let _ = write!(
                out,
                "<figure id=\"{}\" class=\"empty\"><figcaption><h3>{}</h3><p>Nothing was measured that could \
                 be drawn.</p></figcaption></figure>",
                self.id, self.title
            );
            return;
        }
        let _ = write!(
            out,
            "<figure id=\"{0}\" data-along=\"{1}\"><figcaption><h3>{2}</h3><p>{3}</p></figcaption>",
            self.id,
            self.along.word(),
            self.title,
            escaped(&self.note)
        );
        self.legend(out);
        out.push_str(&self.svg());
        out.push_str("<output aria-live=\"polite\"></output>");
        self.table(out);
        out.push_str("</figure>\n");
    }

    fn legend(&self, out: &mut String) {
        out.push_str("<div class=\"legend\">");
        for (line, (colour, dash, width)) in self.lines.iter().zip(STYLES) {
            let _ = write!(
                out,
                "<button type=\"button\" aria-pressed=\"true\" data-line=\"{0}\"><svg width=\"34\" height=\"10\" \
                 aria-hidden=\"true\"><path d=\"M1 5H33\" stroke=\"{colour}\" stroke-width=\"{width}\" \
                 stroke-dasharray=\"{dash}\"/></svg>{0}</button>",
                line.name
            );
        }
        out.push_str("</div>");
    }

    fn drawn(&self, value: f64) -> f64 {
        match self.of {
            // Less than a microsecond is drawn as one.
            Of::Micros => value.max(1.0).log10(),
            Of::Rate | Of::Count | Of::Percent => value,
        }
    }

    fn svg(&self) -> String {
        let (x, y) = (self.x(), self.y());
        let mut plots: Vec<Plot> = Vec::new();
        for (index, (line, style)) in self.lines.iter().zip(STYLES).enumerate() {
            let upper = self.band.filter(|(lower, _)| *lower == index).map(|(_, upper)| upper);
            plots.extend(
                self.pieces(line, style.0, upper).into_iter().map(|piece| styled(piece, line, style)),
            );
        }
        let (along, of) = (self.along, self.of);
        let layout = Layout::new((x.from, x.to), (y.from, y.to))
            .with_width(WIDTH)
            .with_height(HEIGHT)
            .with_x_axis_min(x.from)
            .with_x_axis_max(x.to)
            .with_y_axis_min(y.from)
            .with_y_axis_max(y.to)
            .with_x_tick_step(x.step)
            .with_y_tick_step(y.step)
            .with_x_tick_format(TickFormat::Custom(Arc::new(move |value| along.label(value))))
            .with_y_tick_format(TickFormat::Custom(Arc::new(move |value| of.label(value))))
            .with_theme(theme())
            // For the place of the axes and a group around each line; its own script is left out below.
            .with_interactive();
        let mut scene = render_multiple(plots, layout);
        scene.interactive = false;
        let place = scene.axis_meta.as_ref().map_or_else(String::new, |meta| {
            format!(
                " data-from=\"{}\" data-to=\"{}\" data-left=\"{:.2}\" data-right=\"{:.2}\" data-top=\"{:.2}\" \
                 data-bottom=\"{:.2}\"",
                meta.x_min, meta.x_max, meta.plot_left, meta.plot_right, meta.plot_top, meta.plot_bottom
            )
        });
        // There is room for a title of the axis, which stands above the chart instead.
        let under = scene.axis_meta.as_ref().map_or(f64::INFINITY, |meta| meta.plot_bottom + UNDER);
        let (width, height) = (scene.width, scene.height.min(under));
        let svg = tidied(&SvgBackend::new().render_scene(&scene), self.id);
        // A picture that is as wide as the page, with words for those who do not see it.
        let body = svg.split_once('>').map_or("", |(_, body)| body);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" tabindex=\"0\" \
             aria-label=\"{}. The numbers are in the table below.\"{place}>{body}",
            self.title
        )
    }

    /// The parts of a line between its gaps.
    fn pieces(&self, line: &Line, colour: &str, upper: Option<usize>) -> Vec<LinePlot> {
        let mut pieces = Vec::new();
        let mut open: Vec<(f64, f64, f64)> = Vec::new();
        let above = upper.and_then(|upper| self.lines.get(upper));
        let mut close = |open: &mut Vec<(f64, f64, f64)>| {
            // One place alone has no line: it gets a short one.
            if let [(x, y, top)] = open[..] {
                open.push((x + 0.3 * self.step(), y, top));
            }
            if !open.is_empty() {
                let points: Vec<(f64, f64)> = open.iter().map(|&(x, y, _)| (x, y)).collect();
                // The band takes the colour that the line has by then.
                let mut piece = LinePlot::new().with_data(points).with_color(colour);
                if above.is_some() {
                    let (low, high): (Vec<f64>, Vec<f64>) = open.iter().map(|&(_, y, top)| (y, top)).unzip();
                    piece = piece.with_band(low, high);
                }
                pieces.push(piece);
            }
            open.clear();
        };
        for (index, (&x, value)) in self.at.iter().zip(&line.values).enumerate() {
            match value {
                Some(value) => {
                    let top = above.and_then(|line| line.values.get(index).copied().flatten());
                    let y = self.drawn(*value);
                    open.push((x, y, top.map_or(y, |top| self.drawn(top))));
                }
                None => close(&mut open),
            }
        }
        if let (Some(end), Some(&(_, y, top)), true) = (self.end, open.last(), line.steps) {
            open.push((end, y, top));
        }
        close(&mut open);
        pieces
    }

    fn step(&self) -> f64 {
        let least = self.at.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
        if least.is_finite() { least } else { self.end.map_or(1.0, |end| end - self.at[0]) }
    }

    fn x(&self) -> Span {
        let first = self.at[0];
        let last = self.end.unwrap_or(self.at[self.at.len() - 1]);
        match self.along {
            Along::Seconds => Span { from: first, to: last, step: seconds_step(last - first) },
            Along::Micros => {
                Span { from: first.floor(), to: last.ceil().max(first.floor() + 1.0), step: 1.0 }
            }
            Along::Nines => Span { from: 0.0, to: last.max(1.0), step: 1.0 },
            Along::Rate => {
                let step = round_step(last / 10.0, false);
                Span { from: 0.0, to: step * (last / step).ceil().max(1.0), step }
            }
        }
    }

    fn y(&self) -> Span {
        let drawn = || {
            let values = self.lines.iter().flat_map(|line| line.values.iter().copied().flatten());
            values.map(|value| self.drawn(value))
        };
        let highest = drawn().fold(0.0, f64::max);
        if self.of == Of::Micros {
            let lowest = drawn().fold(f64::INFINITY, f64::min).min(highest).floor();
            return Span { from: lowest, to: highest.ceil().max(lowest + 1.0), step: 1.0 };
        }
        let step = round_step(highest * 1.05 / 4.0, self.of == Of::Count);
        Span { from: 0.0, to: step * (highest * 1.05 / step).ceil().max(1.0), step }
    }

    fn table(&self, out: &mut String) {
        let _ = write!(out, "<details><summary>Table: {}</summary><div class=\"wide\"><table>", self.title);
        let _ = write!(out, "<caption>{}</caption>", escaped(&self.note));
        let _ = write!(out, "<thead><tr><th scope=\"col\">{}", self.along.head());
        for line in &self.lines {
            let _ = write!(out, "<th scope=\"col\">{}", line.name);
        }
        out.push_str("<tbody>");
        for (index, &x) in self.at.iter().enumerate() {
            // End tags of cells and rows may be left out in HTML, and that is half of a large table.
            let _ = write!(out, "<tr data-x=\"{}\"><th scope=\"row\">{}", short(x), self.along.label(x));
            for line in &self.lines {
                let value = line.values.get(index).copied().flatten();
                let _ = write!(
                    out,
                    "<td>{}",
                    value.map_or_else(|| "–".to_string(), |value| self.of.shown(value))
                );
            }
        }
        out.push_str("</table></div></details>");
    }
}

impl Along {
    /// How the script of the page knows it.
    fn word(self) -> &'static str {
        match self {
            Along::Seconds => "seconds",
            Along::Micros => "micros",
            Along::Nines => "nines",
            Along::Rate => "rate",
        }
    }

    fn head(self) -> &'static str {
        match self {
            Along::Seconds => "time",
            Along::Micros => "from",
            Along::Nines => "percentile",
            Along::Rate => "rate",
        }
    }

    fn label(self, value: f64) -> String {
        match self {
            Along::Seconds if value < 120.0 => format!("{} s", short(value)),
            Along::Seconds => {
                let whole = value.round().max(0.0) as u64;
                let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
                match hours {
                    0 => format!("{minutes}m{seconds:02}s"),
                    _ => format!("{hours}h{minutes:02}m"),
                }
            }
            Along::Micros => micros_of(value),
            Along::Rate => format!("{}/s", rate(value)),
            Along::Nines => {
                let percentile = 100.0 - 100.0 / 10f64.powf(value);
                let places = (value.ceil() as usize).saturating_sub(1).min(9);
                format!("{} %", trimmed(&format!("{percentile:.places$}")))
            }
        }
    }
}

impl Of {
    /// At a tick.
    fn label(self, value: f64) -> String {
        match self {
            Of::Rate => rate(value),
            Of::Count => grouped(value.max(0.0).round() as u64),
            Of::Micros => micros_of(value),
            Of::Percent => format!("{} %", short(value)),
        }
    }

    /// In the table.
    fn shown(self, value: f64) -> String {
        match self {
            Of::Rate => rate(value),
            Of::Count => grouped(value.max(0.0).round() as u64),
            Of::Micros => micros(value.max(0.0).round() as u64),
            Of::Percent => format!("{} %", short(value)),
        }
    }
}

/// A time given by its logarithm, to two digits.
fn micros_of(log: f64) -> String {
    let ns = 10f64.powf(log + 3.0);
    if !ns.is_finite() || ns > 1e18 {
        return String::new();
    }
    crate::report::figures::time(crate::units::Nanos(ns.round() as u64))
}

fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// A number with at most four decimals.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    plain(trimmed(&text), 40)
}

/// 1, 2 or 5 times a power of ten, not below `least`; whole where only whole numbers make sense.
fn round_step(least: f64, whole: bool) -> f64 {
    if !least.is_finite() || least <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= least * 0.999);
    let step = step.unwrap_or(10.0 * power);
    if whole { step.max(1.0) } else { step }
}

/// A step of seconds, minutes or hours that gives about ten ticks.
fn seconds_step(length: f64) -> f64 {
    const STEPS: [f64; 17] = [
        0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
        21_600.0,
    ];
    let least = length / 10.0;
    STEPS.into_iter().find(|step| *step >= least).unwrap_or_else(|| round_step(least, true))
}

/// The same picture with places to a hundredth of a pixel, where they had sixteen digits, and with names of its
/// own: `kuva` counts them through the process, and a page made again is to be the same page.
fn tidied(svg: &str, id: &str) -> String {
    const NAME: &str = "kuva-clip-";
    const DECIMALS: usize = 2;
    let mut out = String::with_capacity(svg.len());
    let (mut in_tag, mut decimals) = (false, None);
    let mut rest = svg;
    while let Some(character) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix(NAME) {
            let _ = write!(out, "clip-{id}");
            rest = behind.trim_start_matches(|c: char| c.is_ascii_digit());
            continue;
        }
        rest = &rest[character.len_utf8()..];
        match character {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ => {}
        }
        decimals = match (character, decimals) {
            // Labels are as they are.
            ('.', _) if in_tag => Some(0),
            ('0'..='9', Some(before)) => Some(before + 1),
            _ => None,
        };
        if decimals.is_none_or(|count| count <= DECIMALS) {
            out.push(character);
        }
    }
    out
}

fn styled(piece: LinePlot, line: &Line, (_, dash, width): (&str, &str, f64)) -> Plot {
    let piece = piece.with_stroke_width(width).with_legend(line.name);
    let piece = if line.steps { piece.with_step() } else { piece };
    let piece = match dash {
        "" => piece,
        dash => piece.with_line_style(LineStyle::Custom(dash.to_string())),
    };
    Plot::Line(piece)
}

fn theme() -> Theme {
    Theme {
        background: "none".into(),
        axis_color: "var(--faint)".into(),
        grid_color: "var(--grid)".into(),
        tick_color: "var(--faint)".into(),
        text_color: "var(--soft)".into(),
        font_family: Some("inherit".into()),
        ..Theme::light()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[Option<f64>]) -> Chart {
        Chart {
            id: "c",
            title: "A title",
            note: "A <note>".to_string(),
            along: Along::Seconds,
            at: (0..values.len()).map(|second| second as f64).collect(),
            end: None,
            of: Of::Micros,
            lines: vec![
                Line { name: "p50", values: values.to_vec(), steps: false },
                Line {
                    name: "p99",
                    values: values.iter().map(|v| v.map(|v| v * 9.0)).collect(),
                    steps: false,
                },
            ],
            band: Some((0, 1)),
        }
    }

    fn html(chart: &Chart) -> String {
        let mut out = String::new();
        chart.html(&mut out);
        out
    }

    #[test]
    fn a_chart_has_a_picture_a_legend_and_a_table_with_every_number() {
        let html = html(&chart(&[Some(100.0), Some(2500.0), None, Some(7.0)]));
        for part in [
            "viewBox=\"0 0 ",
            "data-from=\"0\"",
            "data-line=\"p99\"",
            "<td>2.5 ms",
            "<td>–",
            "A &lt;note&gt;",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert_eq!(html.matches("<tr data-x").count(), 4);
        assert!(!html.contains("<script") && !html.contains("http://www.w3.org/2000/svg\" width"), "{html}");
        // Each line is a group, in as many pieces as its gaps leave.
        assert_eq!(html.matches("data-group=\"p50\"").count(), 2, "{html}");
    }

    #[test]
    fn a_picture_is_the_same_whenever_it_is_drawn() {
        let one = chart(&[Some(100.0), Some(2500.0)]);
        assert_eq!(html(&one), html(&one));
        let tidy = tidied("<a x=\"1.23000001\" y=\"4.5\" id=\"kuva-clip-17\">9.9999</a>", "c");
        assert_eq!(tidy, "<a x=\"1.23\" y=\"4.5\" id=\"clip-c\">9.9999</a>");
    }

    #[test]
    fn nothing_and_too_little_is_said_in_words() {
        for values in [&[][..], &[Some(1.0)], &[None, None]] {
            assert!(html(&chart(values)).contains("Nothing was measured"));
        }
    }

    #[test]
    fn ticks_stand_at_round_numbers() {
        assert_eq!([0.0, 0.24, 26.0, 300.0].map(|least| round_step(least, false)), [1.0, 0.5, 50.0, 500.0]);
        assert_eq!(round_step(0.24, true), 1.0);
        assert_eq!([9.0, 59.0, 600.0, 90_000.0].map(seconds_step), [1.0, 10.0, 60.0, 21_600.0]);
        let nines = [0.0, 1.0, 2.0, 3.0, 0.5].map(|nines| Along::Nines.label(nines));
        assert_eq!(nines, ["0 %", "90 %", "99 %", "99.9 %", "68 %"]);
        assert_eq!([0.0, 3.0, 6.0].map(micros_of), ["1 µs", "1 ms", "1 s"]);
    }
}
