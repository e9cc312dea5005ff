//! Value: the template of a record's value, with the fields that a record may have.
//!
//! 1. Everything follows from the seed and the id: the same value in every run and on every machine.
//! 2. What belongs to the record, such as its name, is the same wherever it stands: `{email}` fits `{name}`.
//! 3. `{random}`, `{hex}`, `{text}` and `{choice}` are drawn anew at each place.
//! 4. `{size:N}` stands for as many letters as the whole value needs to have N bytes.

use crate::records::people::{self, CITIES, FIRST_NAMES, LAST_NAMES, STATUSES};
use crate::seeded::{below, choice, mix};
use crate::template::{self, Padding, Part, Placeholder};
use crate::units::{Bytes, IdRange};

/// All names that a value knows.
pub const NAMES: [&str; 14] = [
    "id",
    "name",
    "first_name",
    "last_name",
    "email",
    "phone",
    "city",
    "status",
    "uuid",
    "random",
    "hex",
    "text",
    "choice",
    "size",
];

/// The purpose of the choices of records, apart from those of plans.
const PURPOSE: u64 = 0x7265_636f_7264;

/// The longest text of one placeholder, and the longest value, whether `{size}` makes it or the sum of its parts.
const MAX_TEXT: u64 = 1 << 20;
const MAX_SIZE: u64 = 16 << 20;

/// Digits of the largest number that `{random}` can be asked for: 10^18 - 1.
const MAX_RANDOM: u64 = 999_999_999_999_999_999;

/// What `{random}` is without a range.
const RANDOM: (u64, u64) = (0, 999_999_999);

/// Why a text is no template of a value. Fits after "failed to read".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A width that is none.
    #[error(transparent)]
    Padding(#[from] template::Error),
    /// Something after the colon that this placeholder does not take.
    #[error("placeholder `{placeholder}`: write {expected}")]
    Spec {
        /// The whole placeholder with its braces.
        placeholder: String,
        /// What it takes.
        expected: &'static str,
    },
    /// More than one `{size}`.
    #[error("placeholder `{0}`: there is a {{size}} already: a value has one size, so keep one of them")]
    SecondSize(String),
    /// The rest is longer than the size.
    #[error(
        "placeholder `{placeholder}`: the rest of the template has up to {rest} bytes: write {{size:{rest}}} or more"
    )]
    TooSmall {
        /// The whole placeholder with its braces.
        placeholder: String,
        /// Bytes that all the rest may take.
        rest: usize,
    },
    /// A small template that makes values nobody can hold.
    #[error("values have up to {longest} bytes, and {MAX_SIZE} is the limit: write less, or shorter fields")]
    TooLong {
        /// Bytes that a value may take.
        longest: usize,
    },
}

/// What belongs to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    Id,
    Name,
    FirstName,
    LastName,
    Email,
    Phone,
    City,
    Status,
    Uuid,
}

/// What a placeholder is filled with. `place` sets the draws of one place apart from those of another.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Own { own: Own, padding: Padding },
    Random { first: u64, span: u64, place: u64 },
    Hex { length: usize, place: u64 },
    Text { length: usize, place: u64 },
    Choice { items: Vec<String>, place: u64 },
    Size { least: usize, span: u64, place: u64 },
}

/// The template of a value, taken apart once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    text: String,
    parts: Vec<Part<Field>>,
}

impl Value {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// When a known name has something after its colon that it does not take, when the template cannot
    /// have the size that it asks for, or when values would be longer than 16 MiB.
    pub fn parse(text: &str) -> Result<Value, Error> {
        let mut places = 0;
        let mut size = None;
        let parts = template::parts(text, |placeholder| {
            let field = field(placeholder, places + 1)?;
            places += u64::from(field.is_some());
            if matches!(field, Some(Field::Size { .. }))
                && size.replace(placeholder.text.to_owned()).is_some()
            {
                return Err(Error::SecondSize(placeholder.text.to_owned()));
            }
            Ok(field)
        })?;
        let value = Value { text: text.to_owned(), parts };
        // Whatever the ids are, the shortest of them must leave room.
        value.fits(0)?;
        Ok(value)
    }

