//! Every expected failure, its exit code and what to do about it, in one place.

use std::path::PathBuf;

use crate::plan::preflight::Concern;
use crate::scenario::Problems;
use crate::telemetry::otlp;
use crate::{client, datastore, engine, feed, mapping, records, report, responder, script, serve, store};

/// The codes that the program ends with.
pub mod exit {
    /// Passed.
    pub const PASSED: u8 = 0;
    /// Something that should not have happened.
    pub const UNEXPECTED: u8 = 1;
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// A threshold failed.
    pub const THRESHOLD: u8 = 99;
    /// The target or the store cannot be reached.
    pub const UNREACHABLE: u8 = 100;
    /// The scenario is invalid.
    pub const SCENARIO: u8 = 104;
    /// Ctrl-C or SIGTERM.
    pub const INTERRUPTED: u8 = 105;
    /// A port is in use.
    pub const PORT_IN_USE: u8 = 106;
    /// A Lua hook failed.
    pub const SCRIPT: u8 = 107;
    /// The ledger does not balance, or something was lost.
    pub const LEDGER: u8 = 111;
    /// The generator itself was saturated: what was measured says nothing about the target.
    pub const SATURATED: u8 = 112;
    /// Worse than the baseline.
    pub const REGRESSION: u8 = 113;
}

