//! What can be typed: types only, no behaviour.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::plan::replay::Speed;
use crate::plan::segment::Segment;
use crate::units::{IdRange, Nanos};

/// The most runs that are held against one.
const MAX_NEW: usize = 16;

/// The exit codes as `--help` and the man page show them.
pub const EXIT_CODES_HELP: &str = "\
Exit codes:
  0    passed
  1    unexpected error
  2    wrong usage
  99   a threshold failed
  100  target or store unreachable
  104  invalid scenario
  105  interrupted
  106  a port is in use
  107  Lua error
  111  the ledger does not balance, or something was lost
  112  the generator itself was saturated: the result is not valid
  113  regression against the baseline
The last line on stderr says why.";

/// What happens to a TCP service when it gets exactly this load?
#[derive(Debug, Parser)]
#[command(
    name = "runner",
    version,
    about,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    after_help = EXIT_CODES_HELP
)]
pub struct Cli {
    /// What to do; without it, the scenario is run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Running a scenario.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a scenario (the same as `runner SCENARIO`)
    Run(RunArgs),
    /// Load and check scenarios and print every problem; opens no socket
    Validate(ValidateArgs),
    /// Print the JSON Schema of a scenario, for editors
    Schema,
    /// Write a scenario and a Lua hook to start from
    Init(InitArgs),
    /// The TCP responder alone
    Responder(ResponderArgs),
    /// The Redis-compatible store alone
    Store(StoreArgs),
    /// An interactive prompt, or scripts, for a store or a server of plain lines
    Client(ClientArgs),
    /// Generate, read back, count and delete records in a store
    #[command(subcommand)]
    Records(RecordsCommand),
    /// Records and runs over HTTP, with a page
    Serve(ServeArgs),
    /// Make the reports of a run again from its files
    Report(ReportArgs),
    /// Send the same bytes at the same times again
    Replay(ReplayArgs),
    /// Hold runs against an earlier one: what has changed, and whether that is more than chance
    Compare(CompareArgs),
    /// Make one run of the parts that several machines have sent
    Merge(MergeArgs),
    /// Check from the files of a run that its account balances
    Verify(VerifyRunArgs),
    /// Write the mappings that a run has left in its journal
    Flush(FlushArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
}

/// How a scenario is run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The scenario file
    #[arg(required = true)]
    pub scenario: Option<PathBuf>,
    /// Print the plan and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The run folder, instead of a new one under `report.dir`
    #[arg(long, value_name = "DIR", env = "RUNNER_OUT")]
    pub out: Option<PathBuf>,
    /// What a scenario may be told from outside.
    #[command(flatten)]
    pub overrides: OverrideArgs,
    /// Send only part I of N, counted from 0: request n belongs to part n mod N
    #[arg(long, value_name = "I/N", env = "RUNNER_SEGMENT", default_value = "0/1")]
    pub segment: Segment,
    /// The name of the run, instead of a new one
    #[arg(long, value_name = "ID", hide = true, value_parser = run_id)]
    pub run_id: Option<String>,
    /// Worker threads that send [default: from the number of processors]
    #[arg(long, value_name = "N", env = "RUNNER_WORKERS")]
    pub workers: Option<u64>,
    /// Hold the run against an earlier one of the same plan: its folder, or its summary.json
    #[arg(long, value_name = "RUN")]
    pub baseline: Option<PathBuf>,
    /// End with 113 where the run is worse than the baseline
    #[arg(long, requires = "baseline")]
    pub fail_on_regression: bool,
    /// What a change must be beyond to matter.
    #[command(flatten)]
    pub bounds: BoundsArgs,
    /// Leave the embedded store up after the run, until Ctrl-C
    #[arg(long)]
    pub keep_store: bool,
    /// Show the run on a live page while it goes, with its metrics for Prometheus and an API to change it; port 0 picks
    /// a free one; other than loopback needs a token
    #[arg(long, value_name = "ADDR", env = "RUNNER_UI")]
    pub ui: Option<SocketAddr>,
    /// What requests to the live page must carry; better given in the environment
    #[arg(long, value_name = "TOKEN", env = "RUNNER_TOKEN", hide_env_values = true)]
    pub ui_token: Option<String>,
    /// A further name that requests may use for the live page, such as that of a proxy
    #[arg(long = "ui-allowed-host", value_name = "NAME")]
    pub ui_allowed_hosts: Vec<String>,
    /// Standard input is a socket over which the program that has started this one follows and steers the run
    #[arg(long, hide = true)]
    pub link: bool,
    /// Run on a clock of its own against a model of the target: nothing is sent, and an hour takes seconds
    #[arg(long)]
    pub simulate: bool,
    /// Print nothing but the last line
    #[arg(long, short)]
    pub quiet: bool,
    /// Print the summary (with --dry-run, the plan) as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// What a change must be beyond to matter, besides being more than chance.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Comparison")]
pub struct BoundsArgs {
    /// The least change, as a share of what it was
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = share)]
    pub min_change: f64,
    /// The least change of a time
    #[arg(long, value_name = "DURATION", default_value = "500us")]
    pub min_time: Nanos,
    /// The least change of the share of requests that fail
    #[arg(long, value_name = "PERCENT", default_value = "0.1%", value_parser = share)]
    pub min_share: f64,
}

