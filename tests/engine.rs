//! The engine against real sockets: what is scheduled is sent, matched and accounted for.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use runner::clock::Clock;
use runner::engine::{self, Cause, Config, Control, Event, Gauges, OnOverload, Pacing, Ports, Totals};
use runner::handoff::{self, Batch, Chunk, Fate, Item};
use runner::ledger::{Ledger, Outcome};
use runner::plan::closed::{self, Think, Until};
use runner::plan::connections::Connections;
use runner::plan::schedule::{Arrivals, Piece, Schedule, Shape};
use runner::plan::segment::{Segment, Share};
use runner::recorder::histogram::{Latencies, percentile_us};
use runner::recorder::shard::{Closed, Stage};
use runner::responder::{self, Responder};
use runner::units::{Nanos, Tps};
use runner::wire::{Codec, Correlate, Framing, length};

fn length() -> Codec {
    Codec { framing: Framing::Length(length::Header::default()), correlate: Correlate::Id }
}

fn hold(tps: u64, millis: u64) -> Schedule {
    let rate = Tps::per_second(tps).units();
    let piece = Piece { duration_ns: millis * 1_000_000, from: rate, to: rate };
    Schedule::new(vec![Shape::Pieces(vec![piece])], Arrivals::Uniform)
}

fn connections(count: u64, limit: u64, window: usize) -> Connections {
    Connections {
        count,
        limit,
        window,
        stagger: true,
        connect_timeout: Nanos::from_secs(1),
        request_timeout: Nanos::from_secs(2),
        source_addresses: vec![],
    }
}

fn config(schedule: &Schedule, connections: Connections, addresses: Vec<SocketAddr>, codec: Codec) -> Config {
    Config {
        worker: 0,
        workers: 1,
        segment: Segment::WHOLE,
        total: schedule.total(),
        only: None,
        closed: None,
        stages: schedule.stages().iter().map(|s| Stage { end_ns: s.end.0, warmup: false }).collect(),
        kinds: 0,
        connections,
        addresses: addresses.into(),
        codec,
        pacing: Pacing::Auto,
        stamps: true,
        on_overload: OnOverload::Queue,
        max_lateness: Nanos::from_secs(2),
        graceful_stop: Nanos::from_secs(10),
        queue_limit: engine::QueueLimit::exactly(100_000),
        all_completions: true,
        seed: 1,
    }
}

fn responder(codec: Codec, limit: u64, delay: Duration) -> Responder {
    let config = responder::Config {
        bind: Ipv4Addr::LOCALHOST.into(),
        first_port: 0,
        ports: 10,
        codec,
        limit,
        delay,
        threads: 1,
    };
    Responder::start(&config).expect("free ports")
}

#[derive(Default)]
struct Result {
    totals: Totals,
    latencies: Latencies,
    seconds: Vec<u64>,
    completions: u64,
    /// When the earliest of them was sent.
    first_sent_ns: u64,
    connections: u64,
    unreachable: bool,
    /// The highest end of a connection: requests that one carried.
    most_on_one: u64,
}

impl Result {
    fn ledger(&self, scheduled: u64) -> Ledger {
        Ledger {
            scheduled,
            sent: self.totals.sent,
            outcomes: self.totals.outcomes,
            receipts: self.totals.receipts,
            mapping: None,
        }
    }

    fn assert_balances(&self, scheduled: u64) {
        assert_eq!(self.ledger(scheduled).balance(), Ok(()));
    }

    fn of(&self, outcome: Outcome) -> u64 {
        self.totals.outcomes.of(outcome)
    }
}

