//! Commands without a terminal: from the command line, or line by line from standard input.

use std::io::{self, BufRead, Read, Write};

use super::connection::Reply;
use super::session::{Answered, Session};
use super::socket::Interrupts;
use super::{Config, Error, MAX_REPLY, paint};

/// Runs commands one after the other, whatever they are answered; whether no reply was an error.
///
/// # Errors
/// When the server cannot be reached any more, or output fails.
pub fn run_all(config: &Config, commands: &[String]) -> Result<bool, Error> {
    let mut script = Script::open(config)?;
    for command in commands {
        script.run(command.as_bytes())?;
    }
    Ok(script.is_well)
}

/// Runs the lines of standard input until its end, or QUIT; whether no reply was an error.
///
/// # Errors
/// As [`run_all`], or when standard input fails.
pub fn run_input(config: &Config) -> Result<bool, Error> {
    let mut script = Script::open(config)?;
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = input.by_ref().take(MAX_REPLY as u64);
        if limited.read_until(b'\n', &mut line).map_err(Error::Input)? == 0 {
            return Ok(script.is_well);
        }
        if line.len() == MAX_REPLY && !line.ends_with(b"\n") {
            return Err(Error::Command("its line has more than 512 MiB"));
        }
        let command = line.strip_suffix(b"\n").unwrap_or(&line);
        let command = command.strip_suffix(b"\r").unwrap_or(command);
        script.run(command)?;
        if command.trim_ascii().eq_ignore_ascii_case(b"QUIT") {
            return Ok(script.is_well);
        }
    }
}

/// Says something beside the data.
pub fn say(text: &str) {
    // A stderr that is gone cannot be told so.
    let _ = writeln!(io::stderr(), "{text}");
}

struct Script<'a> {
    session: Session<'a>,
    is_well: bool,
}

impl<'a> Script<'a> {
    fn open(config: &'a Config) -> Result<Script<'a>, Error> {
        let mut session = Session::open(config, Interrupts::default())?;
        if let Some(warning) = session.take_warning() {
            say(&format!("warning: {warning}"));
        }
        Ok(Script { session, is_well: true })
    }

    fn run(&mut self, command: &[u8]) -> Result<(), Error> {
        let mut show = |_: &[Vec<u8>], reply: &Reply| print(&paint::plain(reply));
        match self.session.run(command, &mut show) {
            Ok(answered) => self.is_well &= answered != Answered::WithError,
            Err(Error::Command(why)) => {
                say(&format!("error: failed to send `{}`: {why}", String::from_utf8_lossy(command)));
                self.is_well = false;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Writes data at once, so that messages are seen as they come.
pub fn print(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Error::Output)
}
