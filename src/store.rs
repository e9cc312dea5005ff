//! A Redis-compatible store: RESP2, RESP3 and inline commands over TCP, all data in memory.
//!
//! One thread owns everything (`server`): it waits for sockets, parses and runs every complete command
//! straight from one read buffer, and answers each connection with one write. Below it:
//!
//! ```text
//! server      the loop and the sockets          connection   one client's input and output
//! handle      what the starting program can do  faults       what it can let go wrong
//! engine      data, settings, clients           command      the table, the way to a handler, the handlers
//! session     one client without its socket     transaction, blocking, pubsub, tracking: what it may be in
//! keyspace    databases, the one door to them   observers, notify: who is told of changes
//! expiry      keys whose time has come          stats, latency, rates: what INFO tells
//! nap         whether to sleep a fixed short time, or until the next request
//! text        the same commands for clients that speak plain lines
//! table       entries, scanned while they change
//! entry       key and value in one allocation   hash, list, set, sorted_set, stream, value: what a value can be
//! reclaim     frees what is large, on a thread of its own
//! ```
//!
//! ```
//! use runner::store::{Config, Server};
//!
//! let store = Server::start(Config::default()).expect("a free port on the loopback");
//! assert_ne!(store.addr().port(), 0);
//! store.stop();
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

mod blocking;
mod command;
mod connection;
mod digest;
mod encodings;
mod engine;
mod entry;
mod expiry;
mod faults;
mod glob;
mod handle;
mod hash;
mod keyspace;
mod latency;
mod list;
mod long_double;
mod nap;
mod notify;
mod number;
mod observers;
mod pubsub;
mod random;
mod rates;
mod reclaim;
mod reply;
mod server;
mod session;
mod set;
mod settings;
mod sorted_set;
mod stats;
mod stream;
mod table;
mod text;
mod tracking;
mod transaction;
mod value;

pub use faults::{Fault, Harm};
pub use handle::{Handle, Stats};
pub use server::Server;

/// The version of Redis whose behaviour this is.
pub const VERSION: &str = "7.0.15";

/// How a store is started.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address to listen on. Any but the loopback needs a password.
    pub bind: IpAddr,
    /// The port; 0 for a free one.
    pub port: u16,
    /// What clients must give with AUTH or HELLO.
    pub password: Option<String>,
    /// Clients at one time; the next is told so and closed.
    pub max_clients: usize,
    /// Databases for SELECT.
    pub databases: usize,
    /// Bytes of one argument and of one string.
    pub max_bulk_bytes: usize,
    /// Bytes of replies that may wait for one client. A client that reads too slowly is not read from
    /// meanwhile; a single reply beyond the limit closes its connection.
    pub max_output_bytes: usize,
    /// What clients speak.
    pub dialect: Dialect,
}

/// What the clients of a store speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// The Redis protocol: RESP2, RESP3 and inline commands.
    #[default]
    Resp,
    /// Plain lines: `SET user1 Alice` is answered `OK: Set user1 = Alice`. See [`crate::wire::text`].
    Text,
}

impl Default for Config {
    /// The loopback, a free port, no password, 10,000 clients, 16 databases, 512 MiB, 1 GiB, RESP.
    fn default() -> Config {
        Config {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            password: None,
            max_clients: 10_000,
            databases: 16,
            max_bulk_bytes: 512 << 20,
            max_output_bytes: 1 << 30,
            dialect: Dialect::Resp,
        }
    }
}

/// Why a store did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else listens there.
    #[error("listen on {addr}: the port is in use; choose another one, or 0 for a free one")]
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
    /// Everybody on the network could read and change the data.
    #[error("listen on {addr} without a password: set a password, or listen on 127.0.0.1")]
    Unprotected {
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// The store has ended.
    #[error("ask the store: it has been shut down")]
    Stopped,
    /// The system gives no thread or event queue.
    #[error("start the store's thread: {source}")]
    Thread {
        /// What the system says.
        source: io::Error,
    },
}
