//! Payload: what the requests of a mix look like, kind by kind.
//!
//! For Redis a payload is a line of words as in `redis-cli`. It is cut into words *before* anything is
//! filled in, so that a value with spaces or quotes stays one argument.

use crate::plan::mix::Kind;
use crate::template::{self, Template, push_number};
use crate::wire::{self, Codec, Framing, resp};

/// The names that a payload knows.
pub const NAMES: [&str; 4] = ["key", "value", "id", "n"];

const VALUE: usize = 1;

/// Why a payload is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A placeholder that is written wrong.
    #[error(transparent)]
    Template(#[from] template::Error),
    /// Not a line of words.
    #[error("the payload is not a Redis command: {0}")]
    Command(String),
}

/// What is filled in.
#[derive(Debug, Clone, Copy)]
pub struct Filling<'a> {
    /// The request's number.
    pub n: u64,
    /// The record's id.
    pub id: u64,
    /// The record's key.
    pub key: &'a [u8],
    /// The record's value.
    pub value: &'a [u8],
}

impl Filling<'_> {
    fn fill(&self, template: &Template, out: &mut Vec<u8>) {
        template.render(out, |name, out| match name {
            0 => out.extend_from_slice(self.key),
            VALUE => out.extend_from_slice(self.value),
            2 => push_number(out, self.id),
            _ => push_number(out, self.n),
        });
    }
}

/// The payload of one kind, taken apart.
#[derive(Debug, Clone)]
enum Payload {
    /// The words of a Redis command.
    Words(Vec<Template>),
    /// Anything, as it stands.
    Text(Template),
}

impl Payload {
    fn new(text: &str, framing: Framing) -> Result<Payload, Error> {
        if !matches!(framing, Framing::Resp { .. }) {
            return Ok(Payload::Text(Template::parse(text, &NAMES)?));
        }
        let mut line = text.as_bytes().to_vec();
        line.push(b'\n');
        let wrong = |message: &str| Error::Command(message.to_string());
        let mut parser = resp::CommandParser::default();
        let words: Vec<String> = match parser.parse(&line, &resp::Limits::default()) {
            Ok(resp::Parsed::Command { args, used }) if used == line.len() && args.iter().len() > 0 => args
                .iter()
                .map(|word| String::from_utf8(word.to_vec()).map_err(|_| wrong("a word is not UTF-8")))
                .collect::<Result<_, _>>()?,
            Ok(_) => return Err(wrong("it is not exactly one line of words")),
            Err(error) => return Err(wrong(&error.to_string())),
        };
        let words = words.iter().map(|word| Template::parse(word, &NAMES)).collect::<Result<_, _>>()?;
        Ok(Payload::Words(words))
    }

    fn uses_value(&self) -> bool {
        match self {
            Payload::Words(words) => words.iter().any(|word| word.uses(VALUE)),
            Payload::Text(text) => text.uses(VALUE),
        }
    }
}

/// The payloads of all kinds. Empty where each request sends its record.
#[derive(Debug, Clone, Default)]
pub struct Payloads {
    kinds: Vec<Payload>,
}

impl Payloads {
    /// Takes the payloads of a mix apart.
    ///
    /// # Errors
    /// All that are wrong, each with the index of its kind.
    pub fn new(kinds: &[Kind], framing: Framing) -> Result<Payloads, Vec<(usize, Error)>> {
        let (mut payloads, mut wrong) = (Vec::with_capacity(kinds.len()), Vec::new());
        for (index, kind) in kinds.iter().enumerate() {
            match Payload::new(&kind.payload, framing) {
                Ok(payload) => payloads.push(payload),
                Err(error) => wrong.push((index, error)),
            }
        }
        if wrong.is_empty() { Ok(Payloads { kinds: payloads }) } else { Err(wrong) }
    }

    /// Whether each request sends its record.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Whether any payload holds the record's value.
    pub fn use_values(&self) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(Payload::uses_value)
    }
}

/// Fills payloads in, with buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Writer {
    words: Vec<Vec<u8>>,
}

impl Writer {
    /// Appends the frame of a request of this kind.
    pub(super) fn write(
        &mut self,
        payloads: &Payloads,
        kind: usize,
        filling: &Filling<'_>,
        codec: Codec,
        out: &mut Vec<u8>,
    ) -> Result<(), wire::Error> {
        let templates = match &payloads.kinds[kind] {
            Payload::Words(words) => words.as_slice(),
            Payload::Text(text) => std::slice::from_ref(text),
        };
        self.words.resize_with(templates.len().max(self.words.len()), Vec::new);
        for (word, template) in self.words.iter_mut().zip(templates) {
            word.clear();
            filling.fill(template, word);
        }
        match &payloads.kinds[kind] {
            Payload::Words(words) => {
                resp::encode_command(out, self.words[..words.len()].iter());
                Ok(())
            }
            Payload::Text(_) => codec.encode_request(out, filling.n, &self.words[0]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Correlate;

    const RESP: Codec = Codec { framing: Framing::Resp { limit: 1000 }, correlate: Correlate::Order };
    const LINE: Codec = Codec { framing: Framing::Line { limit: 1000 }, correlate: Correlate::Id };

    fn written(codec: Codec, payload: &str, value: &str) -> String {
        let kind = Kind { name: "k".into(), weight: 1, payload: payload.into() };
        let payloads = Payloads::new(&[kind], codec.framing).expect("a payload");
        let filling = Filling { n: 9, id: 7, key: b"record:7", value: value.as_bytes() };
        let mut out = Vec::new();
        Writer::default().write(&payloads, 0, &filling, codec, &mut out).expect("fits");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_value_with_spaces_and_quotes_stays_one_argument() {
        let value = "{\"a\": \"b c\"}";
        let expected = format!("*3\r\n$3\r\nSET\r\n$8\r\nrecord:7\r\n${}\r\n{value}\r\n", value.len());
        assert_eq!(written(RESP, "SET {key} {value}", value), expected);
        assert_eq!(written(RESP, "GET {key}", ""), "*2\r\n$3\r\nGET\r\n$8\r\nrecord:7\r\n");
        assert_eq!(
            written(RESP, "SET 'a {id}' x{n:03}", ""),
            "*3\r\n$3\r\nSET\r\n$3\r\na 7\r\n$4\r\nx009\r\n"
        );
    }

    #[test]
    fn other_framings_send_the_text_as_it_stands() {
        assert_eq!(written(LINE, "PUT \"{key}\" {value}", "a b"), "9 PUT \"record:7\" a b\n");
    }

    #[test]
    fn every_payload_that_is_none_is_told() {
        let kind = |payload: &str| Kind { name: String::new(), weight: 1, payload: payload.into() };
        let kinds = [kind("GET \"open"), kind("GET {key}"), kind("SET {key:x} 1"), kind("a\nb")];
        let wrong = Payloads::new(&kinds, RESP.framing).expect_err("three are wrong");
        assert_eq!(wrong.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2, 3]);
    }

    #[test]
    fn it_is_known_whether_values_are_needed() {
        let of = |payload: &str| {
            let kind = Kind { name: String::new(), weight: 1, payload: payload.into() };
            Payloads::new(&[kind], RESP.framing).expect("a payload").use_values()
        };
        assert!(of("SET {key} {value}") && !of("GET {key}") && Payloads::default().use_values());
    }
}
