//! A connection as a person sees it: it knows the database and the transaction, streams what comes unasked, and
//! comes back when it was lost.

use std::rc::Rc;
use std::time::Duration;

use super::connection::{Connection, Greeting, Login, Reply};
use super::docs::Docs;
use super::output::say;
use super::socket::{Deadline, Interrupts};
use super::{Config, Dialect, Error, Protocol};
use crate::wire::resp::{Value, parse_integer, split_words};
use crate::wire::text::{self, Request};

/// How long a server may take to say good-bye.
const GOOD_BYE: Duration = Duration::from_millis(500);

/// Shows a reply to the words of a command (none in the text dialect); [`Error::Interrupted`] when Ctrl-C has left
/// out its rest.
pub type Show<'s> = dyn FnMut(&[Vec<u8>], &Reply) -> Result<(), Error> + 's;

/// A connection that is opened again when it was lost.
pub struct Session<'a> {
    config: &'a Config,
    interrupts: Rc<Interrupts>,
    connection: Option<Connection>,
    /// How the next connection begins: what the address says, and what commands have changed since.
    greeting: Greeting,
    /// Between MULTI and EXEC.
    transaction: Option<Transaction>,
    has_logged_in: bool,
}

/// What waits for EXEC.
#[derive(Default)]
struct Transaction {
    commands: usize,
    /// What some of them will change, each with its place among all.
    changes: Vec<(usize, Change)>,
}

impl Transaction {
    fn push(&mut self, change: Option<Change>) {
        self.changes.extend(change.map(|change| (self.commands, change)));
        self.commands += 1;
    }
}

