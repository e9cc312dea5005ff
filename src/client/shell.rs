//! The prompt.

use std::path::PathBuf;
use std::rc::Rc;

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Editor};

use super::assist::{Assist, history_file, is_secret};
use super::connection::Reply;
use super::output::{print, print_until, say};
use super::paint::{self, Painter};
use super::session::Session;
use super::socket::Interrupts;
use super::{Config, Dialect, Error};

/// Lines that are kept.
const HISTORY: usize = 1000;

/// Reads commands and shows what they are answered, until QUIT or Ctrl-D.
///
/// # Errors
/// When the server cannot be reached at first, or the terminal fails. A server that goes away later is none.
pub fn run(config: &Config, colour: bool) -> Result<(), Error> {
    let interrupts = Interrupts::watch().map_err(|error| Error::Terminal(error.to_string()))?;
    let interrupts = Rc::new(interrupts);
    let session = Session::open(config, Rc::clone(&interrupts))?;
    let mut shell = Shell::new(session, config, interrupts, colour)?;
    shell.greet()?;
    loop {
        match shell.editor.readline(&shell.prompt()) {
            Ok(line) => {
                if shell.take(&line)? {
                    break;
                }
            }
            // Ctrl-C clears the line; a terminal that has been resized needs nothing.
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(terminal(&error)),
        }
    }
    shell.leave()
}

fn terminal(error: &ReadlineError) -> Error {
    Error::Terminal(error.to_string())
}

struct Shell<'a> {
    editor: Editor<Assist, DefaultHistory>,
    session: Session<'a>,
    config: &'a Config,
    interrupts: Rc<Interrupts>,
    painter: Painter,
    history: Option<PathBuf>,
}

impl<'a> Shell<'a> {
    fn new(
        mut session: Session<'a>,
        config: &'a Config,
        interrupts: Rc<Interrupts>,
        colour: bool,
    ) -> Result<Shell<'a>, Error> {
        let settings = rustyline::Config::builder()
            .completion_type(CompletionType::List)
            .history_ignore_space(true)
            .max_history_size(HISTORY)
            .map_err(|error| terminal(&error))?
            .build();
        let mut editor = Editor::with_config(settings).map_err(|error| terminal(&error))?;
        editor.set_helper(Some(Assist { docs: session.docs(), colour }));
        let history = history_file(|name| std::env::var_os(name)).filter(|path| {
            // Without a folder to keep it in, there is a prompt all the same.
            path.parent().is_some_and(|folder| std::fs::create_dir_all(folder).is_ok())
        });
        if let Some(path) = &history {
            // The first time there is none.
            let _ = editor.load_history(path);
        }
        Ok(Shell { editor, session, config, interrupts, painter: Painter { colour }, history })
    }

    fn is_text(&self) -> bool {
        self.config.address.dialect == Dialect::Text
    }

    fn greet(&self) -> Result<(), Error> {
        if self.is_text() {
            print(format!("Connected to server at {}\n", self.config.address.place).as_bytes())?;
        }
        Ok(())
    }

    fn prompt(&self) -> String {
        if self.is_text() { "Enter command: ".to_string() } else { format!("{}> ", self.session.place()) }
    }

    fn leave(&mut self) -> Result<(), Error> {
        self.session.leave();
        if self.is_text() { print(b"Exiting...\n") } else { Ok(()) }
    }

    /// Does what a line says; whether that was to leave.
    fn take(&mut self, line: &str) -> Result<bool, Error> {
        self.keep(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        let is = |name: &str| words.first().is_some_and(|word| word.eq_ignore_ascii_case(name));
        if words.len() == 1 && is("clear") && !self.is_text() {
            self.editor.clear_screen().map_err(|error| terminal(&error))?;
            return Ok(false);
        }
        if is("help") && !self.is_text() {
            self.help(&words[1..])?;
            return Ok(false);
        }
        if words.len() == 1 && (is("exit") || is("quit")) {
            return Ok(true);
        }
        self.ask(line)?;
        Ok(false)
    }

    fn keep(&mut self, line: &str) {
        if line.trim().is_empty() || is_secret(line) {
            return;
        }
        let is_new = self.editor.add_history_entry(line).unwrap_or(false);
        if let (true, Some(path)) = (is_new, &self.history) {
            // A full disk does not end the conversation.
            let _ = self.editor.append_history(path);
        }
    }

    fn ask(&mut self, line: &str) -> Result<(), Error> {
        if self.session.will_stream(line.as_bytes()) {
            print(b"Reading messages... (press Ctrl-C to stop)\n")?;
        }
        let (painter, is_text, interrupts) = (self.painter, self.is_text(), &self.interrupts);
        let mut show = |words: &[Vec<u8>], reply: &Reply| {
            let start = if is_text { "Server: " } else { "" };
            let text = format!("{start}{}", painter.reply(reply, paint::is_text(words)));
            let shown = print_until(&text, interrupts);
            if matches!(shown, Err(Error::Interrupted)) {
                // What is left out would have ended the line, and the colour.
                print(if painter.colour { b"\x1b[0m\n" } else { b"\n" })?;
            }
            shown
        };
        match self.session.run(line.as_bytes(), &mut show) {
            Ok(()) => {}
            Err(error @ (Error::Output(_) | Error::Terminal(_))) => return Err(error),
            Err(error) => say(&format!("error: failed to {error}")),
        }
        self.learn();
        Ok(())
    }

    /// Asks for the commands again where the server did not tell them before the password.
    fn learn(&mut self) {
        let Some(assist) = self.editor.helper_mut() else { return };
        if assist.docs.is_empty() && self.session.has_just_logged_in() {
            assist.docs = self.session.docs();
        }
    }

    fn help(&self, words: &[&str]) -> Result<(), Error> {
        let docs = self.editor.helper().map(|assist| &assist.docs);
        let found = docs.and_then(|docs| docs.find(words)).map(|(command, _)| command);
        let text = match found {
            Some(command) => format!(
                "\n  {}\n  summary: {}\n  since: {}\n  group: {}\n\n",
                command.usage(),
                command.summary,
                command.since,
                command.group
            ),
            None => "help COMMAND shows what a command takes; Tab completes its name, Ctrl-R finds an earlier line.\n\
                     Ctrl-C clears the line, or ends a subscription; clear empties the screen; quit or Ctrl-D leaves.\n"
                .to_string(),
        };
        print(text.as_bytes())
    }
}