/// Feeds every request of the schedule with a small payload, and collects what comes back.
fn run(schedule: &Schedule, config: Config, during: impl FnOnce(&Control) + Send) -> Result {
    let (mut payloads, source) = handoff::channel::<Chunk>(16);
    let (sink, mut completions) = handoff::channel::<Batch>(16);
    let (events, collected) = mpsc::channel();
    let (windows_back, windows) = mpsc::channel();
    let (start, started) = tokio::sync::oneshot::channel();
    let control = Arc::new(Control::default());
    let ports = Ports {
        source,
        sink: Some(sink),
        events,
        windows,
        start: started,
        control: control.clone(),
        course: None,
        gauges: Arc::new(Gauges::default()),
    };
    let codec = config.codec;
    let (share, is_open) = (config.share(), config.closed.is_none());
    std::thread::scope(|scope| {
        scope.spawn(|| engine::run_worker(config, ports).expect("a runtime"));
        scope.spawn(move || {
            let mut cursor = is_open.then(|| schedule.cursor());
            let mut numbers = share.peekable();
            while numbers.peek().is_some() {
                let mut chunk = payloads.empty();
                for n in numbers.by_ref().take(100) {
                    let (due, stage) = cursor.as_mut().map_or((Nanos::ZERO, 0), |cursor| cursor.due_at(n));
                    let frame = chunk.bytes.len() as u32;
                    codec.encode_request(&mut chunk.bytes, n, b"GET payload").expect("fits");
                    let frame = frame..chunk.bytes.len() as u32;
                    chunk.items.push(Item {
                        n,
                        due_ns: due.0,
                        stage: stage as u16,
                        kind: 0,
                        fate: Fate::Send,
                        frame,
                    });
                }
                let mut full = Some(chunk);
                while let Some(chunk) = full.take() {
                    if payloads.is_closed() {
                        return;
                    }
                    full = payloads.try_send(chunk).err();
                    std::thread::yield_now();
                }
            }
        });
        let counted = scope.spawn(move || {
            let (mut count, mut first_sent_ns) = (0, u64::MAX);
            while !completions.is_finished() {
                match completions.try_recv() {
                    Some(batch) => {
                        count += batch.items.len() as u64;
                        let sent = batch.items.iter().map(|completion| completion.sent_ns).min();
                        first_sent_ns = first_sent_ns.min(sent.unwrap_or(u64::MAX));
                        completions.recycle(batch);
                    }
                    None => std::thread::yield_now(),
                }
            }
            (count, first_sent_ns)
        });
        let mut result = Result::default();
        let mut start = Some(start);
        let mut during = Some(during);
        for (_, event) in collected {
            match event {
                Event::Ready => {
                    let clock = Clock::starting_in(Duration::from_millis(1));
                    start.take().expect("once").send(clock).expect("the worker waits");
                    if let Some(during) = during.take() {
                        let control = control.clone();
                        scope.spawn(move || during(&control));
                    }
                }
                Event::Unreachable(_) => result.unreachable = true,
                // Only a simulation waits for it.
                Event::Mark(heard) => drop(heard.send(())),
                Event::Window(Closed::Second(_, window)) => {
                    result.seconds.push(window.scheduled);
                    let _ = windows_back.send(window);
                }
                Event::Window(Closed::Stage(_, window)) => {
                    if let Some(latencies) = window.latencies {
                        result.latencies.merge(&latencies);
                    }
                }
                Event::Connection(record) => {
                    result.connections += 1;
                    result.most_on_one = result.most_on_one.max(record.sent);
                }
                Event::Finished(totals) => result.totals = *totals,
                Event::Trouble(_) | Event::Overloaded => {}
            }
        }
        (result.completions, result.first_sent_ns) = counted.join().expect("no panic");
        result
    })
}

#[test]
fn a_thousand_requests_are_sent_matched_and_counted_once() {
    let schedule = hold(1000, 1000);
    let target = responder(length(), 100, Duration::ZERO);
    let connections = connections(10, 100, 16);
    let expected = connections.expected(1000, Segment::WHOLE);
    let result =
        run(&schedule, config(&schedule, connections, target.addresses().to_vec(), length()), |_| {});
    result.assert_balances(1000);
    assert_eq!((result.totals.sent, result.of(Outcome::Matched), result.completions), (1000, 1000, 1000));
    assert_eq!((result.totals.opened, result.totals.reconnects), (expected.opened, expected.reconnects()));
    assert_eq!((result.connections, result.seconds.as_slice()), (expected.opened, &[1000][..]));
    assert_eq!(target.stop().issued, 1000);
}

