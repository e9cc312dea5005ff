//! Problems: what is wrong with a scenario, where it stands, and what to write instead.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// The most problems that [`Problems::render`] prints; the rest are counted.
const MAX_RENDERED: usize = 100;
/// The most problems of each severity that are kept; the rest are counted. More than this is an attack,
/// or a file that is no scenario.
const MAX_KEPT: usize = 1000;
/// The longest piece of a source line that is shown, in characters on each side of the problem.
const SHOWN_BEFORE: usize = 90;
const SHOWN_AFTER: usize = 120;
/// The longest value that a message repeats, in characters.
const QUOTED: usize = 60;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The scenario is refused.
    Error,
    /// The scenario runs, but probably not as meant.
    Warning,
}

/// One problem at one place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The key it is about, such as `load.stages[2].ramp`; empty for the file as a whole.
    pub path: String,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Line from 1; 0 when the problem has no place in a text.
    pub line: usize,
    /// Column from 1, in characters; 0 when the problem has no place in a text.
    pub column: usize,
    /// The bytes it is about, in the file or in the flag.
    pub span: Range<usize>,
    /// The flag it is about, such as `--set connections.count=0`; None for the file.
    pub flag: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// Everything that is wrong with one scenario, in the order of the file.
#[derive(Debug, Clone)]
pub struct Problems {
    /// The file, as it was named.
    pub file: String,
    /// The problems, sorted by line; those of flags come last.
    pub list: Vec<Problem>,
    /// How many more there are than were kept: above a thousand they are only counted.
    pub more: usize,
    /// The text of the file, for the source lines.
    pub source: Arc<str>,
}

/// Problems of several rows of one file, each told once.
#[derive(Debug, Default)]
pub(crate) struct Distinct {
    list: Vec<Problem>,
    known: HashSet<Problem>,
    /// How many more there are than were kept.
    pub(crate) more: usize,
}

impl Distinct {
    /// Adds those that are not there.
    pub(crate) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            // As many of each kind as one row may have.
            if self.list.len() >= 2 * MAX_KEPT {
                self.more += usize::from(!self.known.contains(&problem));
            } else if self.known.insert(problem.clone()) {
                self.list.push(problem);
            }
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// In the order in which they came.
    pub(crate) fn into_list(self) -> Vec<Problem> {
        self.list
    }
}

impl Problems {
    /// Sorts the problems by place.
    pub(crate) fn new(sources: &Sources, mut list: Vec<Problem>) -> Problems {
        sort(&mut list);
        Problems { file: sources.file.clone(), list, more: 0, source: Arc::clone(&sources.text) }
    }

    /// The problems of several rows of one file as one, each told once. `None` without rows.
    pub fn of_rows(rows: impl IntoIterator<Item = Problems>) -> Option<Problems> {
        let mut distinct = Distinct::default();
        let mut first = None;
        for mut row in rows {
            distinct.more += row.more;
            distinct.extend(std::mem::take(&mut row.list));
            first.get_or_insert(row);
        }
        let more = distinct.more;
        first.map(|first| Problems { list: distinct.into_list(), more, ..first })
    }