impl<'a> Session<'a> {
    /// Connects, and says what the greeting has to say.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn open(config: &'a Config, interrupts: Rc<Interrupts>) -> Result<Session<'a>, Error> {
        let address = &config.address;
        let login = address.password.as_ref().map(|password| Login {
            user: address.user.as_ref().map(|user| user.as_bytes().to_vec()),
            password: password.as_bytes().to_vec(),
        });
        let mut session = Session {
            config,
            interrupts,
            connection: None,
            greeting: Greeting { login, db: address.db, protocol: config.protocol },
            transaction: None,
            has_logged_in: false,
        };
        session.connected()?;
        Ok(session)
    }

    /// The connection, opened again when it was lost; then that is said.
    ///
    /// # Errors
    /// As [`Connection::open`]. [`Error::TransactionLost`] once when it was lost between MULTI and EXEC: what
    /// follows would be done at once that was meant to wait.
    pub fn connected(&mut self) -> Result<&mut Connection, Error> {
        let was_lost = self.connection.as_mut().is_some_and(Connection::is_gone);
        if was_lost {
            let lost = self.transaction.is_some();
            self.disconnect();
            if lost {
                return Err(Error::TransactionLost(self.config.address.place.to_string()));
            }
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.interrupts.take();
                let mut connection =
                    Connection::open(self.config, &self.greeting, Rc::clone(&self.interrupts))?;
                if was_lost {
                    say("warning: the connection was lost and is opened again");
                }
                if let Some(warning) = connection.warning.take() {
                    say(&format!("warning: {warning}"));
                }
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// The connection, for commands that are passed on unread.
    ///
    /// # Errors
    /// [`Error::Database`] when it is not in its database before a password among them, or as
    /// [`Session::connected`].
    pub fn connected_for_good(&mut self) -> Result<&mut Connection, Error> {
        let (db, address) = (self.greeting.db, self.config.address.place.to_string());
        let connection = self.connected()?;
        match connection.waits_for_db.take() {
            Some(answer) => Err(Error::Database { db, address, answer }),
            None => Ok(connection),
        }
    }

    fn disconnect(&mut self) {
        self.connection = None;
        self.transaction = None;
    }

    /// Whether a line makes the server send messages until one stops listening.
    pub fn will_stream(&self, line: &[u8]) -> bool {
        let is_resp = self.config.address.dialect == Dialect::Resp;
        is_resp
            && self.transaction.is_none()
            && split_words(line).is_ok_and(|words| kind(&words) == Kind::Stream)
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
        let db = if self.greeting.db == 0 { String::new() } else { format!("[{}]", self.greeting.db) };
        let transaction = if self.transaction.is_some() { "(TX)" } else { "" };
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
                self.disconnect();
                Docs::default()
            }
        }
    }

    /// Sends one line and shows what comes. A line is words with quotes as in `redis-cli`, or the request itself
    /// in the text dialect.
    ///
    /// # Errors
    /// What `show` says, and whatever ends the connection; it is opened again for the next line. Ctrl-C is an
    /// error only while there is no connection yet: it ends a stream of messages as it should, leaves out the rest
    /// of a reply that is shown, and one that does not come.
    pub fn run(&mut self, line: &[u8], show: &mut Show<'_>) -> Result<(), Error> {
        // One that was pressed before this command is not meant for it.
        self.interrupts.take();
        let line = line.trim_ascii_start();
        if line.is_empty() {
            return Ok(());
        }
        let done = match self.config.address.dialect {
            Dialect::Text => self.run_text(line, show),
            Dialect::Resp => self.run_words(line, show),
        };
        let was_connected = self.connection.is_some();
        if done.as_ref().is_err_and(|error| !matches!(error, Error::Command(_))) {
            // Replies that are still to come belong to nothing any more.
            self.disconnect();
        }
        match done {
            // What was waited for came to nothing; the next command has a connection of its own.
            Err(Error::Interrupted) if was_connected => self.connected().map(drop),
            done => done,
        }
    }

    fn run_text(&mut self, line: &[u8], show: &mut Show<'_>) -> Result<(), Error> {
        let connection = self.connected()?;
        connection.send_line(line)?;
        let reply = connection.next(None)?;
        unless_interrupted(show(&[], &reply))?;
        match text::parse(line) {
            _ if reply.has_error() => {}
            Some(Ok(Request::Auth { password })) => {
                self.greeting.login = Some(Login { user: None, password: password.to_vec() });
            }
            Some(Ok(Request::Quit)) => self.disconnect(),
            _ => {}
        }
        Ok(())
    }

    fn run_words(&mut self, line: &[u8], show: &mut Show<'_>) -> Result<(), Error> {
        let words = split_words(line).map_err(|_| Error::Command("its quotes are not balanced"))?;
        if words.is_empty() {
            return Ok(());
        }
        if is(&words, 0, "CLIENT") && is(&words, 1, "REPLY") && !is(&words, 2, "ON") {
            return Err(Error::Command("without replies one could not tell what has happened"));
        }
        self.connected()?;
        let kind = kind(&words);
        if kind != Kind::One && self.transaction.is_some() {
            return Err(Error::Command("in a transaction its messages could not be told from replies"));
        }
        let (db, deadline) = (self.greeting.db, Deadline::within(self.config.timeout));
        let connection = self.connected_already()?;
        if connection.waits_for_db.is_some() {
            connection.choose(db, &deadline)?;
        }
        connection.send(&words)?;
        match kind {
            Kind::Stream => self.stream(&words, show),
            Kind::One => self.replies(&words, None, show),
            Kind::Leaving(names) => self.replies(&words, Some(names), show),
        }
    }

    /// Shows the reply of a command, and what comes unasked before it; or as many messages as it has names.
    fn replies(
        &mut self,
        words: &[Vec<u8>],
        messages: Option<usize>,
        show: &mut Show<'_>,
    ) -> Result<(), Error> {
        let mut left = messages.unwrap_or(1);
        while left > 0 {
            let reply = match self.connected_already()?.next(None) {
                // It has done what it was asked for.
                Err(Error::Closed(_) | Error::Broken { .. }) if is(words, 0, "SHUTDOWN") => {
                    self.disconnect();
                    return Ok(());
                }
                reply => reply?,
            };
            if messages.is_none() && matches!(reply, Reply::Value(Value::Push(_))) {
                show(words, &reply)?;
                continue;
            }
            unless_interrupted(show(words, &reply))?;
            left = if reply.has_error() { 0 } else { left - 1 };
            self.note(words, &reply)?;
        }
        Ok(())
    }

    /// Shows messages as they come, until [`Error::Interrupted`]; then there is a new connection, on which nothing is
    /// listened to.
    fn stream(&mut self, words: &[Vec<u8>], show: &mut Show<'_>) -> Result<(), Error> {
        loop {
            let reply = self.connected_already()?.next(None);
            let ends = reply.as_ref().is_ok_and(|reply| reply.has_error() && !is_message(reply));
            match reply.and_then(|reply| show(words, &reply)) {
                Ok(()) if ends => return Ok(()),
                Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn connected_already(&mut self) -> Result<&mut Connection, Error> {
        let place = &self.config.address.place;
        self.connection.as_mut().ok_or_else(|| Error::Closed(place.to_string()))
    }

    /// Remembers what a command has changed about the connection:
    ///
    /// 1. What is queued changes nothing before EXEC, and nothing without it.
    /// 2. An error changes nothing, except that it may end a transaction.
    /// 3. After QUIT there is no connection, whether its end has been seen or not.
    fn note(&mut self, words: &[Vec<u8>], reply: &Reply) -> Result<(), Error> {
        let Reply::Value(value) = reply else { return Ok(()) };
        if let (Value::Simple(text), Some(transaction)) = (value, &mut self.transaction)
            && text == b"QUEUED"
        {
            transaction.push(change(words));
            return Ok(());
        }
        if is(words, 0, "EXEC") {
            return self.note_exec(value);
        }
        let is_end = is(words, 0, "DISCARD");
        match value {
            Value::Error(text) if is_end && ends_transaction(text) => self.transaction = None,
            Value::Error(_) => {}
            _ if is_end => self.transaction = None,
            _ if is(words, 0, "MULTI") => self.transaction = Some(Transaction::default()),
            _ if is(words, 0, "QUIT") => self.disconnect(),
            _ if is(words, 0, "RESET") => self.note_reset()?,
            _ => {
                if let Some(change) = change(words) {
                    self.apply(change)?;
                }
            }
        }
        Ok(())
    }

    fn note_exec(&mut self, value: &Value) -> Result<(), Error> {
        if matches!(value, Value::Error(text) if !ends_transaction(text)) {
            return Ok(());
        }
        let changes = self.transaction.take().unwrap_or_default().changes;
        let Some(replies) = value.items() else { return Ok(()) };
        for (index, change) in changes {
            if replies.get(index).is_some_and(|reply| !reply.has_error()) {
                self.apply(change)?;
            }
        }
        Ok(())
    }

    /// The server has forgotten who one is, and speaks RESP2 in database 0.
    fn note_reset(&mut self) -> Result<(), Error> {
        (self.greeting.login, self.greeting.db, self.transaction) = (None, 0, None);
        let connection = self.connected_already()?;
        (connection.is_resp3, connection.waits_for_db) = (false, None);
        Ok(())
    }

    /// Keeps a change for the next connection. After a password, what was refused for want of it is tried again.
    fn apply(&mut self, change: Change) -> Result<(), Error> {
        if let Some(db) = change.db {
            self.greeting.db = db;
            self.connected_already()?.waits_for_db = None;
        }
        if let Some(is_resp3) = change.is_resp3 {
            self.greeting.protocol = match self.config.protocol {
                _ if !is_resp3 => Protocol::Resp2,
                Protocol::Resp3 => Protocol::Resp3,
                Protocol::Newest | Protocol::Resp2 => Protocol::Newest,
            };
            self.connected_already()?.is_resp3 = is_resp3;
        }
        if let Some(login) = change.login {
            self.greeting.login = Some(login);
            self.has_logged_in = true;
            let deadline = Deadline::within(self.config.timeout);
            let connection = self.connection.as_mut();
            let connection =
                connection.ok_or_else(|| Error::Closed(self.config.address.place.to_string()))?;
            connection.greet_again(&self.greeting, &deadline)?;
        }
        Ok(())
    }
}

/// What a command changes about a connection, once it has run.
#[derive(Default)]
struct Change {
    db: Option<u32>,
    is_resp3: Option<bool>,
    login: Option<Login>,
}

fn change(words: &[Vec<u8>]) -> Option<Change> {
    let login =
        |user: Option<&Vec<u8>>, password: &[u8]| Login { user: user.cloned(), password: password.to_vec() };
    match &words[1..] {
        [db] if is(words, 0, "SELECT") => {
            let db = parse_integer(db).and_then(|db| u32::try_from(db).ok());
            Some(Change { db, ..Change::default() })
        }
        [password] if is(words, 0, "AUTH") => {
            Some(Change { login: Some(login(None, password)), ..Change::default() })
        }
        [user, password] if is(words, 0, "AUTH") => {
            Some(Change { login: Some(login(Some(user), password)), ..Change::default() })
        }
        [version, options @ ..] if is(words, 0, "HELLO") => {
            let mut change = Change { is_resp3: Some(version == b"3"), ..Change::default() };
            let mut options = options.iter();
            while let Some(option) = options.next() {
                let is_auth = option.eq_ignore_ascii_case(b"AUTH");
                // The name of the user, or with SETNAME that of the connection.
                let name = options.next();
                if let (true, Some(password)) = (is_auth, if is_auth { options.next() } else { None }) {
                    change.login = Some(login(name, password));
                }
            }
            Some(change)
        }
        _ => None,
    }
}

/// Whether an error as the reply to EXEC or DISCARD says that there is no transaction (any more).
fn ends_transaction(error: &[u8]) -> bool {
    error.starts_with(b"EXECABORT") || error.ends_with(b"without MULTI")
}

/// A reply of which nobody wants to see the rest has come all the same.
fn unless_interrupted(shown: Result<(), Error>) -> Result<(), Error> {
    if matches!(shown, Err(Error::Interrupted)) { Ok(()) } else { shown }
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

fn is(words: &[Vec<u8>], index: usize, name: &str) -> bool {
    words.get(index).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
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
    fn what_a_command_changes_is_read_from_its_words() {
        let found = |line: &str| {
            change(&words(line)).map(|Change { db, is_resp3, login }| {
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
                (db, is_resp3, login.map(|login| (login.user.map(text), text(login.password))))
            })
        };
        let login =
            |user: Option<&str>, password: &str| Some((user.map(str::to_string), password.to_string()));
        assert_eq!(found("select 3"), Some((Some(3), None, None)));
        assert_eq!(found("AUTH secret"), Some((None, None, login(None, "secret"))));
        assert_eq!(found("auth ann secret"), Some((None, None, login(Some("ann"), "secret"))));
        assert_eq!(found("HELLO 2"), Some((None, Some(false), None)));
        for line in ["hello 3 auth ann secret", "HELLO 3 SETNAME auth AUTH ann secret SETNAME x"] {
            assert_eq!(found(line), Some((None, Some(true), login(Some("ann"), "secret"))), "{line}");
        }
        assert_eq!(found("HELLO 3 SETNAME AUTH"), Some((None, Some(true), None)));
        for line in ["HELLO", "GET a", "SELECT", "AUTH", "PING", "SELECTED 3"] {
            assert_eq!(found(line), None, "{line}");
        }
    }

    #[test]
    fn an_error_may_end_a_transaction_or_leave_it() {
        for error in ["EXECABORT Transaction discarded because of ...", "ERR EXEC without MULTI"] {
            assert!(ends_transaction(error.as_bytes()), "{error}");
        }
        assert!(!ends_transaction(b"ERR wrong number of arguments for 'exec' command"));
    }
}
