//! Template: text with a few named holes, for keys, record values and mapped fields.
//!
//! 1. `{name}` is a hole when `name` is one of the known names.
//! 2. `{name:8}` pads what is filled in with spaces on the left to 8 bytes, `{name:04}` with zeros to 4.
//!    Longer text is not cut.
//! 3. Every other brace is itself, so that JSON needs no escaping: `{"id":{id},"tags":{}}`.

/// The widest padding.
const MAX_WIDTH: usize = 64;

/// Why a text is no template. Fits after "failed to read".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something after the colon that is no width.
    #[error(
        "placeholder `{placeholder}`: after the colon stands a width up to {MAX_WIDTH}, such as {{{name}:4}} or, with zeros, {{{name}:04}}"
    )]
    Spec {
        /// The whole placeholder with its braces.
        placeholder: String,
        /// The known name in it.
        name: String,
    },
}

/// A placeholder as it was written.
#[derive(Debug, Clone, Copy)]
pub struct Placeholder<'a> {
    /// With its braces.
    pub text: &'a str,
    /// Before the colon.
    pub name: &'a str,
    /// After the colon.
    pub spec: Option<&'a str>,
}

/// One part of a text that was taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<H> {
    /// These bytes of the text, as they are.
    Text {
        /// The first.
        start: usize,
        /// Behind the last.
        end: usize,
    },
    /// What is filled in.
    Hole(H),
}

/// Takes `text` apart. `hole` says what a placeholder stands for, and `None` when it is only text with
/// braces around it.
///
/// # Errors
/// Those of `hole`.
pub fn parts<H, E>(
    text: &str,
    mut hole: impl FnMut(&Placeholder<'_>) -> Result<Option<H>, E>,
) -> Result<Vec<Part<H>>, E> {
    let mut parts = Vec::new();
    let mut push = |start, end, hole| {
        if start < end {
            parts.push(Part::Text { start, end });
        }
        if let Some(hole) = hole {
            parts.push(Part::Hole(hole));
        }
    };
    let mut done = 0;
    for open in memchr::memchr_iter(b'{', text.as_bytes()) {
        if open < done {
            continue;
        }
        let Some(found) = placeholder_at(text, open) else { continue };
        if let Some(hole) = hole(&found)? {
            push(done, open, Some(hole));
            done = open + found.text.len();
        }
    }
    push(done, text.len(), None);
    Ok(parts)
}

/// The placeholder that begins with the brace at `open`.
fn placeholder_at(text: &str, open: usize) -> Option<Placeholder<'_>> {
    let inside = text.get(open + 1..)?;
    let close = inside.find(['{', '}']).filter(|&at| inside.as_bytes()[at] == b'}')?;
    let (name, spec) = match inside[..close].split_once(':') {
        Some((name, spec)) => (name, Some(spec)),
        None => (&inside[..close], None),
    };
    Some(Placeholder { text: &text[open..open + close + 2], name, spec })
}

/// To how many bytes a hole is filled up on its left, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    width: usize,
    fill: u8,
}

impl Padding {
    /// What stands after the colon of a placeholder; without a colon there is none.
    ///
    /// # Errors
    /// When that is no width.
    pub fn of(placeholder: &Placeholder<'_>) -> Result<Padding, Error> {
        let Some(spec) = placeholder.spec else { return Ok(Padding { width: 0, fill: b' ' }) };
        let fill = if spec.starts_with('0') { b'0' } else { b' ' };
        let digits = !spec.is_empty() && spec.len() <= 3 && spec.bytes().all(|b| b.is_ascii_digit());
        match spec.parse() {
            Ok(width) if digits && (1..=MAX_WIDTH).contains(&width) => Ok(Padding { width, fill }),
            _ => Err(Error::Spec {
                placeholder: placeholder.text.to_owned(),
                name: placeholder.name.to_owned(),
            }),
        }
    }

    /// The shortest that a hole can be.
    pub fn width(self) -> usize {
        self.width
    }

    /// Moves what was written since `start` to the right until it has the width.
    #[inline]
    pub fn apply(self, out: &mut Vec<u8>, start: usize) {
        let written = out.len().saturating_sub(start);
        if written < self.width {
            let missing = self.width - written;
            out.resize(out.len() + missing, self.fill);
            if let Some(tail) = out.get_mut(start..) {
                tail.rotate_right(missing);
            }
        }
    }
}