    /// Whether the scenario must be refused.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The problems as text, each with its source line, a caret and what to do. With `colour` the
    /// text holds ANSI escapes.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut out = String::new();
        for problem in self.list.iter().take(MAX_RENDERED) {
            out.push_str(&renderer.render(&[self.group(problem)]));
            out.push_str("\n\n");
        }
        let more = self.list.len().saturating_sub(MAX_RENDERED) + self.more;
        if more > 0 {
            out.push_str(&format!("... and {more} more\n\n"));
        }
        out.pop();
        out
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let group = Group::with_title(level.primary_title(problem.to_string()));
        let (name, text) = match &problem.flag {
            Some(flag) => ("command line", flag.as_str()),
            None => (self.file.as_str(), &*self.source),
        };
        let mut group = if problem.line == 0 {
            group.element(Origin::path(name))
        } else {
            let (shown, span, is_cut) = shown_line(text, &problem.span);
            let snippet = Snippet::source(shown)
                .line_start(problem.line)
                .fold(false)
                .annotation(AnnotationKind::Primary.span(span));
            if is_cut {
                // The snippet would count the column from where the line was cut.
                let origin = Origin::path(name).line(problem.line).char_column(problem.column);
                group.element(origin).element(snippet)
            } else {
                group.element(snippet.path(name))
            }
        };
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        group
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

/// By place, errors of flags after those of the file.
pub(crate) fn sort(list: &mut [Problem]) {
    list.sort_by(|a, b| {
        let key = |p: &Problem| (p.flag.is_some(), p.flag.clone(), p.line, p.column);
        key(a).cmp(&key(b))
    });
}

/// The part of the source line around `span` that is worth showing, where the span is in it, and
/// whether the start of the line was cut off.
fn shown_line(text: &str, span: &Range<usize>) -> (String, Range<usize>, bool) {
    let start = floor(text, span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let line_end = if text[line_start..line_end].ends_with('\r') { line_end - 1 } else { line_end };
    let start = start.min(line_end);
    let end = floor(text, span.end).clamp(start, line_end);
    let from = text[line_start..start].char_indices().rev().take(SHOWN_BEFORE).last();
    let from = from.map_or(start, |(at, _)| line_start + at);
    let to = text[start..line_end].char_indices().nth(SHOWN_AFTER).map_or(line_end, |(at, _)| start + at);
    let end = end.min(to);
    (text[from..to].to_string(), start - from..end - from, from > line_start)
}

/// The nearest character boundary at or below `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Where a value stands: bytes of the file (`source` 0) or of a flag (`source` n is flag n - 1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Spot {
    pub(crate) source: usize,
    pub(crate) span: Range<usize>,
}

/// The texts that problems point into.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) file: String,
    pub(crate) text: Arc<str>,
    line_starts: Arc<[usize]>,
    flags: Vec<String>,
}

impl Sources {
    pub(crate) fn new(file: String, text: &str) -> Sources {
        let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1));
        Sources { file, line_starts: starts.collect(), text: text.into(), flags: Vec::new() }
    }

    /// Adds a flag and returns its number as a source.
    pub(crate) fn add_flag(&mut self, flag: String) -> usize {
        self.flags.push(flag);
        self.flags.len()
    }

    /// The problem at a spot.
    pub(crate) fn problem(&self, severity: Severity, spot: &Spot, path: &str, message: String) -> Problem {
        let flag = spot.source.checked_sub(1).and_then(|n| self.flags.get(n)).cloned();
        let (line, column) = match &flag {
            Some(flag) => (1, flag[..floor(flag, spot.span.start)].chars().count() + 1),
            None => self.line_and_column(spot.span.start),
        };
        Problem {
            severity,
            path: path.to_string(),
            message,
            help: None,
            line,
            column,
            span: spot.span.clone(),
            flag,
        }
    }

    /// The problem of the file as a whole, such as one that could not be read.
    pub(crate) fn problem_of_file(&self, message: String, help: &str) -> Problem {
        Problem {
            severity: Severity::Error,
            path: String::new(),
            message,
            help: Some(help.to_string()),
            line: 0,
            column: 0,
            span: 0..0,
            flag: None,
        }
    }

    fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let offset = floor(&self.text, offset);
        let line = self.line_starts.partition_point(|&start| start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        (line, self.text[start..offset].chars().count() + 1)
    }
}

/// Collects problems while a scenario is read.
pub(crate) struct Sink<'s> {
    sources: &'s Sources,
    pub(crate) list: Vec<Problem>,
    /// Problems that were counted and not kept.
    pub(crate) more: usize,
    errors: usize,
}

