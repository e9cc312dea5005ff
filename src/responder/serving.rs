//! Hot path
//!
//! One thread of the responder: accepting (the first thread) and answering.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{TcpListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use crate::arrival::{self, Arrived};
use crate::clock::{self, Alarm, Clock};
use crate::responder::ids::Issuer;
use crate::responder::{Config, Counters};
use crate::units::{NANOS_PER_SEC, Nanos};

/// How long a connection that has come to its limit may take to be closed by the peer too.
const LINGER: Duration = Duration::from_secs(1);

const READ_BYTES: usize = 64 * 1024;

/// Responses that may be held back on one connection; beyond it, nothing more is read.
const HELD_BACK_BYTES: usize = 4 << 20;

/// A thread that sleeps until an answer is due wakes some tens of microseconds late. So it wakes this much early,
/// and polls its sockets until the very instant.
const GUARD_NS: u64 = 150_000;

/// The most that polling may take of the time of a thread: one part in so many. Where answers are denser, the timer
/// alone wakes it, and they are late by what that takes.
const POLLING: u64 = 4;

/// A connection on its way to its thread: the socket and the index of its port.
type Handed = (StdStream, usize);

type Accepting = (Vec<TcpListener>, Vec<UnboundedSender<Handed>>);

pub(super) struct Serving {
    pub config: Config,
    pub number: usize,
    pub instance: String,
    pub ports: Vec<u16>,
    pub counters: Arc<[Counters]>,
    pub inbox: UnboundedReceiver<Handed>,
    pub stopped: watch::Receiver<bool>,
}

/// What the connections of one thread share.
struct Thread {
    config: Config,
    number: usize,
    counters: Arc<[Counters]>,
    issuers: RefCell<Vec<Issuer>>,
    /// Lent to whichever connection reads.
    read_buffer: RefCell<Box<[u8]>>,
    clock: Clock,
    /// When it last held an answer back, and the moving mean of the distance between these, over about 16 of them.
    held: Cell<(u64, u64)>,
    /// Somebody else has a processor while this thread polls.
    may_poll: bool,
}

impl Thread {
    fn holds_back(&self, now_ns: u64) {
        let (last_ns, gap_ns) = self.held.get();
        let gap_ns = gap_ns - gap_ns / 16 + now_ns.saturating_sub(last_ns).min(NANOS_PER_SEC) / 16;
        self.held.set((now_ns, gap_ns));
    }

    /// How long before its time it wakes for an answer.
    fn guard_ns(&self) -> u64 {
        let (_, gap_ns) = self.held.get();
        if self.may_poll && gap_ns >= POLLING * GUARD_NS { GUARD_NS } else { 0 }
    }

    fn counters(&self) -> &Counters {
        &self.counters[self.number]
    }
}

impl Serving {
    pub(super) fn run(self, accepting: Option<Accepting>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!("a responder thread cannot start: {error}");
                return;
            }
        };
        LocalSet::new().block_on(&runtime, self.serve(accepting));
    }

    async fn serve(mut self, accepting: Option<Accepting>) {
        let stripes = self.counters.len() as u64;
        let issuers = self
            .ports
            .iter()
            .map(|&port| Issuer::new(&self.instance, port, self.number as u64, stripes))
            .collect();
        let thread = Rc::new(Thread {
            config: self.config.clone(),
            number: self.number,
            counters: self.counters.clone(),
            issuers: RefCell::new(issuers),
            read_buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            clock: Clock::starting_now(),
            held: Cell::new((0, NANOS_PER_SEC)),
            may_poll: std::thread::available_parallelism()
                .is_ok_and(|cores| cores.get() > self.counters.len()),
        });
        if let Some((listeners, inboxes)) = accepting {
            let turn = Rc::new(RefCell::new(0));
            for (index, listener) in listeners.into_iter().enumerate() {
                spawn_local(accept(listener, index, inboxes.clone(), turn.clone()));
            }
        }
        loop {
            tokio::select! {
                _ = self.stopped.changed() => return,
                handed = self.inbox.recv() => {
                    let Some((stream, port)) = handed else { return };
                    add(&thread.counters().accepted, 1);
                    spawn_local(serve(stream, port, thread.clone()));
                }
            }
        }
    }
}

/// Adds to a counter that only this thread writes.
fn add(counter: &std::sync::atomic::AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed) + count, Relaxed);
}

