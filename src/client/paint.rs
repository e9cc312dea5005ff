//! Replies as text: as `redis-cli` shows them in a terminal, with colours by type, or plain for scripts.

use owo_colors::{OwoColorize, Style};

use super::connection::Reply;
use crate::wire::resp::Value;

/// How replies are shown in a terminal.
#[derive(Debug, Clone, Copy)]
pub struct Painter {
    /// With colours.
    pub colour: bool,
}

impl Painter {
    /// A reply, with an end of line. `as_text`: a string is shown as it is and not in quotes.
    pub fn reply(self, reply: &Reply, as_text: bool) -> String {
        match reply {
            Reply::Line(line) => format!("{}\n", visible(line)),
            Reply::Value(Value::Bulk(text)) if as_text => text_block(text),
            Reply::Value(value) => {
                let mut out = String::new();
                self.value(value, "", &mut out);
                out
            }
        }
    }

    /// `prefix`: what stands before every line but the first.
    fn value(self, value: &Value, prefix: &str, out: &mut String) {
        match value {
            Value::Simple(text) => self.line(&visible(text), Style::new().green(), out),
            Value::Error(text) => self.line(&format!("(error) {}", visible(text)), Style::new().red(), out),
            Value::Integer(number) => self.line(&format!("(integer) {number}"), Style::new().cyan(), out),
            Value::Bulk(text) => self.line(&quoted(text), Style::new().green(), out),
            Value::Verbatim(_, text) => out.push_str(&text_block(text)),
            Value::Null => self.line("(nil)", Style::new().dimmed(), out),
            Value::Double(text) => {
                self.line(&format!("(double) {}", visible(text)), Style::new().cyan(), out)
            }
            Value::BigNumber(text) => {
                self.line(&format!("(big number) {}", visible(text)), Style::new().cyan(), out);
            }
            Value::Boolean(value) => self.line(&format!("({value})"), Style::new().magenta(), out),
            Value::Array(items) => self.list(items, ')', "(empty array)", prefix, out),
            Value::Set(items) => self.list(items, '~', "(empty set)", prefix, out),
            Value::Push(items) => self.list(items, '>', "(empty push)", prefix, out),
            Value::Map(pairs) => self.pairs(pairs, '#', prefix, out),
            Value::Attributed(pairs, value) => {
                self.pairs(pairs, '|', prefix, out);
                out.push_str(prefix);
                self.value(value, prefix, out);
            }
        }
    }

    fn line(self, text: &str, style: Style, out: &mut String) {
        out.push_str(&self.styled(text, style));
        out.push('\n');
    }

    fn styled(self, text: &str, style: Style) -> String {
        if self.colour { text.style(style).to_string() } else { text.to_string() }
    }

    fn list(self, items: &[Value], mark: char, empty: &str, prefix: &str, out: &mut String) {
        if items.is_empty() {
            self.line(empty, Style::new().dimmed(), out);
        }
        let width = items.len().to_string().len();
        let deeper = format!("{prefix}{}", " ".repeat(width + 2));
        for (index, item) in items.iter().enumerate() {
            self.number(index, width, mark, prefix, out);
            self.value(item, &deeper, out);
        }
    }

    fn pairs(self, pairs: &[(Value, Value)], mark: char, prefix: &str, out: &mut String) {
        if pairs.is_empty() {
            self.line("(empty hash)", Style::new().dimmed(), out);
        }
        let width = pairs.len().to_string().len();
        let deeper = format!("{prefix}{}", " ".repeat(width + 2));
        for (index, (name, value)) in pairs.iter().enumerate() {
            self.number(index, width, mark, prefix, out);
            self.value(name, &deeper, out);
            // The value stands on the line of its name.
            out.truncate(out.trim_end_matches('\n').len());
            out.push_str(" => ");
            self.value(value, &deeper, out);
        }
    }

    fn number(self, index: usize, width: usize, mark: char, prefix: &str, out: &mut String) {
        if index > 0 {
            out.push_str(prefix);
        }
        let number = format!("{:>width$}{mark}", index + 1);
        out.push_str(&self.styled(&number, Style::new().dimmed()));
        out.push(' ');
    }
}

/// A reply for scripts, with an end of line: strings as they are, one element a line.
pub fn plain(reply: &Reply) -> Vec<u8> {
    let mut out = Vec::new();
    match reply {
        Reply::Line(line) => out.extend_from_slice(line),
        Reply::Value(value) => plain_value(value, &mut out),
    }
    out.push(b'\n');
    out
}

fn plain_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Simple(text)
        | Value::Bulk(text)
        | Value::Verbatim(_, text)
        | Value::Double(text)
        | Value::BigNumber(text) => out.extend_from_slice(text),
        Value::Error(text) => {
            out.extend_from_slice(b"(error) ");
            out.extend_from_slice(text);
        }
        Value::Integer(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Value::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Null => {}
        Value::Array(items) | Value::Set(items) | Value::Push(items) => plain_all(items.iter(), out),
        Value::Map(pairs) => plain_all(pairs.iter().flat_map(|(name, value)| [name, value]), out),
        Value::Attributed(_, value) => plain_value(value, out),
    }
}

fn plain_all<'a>(items: impl Iterator<Item = &'a Value>, out: &mut Vec<u8>) {
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b'\n');
        }
        plain_value(item, out);
    }
}