/// Why a command failed. The text fits after \"failed to\".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The scenario has problems.
    #[error("use the scenario {}: {}", .0.file, problems_in_words(.0))]
    Scenario(Box<Problems>),
    /// The machine does not have what the plan needs.
    #[error("start the run: {}", .0.message)]
    Preflight(Concern),
    /// A Lua hook.
    #[error(transparent)]
    Script(#[from] script::Error),
    /// The responder.
    #[error(transparent)]
    Responder(#[from] responder::Error),
    /// The HTTP server.
    #[error(transparent)]
    Serve(#[from] serve::Error),
    /// Metrics for an OpenTelemetry collector.
    #[error(transparent)]
    Otlp(#[from] otlp::Error),
    /// The embedded store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Redis.
    #[error("use the store: {0}")]
    Datastore(#[from] datastore::Error),
    /// The target, before time zero.
    #[error("reach the target {}: {}", .0.address, .0.detail)]
    Target(engine::Trouble),
    /// The name of a target cannot be resolved.
    #[error("resolve the target {address}: {source}")]
    Resolve {
        /// As written.
        address: String,
        /// The resolver's words.
        source: std::io::Error,
    },
    /// A record or a payload.
    #[error(transparent)]
    Feed(feed::Error),
    /// Mapping.
    #[error(transparent)]
    Mapping(mapping::Error),
    /// The templates of records.
    #[error(transparent)]
    Records(#[from] records::generator::Error),
    /// The embedded store holds nothing before its run and nothing behind it.
    #[error("use the embedded store: it is there only as long as its run")]
    NoEmbedded,
    /// What was typed makes no records. The text says what to write.
    #[error("generate records: {0}")]
    RecordsUsage(String),
    /// Ctrl-C while records were written, read or deleted.
    #[error("finish: interrupted{}", so_far(.done, .asked))]
    RecordsInterrupted {
        /// Records that are done.
        done: u64,
        /// Records asked for, where that is known.
        asked: Option<u64>,
        /// What to do to have the rest.
        next: &'static str,
    },
    /// Records are not what they should be.
    #[error("find all {asked} records as they should be: {missing} missing, {different} different")]
    RecordsDiffer {
        /// Records asked for.
        asked: u64,
        /// Not there, or no strings.
        missing: u64,
        /// With another value.
        different: u64,
    },
    /// Nobody was there to say yes.
    #[error("delete what matches `{0}`: not confirmed")]
    NotConfirmed(String),
    /// A file of the run folder.
    #[error(transparent)]
    Report(#[from] report::Error),
    /// The client.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// A file that is read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The system gives no thread, timer, socket or runtime.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Ctrl-C before time zero.
    #[error("start the run: interrupted before the first request")]
    Interrupted,
    /// A run folder whose journal nobody has written yet.
    #[error("use {} as run folder: an earlier run has left a journal in it", .0.display())]
    JournalLeft(PathBuf),
    /// A folder that holds a run and must not be written over.
    #[error("write into {}: a run is in it already", .0.display())]
    OutTaken(PathBuf),
    /// A simulation in which no time would pass.
    #[error("simulate the load: users who neither think nor wait for a response send for ever in no time")]
    Timeless,
    /// `runner replay` cannot do what was asked. The text says why.
    #[error("replay the run: {0}")]
    Replay(String),
    /// `runner verify` has found that files of a run differ.
    #[error("verify {}: {wrong} of {of} checks do not hold", run.display())]
    FilesDisagree {
        /// The run folder.
        run: PathBuf,
        /// Checks that do not hold.
        wrong: usize,
        /// Of how many that could be made.
        of: usize,
    },
    /// A run cannot be held against a baseline. The text says why.
    #[error("compare with {}: {why}", baseline.display())]
    Baseline {
        /// What was given.
        baseline: PathBuf,
        /// Why not.
        why: String,
    },
    /// Runs are worse than the one they are compared with. The text says in what.
    #[error("be as good as the base: {0}")]
    Regression(String),
    /// Runs are too short for a comparison to come to anything. The text says by what.
    #[error("tell a change from chance: {0}")]
    Undecided(String),
    /// `runner init` does not write over files.
    #[error("write {}: there is such a file already", .0.display())]
    FileTaken(PathBuf),
    /// `runner flush` without a journal.
    #[error("flush {}: there is no journal in it", .0.display())]
    NoJournal(PathBuf),
    /// `runner flush` does not know where to.
    #[error("flush {}: the run used {used}, which is not known any more", run.display())]
    NoStore {
        /// The run folder.
        run: PathBuf,
        /// What the run used.
        used: String,
    },
    /// Some mappings of a journal were refused again.
    #[error("write {0} of the mappings: the store refuses them: {1}")]
    FlushRefused(u64, String),
}

fn problems_in_words(problems: &Problems) -> String {
    match problems.list.len() {
        1 => "1 problem".to_string(),
        count => format!("{count} problems"),
    }
}

fn so_far(done: &u64, asked: &Option<u64>) -> String {
    match (done, asked) {
        (done, Some(asked)) => format!(" after {done} records of {asked}"),
        (0, None) => String::new(),
        (done, None) => format!(" after {done} records"),
    }
}

impl From<feed::Error> for Error {
    fn from(error: feed::Error) -> Error {
        match error {
            feed::Error::Script(error) => Error::Script(error),
            feed::Error::Datastore(error) => Error::Datastore(error),
            missing @ feed::Error::Missing { .. } => Error::Feed(missing),
        }
    }
}

impl From<mapping::Error> for Error {
    fn from(error: mapping::Error) -> Error {
        match error {
            mapping::Error::Datastore(error) => Error::Datastore(error),
            other => Error::Mapping(other),
        }
    }
}

impl Error {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Error::Records(records::Error::Datastore(_)) => exit::UNREACHABLE,
            Error::Records(records::Error::Exists { .. } | records::Error::Appeared { .. }) => exit::USAGE,
            Error::Records(records::Error::ShutDown) => exit::UNEXPECTED,
            Error::Scenario(_) | Error::Preflight(_) | Error::Records(_) | Error::Timeless => exit::SCENARIO,
            Error::NoEmbedded | Error::RecordsUsage(_) | Error::NotConfirmed(_) => exit::USAGE,
            Error::RecordsInterrupted { .. } => exit::INTERRUPTED,
            Error::RecordsDiffer { .. } => exit::LEDGER,
            Error::Script(_) => exit::SCRIPT,
            Error::Responder(responder::Error::InUse { .. })
            | Error::Store(store::Error::InUse { .. })
            | Error::Serve(serve::Error::InUse { .. }) => exit::PORT_IN_USE,
            Error::Serve(serve::Error::Unprotected { .. } | serve::Error::Token) => exit::USAGE,
            Error::Otlp(otlp::Error::Setting { .. }) => exit::USAGE,
            Error::Datastore(_) | Error::Target(_) | Error::Resolve { .. } => exit::UNREACHABLE,
            Error::Mapping(mapping::Error::Template { .. }) => exit::SCENARIO,
            Error::Report(
                report::Error::NotSummedUp(_)
                | report::Error::Parts(_)
                | report::Error::NoBlocks(_)
                | report::Error::Unlike { .. },
            ) => exit::USAGE,
            Error::Regression(_) => exit::REGRESSION,
            Error::FlushRefused(..) | Error::FilesDisagree { .. } => exit::LEDGER,
            Error::Client(client::Error::Address { .. }) => exit::USAGE,
            Error::Client(
                client::Error::Connect { .. }
                | client::Error::Broken { .. }
                | client::Error::Closed(_)
                | client::Error::Silent { .. }
                | client::Error::TransactionLost(_)
                | client::Error::Unanswered { .. },
            ) => exit::UNREACHABLE,
            Error::Client(client::Error::Interrupted) => exit::INTERRUPTED,
            Error::Interrupted => exit::INTERRUPTED,
            Error::NoJournal(_)
            | Error::NoStore { .. }
            | Error::JournalLeft(_)
            | Error::OutTaken(_)
            | Error::FileTaken(_)
            | Error::Baseline { .. }
            | Error::Undecided(_)
            | Error::Replay(_) => exit::USAGE,
            Error::Responder(_)
            | Error::Client(_)
            | Error::Store(_)
            | Error::Serve(_)
            | Error::Otlp(_)
            | Error::Feed(_)
            | Error::Mapping(_)
            | Error::Report(_)
            | Error::Read { .. }
            | Error::System { .. } => exit::UNEXPECTED,
        }
    }

    /// What to do about it, where that is not in the text already.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Preflight(concern) => concern.help.clone(),
            Error::Target(_) => {
                "is the service running? check target.addresses, or leave it out for the built-in responder"
                    .to_string()
            }
            // These say themselves what to write.
            Error::Datastore(datastore::Error::Auth { .. } | datastore::Error::Url { .. }) => return None,
            Error::Datastore(_) => "is Redis running? check redis.url, or use `--redis embedded`".to_string(),
            Error::Client(client::Error::Connect { .. }) => {
                "is the server running? name it with host:port, or start one with `runner store`".to_string()
            }
            Error::Records(records::Error::Datastore(error)) if error.is_away() || error.gave_up() => {
                "what was written is kept: run it again when the store is back".to_string()
            }
            Error::Records(records::Error::Exists { .. }) => {
                "--existing keep goes on beside them, --existing overwrite writes over them".to_string()
            }
            Error::NoEmbedded => {
                "start one with `runner store` and give its address: --redis redis://127.0.0.1:6379"
                    .to_string()
            }
            Error::Records(records::Error::Appeared { .. }) => {
                "somebody else writes there too: --existing keep goes on beside them, --existing overwrite \
                 writes over them"
                    .to_string()
            }
            Error::RecordsInterrupted { next, .. } => next.to_string(),
            Error::RecordsDiffer { .. } => {
                "--existing overwrite writes them again; template, key and seed must be those they were \
                 generated with"
                    .to_string()
            }
            Error::NotConfirmed(_) => "add --yes to delete without being asked".to_string(),
            Error::Responder(responder::Error::InUse { .. }) => {
                "end what listens there, or set responder.first_port (0 picks free ports)".to_string()
            }
            Error::Store(store::Error::InUse { .. }) => {
                "end what listens there, or choose another port".to_string()
            }
            Error::Serve(serve::Error::InUse { .. }) => {
                "end what listens there, or choose another port".to_string()
            }
            Error::Serve(serve::Error::Unprotected { .. } | serve::Error::Token) => {
                "set RUNNER_TOKEN to a secret that requests then carry, or listen on 127.0.0.1".to_string()
            }
            Error::FlushRefused(..) => {
                "they are still in the journal; flush again when it takes them".to_string()
            }
            Error::NoStore { .. } => "say where to write with --redis URL".to_string(),
            Error::JournalLeft(run) => {
                format!("write it with `runner flush {}`, or choose another folder", run.display())
            }
            Error::OutTaken(_) => "name another folder with --out".to_string(),
            Error::Report(report::Error::Parts(_)) => {
                "name every run of one plan once: those with --segment 0/N to N-1/N".to_string()
            }
            Error::Report(report::Error::NoBlocks(_)) => {
                "a run keeps them with `seconds` and `json` among its report.files, once it has done a second \
                 besides warm-up"
                    .to_string()
            }
            Error::Report(report::Error::Unlike { .. }) => {
                "what differs may be the load and not the target; --force compares them all the same".to_string()
            }
            Error::Undecided(_) => "let the runs be longer: a second and more besides warm-up is a block".to_string(),
            Error::FileTaken(_) => "choose another name: runner init NAME".to_string(),
            Error::Report(report::Error::NotSummedUp(_)) => {
                "name the folder of a run that has ended, and leave `json` among its report.files".to_string()
            }
            Error::Timeless => "say how long the target takes, such as --set responder.delay=1ms".to_string(),
            Error::NoJournal(_) => "everything that the run has matched is in its store".to_string(),
            _ => return None,
        })
    }
}
