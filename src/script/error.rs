//! Error: what went wrong in a script, where, and in which hook.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{MAX_SOURCE_BYTES, MIN_MEMORY};
use crate::units::Bytes;

/// What of a script was running.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// The file itself, outside of any function.
    File,
    /// `setup(ctx)`.
    Setup,
    /// `request(ctx, record)`.
    Request,
    /// `response(ctx, record, reply)`.
    Response,
    /// `done(summary)`.
    Done,
    /// A rate function of this name.
    Rate(String),
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hook::File => f.write_str("the body of the file"),
            Hook::Setup => f.write_str("hook setup"),
            Hook::Request => f.write_str("hook request"),
            Hook::Response => f.write_str("hook response"),
            Hook::Done => f.write_str("hook done"),
            Hook::Rate(name) => write!(f, "function {name}"),
        }
    }
}

/// A file and, when known, a line of it. Prints as `scripts/x.lua:12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The script.
    pub path: PathBuf,
    /// From 1.
    pub line: Option<u32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.path.display()),
            None => write!(f, "{}", self.path.display()),
        }
    }
}

/// Why a script could not be loaded or a hook did not do its work. Fits after "failed to".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The VM itself could not be made.
    #[error("{path}: cannot start the Lua VM: {message}", path = path.display())]
    Vm {
        /// The script.
        path: PathBuf,
        /// What the VM says.
        message: String,
    },
    /// A memory limit in which nothing can run.
    #[error("{path}: script.memory is {memory}, a script needs at least {MIN_MEMORY}", path = path.display())]
    LittleMemory {
        /// The script.
        path: PathBuf,
        /// The limit that was given.
        memory: Bytes,
    },
    /// Too long to compile.
    #[error("{path}: the script has {bytes} bytes, the limit is {MAX_SOURCE_BYTES}", path = path.display())]
    TooLong {
        /// The script.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Does not compile.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the compiler says.
        message: String,
    },
    /// A hook raised an error.
    #[error("{place}: in {hook}: {message}")]
    Runtime {
        /// Where.
        place: Place,
        /// What was running.
        hook: Hook,
        /// What went wrong.
        message: String,
    },
    /// A hook did not return in time.
    #[error(
        "{place}: in {hook}: took longer than {limit:?} and was stopped: shorten it or raise script.timeout"
    )]
    Timeout {
        /// The line that was running.
        place: Place,
        /// What was running.
        hook: Hook,
        /// The time it had.
        limit: Duration,
    },
    /// A hook wanted more memory than it may have.
    #[error("{place}: in {hook}: needs more than {limit} of memory: keep less or raise script.memory")]
    Memory {
        /// The script (the line is not known).
        place: Place,
        /// What was running.
        hook: Hook,
        /// The memory it had.
        limit: Bytes,
    },
    /// A hook returned something of the wrong type.
    #[error("{place}: {hook} must return {expected}, got {got}")]
    BadReturn {
        /// The script.
        place: Place,
        /// What returned.
        hook: Hook,
        /// What it may return.
        expected: &'static str,
        /// What it returned.
        got: String,
    },
    /// A rate function returned a number that is no rate.
    #[error("{place}: {function}({t}) returned {got}: a rate must be a finite number, 0 or more")]
    BadRate {
        /// The script.
        place: Place,
        /// The function.
        function: String,
        /// The second it was asked for.
        t: f64,
        /// What it returned.
        got: String,
    },
    /// A hook's name is taken by something that cannot be called.
    #[error("{place}: {name} must be a function, got a {got}")]
    NotAFunction {
        /// The script.
        place: Place,
        /// The name.
        name: String,
        /// What it is.
        got: &'static str,
    },
    /// The file defines nothing that would ever be called.
    #[error(
        "{place}: no hook found: define one of setup(ctx), request(ctx, record), response(ctx, record, reply), \
         done(summary), tps_at(t){}", suggestion(.did_you_mean)
    )]
    NoHooks {
        /// The script.
        place: Place,
        /// A function of the file and the hook it resembles.
        did_you_mean: Option<(String, String)>,
    },
    /// A `lua` stage names a function that the file does not define.
    #[error("{place}: no function `{name}`{}", suggestion(.did_you_mean))]
    UnknownFunction {
        /// The script.
        place: Place,
        /// The name that was asked for.
        name: String,
        /// The name that was asked for and one that exists and resembles it.
        did_you_mean: Option<(String, String)>,
    },
}

fn suggestion(pair: &Option<(String, String)>) -> String {
    pair.as_ref()
        .map_or_else(String::new, |(found, meant)| format!(" (found `{found}`: did you mean `{meant}`?)"))
}