impl Default for BoundsArgs {
    fn default() -> BoundsArgs {
        BoundsArgs { min_change: 0.05, min_time: Nanos(500_000), min_share: 0.001 }
    }
}

/// What a scenario may be told from outside.
#[derive(Debug, Args, Default)]
pub struct OverrideArgs {
    /// The store: `embedded`, redis://[user:password@]host:port[/db], unix:///path or
    /// redis-cluster://host:port[,host:port]
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    pub redis: Option<String>,
    /// Set a key of the scenario, such as load.stages[0].hold=500
    #[arg(long, value_name = "PATH=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Set a variable of the scenario
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub var: Vec<(String, String)>,
    /// The seed of every random choice
    #[arg(long, value_name = "N", env = "RUNNER_SEED")]
    pub seed: Option<u64>,
}

/// What to check.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The scenario files
    #[arg(required = true)]
    pub scenarios: Vec<PathBuf>,
    /// What a scenario may be told from outside.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

/// How requests and responses look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FramingArg {
    /// u32 length, u64 request id, payload
    Length,
    /// One line a request: `<request id> <payload>`
    Line,
    /// One write, one read
    Raw,
    /// Redis commands
    Resp,
}

/// The responder alone.
#[derive(Debug, Args)]
pub struct ResponderArgs {
    /// The local address
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// The ports, first-last
    #[arg(long, value_name = "PORTS", default_value = "9000-9009", value_parser = ports)]
    pub ports: (u16, u16),
    /// How requests and responses look
    #[arg(long, value_enum, default_value = "length")]
    pub framing: FramingArg,
    /// Responses on one connection, then it is closed; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub limit: u64,
    /// How long each response is held back
    #[arg(long, value_name = "DURATION", default_value = "0")]
    pub delay: Nanos,
}

/// What clients of the store speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DialectArg {
    /// The Redis protocol
    Resp,
    /// Plain lines: `SET user1 Alice`
    Text,
}

/// The store alone.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// The local address; other than loopback needs a password
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// The port; 0 picks a free one
    #[arg(long, default_value_t = 6379)]
    pub port: u16,
    /// The password that clients must give
    #[arg(long, env = "RUNNER_STORE_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// What clients speak
    #[arg(long, value_enum, default_value = "resp")]
    pub dialect: DialectArg,
}

/// A conversation with a server.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// host:port, redis://[user:password@]host:port[/db], text://host:port or unix:///path
    // Without a scheme, so that --dialect may say what is spoken there.
    #[arg(env = "REDIS_URL", hide_env_values = true, default_value = "127.0.0.1:6379")]
    pub addr: String,
    /// The password, where the address has none
    #[arg(long, env = "RUNNER_STORE_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// The version of RESP [default: 3 where the server knows it, else 2]
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub resp: Option<u8>,
    /// What the server speaks, where the address does not say so
    #[arg(long, value_enum)]
    pub dialect: Option<DialectArg>,
    /// Run a command, print its reply, and end; may be given several times
    #[arg(short = 'e', long = "execute", value_name = "COMMAND")]
    pub execute: Vec<String>,
    /// Send all of standard input as fast as it goes and count the replies
    #[arg(long, conflicts_with = "execute")]
    pub pipe: bool,
    /// How long connecting may take, and the greeting behind it
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub timeout: Nanos,
    /// How long --pipe waits for a server that does nothing
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub patience: Nanos,
}

