//! Serve: records and runs over HTTP.
//!
//! ```text
//! socket ── listener ── guard ──┬── records, generations ──► a thread of their own ──► Redis
//!           bounds      who     ├── scenarios, runs ───────► a process of its own for each run
//!                               ├── live, metrics ◄──────── the newest state of a run
//!                               └── page, openapi           made from the types of the others
//! ```
//!
//! Nothing here is measured, and nothing here touches what is: a run is a child process, and one that is looked at
//! directly ([`LiveServer`]) tells its state to a channel and waits for nobody.

mod body;
mod events;
mod generations;
mod guard;
mod listener;
mod live;
mod metrics;
mod openapi;
mod page;
mod problem;
mod records;
mod runs;
mod scenarios;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::clock;
use crate::datastore;

pub use live::{LiveConfig, LiveServer};
pub use problem::{Finding, Severity};
pub use scenarios::{About, Changes, Inspect, Inspection, OWN_VARIABLES};

/// The exit code of a run that was stopped.
const INTERRUPTED: i32 = 105;

/// How long answers may take that are on their way when the server ends.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// How a server is started.
#[derive(Clone)]
pub struct Config {
    /// Where to listen; port 0 picks a free one. Other than loopback needs a token.
    pub listen: SocketAddr,
    /// What requests must carry.
    pub token: Option<String>,
    /// Further names that requests may use for the server.
    pub allowed_hosts: Vec<String>,
    /// Where records are.
    pub datastore: datastore::Config,
    /// The folder of scenarios.
    pub scenarios: PathBuf,
    /// The folder for what runs leave behind.
    pub runs: PathBuf,
    /// The program that runs scenarios: `<program> run FILE …`.
    pub program: PathBuf,
    /// Reads and checks a scenario.
    pub inspect: Inspect,
    /// The most records of one generation.
    pub max_count: u64,
    /// How long a client may take for the head of a request, and how long for its body.
    pub patience: Duration,
}

/// Why a server did not start. Fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else listens there.
    #[error("listen on {addr}: the port is in use")]
    InUse {
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("listen on {addr}: {source}")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Everybody on the network could start runs.
    #[error("listen on {addr} without a token")]
    Unprotected {
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// No header can carry the token.
    #[error("use the token: it is empty, or has other characters than visible ASCII")]
    Token,
    /// The system gives no thread or runtime.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// What all requests share.
pub(crate) type Shared = Arc<Parts>;

/// The parts of a server.
pub(crate) struct Parts {
    config: Config,
    guard: guard::Guard,
    records: records::Records,
    generations: generations::Generations,
    scenarios: scenarios::Scenarios,
    runs: runs::Runs,
    listeners: events::Door,
}

/// A server that listens and does not answer yet.
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    shared: Shared,
}

impl guard::Guarded for Parts {
    fn guard(&self) -> &guard::Guard {
        &self.guard
    }

    fn patience(&self) -> Duration {
        self.config.patience
    }
}

/// Listens at an address and says where that is.
async fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listener = TcpListener::bind(addr).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::InUse { addr },
        _ => Error::Listen { addr, source },
    })?;
    let addr = listener.local_addr().map_err(|source| Error::Listen { addr, source })?;
    Ok((listener, addr))
}

impl Server {
    /// Listens. Must run on a tokio runtime.
    ///
    /// # Errors
    /// When the address is taken or not protected, or the system gives no thread.
    pub async fn bind(config: Config) -> Result<Server, Error> {
        let addr = config.listen;
        let guard = guard::Guard::new(addr, config.token.as_deref(), &config.allowed_hosts)?;
        let (listener, addr) = listen(addr).await?;
        let runs = runs::Settings {
            program: config.program.clone(),
            folder: config.runs.clone(),
            redis: config.datastore.url.clone(),
        };
        let parts = Parts {
            guard,
            records: records::Records::start(config.datastore.clone())?,
            generations: generations::Generations::new(config.max_count),
            scenarios: scenarios::Scenarios::new(config.scenarios.clone(), config.inspect.clone()),
            runs: runs::Runs::new(runs),
            listeners: events::Door::new(),
            config,
        };
        Ok(Server { listener, addr, shared: Arc::new(parts) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until `stop` holds 1: then a generation is cancelled, a run is stopped gently and waited for, and
    /// answers that are on their way are given. At 2 the run is stopped at once. All of it is bounded.
    pub async fn run(self, stop: watch::Receiver<u8>) {
        let listener = listener::Listener {
            listener: self.listener,
            router: router(&self.shared),
            head_timeout: self.shared.config.patience,
        };
        let mut asked = stop.clone();
        let open = listener
            .run(async move {
                // Nobody is left who could ask: that is the end as well.
                let _ = asked.wait_for(|asked| *asked > 0).await;
            })
            .await;
        self.shared.generations.shut_down();
        self.shared.runs.shut_down(stop).await;
        // What takes longer is dropped with the runtime.
        let _ = clock::timeout(LAST_ANSWERS, open.shutdown()).await;
    }
}

/// All paths. A further page is merged here, and is then behind the same guard.
fn router(shared: &Shared) -> Router {
    let (api, description) = openapi::described(shared);
    api.merge(openapi::router(&description))
        .merge(metrics::router())
        .merge(page::router())
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(axum::middleware::from_fn_with_state(shared.clone(), guard::layer::<Parts>))
        .with_state(shared.clone())
}

/// A sign of life.
#[derive(Debug, Serialize, ToSchema)]
struct Pong {
    /// Always `pong`.
    #[schema(example = "pong")]
    message: &'static str,
}

/// A sign of life
///
/// Needs no token, so that a probe can ask.
#[utoipa::path(get, path = "/ping", tag = "records", operation_id = "ping", security(()),
    responses((status = 200, description = "It answers", body = Pong)))]
async fn ping() -> axum::Json<Pong> {
    axum::Json(Pong { message: "pong" })
}

/// How many records there are.
#[derive(Debug, Serialize, ToSchema)]
struct Count {
    /// Keys that match `record:*`.
    #[schema(example = 500_000)]
    total_records: u64,
}

/// Count the records
///
/// Walks over all keys that match `record:*` (SCAN). Exact while nobody writes.
#[utoipa::path(get, path = "/count", tag = "records", operation_id = "count",
    responses(
        (status = 200, description = "How many there are", body = Count),
        (status = 503, description = "Redis is away, refuses or is slow, or too many count", body = problem::ErrorBody),
    ))]
async fn count(State(shared): State<Shared>) -> Result<axum::Json<Count>, problem::Problem> {
    Ok(axum::Json(Count { total_records: shared.records.count().await? }))
}

/// What goes on.
#[derive(Debug, Serialize, ToSchema)]
struct Status {
    /// The version of the program.
    version: &'static str,
    /// Where records are, without the password.
    #[schema(example = "redis://127.0.0.1:6379")]
    redis: String,
    /// The most records of one generation.
    max_count: u64,
    /// The generation that goes on; null without one.
    generation: Option<u64>,
    /// The run that goes on; null without one.
    run: Option<String>,
}

/// What goes on, and where records are
#[utoipa::path(get, path = "/api/v1/status", tag = "records", operation_id = "status",
    responses((status = 200, description = "What goes on", body = Status)))]
async fn status(State(shared): State<Shared>) -> axum::Json<Status> {
    axum::Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        redis: shared.records.url(),
        max_count: shared.config.max_count,
        generation: shared.generations.running(),
        run: shared.runs.running(),
    })
}
