//! A connection as a person sees it: it knows the database and the transaction, streams what comes unasked, and
//! comes back when it was lost.

use std::rc::Rc;
use std::time::Duration;

use super::connection::{Connection, Login, Reply};
use super::docs::Docs;
use super::socket::{Deadline, Interrupts};
use super::{Config, Dialect, Error, Protocol};
use crate::wire::resp::{Value, split_words};

/// How long a server may take to say good-bye.
const GOOD_BYE: Duration = Duration::from_millis(500);

/// Shows a reply to the words of a command (none in the text dialect).
pub type Show<'s> = dyn FnMut(&[Vec<u8>], &Reply) -> Result<(), Error> + 's;

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// With a reply, or as many as it has.
    Well,
    /// At least one of them was an error.
    WithError,
    /// Not at all: there was nothing in the line.
    Nothing,
}

/// A connection that is opened again when it was lost.
pub struct Session<'a> {
    config: &'a Config,
    interrupts: Rc<Interrupts>,
    connection: Option<Connection>,
    login: Option<Login>,
    db: u32,
    in_transaction: bool,
    has_logged_in: bool,
}

impl<'a> Session<'a> {
    /// Connects.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn open(config: &'a Config, interrupts: Interrupts) -> Result<Session<'a>, Error> {
        let address = &config.address;
        let login = address.password.as_ref().map(|password| Login {
            user: address.user.as_ref().map(|user| user.as_bytes().to_vec()),
            password: password.as_bytes().to_vec(),
        });
        let interrupts = Rc::new(interrupts);
        let mut session = Session {
            config,
            interrupts,
            connection: None,
            login,
            db: address.db,
            in_transaction: false,
            has_logged_in: false,
        };
        session.connected()?;
        Ok(session)
    }

    /// The connection, opened again when it was lost.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn connected(&mut self) -> Result<&mut Connection, Error> {
        if self.connection.as_mut().is_some_and(Connection::is_gone) {
            self.connection = None;
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.in_transaction = false;
                self.interrupts.take();
                Connection::open(self.config, self.login.as_ref(), self.db, Rc::clone(&self.interrupts))?
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// What the greeting has to say, once.
    pub fn take_warning(&mut self) -> Option<String> {
        self.connection.as_mut()?.warning.take()
    }

    /// Whether a line makes the server send messages until one stops listening.
    pub fn will_stream(&self, line: &[u8]) -> bool {
        let is_resp = self.config.address.dialect == Dialect::Resp;
        is_resp && !self.in_transaction && split_words(line).is_ok_and(|words| kind(&words) == Kind::Stream)
    }

    /// Says good-bye, where there is still somebody to say it to. Whether that is heard changes nothing.
    pub fn leave(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let sent = match self.config.address.dialect {
            Dialect::Resp => connection.send(&["QUIT"]),
            Dialect::Text => connection.send_line(b"QUIT"),
        };
        let _ = sent.and_then(|()| connection.next(Some(&Deadline::within(GOOD_BYE))));
    }

    /// Whether a password was given since the last time.
    pub fn has_just_logged_in(&mut self) -> bool {
        std::mem::take(&mut self.has_logged_in)
    }

    /// Where one is, for the prompt: the server, the database when it is not 0, and whether in a transaction.
    pub fn place(&self) -> String {
        if self.connection.is_none() {
            return "not connected".to_string();
        }
        let db = if self.db == 0 { String::new() } else { format!("[{}]", self.db) };
        let transaction = if self.in_transaction { "(TX)" } else { "" };
        format!("{}{db}{transaction}", self.config.address.place)
    }

    /// What the server's commands are called and take; nothing where it does not say so. An answer that does not
    /// come in time costs the connection.
    pub fn docs(&mut self) -> Docs {
        if self.config.address.dialect == Dialect::Text {
            return Docs::of_text_dialect();
        }
        let deadline = Deadline::within(self.config.timeout);
        let Some(connection) = self.connection.as_mut() else { return Docs::default() };
        match connection.ask(&[b"COMMAND", b"DOCS"], Some(&deadline)) {
            Ok(Reply::Value(value)) => Docs::read(&value),
            Ok(Reply::Line(_)) => Docs::default(),
            Err(_) => {
                self.connection = None;
                Docs::default()
            }
        }
    }

    /// Sends one line and shows what comes. A line is words with quotes as in `redis-cli`, or the request itself
    /// in the text dialect.
    ///
    /// # Errors
    /// What `show` says, and whatever ends the connection; it is opened again for the next line. Ctrl-C is an
    /// error only while a reply is waited for: it ends a stream of messages as it should.
    pub fn run(&mut self, line: &[u8], show: &mut Show<'_>) -> Result<Answered, Error> {
        let line = line.trim_ascii_start();
        if line.is_empty() {
            return Ok(Answered::Nothing);
        }
        let done = match self.config.address.dialect {
            Dialect::Text => self.run_text(line, show),
            Dialect::Resp => self.run_words(line, show),
        };
        if done.as_ref().is_err_and(|error| !matches!(error, Error::Command(_))) {
            // Replies that are still to come belong to nothing any more.
            self.connection = None;
            self.in_transaction = false;
        }
        done
    }

    fn run_text(&mut self, line: &[u8], show: &mut Show<'_>) -> Result<Answered, Error> {
        let connection = self.connected()?;
        connection.send_line(line)?;
        let reply = connection.next(None)?;
        show(&[], &reply)?;
        let answered = answered(&reply);
        if answered == Answered::Well
            && let Some((name, password)) = split_name(line)
            && name.eq_ignore_ascii_case(b"AUTH")
        {
            self.login = Some(Login { user: None, password: password.to_vec() });
        }
        Ok(answered)
    }

    fn run_words(&mut self, line: &[u8], show: &mut Show<'_>) -> Result<Answered, Error> {
        let words = split_words(line).map_err(|_| Error::Command("its quotes are not balanced"))?;
        if words.is_empty() {
            return Ok(Answered::Nothing);
        }
        if is(&words, 0, "CLIENT") && is(&words, 1, "REPLY") && !is(&words, 2, "ON") {
            return Err(Error::Command("without replies one could not tell what has happened"));
        }
        let in_transaction = self.in_transaction;
        let connection = self.connected()?;
        connection.send(&words)?;
        match kind(&words) {
            Kind::Stream if !in_transaction => self.stream(&words, show),
            kind => self.replies(&words, kind, show),
        }
    }

    /// Shows as many replies as the command has, and what comes unasked before them.
    fn replies(&mut self, words: &[Vec<u8>], kind: Kind, show: &mut Show<'_>) -> Result<Answered, Error> {
        let mut left = match kind {
            Kind::Leaving(replies) if !self.in_transaction => replies,
            _ => 1,
        };
        let mut all = Answered::Well;
        while left > 0 {
            let reply = match self.connected_already()?.next(None) {
                // It has done what it was asked for.
                Err(Error::Closed(_)) if is(words, 0, "SHUTDOWN") => {
                    self.connection = None;
                    return Ok(Answered::Well);
                }
                reply => reply?,
            };
            show(words, &reply)?;
            let is_push = matches!(reply, Reply::Value(Value::Push(_)));
            if is_push && !matches!(kind, Kind::Leaving(_)) {
                continue;
            }
            left = if reply.has_error() { 0 } else { left - 1 };
            if reply.has_error() {
                all = Answered::WithError;
            }
            self.note(words, &reply)?;
        }
        Ok(all)
    }

    /// Shows messages as they come, until Ctrl-C. The next command begins with a new connection, on which nothing
    /// is listened to.
    fn stream(&mut self, words: &[Vec<u8>], show: &mut Show<'_>) -> Result<Answered, Error> {
        loop {
            match self.connected_already()?.next(None) {
                Ok(reply) => {
                    show(words, &reply)?;
                    if reply.has_error() && !is_message(&reply) {
                        return Ok(Answered::WithError);
                    }
                }
                Err(Error::Interrupted) => {
                    self.connection = None;
                    self.connected()?;
                    return Ok(Answered::Well);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn connected_already(&mut self) -> Result<&mut Connection, Error> {
        let place = &self.config.address.place;
        self.connection.as_mut().ok_or_else(|| Error::Closed(place.to_string()))
    }

    /// Remembers what a command has changed about the connection.
    fn note(&mut self, words: &[Vec<u8>], reply: &Reply) -> Result<(), Error> {
        if is(words, 0, "EXEC") || is(words, 0, "DISCARD") {
            self.in_transaction = false;
        }
        let is_queued = matches!(reply, Reply::Value(Value::Simple(text)) if text == b"QUEUED");
        if reply.has_error() || is_queued {
            return Ok(());
        }
        if is(words, 0, "MULTI") {
            self.in_transaction = true;
        } else if is(words, 0, "SELECT") {
            let db = words.get(1).and_then(|db| std::str::from_utf8(db).ok()?.parse().ok());
            self.db = db.unwrap_or(self.db);
        } else if is(words, 0, "RESET") {
            (self.db, self.in_transaction) = (0, false);
        } else if is(words, 0, "AUTH") {
            self.note_login(&words[1..])?;
        }
        Ok(())
    }

    /// The password is kept for the next connection, and RESP3 tried again where it was refused for want of it.
    fn note_login(&mut self, words: &[Vec<u8>]) -> Result<(), Error> {
        let login = match words {
            [password] => Login { user: None, password: password.clone() },
            [user, password] => Login { user: Some(user.clone()), password: password.clone() },
            _ => return Ok(()),
        };
        self.login = Some(login);
        self.has_logged_in = true;
        let (timeout, protocol) = (self.config.timeout, self.config.protocol);
        let connection = self.connected_already()?;
        if protocol != Protocol::Resp2 && !connection.is_resp3 {
            let deadline = Deadline::within(timeout);
            let answer = connection.ask(&[b"HELLO", b"3"], Some(&deadline))?;
            connection.is_resp3 = !answer.has_error();
        }
        Ok(())
    }
}

/// What a command is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One reply.
    One,
    /// Messages, for as long as one listens.
    Stream,
    /// As many replies as names, which may be messages.
    Leaving(usize),
}

fn kind(words: &[Vec<u8>]) -> Kind {
    let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    match &name[..] {
        b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE" if words.len() > 1 => Kind::Stream,
        b"MONITOR" if words.len() == 1 => Kind::Stream,
        b"UNSUBSCRIBE" | b"PUNSUBSCRIBE" | b"SUNSUBSCRIBE" => Kind::Leaving((words.len() - 1).max(1)),
        _ => Kind::One,
    }
}

fn is_message(reply: &Reply) -> bool {
    matches!(reply, Reply::Value(Value::Push(_) | Value::Array(_)))
}

fn answered(reply: &Reply) -> Answered {
    if reply.has_error() { Answered::WithError } else { Answered::Well }
}

fn is(words: &[Vec<u8>], index: usize, name: &str) -> bool {
    words.get(index).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
}

/// The first word of a line, and what follows the blanks behind it.
fn split_name(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(u8::is_ascii_whitespace)?;
    Some((&line[..end], line[end..].trim_ascii_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        split_words(line.as_bytes()).expect("balanced quotes")
    }

    #[test]
    fn commands_about_channels_have_more_than_one_reply() {
        assert_eq!(kind(&words("subscribe a")), Kind::Stream);
        assert_eq!(kind(&words("SUBSCRIBE")), Kind::One);
        assert_eq!(kind(&words("monitor")), Kind::Stream);
        assert_eq!(kind(&words("unsubscribe")), Kind::Leaving(1));
        assert_eq!(kind(&words("punsubscribe a b")), Kind::Leaving(2));
        assert_eq!(kind(&words("GET \"subscribe a\"")), Kind::One);
    }

    #[test]
    fn the_name_of_a_text_command_ends_at_a_blank() {
        assert_eq!(split_name(b"AUTH  pass phrase"), Some((&b"AUTH"[..], &b"pass phrase"[..])));
        assert_eq!(split_name(b"PING"), None);
    }
}
