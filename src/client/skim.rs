//! What is piped through, looked at only so far that its commands can be counted and a QUIT among them be seen.
//!
//! Nothing is kept of it but the beginning of a line, so memory stays flat whatever passes by.

use super::Dialect;
use crate::wire::resp::parse_integer;
use crate::wire::text::{self, Request};

/// Bytes of a line, or of a command's name, that are kept.
const HEAD: usize = 64;

/// Counts the commands that pass by.
#[derive(Debug)]
pub struct Skimmer {
    dialect: Dialect,
    place: Place,
    /// The first bytes of the present line, or of the name in RESP.
    head: Vec<u8>,
    /// The present command's first argument passes by.
    in_name: bool,
    is_quit: bool,
    commands: u64,
    quit_at: Option<u64>,
}

/// Where the next byte stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Before a command.
    Start,
    /// In a line that is a command.
    Line,
    /// In the line that says how many arguments there are.
    Count,
    /// In the line that says how long the next of so many arguments is.
    Length(i64),
    /// In the first of so many arguments, of which so many bytes are left, those of its end included.
    Argument(i64, u64),
    /// In something that is no command; a server closes the connection there.
    Lost,
}

impl Skimmer {
    /// Nothing has passed yet.
    pub fn new(dialect: Dialect) -> Skimmer {
        Skimmer {
            dialect,
            place: Place::Start,
            head: Vec::with_capacity(HEAD),
            in_name: false,
            is_quit: false,
            commands: 0,
            quit_at: None,
        }
    }

    /// Commands whose end has passed; lines of blanks are none.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// The number, from 1, of the first command that was QUIT.
    pub fn quit_at(&self) -> Option<u64> {
        self.quit_at
    }

    /// A line has begun whose end has not passed.
    pub fn is_in_line(&self) -> bool {
        matches!(self.place, Place::Line)
    }