    /// Whether values stay within their bounds with ids up to `last_id`: no value is longer than 16 MiB, and
    /// the size that is asked for leaves room for all the rest.
    ///
    /// # Errors
    /// When values would be longer.
    pub fn fits(&self, last_id: u64) -> Result<(), Error> {
        let digits = digits(last_id);
        let mut rest = 0;
        let mut size = None;
        for part in &self.parts {
            match part {
                Part::Text { start, end } => rest += end - start,
                Part::Hole(Field::Size { least, span, .. }) => size = Some((*least, *span)),
                Part::Hole(field) => rest += field.longest(digits),
            }
        }
        if rest as u64 > MAX_SIZE {
            return Err(Error::TooLong { longest: rest });
        }
        match size {
            Some((least, span)) if least < rest => {
                let placeholder = match span {
                    1 => format!("{{size:{least}}}"),
                    _ => format!("{{size:{least}..{}}}", least as u64 + span - 1),
                };
                Err(Error::TooSmall { placeholder, rest })
            }
            _ => Ok(()),
        }
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Appends the value of record `id`.
    #[inline]
    pub fn render(&self, seed: u64, id: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let mut digits = itoa::Buffer::new();
        let record = Record { base: choice(seed, PURPOSE, id), id: digits.format(id) };
        let mut gap = None;
        for part in &self.parts {
            match part {
                Part::Text { start, end } => out.extend_from_slice(&self.text.as_bytes()[*start..*end]),
                Part::Hole(Field::Own { own, padding }) => {
                    let start = out.len();
                    record.own(*own, out);
                    padding.apply(out, start);
                }
                Part::Hole(Field::Random { first, span, place }) => {
                    template::push_number(out, first + below(record.draw(*place), *span));
                }
                Part::Hole(Field::Hex { length, place }) => record.fill(*place, *length, out, hex),
                Part::Hole(Field::Text { length, place }) => record.fill(*place, *length, out, letters),
                Part::Hole(Field::Choice { items, place }) => {
                    let index = below(record.draw(*place), items.len() as u64) as usize;
                    out.extend_from_slice(items[index].as_bytes());
                }
                Part::Hole(Field::Size { least, span, place }) => {
                    let size = *least + below(record.draw(*place), *span) as usize;
                    gap = Some((out.len(), size, *place));
                }
            }
        }
        if let Some((at, size, place)) = gap {
            record.close(start, at, size, place, out);
        }
    }
}

/// What a placeholder stands for; `None` when its name is not known.
fn field(placeholder: &Placeholder<'_>, place: u64) -> Result<Option<Field>, Error> {
    let own = |own| Ok(Some(Field::Own { own, padding: Padding::of(placeholder)? }));
    let wrong = |expected| Error::Spec { placeholder: placeholder.text.to_owned(), expected };
    match placeholder.name {
        "id" => own(Own::Id),
        "name" => own(Own::Name),
        "first_name" => own(Own::FirstName),
        "last_name" => own(Own::LastName),
        "email" => own(Own::Email),
        "phone" => own(Own::Phone),
        "city" => own(Own::City),
        "status" => own(Own::Status),
        "uuid" => own(Own::Uuid),
        "random" => {
            let (first, last) = match placeholder.spec {
                None => RANDOM,
                Some(spec) => spec
                    .parse()
                    .ok()
                    .map(|range: IdRange| (range.first(), range.last()))
                    .filter(|(_, last)| *last <= MAX_RANDOM)
                    .ok_or_else(|| {
                        wrong("a range such as {random:1..100}, both ends count, up to 18 digits")
                    })?,
            };
            Ok(Some(Field::Random { first, span: last - first + 1, place }))
        }
        "hex" => {
            let length = length(placeholder, 16, MAX_TEXT)
                .ok_or_else(|| wrong("how many digits, {hex:16}, from 1 to 1048576"))?;
            Ok(Some(Field::Hex { length, place }))
        }
        "text" => {
            let length = length(placeholder, 16, MAX_TEXT)
                .ok_or_else(|| wrong("how many letters, {text:40}, from 1 to 1048576"))?;
            Ok(Some(Field::Text { length, place }))
        }
        "choice" => {
            let items: Vec<String> =
                placeholder.spec.unwrap_or_default().split('|').map(str::to_owned).collect();
            if items.len() < 2 {
                return Err(wrong("two or more texts with bars between them, {choice:gold|silver}"));
            }
            Ok(Some(Field::Choice { items, place }))
        }
        "size" => {
            let expected =
                "the bytes of the whole value, {size:100}, or from and to, {size:80..200}, up to 16MiB";
            let spec = placeholder.spec.unwrap_or_default();
            let (first, last) = spec.split_once("..").unwrap_or((spec, spec));
            match (first.trim().parse(), last.trim().parse()) {
                (Ok(Bytes(first)), Ok(Bytes(last))) if 0 < first && first <= last && last <= MAX_SIZE => {
                    Ok(Some(Field::Size { least: first as usize, span: last - first + 1, place }))
                }
                _ => Err(wrong(expected)),
            }
        }
        _ => Ok(None),
    }
}

/// A whole number after the colon.
fn length(placeholder: &Placeholder<'_>, without: usize, most: u64) -> Option<usize> {
    let Some(spec) = placeholder.spec else { return Some(without) };
    let digits = !spec.is_empty() && spec.bytes().all(|b| b.is_ascii_digit());
    let length: u64 = spec.parse().ok().filter(|length| digits && (1..=most).contains(length))?;
    usize::try_from(length).ok()
}

fn digits(number: u64) -> usize {
    itoa::Buffer::new().format(number).len()
}

impl Field {
    /// The most bytes that it takes, where an id has so many digits.
    fn longest(&self, id_digits: usize) -> usize {
        match self {
            Field::Own { own, padding } => own.longest(id_digits).max(padding.width()),
            Field::Random { first, span, .. } => digits(first + (span - 1)),
            Field::Hex { length, .. } | Field::Text { length, .. } => *length,
            Field::Choice { items, .. } => items.iter().map(String::len).max().unwrap_or(0),
            Field::Size { .. } => 0,
        }
    }
}

impl Own {
    fn longest(self, id_digits: usize) -> usize {
        let (first, last) = (people::longest(&FIRST_NAMES), people::longest(&LAST_NAMES));
        match self {
            Own::Id => id_digits,
            Own::Name => first + 1 + last,
            Own::FirstName => first,
            Own::LastName => last,
            Own::Email => first + 1 + last + id_digits + people::MAIL_HOST.len(),
            Own::Phone => 10,
            Own::City => people::longest(&CITIES),
            Own::Status => people::longest(&STATUSES),
            Own::Uuid => 36,
        }
    }
}

// Draws of what belongs to the record. Those of places begin above 2^32.
const FIRST_NAME: u64 = 1;
const LAST_NAME: u64 = 2;
const PHONE: u64 = 3;
const CITY: u64 = 4;
const STATUS: u64 = 5;
const UUID: u64 = 6;

/// One record while its value is written.
struct Record<'a> {
    /// Mixed from the seed and the id.
    base: u64,
    /// The id in decimal.
    id: &'a str,
}

