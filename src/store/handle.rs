//! A running store, as the program that has started it sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use mio::Waker;

use super::Error;
use super::engine::Engine;
use super::faults::Fault;
use super::observers::Waiter;
use super::session::Session;
use crate::wire::resp::OwnedArgs;

/// Counters of a store, as of the end of its last turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Commands that were run.
    pub commands: u64,
    /// Connections that were accepted.
    pub connections: u64,
    /// Clients that are connected.
    pub clients: u64,
    /// Keys in all databases.
    pub keys: u64,
    /// Clients that wait for a key.
    pub blocked: u64,
    /// Commands that a fault has hit.
    pub faults: u64,
}

/// What the loop and the handle share.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub stop: AtomicBool,
    commands: AtomicU64,
    connections: AtomicU64,
    clients: AtomicU64,
    keys: AtomicU64,
    blocked: AtomicU64,
    faults: AtomicU64,
}

impl Published {
    /// Publishes the counters of the turn that ends.
    pub fn update(&self, engine: &Engine) {
        let write = |counter: &AtomicU64, value| counter.store(value, Ordering::Relaxed);
        write(&self.commands, engine.stats.commands);
        write(&self.connections, engine.stats.connections);
        write(&self.clients, engine.connected as u64);
        write(&self.keys, engine.keyspace.key_count() as u64);
        write(&self.blocked, engine.blocked as u64);
        write(&self.faults, engine.faults.injected());
    }
}

/// Work that the store's thread does between two turns.
pub(super) type Task = Box<dyn FnOnce(&mut Engine) + Send>;

/// The tasks that wait for a store's thread.
pub(super) type Tasks = Receiver<Task>;

/// A running store. Dropping it stops the store.
///
/// Beside its address, which any Redis client can use, a program can look into the store and steer it:
/// read and set keys, move its clock, and let commands be slow or fail.
///
/// ```
/// use std::time::Duration;
/// use runner::store::{Config, Fault, Harm, Server};
///
/// let store = Server::start(Config::default())?;
/// store.set("greeting", "hello")?;
/// assert_eq!(store.get("greeting")?, Some(b"hello".to_vec()));
///
/// // Any command, with the reply as it would go over the wire.
/// assert_eq!(store.execute(["EXPIRE", "greeting", "60"])?, b":1\r\n");
/// store.fast_forward(Duration::from_secs(60))?;
/// assert_eq!(store.get("greeting")?, None);
///
/// // A quarter of all GET commands of clients from now on fail.
/// let error = Harm::Error("LOADING the data set is loaded".into());
/// store.set_faults(vec![Fault { command: Some("GET".into()), share: 0.25, harm: error }])?;
/// # Ok::<(), runner::store::Error>(())
/// ```
#[derive(Debug)]
pub struct Handle {
    addr: SocketAddr,
    waker: Arc<Waker>,
    published: Arc<Published>,
    tasks: Sender<Task>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    pub(super) fn new(
        addr: SocketAddr,
        waker: Arc<Waker>,
        published: Arc<Published>,
        tasks: Sender<Task>,
        thread: JoinHandle<()>,
    ) -> Handle {
        Handle { addr, waker, published, tasks, thread: Some(thread) }
    }

    /// Where it listens, with the port that was chosen.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its counters.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            commands: read(&self.published.commands),
            connections: read(&self.published.connections),
            clients: read(&self.published.clients),
            keys: read(&self.published.keys),
            blocked: read(&self.published.blocked),
            faults: read(&self.published.faults),
        }
    }

    /// Whether it still serves: SHUTDOWN has not been called.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Runs one command in database 0, as a client that has given the password, and hands out the
    /// reply in RESP2. A command that would block answers as after its time-out.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the store has ended.
    pub fn execute<A: AsRef<[u8]>>(&self, command: impl IntoIterator<Item = A>) -> Result<Vec<u8>, Error> {
        let mut args = OwnedArgs::default();
        command.into_iter().for_each(|arg| args.push(arg.as_ref()));
        if args.args().is_empty() {
            return Ok(Vec::new());
        }
        let addr = self.addr;
        self.with(move |engine| {
            let waiter = Waiter { slot: usize::MAX, id: 0 };
            let now_ms = engine.keyspace.now_ms();
            let mut session = Session::new(waiter, addr, addr, now_ms, engine.config.max_output);
            session.in_exec = true;
            engine.run_directly(&mut session, args.args());
            engine.forget(&mut session);
            session.out.bytes().to_vec()
        })
    }

    /// Sets a key of database 0 to a string, without an expiry.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the store has ended.
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.execute([b"SET", key.as_ref(), value.as_ref()]).map(drop)
    }

    /// The string under a key of database 0; `None` when there is no such key, or it holds no string.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the store has ended.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
        let reply = self.execute([b"GET", key.as_ref()])?;
        // `$<length>\r\n<bytes>\r\n`, or something else where there is no string.
        let start = memchr::memchr(b'\n', &reply).map(|end| end + 1).unwrap_or(reply.len());
        let value = reply.get(start..reply.len().saturating_sub(2));
        Ok(value.filter(|_| reply.starts_with(b"$") && !reply.starts_with(b"$-")).map(<[u8]>::to_vec))
    }

    /// Removes all keys of all databases.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the store has ended.
    pub fn clear(&self) -> Result<(), Error> {
        self.execute(["FLUSHALL"]).map(drop)
    }

    /// Moves the store's clock ahead by `by`: keys expire and waits end as if that time had passed.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the store has ended.
    pub fn fast_forward(&self, by: Duration) -> Result<(), Error> {
        let by_us = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.with(move |engine| {
            engine.clock_offset_us = engine.clock_offset_us.saturating_add(by_us);
            engine.read_clock();
        })
    }

    /// Sets the store's clock to `time`, from where it goes on.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the store has ended.
    pub fn set_time(&self, time: SystemTime) -> Result<(), Error> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wanted_us = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        self.with(move |engine| {
            engine.clock_offset_us = 0;
            engine.read_clock();
            engine.clock_offset_us = wanted_us.saturating_sub(engine.now_us() as i64);
            engine.read_clock();
        })
    }

    /// Begins the store's random numbers anew, so that the same faults hit the same commands.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the store has ended.
    pub fn seed(&self, seed: u64) -> Result<(), Error> {
        self.with(move |engine| engine.seed(seed))
    }

    /// Replaces the faults that commands of clients meet; none with an empty list. Of several that
    /// could hit a command the first that does counts. [`Handle::execute`] meets none.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the store has ended.
    pub fn set_faults(&self, faults: Vec<Fault>) -> Result<(), Error> {
        self.with(move |engine| engine.faults.set(faults))
    }

    /// Lets the store's thread do something, and waits for the result.
    fn with<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Engine) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let (done, result) = mpsc::sync_channel(1);
        let task: Task = Box::new(move |engine| {
            // Nobody waits for the result only when the waiting thread is gone.
            let _ = done.send(act(engine));
        });
        self.tasks.send(task).map_err(|_| Error::Stopped)?;
        self.waker.wake().map_err(|source| Error::Thread { source })?;
        result.recv().map_err(|_| Error::Stopped)
    }

    /// Closes all connections and waits until the thread has ended.
    pub fn stop(mut self) {
        self.end();
    }

    /// Waits until somebody calls SHUTDOWN.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of the store's thread has been printed there.
            let _ = thread.join();
        }
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.published.stop.store(true, Ordering::Release);
        // Fails only when the loop is gone, which is what is wanted.
        let _ = self.waker.wake();
        let _ = thread.join();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}