    /// Looks at what passes next.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            let passed = match self.place {
                Place::Start => {
                    let is_encoded = self.dialect == Dialect::Resp && *first == b'*';
                    self.place = if is_encoded { Place::Count } else { Place::Line };
                    0
                }
                Place::Line | Place::Count | Place::Length(_) => self.pass_line(bytes),
                Place::Argument(arguments, left) => self.pass_argument(arguments, left, bytes),
                Place::Lost => return,
            };
            bytes = &bytes[passed..];
        }
    }

    /// What is here of the present line; how many bytes that is.
    fn pass_line(&mut self, bytes: &[u8]) -> usize {
        let end = memchr::memchr(b'\n', bytes);
        let mut part = &bytes[..end.unwrap_or(bytes.len())];
        if self.head.is_empty() {
            // Blanks before a command do not count, however many there are.
            part = &part[part.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()..];
        }
        self.keep(part);
        let Some(end) = end else { return bytes.len() };
        self.end_line();
        self.head.clear();
        end + 1
    }

    fn keep(&mut self, part: &[u8]) {
        let room = HEAD - self.head.len();
        self.head.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_line(&mut self) {
        let line = self.head.strip_suffix(b"\r").unwrap_or(&self.head);
        let number = || line.get(1..).and_then(parse_integer);
        match self.place {
            Place::Count => {
                self.in_name = true;
                self.place = match number() {
                    Some(arguments @ 1..) => Place::Length(arguments),
                    Some(_) => Place::Start,
                    None => Place::Lost,
                };
            }
            Place::Length(arguments) => {
                self.place = match number() {
                    Some(len @ 0..) if line.starts_with(b"$") => {
                        Place::Argument(arguments, len.unsigned_abs() + 2)
                    }
                    _ => Place::Lost,
                };
            }
            _ => {
                let is_quit = match self.dialect {
                    Dialect::Text => matches!(text::parse(line), Some(Ok(Request::Quit))),
                    Dialect::Resp => {
                        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                        words.next().is_some_and(|name| name.eq_ignore_ascii_case(b"QUIT"))
                    }
                };
                // The end of a line is a blank in RESP wherever it stands.
                let is_blank = match self.dialect {
                    Dialect::Text => line.is_empty(),
                    Dialect::Resp => line.trim_ascii().is_empty(),
                };
                self.place = Place::Start;
                if !is_blank {
                    self.count(is_quit);
                }
            }
        }
    }

    /// What is here of the present argument; how many bytes that is.
    fn pass_argument(&mut self, arguments: i64, left: u64, bytes: &[u8]) -> usize {
        let passed = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - passed as u64;
        if self.in_name {
            self.keep(&bytes[..passed]);
        }
        if left > 0 {
            self.place = Place::Argument(arguments, left);
            return passed;
        }
        if std::mem::take(&mut self.in_name) {
            self.is_quit = self.head.eq_ignore_ascii_case(b"QUIT\r\n");
            self.head.clear();
        }
        self.place = Place::Length(arguments - 1);
        if arguments == 1 {
            self.place = Place::Start;
            self.count(self.is_quit);
        }
        passed
    }

    fn count(&mut self, is_quit: bool) {
        self.commands += 1;
        if is_quit {
            self.quit_at.get_or_insert(self.commands);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::resp::encode_command;
    use proptest::prelude::*;

    fn skimmed(dialect: Dialect, bytes: &[u8]) -> (u64, Option<u64>) {
        let mut skimmer = Skimmer::new(dialect);
        skimmer.pass(bytes);
        (skimmer.commands(), skimmer.quit_at())
    }

    #[test]
    fn lines_with_something_in_them_are_commands() {
        for (bytes, found) in [
            (&b""[..], (0, None)),
            (b"\n \n\r\n\t\n", (0, None)),
            (b"SET a 1\r\n\nquit\nGET a\nQUIT\n", (4, Some(2))),
            (b"  QUIT \r\n", (1, Some(1))),
            (b"GET QUIT\nSET k QUIT\nQUITS\n", (3, None)),
            // Its end has not passed.
            (b"PING\nQUIT", (1, None)),
        ] {
            for dialect in [Dialect::Text, Dialect::Resp] {
                assert_eq!(skimmed(dialect, bytes), found, "{dialect:?}: {}", bytes.escape_ascii());
            }
        }
        // With something behind it, it is QUIT in RESP, and in the text dialect refused.
        assert_eq!(skimmed(Dialect::Resp, b"QUIT now\n"), (1, Some(1)));
        assert_eq!(skimmed(Dialect::Text, b"QUIT now\n"), (1, None));
        assert_eq!(skimmed(Dialect::Text, b"*1\n$4\nQUIT\n"), (3, Some(3)));
        let far = [&b" ".repeat(3 * HEAD)[..], b"PING\n"].concat();
        assert_eq!((skimmed(Dialect::Text, &far).0, skimmed(Dialect::Resp, &far).0), (1, 1));
        let mut skimmer = Skimmer::new(Dialect::Text);
        skimmer.pass(b"PING\nPI");
        assert!(skimmer.is_in_line());
        skimmer.pass(b"NG\n");
        assert!(!skimmer.is_in_line() && skimmer.commands() == 2);
    }

    #[test]
    fn what_stands_in_an_argument_is_no_command() {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, ["SET", "QUIT", "\r\nQUIT\r\n"]);
        assert_eq!(skimmed(Dialect::Resp, &bytes), (1, None));
        encode_command(&mut bytes, ["Quit"]);
        assert_eq!(skimmed(Dialect::Resp, &bytes), (2, Some(2)));
        assert_eq!(skimmed(Dialect::Resp, b"*0\r\n*-1\r\nPING\r\n"), (1, None));
        // Behind what is no command there is nothing.
        for lost in [&b"*x\r\nQUIT\r\n"[..], b"*1\r\n4\r\nQUIT\r\n", b"*1\r\n$-1\r\nQUIT\r\n"] {
            assert_eq!(skimmed(Dialect::Resp, lost), (0, None), "{}", lost.escape_ascii());
        }
    }

    proptest! {
        /// However the bytes are cut, the commands are those that were written.
        #[test]
        fn commands_are_counted_in_any_pieces(
            commands in prop::collection::vec((any::<bool>(), prop::collection::vec("[\r\n a-z*$]{0,99}", 0..4)), 0..9),
            quit in any::<Option<prop::sample::Index>>(),
            piece in 1usize..50,
        ) {
            let quit = quit.filter(|_| !commands.is_empty()).map(|quit| quit.index(commands.len()));
            let mut bytes = Vec::new();
            for (index, (as_line, arguments)) in commands.iter().enumerate() {
                let name = if quit == Some(index) { "QUIT" } else { "PING" };
                if *as_line {
                    bytes.extend_from_slice(name.as_bytes());
                    bytes.extend_from_slice(b"\r\n");
                } else {
                    let words = std::iter::once(name).chain(arguments.iter().map(String::as_str));
                    encode_command(&mut bytes, words.collect::<Vec<_>>());
                }
            }
            let mut skimmer = Skimmer::new(Dialect::Resp);
            bytes.chunks(piece).for_each(|piece| skimmer.pass(piece));
            prop_assert_eq!(skimmer.commands(), commands.len() as u64);
            prop_assert_eq!(skimmer.quit_at(), quit.map(|quit| quit as u64 + 1));
        }

        /// No bytes make it panic, and it keeps next to nothing.
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), is_text: bool) {
            let mut skimmer = Skimmer::new(if is_text { Dialect::Text } else { Dialect::Resp });
            skimmer.pass(&bytes);
            prop_assert!(skimmer.head.len() <= HEAD);
        }
    }
}