impl<'s> Sink<'s> {
    pub(crate) fn new(sources: &'s Sources) -> Sink<'s> {
        Sink { sources, list: Vec::new(), more: 0, errors: 0 }
    }

    pub(crate) fn error(
        &mut self,
        spot: &Spot,
        path: &str,
        message: impl std::convert::Into<String>,
        help: impl IntoHelp,
    ) {
        self.add(Severity::Error, spot, path, message.into(), help.into_help());
    }

    pub(crate) fn warning(
        &mut self,
        spot: &Spot,
        path: &str,
        message: impl std::convert::Into<String>,
        help: impl IntoHelp,
    ) {
        self.add(Severity::Warning, spot, path, message.into(), help.into_help());
    }

    fn add(&mut self, severity: Severity, spot: &Spot, path: &str, message: String, help: Option<String>) {
        let is_error = severity == Severity::Error;
        // Each severity has its own share, so that warnings never push an error out.
        let kept = if is_error { self.errors } else { self.list.len() - self.errors };
        if kept >= MAX_KEPT {
            self.more += 1;
            return;
        }
        self.errors += usize::from(is_error);
        let problem = self.sources.problem(severity, spot, path, message);
        self.list.push(Problem { help, ..problem });
    }
}

/// What may be given as the help of a problem.
pub(crate) trait IntoHelp {
    fn into_help(self) -> Option<String>;
}

impl IntoHelp for &str {
    fn into_help(self) -> Option<String> {
        if self.is_empty() { None } else { Some(self.to_string()) }
    }
}

impl IntoHelp for String {
    fn into_help(self) -> Option<String> {
        self.as_str().into_help()
    }
}

impl IntoHelp for Option<String> {
    fn into_help(self) -> Option<String> {
        self
    }
}

/// The known word that was probably meant.
pub(crate) fn suggestion<'w>(typed: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let length = typed.chars().count();
    if length > 64 {
        return None;
    }
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&typed, &word.to_lowercase()), word))
        .filter(|&(distance, word)| {
            let longer = length.max(word.chars().count());
            distance <= (longer / 3).max(1) && distance < longer
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, word)| word)
}

/// `a, b or c`.
pub(crate) fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_string(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// A value as a message repeats it: in backquotes, clipped, without passwords.
pub(crate) fn quoted(value: &str) -> String {
    let masked = super::schema::mask_password(value);
    match masked.char_indices().nth(QUOTED) {
        Some((at, _)) => format!("`{}...`", &masked[..at]),
        None => format!("`{masked}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_with_a_caret_and_what_to_do() {
        let sources = Sources::new("a.yaml".into(), "name: x\ncount: 0\n");
        let mut sink = Sink::new(&sources);
        sink.error(&Spot { source: 0, span: 15..16 }, "count", "must be at least 1", "write 1");
        let text = Problems::new(&sources, sink.list).render(false);
        assert_eq!(
            text,
            "error: count: must be at least 1\n --> a.yaml:2:8\n  |\n2 | count: 0\n  |        ^\n  |\n  = help: write 1\n"
        );
    }

    #[test]
    fn a_very_long_line_is_shown_around_the_problem_only() {
        let long = format!("k: {}", "x".repeat(500_000));
        let sources = Sources::new("a.yaml".into(), &long);
        let mut sink = Sink::new(&sources);
        sink.error(&Spot { source: 0, span: 400_000..400_001 }, "k", "no", "");
        let text = Problems::new(&sources, sink.list).render(false);
        assert!(text.len() < 1000, "{} bytes", text.len());
        assert!(text.contains("a.yaml:1:400001"), "{text}");
    }

    #[test]
    fn a_typo_is_recognised_and_another_word_is_not() {
        assert_eq!(suggestion("cuont", ["count", "limit"]), Some("count"));
        assert_eq!(suggestion("Limit", ["count", "limit"]), Some("limit"));
        assert_eq!(suggestion("zzz", ["count", "limit"]), None);
        assert_eq!(suggestion("x", ["id"]), None);
    }
}