#[test]
fn a_limit_of_one_opens_a_connection_for_each_request() {
    let schedule = hold(500, 400);
    let target = responder(length(), 1, Duration::ZERO);
    let result = run(
        &schedule,
        config(&schedule, connections(4, 1, 1), target.addresses().to_vec(), length()),
        |_| {},
    );
    result.assert_balances(200);
    assert_eq!((result.of(Outcome::Matched), result.totals.opened), (200, 200));
}

#[test]
fn all_framings_and_correlations_find_their_requests() {
    let line = Framing::Line { limit: 1 << 20 };
    for (framing, correlate, window) in [
        (length().framing, Correlate::Id, 16),
        (length().framing, Correlate::Order, 16),
        (line, Correlate::Id, 4),
        (line, Correlate::Order, 4),
        (Framing::Raw, Correlate::Order, 1),
        (Framing::Resp { limit: 1 << 20 }, Correlate::Order, 8),
    ] {
        let codec = Codec { framing, correlate };
        let schedule = hold(2000, 200);
        let target = responder(codec, 0, Duration::ZERO);
        let result = run(
            &schedule,
            config(&schedule, connections(7, 0, window), target.addresses().to_vec(), codec),
            |_| {},
        );
        result.assert_balances(400);
        assert_eq!(result.of(Outcome::Matched), 400, "{codec:?}");
    }
}

#[test]
fn requests_that_find_no_room_are_late_or_dropped_as_asked() {
    let schedule = hold(100, 1000);
    let delay = Duration::from_millis(100);
    for (policy, matched) in [(OnOverload::Queue, 100..=100), (OnOverload::Drop, 1..=30)] {
        let target = responder(length(), 0, delay);
        let mut config = config(&schedule, connections(1, 0, 1), target.addresses().to_vec(), length());
        config.on_overload = policy;
        config.max_lateness = Nanos::from_secs(60);
        let result = run(&schedule, config, |_| {});
        result.assert_balances(100);
        assert!(
            matched.contains(&result.of(Outcome::Matched)),
            "{policy:?}: {}",
            result.of(Outcome::Matched)
        );
        if policy == OnOverload::Queue {
            // The hundredth waited for 99 responses of 100 ms, 90 ms longer each time.
            assert!(percentile_us(&result.latencies.response, 100.0) > 8_000_000);
            assert!(percentile_us(&result.latencies.service, 50.0) < 500_000);
        }
    }
}

#[test]
fn a_request_later_than_max_lateness_is_dropped() {
    let schedule = hold(100, 1000);
    let target = responder(length(), 0, Duration::from_millis(100));
    let mut config = config(&schedule, connections(1, 0, 1), target.addresses().to_vec(), length());
    config.max_lateness = Nanos::from_millis(150);
    let result = run(&schedule, config, |_| {});
    result.assert_balances(100);
    assert!(result.of(Outcome::Late) > 50);
    assert!(percentile_us(&result.latencies.lag, 100.0) < 300_000);
}

#[test]
fn a_target_that_never_answers_times_out_and_the_account_balances() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let schedule = hold(200, 300);
    let mut config = config(&schedule, connections(2, 0, 64), vec![address], length());
    config.connections.request_timeout = Nanos::from_millis(100);
    let result = run(&schedule, config, |_| {});
    result.assert_balances(60);
    assert_eq!((result.totals.sent, result.of(Outcome::TimedOut)), (60, 60));
}