/// The index of a name, and its padding.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hole {
    name: usize,
    padding: Padding,
}

/// A text that was taken apart once, to be filled in many times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part<Hole>>,
}

impl Template {
    /// Takes `text` apart. The index of a name in `known` is what [`Template::render`] asks for.
    ///
    /// # Errors
    /// When a hole with a known name has something other than a width after its colon.
    pub fn parse(text: &str, known: &[&str]) -> Result<Template, Error> {
        let parts = parts(text, |placeholder| {
            let Some(name) = known.iter().position(|known| *known == placeholder.name) else {
                return Ok(None);
            };
            Ok(Some(Hole { name, padding: Padding::of(placeholder)? }))
        })?;
        Ok(Template { text: text.to_owned(), parts })
    }

    /// Whether the name with this index has a hole.
    pub fn uses(&self, index: usize) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Hole(hole) if hole.name == index))
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Appends the text to `out`; `lookup` appends the value of the name with the given index.
    #[inline]
    pub fn render(&self, out: &mut Vec<u8>, mut lookup: impl FnMut(usize, &mut Vec<u8>)) {
        for part in &self.parts {
            match part {
                Part::Text { start, end } => out.extend_from_slice(&self.text.as_bytes()[*start..*end]),
                Part::Hole(hole) => {
                    let start = out.len();
                    lookup(hole.name, out);
                    hole.padding.apply(out, start);
                }
            }
        }
    }
}

/// Appends a whole number in decimal: what most holes are filled with.
#[inline]
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rendered(text: &str, id: u64) -> String {
        let template = Template::parse(text, &["id", "response.id"]).expect("a template");
        let mut out = b">".to_vec();
        template.render(&mut out, |name, out| match name {
            0 => push_number(out, id),
            _ => out.extend_from_slice(b"r-1"),
        });
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn only_known_names_in_braces_are_filled_in() {
        let json = r#"{"id":{id},"name":"User{id}","phone":"90000000{id:04}","x":{},"y":{other},"z":{{id}}}"#;
        assert_eq!(
            rendered(json, 7),
            r#">{"id":7,"name":"User7","phone":"900000000007","x":{},"y":{other},"z":{7}}"#
        );
        assert_eq!(rendered("{response.id}|{ id }|{ID}|{id", 1), ">r-1|{ id }|{ID}|{id");
        assert_eq!(rendered("é{id}é", 1), ">é1é");
        assert_eq!(rendered("", 1), ">");
    }

    #[test]
    fn a_width_pads_and_never_cuts() {
        assert_eq!(rendered("{id:04}{id:4}", 42), ">0042  42");
        assert_eq!(rendered("{id:04}", 12_345), ">12345");
        assert_eq!(rendered("{response.id:6}", 1), ">   r-1");
    }

    #[test]
    fn a_known_name_with_something_else_than_a_width_is_an_error() {
        for text in ["{id:}", "{id:x}", "{id:-4}", "{id:65}", "{id:0}", "{id:+4}", "{id:04:}"] {
            assert!(Template::parse(text, &["id"]).is_err(), "{text}");
        }
        let error = Template::parse("a{id:x}", &["id"]).expect_err("no width").to_string();
        assert!(error.starts_with("placeholder `{id:x}`") && error.ends_with("{id:04}"), "{error}");
    }

    #[test]
    fn it_knows_which_names_it_uses() {
        let template = Template::parse("{b}", &["a", "b"]).expect("a template");
        assert!(template.uses(1) && !template.uses(0));
    }

    proptest! {
        #[test]
        fn text_without_known_names_renders_as_itself(text in "[a-z{}:\"0-9é ]{0,60}") {
            let template = Template::parse(&text, &["ID"]).expect("a template");
            let mut out = Vec::new();
            template.render(&mut out, |_, out| out.push(b'!'));
            prop_assert_eq!(out, text.as_bytes());
        }

        #[test]
        fn a_hole_between_any_texts_is_filled_in_once(before in "[a-z}:\" ]{0,20}", after in "[a-z{}:\" ]{0,20}", id: u64) {
            prop_assert_eq!(rendered(&format!("{before}{{id}}{after}"), id), format!(">{before}{id}{after}"));
        }
    }
}
