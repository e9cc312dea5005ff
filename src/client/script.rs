//! Commands without a terminal: from the command line, or line by line from standard input.

use std::io::{self, BufRead, Read};
use std::rc::Rc;

use super::connection::Reply;
use super::output::{is_unread, print, say};
use super::session::Session;
use super::{Config, Error, MAX_REPLY, paint};

/// Runs commands one after the other, whatever they are answered; whether no reply was an error. It ends when nobody
/// reads the replies any more.
///
/// # Errors
/// When the server cannot be reached any more, or output fails.
pub fn run_all(config: &Config, commands: &[String]) -> Result<bool, Error> {
    let mut script = Script::open(config)?;
    for (command, number) in commands.iter().zip(1..) {
        if !script.run(command.as_bytes(), "command", number)? {
            break;
        }
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
    for number in 1.. {
        line.clear();
        let mut limited = input.by_ref().take(MAX_REPLY as u64);
        if limited.read_until(b'\n', &mut line).map_err(Error::Input)? == 0 {
            break;
        }
        if line.len() == MAX_REPLY && !line.ends_with(b"\n") {
            return Err(Error::Command("its line has more than 512 MiB"));
        }
        let command = line.strip_suffix(b"\n").unwrap_or(&line);
        let command = command.strip_suffix(b"\r").unwrap_or(command);
        if !script.run(command, "line", number)? || command.trim_ascii().eq_ignore_ascii_case(b"QUIT") {
            break;
        }
    }
    Ok(script.is_well)
}

struct Script<'a> {
    session: Session<'a>,
    is_well: bool,
}

impl<'a> Script<'a> {
    fn open(config: &'a Config) -> Result<Script<'a>, Error> {
        Ok(Script { session: Session::open(config, Rc::default())?, is_well: true })
    }

    /// Runs a command; whether its reply is still read. One that cannot be sent is named by its number and not shown:
    /// it may hold a password.
    fn run(&mut self, command: &[u8], kind: &str, number: u64) -> Result<bool, Error> {
        let Script { session, is_well } = self;
        let mut show = |_: &[Vec<u8>], reply: &Reply| {
            *is_well &= !reply.has_error();
            print(&paint::plain(reply))
        };
        match session.run(command, &mut show) {
            Ok(()) => Ok(true),
            Err(Error::Command(why)) => {
                say(&format!("error: failed to send {kind} {number}: {why}"));
                *is_well = false;
                Ok(true)
            }
            Err(error) if is_unread(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