/// A string in double quotes, so that every byte can be seen, and typed again.
fn quoted(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

/// Text in one line that can do nothing to the terminal.
pub fn visible(text: &[u8]) -> String {
    clean(text, |c| c.is_control())
}

fn clean(text: &[u8], is_unwanted: impl Fn(char) -> bool) -> String {
    let text = String::from_utf8_lossy(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unwanted(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A text of several lines, as it is, with one end of line at its end.
fn text_block(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).replace("\r\n", "\n");
    // A carriage return that ends no line would let what follows write over what stands there.
    let mut out = clean(text.as_bytes(), |c| c.is_control() && !matches!(c, '\n' | '\t'));
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// Whether the reply to a command is a text for people, which quotes would make hard to read.
pub fn is_text(words: &[Vec<u8>]) -> bool {
    let word = |index: usize| words.get(index).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    match &word(0)[..] {
        b"INFO" | b"LOLWUT" => true,
        b"CLUSTER" => matches!(&word(1)[..], b"INFO" | b"NODES"),
        b"CLIENT" => matches!(&word(1)[..], b"LIST" | b"INFO"),
        b"MEMORY" => matches!(&word(1)[..], b"DOCTOR" | b"MALLOC-STATS"),
        b"LATENCY" => matches!(&word(1)[..], b"DOCTOR" | b"GRAPH"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::resp::Decoder;

    fn value(bytes: &[u8]) -> Reply {
        let (_, value) = Decoder::default().decode(bytes).expect("valid");
        Reply::Value(value.expect("whole"))
    }

    fn shown(bytes: &[u8]) -> String {
        Painter { colour: false }.reply(&value(bytes), false)
    }

    #[test]
    fn every_type_is_shown_as_redis_cli_does() {
        for (bytes, text) in [
            (&b"+OK\r\n"[..], "OK\n"),
            (b"-ERR no\r\n", "(error) ERR no\n"),
            (b":7\r\n", "(integer) 7\n"),
            (b"$-1\r\n", "(nil)\n"),
            (b"_\r\n", "(nil)\n"),
            (b"$7\r\na\"\\\r\n\x00\xff\r\n", "\"a\\\"\\\\\\r\\n\\x00\\xff\"\n"),
            (b",1.5\r\n", "(double) 1.5\n"),
            (b"#t\r\n", "(true)\n"),
            (b"*0\r\n", "(empty array)\n"),
            (b"~1\r\n$1\r\nx\r\n", "1~ \"x\"\n"),
            (b"%1\r\n$1\r\nf\r\n$1\r\n1\r\n", "1# \"f\" => \"1\"\n"),
            (b"=8\r\ntxt:a\r\nb\r\n", "a\nb\n"),
        ] {
            assert_eq!(shown(bytes), text, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn lists_are_numbered_and_nested() {
        let ten = [&b"*10\r\n*2\r\n:1\r\n*1\r\n+x\r\n"[..], &b":2\r\n".repeat(9)].concat();
        let lines: Vec<String> = shown(&ten).lines().map(str::to_string).collect();
        assert_eq!(lines[..3], [" 1) 1) (integer) 1", "    2) 1) x", " 2) (integer) 2"]);
        assert_eq!(lines.last().map(String::as_str), Some("10) (integer) 2"));
        assert_eq!(shown(b"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n"), "1# a => 1) (integer) 1\n   2) (integer) 2\n");
        assert_eq!(
            shown(b"*1\r\n%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n"),
            "1) 1# a => (integer) 1\n   2# b => (integer) 2\n"
        );
    }

    #[test]
    fn colours_go_by_type_and_nothing_reaches_the_terminal_that_steers_it() {
        let painter = Painter { colour: true };
        let colour = |bytes: &[u8]| painter.reply(&value(bytes), false);
        let kinds = [&b"+OK\r\n"[..], b"-ERR\r\n", b":1\r\n", b"_\r\n", b"#t\r\n"].map(colour);
        let starts: std::collections::BTreeSet<&str> =
            kinds.iter().filter_map(|text| text.split('m').next()).collect();
        assert_eq!(starts.len(), kinds.len());
        for bytes in
            [&b"-\x1b[31m\r\n"[..], b"+\x1b]0;x\x07\r\n", b"$3\r\n\x1b[m\r\n", b"=7\r\ntxt:\x1b[m\r\n"]
        {
            assert!(!shown(bytes).contains('\x1b'), "{}", bytes.escape_ascii());
        }
        assert!(!painter.reply(&Reply::Line(b"\x1b[m".to_vec()), false).contains('\x1b'));
    }

    #[test]
    fn scripts_get_strings_as_they_are() {
        let plain = |bytes: &[u8]| String::from_utf8(plain(&value(bytes))).expect("text");
        assert_eq!(plain(b"$3\r\na b\r\n"), "a b\n");
        assert_eq!(plain(b"$-1\r\n"), "\n");
        assert_eq!(plain(b":7\r\n"), "7\n");
        assert_eq!(plain(b"*3\r\n+a\r\n*2\r\n:1\r\n_\r\n$1\r\nc\r\n"), "a\n1\n\nc\n");
        assert_eq!(plain(b"%1\r\n+a\r\n:1\r\n"), "a\n1\n");
        assert_eq!(plain(b"-ERR no\r\n"), "(error) ERR no\n");
    }

    #[test]
    fn texts_for_people_have_no_quotes() {
        let words = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        assert!(
            is_text(&words("info server")) && is_text(&words("client list")) && !is_text(&words("get info"))
        );
        let reply = value(b"$6\r\na:1\r\nb\r\n");
        assert_eq!(Painter { colour: false }.reply(&reply, true), "a:1\nb\n");
        // A carriage return alone would hide what stands before it.
        let reply = value(b"$12\r\nbad\rgood\r\r\n\t\r\n");
        assert_eq!(Painter { colour: false }.reply(&reply, true), "bad\\rgood\\r\n\t\n");
    }
}
