//! The client: a prompt for servers that speak the Redis protocol or plain lines, and the same for scripts.
//!
//! ```text
//! address     where the server is, and how it is spoken to
//! socket      bytes, waited for with a bound and until Ctrl-C
//! connection  commands out, replies in, the greeting
//! session     the connection as a person sees it: database, transaction, come back when it was lost
//! docs        what the server's commands are called and take
//! paint       replies as text                                    output where it goes
//! script      commands from the command line or line by line     pipe   as fast as they go     skim  and counted
//! shell       the prompt                                         assist completion, hints, what is kept
//! ```

use std::io;
use std::time::Duration;

mod address;
mod assist;
mod connection;
mod docs;
mod output;
mod paint;
mod pipe;
mod script;
mod session;
mod shell;
mod skim;
mod socket;

pub use address::{Address, Dialect, Place};

use crate::wire::resp;

/// Which RESP is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// RESP3 where the server knows it, else RESP2.
    #[default]
    Newest,
    /// RESP2.
    Resp2,
    /// RESP3, or nothing.
    Resp3,
}

/// What is done once there is a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// These commands, one after the other; replies are printed plain.
    Commands(Vec<String>),
    /// The commands in standard input, line by line; replies are printed plain.
    Lines,
    /// All of standard input as fast as it goes; replies are counted.
    Pipe,
    /// A prompt in the terminal.
    Prompt {
        /// Replies have colours.
        colour: bool,
    },
}

/// Whom to speak to, how, and what about.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server.
    pub address: Address,
    /// Which RESP, where the dialect is that.
    pub protocol: Protocol,
    /// How long connecting may take, and the greeting behind it.
    pub timeout: Duration,
    /// How long a server may do nothing while what was piped to it waits.
    pub patience: Duration,
    /// What to do.
    pub work: Work,
}

/// Why the client gave up. Fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address that is none.
    #[error("understand the address {text}: {reason}")]
    Address {
        /// As it was given, without its password.
        text: String,
        /// What is wrong, or would be right.
        reason: &'static str,
    },
    /// The server cannot be reached.
    #[error("connect to {address}: {source}")]
    Connect {
        /// The server.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// It was reached, and then the connection failed.
    #[error("talk to {address}: {source}")]
    Broken {
        /// The server.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The server has closed the connection.
    #[error("talk to {0}: the server has closed the connection")]
    Closed(String),
    /// It did not answer in time.
    #[error("talk to {address}: no answer within {within:?}")]
    Silent {
        /// The server.
        address: String,
        /// How long was waited.
        within: Duration,
    },
    /// What it answers is not the protocol.
    #[error("understand {address}: {source}; does it speak another protocol (--dialect)?")]
    Protocol {
        /// The server.
        address: String,
        /// What is wrong.
        source: resp::Error,
    },
    /// A line that is longer than a reply may be.
    #[error("understand {address}: it sent more than {limit} bytes without an end of line")]
    Line {
        /// The server.
        address: String,
        /// Bytes that a line may have.
        limit: usize,
    },
    /// It does not speak RESP3, which was asked for.
    #[error("speak RESP3 with {address}: {answer}")]
    NoResp3 {
        /// The server.
        address: String,
        /// What it said.
        answer: String,
    },
    /// Everything would go to another database than was asked for.
    #[error("choose database {db} at {address}: {answer}")]
    Database {
        /// The one that was asked for.
        db: u32,
        /// The server.
        address: String,
        /// What it said.
        answer: String,
    },
    /// What was queued is gone, and what belongs to it is not sent.
    #[error("go on with the transaction at {0}: the connection was lost before EXEC")]
    TransactionLost(String),
    /// Ctrl-C.
    #[error("wait for the server: interrupted")]
    Interrupted,
    /// A command that cannot be sent; why.
    #[error("send the command: {0}")]
    Command(&'static str),
    /// Not all that was sent was answered.
    #[error("pipe the commands: only {replies} replies came, and then nothing for {within:?}")]
    Unanswered {
        /// Replies that came.
        replies: u64,
        /// How long was waited for the next.
        within: Duration,
    },
    /// Standard input cannot be read.
    #[error("read standard input: {0}")]
    Input(io::Error),
    /// Standard output cannot be written.
    #[error("write to standard output: {0}")]
    Output(io::Error),
    /// The terminal cannot be used.
    #[error("use the terminal: {0}")]
    Terminal(String),
}

/// Connects and works; whether no reply was an error (always, at the prompt).
///
/// # Errors
/// What ended it.
pub fn run(config: &Config) -> Result<bool, Error> {
    match &config.work {
        Work::Commands(commands) => script::run_all(config, commands),
        Work::Lines => script::run_input(config),
        Work::Pipe => pipe::run(config),
        Work::Prompt { colour } => match shell::run(config, *colour) {
            Err(error) if !output::is_unread(&error) => Err(error),
            _ => Ok(true),
        },
    }
}

/// Bytes of one reply.
const MAX_REPLY: usize = 512 << 20;