/// Records and runs over HTTP.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where to listen; other than loopback needs a token
    #[arg(long, value_name = "ADDR", env = "RUNNER_LISTEN", default_value = "127.0.0.1:3030")]
    pub listen: SocketAddr,
    /// What requests must carry, as `Authorization: Bearer TOKEN`; better given in the environment
    #[arg(long, env = "RUNNER_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A further name that requests may use for this server, such as that of a proxy
    #[arg(long = "allowed-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// The store: `embedded`, redis://[user:password@]host:port[/db] or unix:///path
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true, default_value = "embedded")]
    pub redis: String,
    /// The folder of scenarios that may be run
    #[arg(long, value_name = "DIR", default_value = "scenarios")]
    pub scenarios: PathBuf,
    /// The folder for what runs leave behind
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// The most records that one generation may write
    #[arg(long, value_name = "N", default_value_t = 100_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub max_count: u64,
    /// How long a client may take to send the head of a request, and how long for its body
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub read_timeout: Nanos,
}

/// A run to report on.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run folder
    pub run: PathBuf,
    /// Where to write the reports [default: the run folder]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the summary as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Which requests of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnlyArg {
    /// Sent, and without a response
    Failed,
    /// Not sent
    Dropped,
}

/// A run to replay.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The run folder
    pub run: PathBuf,
    /// Send only requests that ended so (needs requests.csv)
    #[arg(long, value_enum)]
    pub only: Option<OnlyArg>,
    /// Send everything so many times as fast
    #[arg(long, value_name = "FACTOR", default_value = "1")]
    pub speed: Speed,
    /// The store [default: that of the run]
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// The folder of the replay, instead of a new one under `report.dir`
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Worker threads that send [default: from the number of processors]
    #[arg(long, value_name = "N", env = "RUNNER_WORKERS")]
    pub workers: Option<u64>,
    /// Print the plan and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print nothing but the last line
    #[arg(long, short)]
    pub quiet: bool,
    /// Print the summary (with --dry-run, the plan) as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Runs to compare.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The earlier run: its folder, or its summary.json
    pub base: PathBuf,
    /// The runs that are held against it, each for itself
    #[arg(required = true, num_args = 1..=MAX_NEW)]
    pub new: Vec<PathBuf>,
    /// Compare runs that had different loads
    #[arg(long)]
    pub force: bool,
    /// What a change must be beyond to matter.
    #[command(flatten)]
    pub bounds: BoundsArgs,
    /// Write a page with charts
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print Markdown, for a pull request
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

/// A scenario to start from.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The name: of the scenario and of its two files, NAME.yaml and NAME.lua
    #[arg(default_value = "load", value_parser = run_id)]
    pub name: String,
}

/// Runs to merge.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// The run folders: every segment of one plan, in any order
    #[arg(required = true, num_args = 1..)]
    pub runs: Vec<PathBuf>,
    /// The folder for the merged run
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print the merged summary as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// A run to check.
#[derive(Debug, Args)]
pub struct VerifyRunArgs {
    /// The run folder
    pub run: PathBuf,
    /// Print the checks as JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// Mappings to write.
#[derive(Debug, Args)]
pub struct FlushArgs {
    /// The run folder
    pub run: PathBuf,
    /// Where to write them [default: the store of the run]
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    pub redis: Option<String>,
}

/// What is done with records.
#[derive(Debug, Subcommand)]
pub enum RecordsCommand {
    /// Fill a store with records; run it again to go on where it was stopped
    Generate(GenerateArgs),
    /// Read records back and compare each with what it should be
    Verify(VerifyArgs),
    /// Count the keys that match a pattern (by SCAN)
    Count(CountArgs),
    /// Delete the keys that match a pattern
    Clear(ClearArgs),
}

/// Which records.
#[derive(Debug, Args)]
pub struct RecordsArgs {
    /// The store: redis://[user:password@]host:port[/db], unix:///path or
    /// redis-cluster://host:port[,host:port] [default: that of the scenario, or redis://127.0.0.1:6379]
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    pub redis: Option<String>,
    /// Take key, range, template and seed from a scenario; flags win
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Set a variable of the scenario
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, requires = "scenario")]
    pub var: Vec<(String, String)>,
    /// The template of keys [default: record:{id}]
    #[arg(long, value_name = "TEMPLATE")]
    pub key: Option<String>,
    /// The ids, both ends count; more ranges with commas between them [default: 1..500000]
    #[arg(long, value_name = "FIRST..LAST", value_delimiter = ',', conflicts_with_all = ["count", "start"])]
    pub range: Vec<IdRange>,
    /// How many ids, instead of a range
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// The first id of --count [default: 1]
    #[arg(long, value_name = "ID", requires = "count")]
    pub start: Option<u64>,
    /// The template of values, or @FILE to read it from a file
    #[arg(long, value_name = "TEMPLATE")]
    pub template: Option<String>,
    /// The seed of names, numbers and sizes [default: 1]
    #[arg(long, value_name = "N", env = "RUNNER_SEED")]
    pub seed: Option<u64>,
}

