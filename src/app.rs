//! App: what each command does, and the only room that knows all others.

mod client;
mod compare;
mod dry_run;
pub mod error;
mod flush;
mod init;
mod lane;
mod merge;
mod parts;
mod prepare;
mod records;
mod replay;
mod report;
mod run;
mod serve;
mod standalone;
mod validate;
mod verify;

use std::io::{IsTerminal, Write};

use clap::CommandFactory;

use crate::app::error::{Error, exit};
use crate::cli::{Cli, Command};
use crate::scenario;

/// Does what was typed and returns the exit code. The last line on stderr says how it ended.
pub fn main(cli: Cli) -> u8 {
    let done = match cli.command {
        None => run::run(&cli.run),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Validate(args)) => validate::validate(&args),
        Some(Command::Schema) => Ok(to_stdout(scenario::json_schema().as_bytes())),
        Some(Command::Responder(args)) => standalone::responder(&args),
        Some(Command::Store(args)) => standalone::store(&args),
        Some(Command::Client(args)) => client::client(&args),
        Some(Command::Records(command)) => records::records(&command),
        Some(Command::Serve(args)) => serve::serve(&args),
        Some(Command::Report(args)) => report::report(&args),
        Some(Command::Replay(args)) => replay::replay(&args),
        Some(Command::Compare(args)) => compare::compare_runs(&args),
        Some(Command::Init(args)) => init::init(&args),
        Some(Command::Merge(args)) => merge::merge_runs(&args),
        Some(Command::Verify(args)) => verify::verify_run(&args),
        Some(Command::Flush(args)) => flush::flush(&args),
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "runner", &mut text);
            Ok(to_stdout(&text))
        }
        Some(Command::Man) => {
            let mut text = Vec::new();
            // Writing into memory does not fail.
            let _ = clap_mangen::Man::new(Cli::command()).render(&mut text);
            Ok(to_stdout(&text))
        }
    };
    done.unwrap_or_else(|error| fail(&error))
}

fn fail(error: &Error) -> u8 {
    if let Error::Scenario(problems) = error {
        say(&problems.render(colour()));
    }
    if let Some(hint) = error.hint() {
        say(&format!("hint: {hint}"));
    }
    say(&format!("error: failed to {error} (exit {})", error.code()));
    error.code()
}

/// Whether stderr is a terminal that wants colours.
fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal()
}

/// Talk goes to stderr.
fn say(text: &str) {
    // A stderr that is gone cannot be told so.
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end_matches('\n'));
}

/// Data goes to stdout. A reader that is gone (`| head`) is no failure.
fn to_stdout(bytes: &[u8]) -> u8 {
    let mut stdout = std::io::stdout();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => exit::PASSED,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => exit::PASSED,
        Err(_) => exit::UNEXPECTED,
    }
}