async fn accept(
    listener: TcpListener,
    port: usize,
    inboxes: Vec<UnboundedSender<Handed>>,
    turn: Rc<RefCell<usize>>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("the responder cannot accept: {error}");
            return;
        }
    };
    loop {
        let handed = match listener.accept().await {
            Ok((stream, _)) => stream.set_nodelay(true).and_then(|()| stream.into_std()),
            Err(error) => Err(error),
        };
        match handed {
            Ok(stream) => {
                let mut turn = turn.borrow_mut();
                *turn = (*turn + 1) % inboxes.len();
                // A thread that is gone is stopping, as this one is about to.
                let _ = inboxes[*turn].send((stream, port));
            }
            // Out of descriptors, or a peer that left again: try again a little later.
            Err(_) => clock::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: StdStream, port: usize, thread: Rc<Thread>) {
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let mut session = Session {
        thread,
        port,
        stream,
        input: Vec::with_capacity(4096),
        output: Vec::with_capacity(4096),
        answered: 0,
        malformed: false,
    };
    let result = if session.thread.config.delay.is_zero() {
        session.answer_at_once().await
    } else {
        session.answer_later().await
    };
    // A peer that is gone needs no answer, and its requests are failures of its own account.
    let _ = result;
}

/// Appends to `input` what has come.
fn poll_read(
    thread: &Thread,
    stream: &TcpStream,
    context: &mut Context<'_>,
    input: &mut Vec<u8>,
) -> Poll<std::io::Result<Arrived>> {
    let mut buffer = thread.read_buffer.borrow_mut();
    let arrived = ready!(arrival::poll_read(stream, context, &mut buffer))?;
    input.extend_from_slice(&buffer[..arrived.bytes]);
    Poll::Ready(Ok(arrived))
}

/// One connection.
struct Session {
    thread: Rc<Thread>,
    port: usize,
    stream: TcpStream,
    /// What has come and is not answered yet.
    input: Vec<u8>,
    output: Vec<u8>,
    answered: u64,
    malformed: bool,
}

impl Session {
    async fn answer_at_once(&mut self) -> std::io::Result<()> {
        loop {
            if !self.read().await? {
                return Ok(());
            }
            self.answer();
            self.stream.write_all(&self.output).await?;
            self.output.clear();
            if self.malformed {
                return Ok(());
            }
            if self.at_limit() {
                return self.close_cleanly().await;
            }
        }
    }

    /// The same with each response held back; reading goes on meanwhile. The delay counts from when the request
    /// came, however late this thread sees it.
    async fn answer_later(&mut self) -> std::io::Result<()> {
        // Where there are no stamps, a request has come when it is read.
        let _ = arrival::stamp(&self.stream, true);
        let mut alarm = Alarm::new(&self.thread.clock)?;
        let mut held: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        let delay_ns = Nanos::from(self.thread.config.delay).0;
        let (mut held_bytes, mut reading) = (0, true);
        loop {
            let next_ns = held.front().map(|(at_ns, _)| *at_ns);
            if next_ns.is_none() && (!reading || self.at_limit()) {
                return self.close_cleanly().await;
            }
            if next_ns.is_some_and(|at_ns| at_ns <= self.thread.clock.now_ns())
                && let Some((_, bytes)) = held.pop_front()
            {
                held_bytes -= bytes.len();
                self.stream.write_all(&bytes).await?;
                continue;
            }
            let may_read = reading && !self.at_limit() && held_bytes < HELD_BACK_BYTES;
            let wake_ns = next_ns.map(|at_ns| at_ns.saturating_sub(self.thread.guard_ns()));
            let is_near = wake_ns.is_some_and(|wake_ns| wake_ns <= self.thread.clock.now_ns());
            tokio::select! {
                () = tokio::task::yield_now(), if is_near => {}
                woken = alarm.wait_until(Nanos(wake_ns.unwrap_or(0))), if wake_ns.is_some() && !is_near => woken?,
                arrived = poll_fn(|context| poll_read(&self.thread, &self.stream, context, &mut self.input)), if may_read => {
                    let Arrived { bytes, age_ns } = arrived?;
                    reading = bytes > 0;
                    let now_ns = self.thread.clock.now_ns();
                    self.thread.holds_back(now_ns);
                    self.answer();
                    reading &= !self.malformed;
                    if !self.output.is_empty() {
                        held_bytes += self.output.len();
                        let at_ns = now_ns.saturating_sub(age_ns) + delay_ns;
                        held.push_back((at_ns, std::mem::take(&mut self.output)));
                    }
                }
            }
        }
    }

    async fn read(&mut self) -> std::io::Result<bool> {
        self.input.reserve(READ_BYTES.min(self.input.len().max(4096)));
        Ok(self.stream.read_buf(&mut self.input).await? > 0)
    }

    fn at_limit(&self) -> bool {
        self.thread.config.limit != 0 && self.answered >= self.thread.config.limit
    }

    /// Answers every complete request of the input into the output.
    fn answer(&mut self) {
        let codec = self.thread.config.codec;
        let mut issuers = self.thread.issuers.borrow_mut();
        let issuer = &mut issuers[self.port];
        let (mut at, before) = (0, self.answered);
        while !self.at_limit() {
            match codec.decode_request(&self.input[at..]) {
                Ok(Some(frame)) => {
                    at += frame.consumed;
                    // An id of some forty bytes is below any limit that a frame can have.
                    if codec.encode_response(&mut self.output, frame.id, issuer.issue()).is_err() {
                        self.malformed = true;
                        break;
                    }
                    self.answered += 1;
                }
                Ok(None) => break,
                Err(_) => {
                    self.malformed = true;
                    break;
                }
            }
        }
        self.input.drain(..at);
        add(&self.thread.counters().issued, self.answered - before);
        add(&self.thread.counters().malformed, u64::from(self.malformed));
    }

    /// Says that nothing more will come, and waits for the peer to say the same, so that what was
    /// written reaches it: closing with unread input would reset the connection.
    async fn close_cleanly(&mut self) -> std::io::Result<()> {
        add(&self.thread.counters().closed_at_limit, u64::from(self.at_limit()));
        self.stream.shutdown().await?;
        let mut rest = [0; 1024];
        let _ =
            clock::timeout(LINGER, async { while self.stream.read(&mut rest).await.is_ok_and(|n| n > 0) {} })
                .await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;
    use crate::responder::{Error, Responder};
    use crate::wire::{Codec, Correlate, Framing};

    fn lines(limit: u64, delay: Duration) -> Config {
        Config {
            bind: Ipv4Addr::LOCALHOST.into(),
            first_port: 0,
            ports: 10,
            codec: Codec { framing: Framing::Line { limit: 1 << 20 }, correlate: Correlate::Id },
            limit,
            delay,
            threads: 2,
        }
    }

    #[test]
    fn each_request_gets_an_id_of_its_own_on_every_port() {
        let responder = Responder::start(&lines(0, Duration::ZERO)).expect("ports");
        let mut seen = std::collections::HashSet::new();
        assert_eq!(responder.addresses().len(), 10);
        for address in responder.addresses() {
            let mut stream = TcpStream::connect(address).expect("listening");
            stream.write_all(b"7 hello\n8 again\n").expect("sent");
            let mut lines = BufReader::new(stream).lines();
            for n in [7, 8] {
                let line = lines.next().expect("a line").expect("text");
                let id = line.strip_prefix(&format!("{n} ")).expect("the id of the request").to_string();
                assert!(seen.insert(id));
            }
        }
        let stats = responder.stop();
        assert_eq!((stats.issued, stats.accepted), (20, 10));
    }

    #[test]
    fn a_connection_is_closed_cleanly_after_its_limit() {
        for delay in [Duration::ZERO, Duration::from_millis(1)] {
            let responder = Responder::start(&lines(3, delay)).expect("ports");
            let mut stream = TcpStream::connect(responder.addresses()[0]).expect("listening");
            stream.write_all(b"1 a\n2 b\n3 c\n4 d\n5 e\n").expect("sent");
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("no reset");
            assert_eq!(text.lines().count(), 3, "{text}");
            drop(stream);
            let stats = responder.stop();
            assert_eq!((stats.issued, stats.closed_at_limit), (3, 1));
        }
    }

    #[test]
    fn all_ports_are_bound_or_none() {
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = taken.local_addr().expect("bound").port();
        let config = Config { first_port: port, ports: 1, ..lines(0, Duration::ZERO) };
        assert!(matches!(Responder::start(&config), Err(Error::InUse { address }) if address.port() == port));
        let config = Config { first_port: 65_530, ports: 10, ..lines(0, Duration::ZERO) };
        assert!(matches!(Responder::start(&config), Err(Error::PortsRunOut { .. })));
    }

    #[test]
    fn bytes_that_are_no_request_end_their_connection_only() {
        let responder = Responder::start(&lines(0, Duration::ZERO)).expect("ports");
        let mut good = TcpStream::connect(responder.addresses()[0]).expect("listening");
        let mut bad = TcpStream::connect(responder.addresses()[0]).expect("listening");
        bad.write_all(b"no id here\n").expect("sent");
        let mut text = Vec::new();
        let _ = bad.read_to_end(&mut text);
        assert!(text.is_empty());
        good.write_all(b"1 still here\n").expect("sent");
        let mut line = String::new();
        BufReader::new(good).read_line(&mut line).expect("answered");
        assert!(line.starts_with("1 "));
        assert_eq!(responder.stop().malformed, 1);
    }
}