#[test]
fn a_target_that_skips_a_response_cannot_shift_the_others_to_wrong_requests() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let codec = Codec { framing: Framing::Line { limit: 1000 }, correlate: Correlate::Order };
    let schedule = hold(50, 1000);
    let mut config = config(&schedule, connections(1, 0, 1), vec![address], codec);
    config.connections.request_timeout = Nanos::from_millis(100);
    // Answers every request but the tenth, on every connection; ends when nobody connects any more.
    let serve = move || {
        use std::io::{BufRead, BufReader, Write};
        for stream in
            listener.incoming().map_while(std::result::Result::ok).take_while(|s| s.peer_addr().is_ok())
        {
            let mut writer = stream.try_clone().expect("a second handle");
            let lines = BufReader::new(stream).lines().map_while(std::result::Result::ok);
            for (number, line) in lines.enumerate() {
                if line == "stop" {
                    return;
                }
                if number != 9 && writeln!(writer, "{line}").is_err() {
                    break;
                }
            }
        }
    };
    let serving = std::thread::spawn(serve);
    let result = run(&schedule, config, |_| {});
    let mut last = std::net::TcpStream::connect(address).expect("still listening");
    std::io::Write::write_all(&mut last, b"stop\n").expect("sent");
    serving.join().expect("no panic");
    result.assert_balances(50);
    assert!(result.of(Outcome::TimedOut) >= 4, "{}", result.of(Outcome::TimedOut));
    assert_eq!(result.totals.receipts.late, 0, "no response was taken for that of another request");
    assert!(result.totals.reconnects >= 4);
}

#[test]
fn a_target_that_dies_costs_what_was_in_flight_and_nothing_hangs() {
    let schedule = hold(1000, 1500);
    let target = responder(length(), 100, Duration::from_millis(5));
    let mut config = config(&schedule, connections(10, 100, 16), target.addresses().to_vec(), length());
    config.max_lateness = Nanos::from_millis(200);
    let (told, tell) = mpsc::channel::<()>();
    let watched = std::sync::Mutex::new(Some((target, tell)));
    let result = run(&schedule, config, |_| {
        // Half a second of schedule: the responder has then answered some hundred requests.
        let (target, tell) = watched.lock().expect("not poisoned").take().expect("once");
        while target.stats().issued < 300 {
            std::thread::yield_now();
        }
        target.stop();
        drop(tell);
    });
    drop(told);
    result.assert_balances(1500);
    assert!(result.of(Outcome::Matched) >= 250);
    assert!(result.of(Outcome::Late) > 500);
    assert!(result.totals.unreachable_slots > 0);
}

#[test]
fn a_stopped_run_waits_for_what_is_in_flight() {
    let schedule = hold(1000, 60_000);
    let target = responder(length(), 0, Duration::from_millis(30));
    let config = config(&schedule, connections(4, 0, 100), target.addresses().to_vec(), length());
    let result = run(&schedule, config, |control| {
        while target.stats().issued < 200 {
            std::thread::yield_now();
        }
        control.drain(Cause::Stopped);
    });
    result.assert_balances(60_000);
    assert_eq!(result.totals.sent, result.of(Outcome::Matched));
    assert!(result.of(Outcome::NotReached) > 50_000);
    assert!(result.totals.cut.is_some_and(|cut| cut <= result.totals.finished), "{:?}", result.totals.cut);
}

#[test]
fn nothing_listens_and_the_worker_says_so() {
    let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let schedule = hold(10, 1000);
    let result = run(&schedule, config(&schedule, connections(2, 0, 1), vec![address], length()), |_| {});
    assert!(result.unreachable);
}

#[test]
fn segments_and_workers_make_up_the_whole() {
    let schedule = hold(1000, 500);
    let target = responder(length(), 0, Duration::ZERO);
    let mut sent = 0;
    for (index, of, worker, workers) in [(0, 2, 0, 1), (1, 2, 0, 2), (1, 2, 1, 2)] {
        let mut config = config(&schedule, connections(5, 50, 4), target.addresses().to_vec(), length());
        config.segment = Segment::new(index, of).expect("inside");
        (config.worker, config.workers) = (worker, workers);
        let share = Share::new(500, config.segment, 5, worker, workers).remaining();
        let result = run(&schedule, config, |_| {});
        result.assert_balances(share);
        sent += result.totals.sent;
    }
    assert_eq!(sent, 500);
}

// ---------------------------------------------------------------------------------------------
// The closed model

fn load(users: u64, until: Until) -> closed::Closed {
    closed::Closed { users, until, at_most: None, think: Think::default(), ramp_up: Nanos::ZERO }
}

fn closed_config(
    load: closed::Closed,
    connections: Connections,
    addresses: Vec<SocketAddr>,
    codec: Codec,
) -> Config {
    let end_ns = load.end().map_or(u64::MAX, |end| end.0);
    Config {
        total: load.below(),
        closed: Some(load),
        stages: vec![Stage { end_ns, warmup: false }],
        ..config(&nothing(), connections, addresses, codec)
    }
}

