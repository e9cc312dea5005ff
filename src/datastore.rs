//! Datastore: the one door to Redis, or to whatever speaks its protocol.
//!
//! A [`Datastore`] is a cheap handle on one multiplexed connection: calls from several tasks, or several
//! calls of one task, are pipelined. It follows four rules:
//!
//! 1. Connecting takes at most [`Config::timeout`], and so does an answer: no call waits for ever.
//! 2. A connection that broke or fell silent is thrown away, and the call fails with an error for which
//!    [`Error::is_away`] holds: nobody knows what the server did with it.
//! 3. New connections are tried with a back-off from 50 ms to 2 s. Between attempts calls fail at once
//!    with [`Error::Away`]; [`Datastore::back`] waits until one succeeds.
//! 4. What the server refuses (a wrong type, no memory) is no connection error and is told command by
//!    command where a batch is concerned.
//!
//! A cluster is the same handle: its commands go to the master of their key (see `datastore/cluster.rs`).
//! What is loaded in bulk has connections of its own, see [`bulk`].

mod batch;
pub mod bulk;
mod cluster;
mod read;
mod wire;
mod write;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline, RedisError,
    ServerErrorKind, Value,
};

use crate::clock::{self, Stopwatch};

pub use batch::WriteBatch;

/// The first pause after a failed attempt to connect.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Calls that may wait in one connection for their turn.
const QUEUE: usize = 1024;

/// Where the datastore is, and how long it may take.
#[derive(Debug, Clone)]
pub struct Config {
    /// `redis://[user:password@]host[:port][/db]`, `unix:///path[?db=N&user=U&pass=P]` or
    /// `redis-cluster://[user:password@]host:port[,host:port]`.
    pub url: String,
    /// The longest that connecting may take, and the longest that an answer may take.
    pub timeout: Duration,
}

/// Why the datastore did not do what was asked. Fits after "failed to".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Not an address.
    #[error(
        "invalid redis url `{url}`: {message}: write redis://host:port, unix:///path or redis-cluster://host:port"
    )]
    Url {
        /// As it was given, without the password.
        url: String,
        /// What is wrong with it.
        message: String,
    },
    /// No connection, or it broke.
    #[error("no connection to {url}: {message}")]
    Unreachable {
        /// Where, without the password.
        url: String,
        /// What the system says.
        message: String,
    },
    /// It broke before, and it is not yet time for the next attempt.
    #[error("no connection to {url}: next attempt in {retry_in:?}")]
    Away {
        /// Where, without the password.
        url: String,
        /// When.
        retry_in: Duration,
    },
    /// No answer in time. What was asked may or may not have been done.
    #[error("no answer from {url} within {limit:?}")]
    Timeout {
        /// Where, without the password.
        url: String,
        /// The time it had.
        limit: Duration,
    },
    /// It was away for longer than somebody wanted to wait.
    #[error("{url} was away for more than {after:?}: {last}")]
    GaveUp {
        /// Where, without the password.
        url: String,
        /// How long was waited.
        after: Duration,
        /// What went wrong first.
        last: String,
    },
    /// The password or user is wrong or missing.
    #[error(
        "{url} refuses the login: {message}: give user and password in the url, redis://user:password@host"
    )]
    Auth {
        /// Where, without the password.
        url: String,
        /// What the server says.
        message: String,
    },
    /// It is reading its files and will be there soon.
    #[error("{url} is still loading its data: try again in a moment")]
    Loading {
        /// Where, without the password.
        url: String,
    },
    /// The server answered with an error.
    #[error("{url} refuses {command}: {message}")]
    Refused {
        /// Where, without the password.
        url: String,
        /// The name of the command.
        command: &'static str,
        /// What the server says.
        message: String,
    },
    /// The server answered with something that this command never returns.
    #[error("{url} gives an answer to {command} that makes no sense: {got}")]
    Answer {
        /// Where, without the password.
        url: String,
        /// The name of the command.
        command: &'static str,
        /// What came instead.
        got: String,
    },
}

impl Error {
    /// Whether the datastore is away: the call may be repeated when it is [`Datastore::back`].
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            Error::Unreachable { .. } | Error::Away { .. } | Error::Timeout { .. } | Error::Loading { .. }
        )
    }

    /// Whether somebody waited for the datastore until their patience ended.
    pub fn gave_up(&self) -> bool {
        matches!(self, Error::GaveUp { .. })
    }
}