/// How long, and how much is said.
#[derive(Debug, Args)]
pub struct RecordsTalkArgs {
    /// How long one answer may take, and how long the store may be away in the middle
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub timeout: Nanos,
    /// Print the result as JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// No progress
    #[arg(long, short)]
    pub quiet: bool,
}

/// What happens to records that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExistingArg {
    /// They stay as they are
    Keep,
    /// They are written again
    Overwrite,
    /// Nothing is written when there is one
    Refuse,
}

/// Records to generate.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Which records.
    #[command(flatten)]
    pub records: RecordsArgs,
    /// How long the records live, such as 1h; 0 for ever. Records that are kept keep theirs
    #[arg(long, value_name = "DURATION", default_value = "0")]
    pub ttl: Nanos,
    /// What happens to records that are there already
    #[arg(long, value_enum, default_value = "keep")]
    pub existing: ExistingArg,
    /// Connections that load at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub connections: u16,
    /// Read all of them back at the end and compare
    #[arg(long)]
    pub verify: bool,
    /// How long, and how much is said.
    #[command(flatten)]
    pub talk: RecordsTalkArgs,
}

/// Records to read back.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Which records.
    #[command(flatten)]
    pub records: RecordsArgs,
    /// How long, and how much is said.
    #[command(flatten)]
    pub talk: RecordsTalkArgs,
}

/// Which keys, and where.
#[derive(Debug, Args)]
pub struct PatternArgs {
    /// The store: redis://[user:password@]host:port[/db], unix:///path or
    /// redis-cluster://host:port[,host:port] [default: redis://127.0.0.1:6379]
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    pub redis: Option<String>,
    /// The keys: a pattern with *, ? and [abc], as in KEYS and SCAN
    #[arg(long, value_name = "PATTERN", default_value = "record:*")]
    pub pattern: String,
    /// How long, and how much is said.
    #[command(flatten)]
    pub talk: RecordsTalkArgs,
}

/// Keys to count.
#[derive(Debug, Args)]
pub struct CountArgs {
    /// Which keys.
    #[command(flatten)]
    pub keys: PatternArgs,
}

/// Keys to delete.
#[derive(Debug, Args)]
pub struct ClearArgs {
    /// Which keys.
    #[command(flatten)]
    pub keys: PatternArgs,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_string(), value.to_string())),
        _ => Err("write NAME=VALUE".to_string()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let percents = text.trim().strip_suffix('%').map(|number| number.trim().parse::<f64>());
    match percents {
        Some(Ok(percents)) if (0.0..=1000.0).contains(&percents) => Ok(percents / 100.0),
        _ => Err("write a percentage from 0% to 1000%, such as 5%".to_string()),
    }
}

fn run_id(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    match !text.is_empty() && text.len() <= 200 && text.chars().all(fits) {
        true => Ok(text.to_string()),
        false => Err("write letters, digits, `.`, `_` and `-`".to_string()),
    }
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err("write first-last, such as 9000-9009".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_scenario_alone_is_run() {
        let cli = Cli::try_parse_from(["runner", "a.yaml", "--dry-run", "--set", "a.b=c=d"]).expect("parses");
        assert!(cli.command.is_none() && cli.run.dry_run);
        assert_eq!(cli.run.overrides.set, [("a.b".to_string(), "c=d".to_string())]);
        let cli = Cli::try_parse_from(["runner", "run", "a.yaml", "--segment", "1/3"]).expect("parses");
        assert!(matches!(cli.command, Some(Command::Run(run)) if run.segment.index() == 1));
        assert!(Cli::try_parse_from(["runner", "a.yaml", "--segment", "3/3"]).is_err());
        assert_eq!(ports("9000-9009"), Ok((9000, 9009)));
        assert!(ports("9009-9000").is_err());
    }
}