/// The schedule of a closed load.
fn nothing() -> Schedule {
    Schedule::new(Vec::new(), Arrivals::Uniform)
}

#[test]
fn users_send_exactly_as_many_requests_as_are_asked_for() {
    for (users, slots, window, requests) in [(1, 1, 1, 500), (7, 7, 1, 1000), (20, 3, 7, 1000), (5, 5, 4, 3)]
    {
        let target = responder(length(), 0, Duration::ZERO);
        let load = load(users, Until::Requests(requests));
        let connections = connections(slots, 0, window);
        let config = closed_config(load, connections, target.addresses().to_vec(), length());
        let result = run(&nothing(), config, |_| {});
        result.assert_balances(requests);
        assert_eq!((result.totals.begun, result.of(Outcome::Matched)), (requests, requests));
        assert_eq!(result.completions, requests);
        assert_eq!(target.stop().issued, requests);
    }
}

#[test]
fn nobody_sends_before_time_zero() {
    // So many connections that the first have long been there when the last is; all users are ready at once.
    let target = responder(length(), 0, Duration::ZERO);
    let load = load(200, Until::Requests(2000));
    let config = closed_config(load, connections(200, 0, 1), target.addresses().to_vec(), length());
    let result = run(&nothing(), config, |_| {});
    result.assert_balances(2000);
    // Until time zero the clock stands at it.
    assert!(result.first_sent_ns > 0, "a request was sent at {} ns", result.first_sent_ns);
    assert!(percentile_us(&result.latencies.response, 1.0) > 0);
}

#[test]
fn a_user_waits_for_each_response_and_thinks_after_it() {
    let target = responder(length(), 0, Duration::from_millis(20));
    let mut load = load(4, Until::Requests(40));
    load.think = Think { from: Nanos::from_millis(30), to: Nanos::from_millis(30) };
    let config = closed_config(load, connections(4, 0, 1), target.addresses().to_vec(), length());
    let result = run(&nothing(), config, |_| {});
    result.assert_balances(40);
    // Ten requests of each user: ten responses of 20 ms, and nine pauses of 30 ms between them.
    assert!(result.totals.finished >= Nanos::from_millis(10 * 20 + 9 * 30), "{:?}", result.totals.finished);
    // What a user thinks is no part of the response time: it counts from when the user was ready.
    assert!(percentile_us(&result.latencies.response, 50.0) < 49_000);
    assert_eq!(result.latencies.service.len(), 40);
}

#[test]
fn time_ends_a_load_and_what_is_in_flight_comes_home() {
    let target = responder(length(), 0, Duration::from_millis(50));
    let until = Until::Time(Nanos::from_millis(400));
    let config = closed_config(load(8, until), connections(8, 0, 1), target.addresses().to_vec(), length());
    let result = run(&nothing(), config, |_| {});
    result.assert_balances(result.totals.begun);
    assert_eq!(result.of(Outcome::NotReached), 0);
    assert_eq!(result.totals.sent, result.of(Outcome::Matched));
    // Each user can begin one at 0, 50, 100 … and none at 400 ms or later.
    assert!((8..=64).contains(&result.totals.begun), "{}", result.totals.begun);
    assert!(result.totals.finished >= Nanos::from_millis(400));
}

#[test]
fn users_begin_along_the_ramp() {
    let target = responder(length(), 0, Duration::ZERO);
    let mut load = load(10, Until::Requests(10));
    load.ramp_up = Nanos::from_millis(500);
    load.think = Think { from: Nanos::from_secs(60), to: Nanos::from_secs(60) };
    let config = closed_config(load, connections(10, 0, 1), target.addresses().to_vec(), length());
    let result = run(&nothing(), config, |_| {});
    result.assert_balances(10);
    // The last of ten begins at 450 ms, and nobody twice: they would think for a minute.
    assert!(result.totals.finished >= Nanos::from_millis(450));
    assert!(result.totals.finished < Nanos::from_secs(30));
}