/// A URL as it may be shown: the password is `***`.
pub fn masked(url: &str) -> String {
    let (main, query) = url.split_once('?').map_or((url, None), |(main, query)| (main, Some(query)));
    let mut shown = match main.split_once("://") {
        // To the last @: a password that was not escaped may hold slashes and more.
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((login, host)) => {
                let user = login.split_once(':').map_or(login, |(user, _)| user);
                let secret = if login.contains(':') { ":***" } else { "" };
                format!("{scheme}://{user}{secret}@{host}")
            }
            None => main.to_owned(),
        },
        None => main.to_owned(),
    };
    if let Some(query) = query {
        let hidden = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name @ ("pass" | "password"), _)) => format!("{name}=***"),
            // The password had a question mark in it.
            _ if pair.contains('@') => "***".to_owned(),
            _ => pair.to_owned(),
        });
        shown.push('?');
        shown.push_str(&hidden.collect::<Vec<_>>().join("&"));
    }
    shown
}

/// A handle on a datastore. Clones share the connection. Belongs to the runtime it was made on.
#[derive(Clone)]
pub struct Datastore {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    url: String,
    timeout: Duration,
    link: Mutex<Link>,
    /// Held while one task connects, so that the others wait for it and do not connect too.
    connecting: tokio::sync::Mutex<()>,
    /// Where this is the handle of a whole cluster; there is no connection then.
    cluster: Option<cluster::Cluster>,
    /// One of several servers, which answers for its own slots only.
    in_cluster: bool,
}

#[derive(Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that an error of an old one does not throw away a new one.
    generation: u64,
    backoff: Option<Backoff>,
}

/// The pause after a failed attempt.
#[derive(Debug, Clone, Copy)]
struct Backoff {
    since: Stopwatch,
    pause: Duration,
}

impl Backoff {
    fn after(previous: Option<Backoff>) -> Backoff {
        let pause = previous.map_or(BACKOFF_MIN, |backoff| (backoff.pause * 2).min(BACKOFF_MAX));
        Backoff { since: Stopwatch::start(), pause }
    }

    fn left(&self) -> Duration {
        self.pause.saturating_sub(self.since.elapsed())
    }
}

impl fmt::Debug for Datastore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datastore").field("url", &self.shared.url).finish_non_exhaustive()
    }
}

impl Datastore {
    /// Connects, logs in and asks for a sign of life. Must run on a tokio runtime, which then carries the
    /// connection.
    ///
    /// # Errors
    /// When the URL makes no sense, nobody is there, the login is refused, or the server is still loading.
    pub async fn connect(config: &Config) -> Result<Datastore, Error> {
        if config.url.starts_with(cluster::SCHEME) {
            let cluster = cluster::Cluster::of(config)?;
            let first = cluster.first().clone();
            let datastore = Datastore::with(&config.url, first, config.timeout, Some(cluster), false);
            datastore.ping().await?;
            return Ok(datastore);
        }
        let datastore = Datastore::unconnected(config, false)?;
        datastore.connection().await?;
        Ok(datastore)
    }

    /// A handle that connects when it is first used.
    fn unconnected(config: &Config, in_cluster: bool) -> Result<Datastore, Error> {
        let client = Client::open(connection_info(&config.url)?)
            .map_err(|error| Error::Url { url: masked(&config.url), message: describe(&error) })?;
        Ok(Datastore::with(&config.url, client, config.timeout, None, in_cluster))
    }

    fn with(
        url: &str,
        client: Client,
        timeout: Duration,
        cluster: Option<cluster::Cluster>,
        in_cluster: bool,
    ) -> Datastore {
        let shared = Shared {
            client,
            url: masked(url),
            timeout,
            link: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            cluster,
            in_cluster,
        };
        Datastore { shared: Arc::new(shared) }
    }