impl Record<'_> {
    /// The draw number `n` of this record.
    #[inline]
    fn number(&self, n: u64) -> u64 {
        mix(self.base.wrapping_add(n.wrapping_mul(0xd134_2543_de82_ef95)))
    }

    /// The draw of a place.
    #[inline]
    fn draw(&self, place: u64) -> u64 {
        self.number(place << 32)
    }

    fn one_of(&self, n: u64, list: &'static [&'static str]) -> &'static str {
        list[below(self.number(n), list.len() as u64) as usize]
    }

    #[inline]
    fn own(&self, own: Own, out: &mut Vec<u8>) {
        match own {
            Own::Id => out.extend_from_slice(self.id.as_bytes()),
            Own::Name => {
                out.extend_from_slice(self.one_of(FIRST_NAME, &FIRST_NAMES).as_bytes());
                out.push(b' ');
                out.extend_from_slice(self.one_of(LAST_NAME, &LAST_NAMES).as_bytes());
            }
            Own::FirstName => out.extend_from_slice(self.one_of(FIRST_NAME, &FIRST_NAMES).as_bytes()),
            Own::LastName => out.extend_from_slice(self.one_of(LAST_NAME, &LAST_NAMES).as_bytes()),
            Own::Email => self.email(out),
            Own::Phone => {
                out.extend_from_slice(b"900");
                let start = out.len();
                template::push_number(out, below(self.number(PHONE), 10_000_000));
                let missing = 7 - (out.len() - start);
                out.resize(out.len() + missing, b'0');
                out[start..].rotate_right(missing);
            }
            Own::City => out.extend_from_slice(self.one_of(CITY, &CITIES).as_bytes()),
            Own::Status => out.extend_from_slice(self.one_of(STATUS, &STATUSES).as_bytes()),
            Own::Uuid => self.uuid(out),
        }
    }

    /// The names in small letters and the id, so that no two records share one.
    fn email(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.one_of(FIRST_NAME, &FIRST_NAMES).as_bytes());
        out.push(b'.');
        out.extend_from_slice(self.one_of(LAST_NAME, &LAST_NAMES).as_bytes());
        out[start..].make_ascii_lowercase();
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(people::MAIL_HOST.as_bytes());
    }

    /// In the form of version 4 of RFC 9562.
    fn uuid(&self, out: &mut Vec<u8>) {
        let high = self.number(UUID) & !0xf000 | 0x4000;
        let low = self.number(UUID + 1) & !(0b11 << 62) | 0b10 << 62;
        let mut digits = [0; 32];
        digits[..16].copy_from_slice(&hex16(high));
        digits[16..].copy_from_slice(&hex16(low));
        for (index, group) in [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].into_iter().enumerate() {
            if index > 0 {
                out.push(b'-');
            }
            out.extend_from_slice(&digits[group.0..group.1]);
        }
    }

    /// Appends `length` bytes, eight at a time.
    #[inline]
    fn fill(&self, place: u64, length: usize, out: &mut Vec<u8>, eight: impl Fn(u64) -> [u8; 8]) {
        let at = out.len();
        out.resize(at + length, 0);
        for (step, piece) in out[at..].chunks_mut(8).enumerate() {
            let drawn = eight(self.number((place << 32) + 1 + step as u64));
            piece.copy_from_slice(&drawn[..piece.len()]);
        }
    }

    /// Puts letters at `at` until the value that began at `start` has its size.
    fn close(&self, start: usize, at: usize, size: usize, place: u64, out: &mut Vec<u8>) {
        let missing = size.saturating_sub(out.len() - start);
        self.fill(place, missing, out, letters);
        out[at..].rotate_right(missing);
    }
}

/// Eight letters.
#[inline]
fn letters(drawn: u64) -> [u8; 8] {
    drawn.to_le_bytes().map(|byte| b'a' + ((u16::from(byte) * 26) >> 8) as u8)
}

/// Eight hexadecimal digits.
#[inline]
fn hex(drawn: u64) -> [u8; 8] {
    drawn.to_le_bytes().map(|byte| b"0123456789abcdef"[usize::from(byte >> 4)])
}

/// All sixteen digits of a number.
fn hex16(number: u64) -> [u8; 16] {
    std::array::from_fn(|digit| b"0123456789abcdef"[(number >> (60 - 4 * digit)) as usize & 15])
}

#[cfg(test)]
mod tests;