#[test]
fn a_limit_replaces_connections_under_users_too() {
    let target = responder(length(), 10, Duration::ZERO);
    let config = closed_config(
        load(4, Until::Requests(400)),
        Connections { stagger: false, ..connections(4, 10, 1) },
        target.addresses().to_vec(),
        length(),
    );
    let result = run(&nothing(), config, |_| {});
    result.assert_balances(400);
    assert_eq!((result.of(Outcome::Matched), result.most_on_one), (400, 10));
    assert!(result.totals.opened >= 40, "{}", result.totals.opened);
    assert!(result.totals.opened <= 48, "{} for 40 that are needed", result.totals.opened);
}

#[test]
fn a_request_that_times_out_frees_its_user() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    for codec in [length(), Codec { framing: Framing::Resp { limit: 1000 }, correlate: Correlate::Order }] {
        let mut config =
            closed_config(load(2, Until::Requests(6)), connections(2, 0, 4), vec![address], codec);
        config.connections.request_timeout = Nanos::from_millis(60);
        let result = run(&nothing(), config, |_| {});
        result.assert_balances(6);
        assert_eq!((result.totals.sent, result.of(Outcome::TimedOut)), (6, 6), "{codec:?}");
        assert!(result.totals.finished >= Nanos::from_millis(180), "three after the other");
    }
}

#[test]
fn users_go_on_when_their_connection_is_lost() {
    let codec = Codec { framing: Framing::Line { limit: 1000 }, correlate: Correlate::Order };
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    // Answers nine requests on each connection, and closes it at the tenth.
    let serve = move || {
        use std::io::{BufRead, BufReader, Write};
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            let mut writer = stream.try_clone().expect("a second handle");
            let lines = BufReader::new(stream).lines().map_while(std::result::Result::ok);
            for (number, line) in lines.enumerate() {
                if line == "stop" {
                    return;
                }
                if number == 9 || writeln!(writer, "{line}").is_err() {
                    break;
                }
            }
        }
    };
    let serving = std::thread::spawn(serve);
    let config = closed_config(load(1, Until::Requests(100)), connections(1, 0, 1), vec![address], codec);
    let result = run(&nothing(), config, |_| {});
    let mut last = std::net::TcpStream::connect(address).expect("still listening");
    std::io::Write::write_all(&mut last, b"stop\n").expect("sent");
    serving.join().expect("no panic");
    result.assert_balances(100);
    assert_eq!((result.totals.begun, result.of(Outcome::Matched)), (100, 90));
    assert_eq!(result.of(Outcome::Eof) + result.of(Outcome::Reset), 10);
}

#[test]
fn a_stopped_load_waits_for_what_is_in_flight() {
    let target = responder(length(), 0, Duration::from_millis(20));
    let load = load(4, Until::Requests(1_000_000));
    let config = closed_config(load, connections(4, 0, 1), target.addresses().to_vec(), length());
    let result = run(&nothing(), config, |control| {
        while target.stats().issued < 40 {
            std::thread::yield_now();
        }
        control.drain(Cause::Stopped);
    });
    result.assert_balances(1_000_000);
    assert_eq!(result.totals.sent, result.of(Outcome::Matched));
    assert_eq!(result.of(Outcome::NotReached), 1_000_000 - result.totals.begun);
}

#[test]
fn users_and_requests_are_shared_out_among_segments_and_workers() {
    let target = responder(length(), 0, Duration::ZERO);
    let (mut begun, mut matched) = (0, 0);
    for index in 0..2 {
        for worker in 0..3 {
            let load = load(10, Until::Requests(1001));
            let connections = connections(5, 0, 16);
            let mut config = closed_config(load, connections, target.addresses().to_vec(), length());
            config.segment = Segment::new(index, 2).expect("a half");
            (config.worker, config.workers) = (worker, 3);
            let share = config.share().remaining();
            let result = run(&nothing(), config, |_| {});
            result.assert_balances(share);
            begun += result.totals.begun;
            matched += result.of(Outcome::Matched);
        }
    }
    assert_eq!((begun, matched), (1001, 1001));
}