    /// Where it is, without the password.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    fn info(&self) -> &ConnectionInfo {
        self.shared.client.get_connection_info()
    }

    fn timeout(&self) -> Duration {
        self.shared.timeout
    }

    /// Asks for a sign of life; in a cluster, each master.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ping(&self) -> Result<(), Error> {
        match &self.shared.cluster {
            None => self.ask("PING", &redis::cmd("PING")).await.map(drop),
            Some(cluster) => self.ping_cluster(cluster).await,
        }
    }

    /// Waits until the datastore can be used, at once if it can. Safe to drop half-way.
    ///
    /// # Errors
    /// When waiting would not help: the login is refused.
    pub async fn back(&self) -> Result<(), Error> {
        if let Some(cluster) = &self.shared.cluster {
            while let Err(error) = self.ping_cluster(cluster).await {
                if !error.is_away() {
                    return Err(error);
                }
                clock::sleep(BACKOFF_MIN * 2).await;
            }
            return Ok(());
        }
        loop {
            match self.connection().await {
                Ok(_) => return Ok(()),
                Err(Error::Away { retry_in, .. }) => clock::sleep(retry_in).await,
                Err(error) if error.is_away() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        // Nothing panics while it is held; the state is whole in any case.
        self.shared.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, or why there is none: `Err(None)` when it is time to connect.
    fn current(&self) -> Result<(MultiplexedConnection, u64), Option<Error>> {
        let link = self.link();
        if let Some(connection) = &link.connection {
            return Ok((connection.clone(), link.generation));
        }
        match link.backoff.map(|backoff| backoff.left()) {
            Some(retry_in) if !retry_in.is_zero() => {
                Err(Some(Error::Away { url: self.shared.url.clone(), retry_in }))
            }
            _ => Err(None),
        }
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), Error> {
        match self.current() {
            Ok(found) => return Ok(found),
            Err(Some(away)) => return Err(away),
            Err(None) => {}
        }
        let _turn = self.shared.connecting.lock().await;
        // Somebody else may have connected, or failed to, while this task waited for its turn.
        match self.current() {
            Ok(found) => return Ok(found),
            Err(Some(away)) => return Err(away),
            Err(None) => {}
        }
        let opened = clock::timeout(self.shared.timeout, self.open()).await;
        let opened = opened.unwrap_or_else(|| Err(self.timed_out()));
        let mut link = self.link();
        match opened {
            Ok(connection) => {
                link.generation += 1;
                link.connection = Some(connection.clone());
                link.backoff = None;
                Ok((connection, link.generation))
            }
            Err(error) => {
                link.backoff = Some(Backoff::after(link.backoff));
                Err(error)
            }
        }
    }

    /// One attempt.
    async fn open(&self) -> Result<MultiplexedConnection, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.shared.timeout))
            .set_response_timeout(Some(self.shared.timeout))
            .set_pipeline_buffer_size(QUEUE);
        let opened = self.shared.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = opened.map_err(|error| self.connection_error("connecting", &error))?;
        let pong = connection.req_packed_command(&redis::cmd("PING")).await;
        match pong {
            Ok(Value::ServerError(error)) => Err(self.connection_error("PING", &error.into())),
            Ok(_) => Ok(connection),
            Err(error) => Err(self.connection_error("PING", &error)),
        }
    }

    /// Sends one command and takes its answer, which may be an error of the server.
    async fn ask_raw(&self, command: &'static str, cmd: &Cmd) -> Result<Value, Error> {
        let (mut connection, generation) = self.connection().await?;
        let answer = connection.req_packed_command(cmd).await;
        self.settle(command, generation, answer)
    }

    /// The same, with an error of the server as an error.
    async fn ask(&self, command: &'static str, cmd: &Cmd) -> Result<Value, Error> {
        match self.ask_raw(command, cmd).await? {
            Value::ServerError(error) => Err(self.server_error(command, error.into())),
            value => Ok(value),
        }
    }

    /// Sends a pipeline and takes one answer a command, each of which may be an error of the server.
    async fn ask_all(&self, command: &'static str, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        match &self.shared.cluster {
            None => self.ask_all_here(command, pipeline).await,
            Some(cluster) => self.ask_cluster(cluster, command, pipeline).await,
        }
    }

    /// The same, of this server.
    async fn ask_all_here(&self, command: &'static str, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
        let (mut connection, generation) = self.connection().await?;
        let answers = connection.req_packed_commands(pipeline, 0, pipeline.len()).await;
        let answers = self.settle(command, generation, answers)?;
        if answers.len() != pipeline.len() {
            let got = format!("{} answers to {} commands", answers.len(), pipeline.len());
            return Err(Error::Answer { url: self.shared.url.clone(), command, got });
        }
        Ok(answers)
    }

    /// Throws the connection away when its answer says that it is of no more use.
    fn settle<T>(
        &self,
        command: &'static str,
        generation: u64,
        answer: Result<T, RedisError>,
    ) -> Result<T, Error> {
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) {
            return Err(self.server_error(command, error));
        }
        let mut link = self.link();
        if link.generation == generation && link.connection.take().is_some() {
            // A server that accepts and breaks at once must not be hammered.
            link.backoff = Some(Backoff::after(None));
        }
        drop(link);
        Err(self.connection_error(command, &error))
    }

    fn timed_out(&self) -> Error {
        Error::Timeout { url: self.shared.url.clone(), limit: self.shared.timeout }
    }

    fn connection_error(&self, command: &'static str, error: &RedisError) -> Error {
        let url = self.shared.url.clone();
        match error.kind() {
            _ if error.is_timeout() => self.timed_out(),
            ErrorKind::AuthenticationFailed => Error::Auth { url, message: describe(error) },
            ErrorKind::Server(_) | ErrorKind::Extension => self.server_error(command, error.clone()),
            ErrorKind::InvalidClientConfig => Error::Url { url, message: describe(error) },
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
                Error::Answer { url, command, got: describe(error) }
            }
            _ => Error::Unreachable { url, message: describe(error) },
        }
    }

    fn server_error(&self, command: &'static str, error: RedisError) -> Error {
        let (url, message) = (self.shared.url.clone(), describe(&error));
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::BusyLoading) => Error::Loading { url },
            ErrorKind::AuthenticationFailed => Error::Auth { url, message },
            _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) => Error::Auth { url, message },
            _ => Error::Refused { url, command, message },
        }
    }

    /// The error of a server in its own words, as they came.
    fn refusal(&self, command: &'static str, text: &str) -> Error {
        let url = self.shared.url.clone();
        match text.split(' ').next() {
            Some("LOADING") => Error::Loading { url },
            Some("NOAUTH" | "WRONGPASS") => Error::Auth { url, message: text.to_owned() },
            _ => Error::Refused { url, command, message: text.to_owned() },
        }
    }

    fn unexpected(&self, command: &'static str, value: &Value) -> Error {
        let mut got = format!("{value:?}");
        if let Some((end, _)) = got.char_indices().nth(100) {
            got.truncate(end);
        }
        Error::Answer { url: self.shared.url.clone(), command, got }
    }
}

/// The address with what the package leaves out: without TCP_NODELAY a batch can wait 40 ms for the
/// acknowledgement of the one before. The library's name is of no use to the server.
fn connection_info(url: &str) -> Result<ConnectionInfo, Error> {
    if url.starts_with("rediss://") {
        let message = "rediss:// is not supported yet".to_owned();
        return Err(Error::Url { url: masked(url), message });
    }
    let info = url
        .into_connection_info()
        .map_err(|error| Error::Url { url: masked(url), message: describe(&error) })?;
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let login = info.redis_settings().clone().set_skip_set_lib_name();
    Ok(info.set_tcp_settings(tcp).set_redis_settings(login))
}

/// What the server or the system says, in one line.
fn describe(error: &RedisError) -> String {
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) if !detail.starts_with(code) => format!("{code} {detail}"),
        (_, Some(detail)) => detail.to_owned(),
        (_, None) => error.to_string(),
    };
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://:secret@host:1", "redis://:***@host:1"),
            ("redis://me:secret@host/2", "redis://me:***@host/2"),
            ("redis://me:se@cr/et@host/2", "redis://me:***@host/2"),
            ("redis://me:se:cret@host", "redis://me:***@host"),
            ("redis://me@host", "redis://me@host"),
            ("unix:///run/redis.sock?db=1&pass=secret", "unix:///run/redis.sock?db=1&pass=***"),
            ("redis://host/?protocol=resp3", "redis://host/?protocol=resp3"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(masked(url), shown);
        }
        assert!(!masked("redis://me:a?secret@host").contains("secret"));
    }

    #[test]
    fn a_url_that_makes_no_sense_says_what_to_write() {
        for url in ["", "http://host", "redis://", "redis://host:99999", "rediss://host", "redis://:p@h/x"] {
            let error = connection_info(url).and_then(|info| {
                Client::open(info)
                    .map(drop)
                    .map_err(|error| Error::Url { url: masked(url), message: describe(&error) })
            });
            if url == "redis://" {
                // The package takes an empty host for the local one.
                continue;
            }
            let error = error.expect_err(url).to_string();
            assert!(error.contains("write redis://host:port") && !error.contains(":p@"), "{error}");
        }
    }

    #[test]
    fn the_pause_doubles_to_its_bound() {
        let mut backoff = Backoff::after(None);
        for _ in 0..10 {
            backoff = Backoff::after(Some(backoff));
        }
        assert_eq!(backoff.pause, BACKOFF_MAX);
        assert!(backoff.left() <= BACKOFF_MAX);
    }
}
