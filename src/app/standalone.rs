//! The responder and the store alone, until Ctrl-C.

use crate::app::error::{Error, exit};
use crate::app::{parts, say};
use crate::cli::{DialectArg, FramingArg, ResponderArgs, StoreArgs};
use crate::responder::{self, Responder};
use crate::store;
use crate::wire::{Codec, Correlate, Framing, length};

const LIMIT: u64 = 1 << 20;

pub(super) fn responder(args: &ResponderArgs) -> Result<u8, Error> {
    let (framing, correlate) = match args.framing {
        FramingArg::Length => (Framing::Length(length::Header::default()), Correlate::Id),
        FramingArg::Line => (Framing::Line { limit: LIMIT }, Correlate::Id),
        FramingArg::Raw => (Framing::Raw, Correlate::Order),
        FramingArg::Resp => (Framing::Resp { limit: LIMIT }, Correlate::Order),
    };
    let (first, last) = args.ports;
    let responder = Responder::start(&responder::Config {
        bind: args.bind,
        first_port: first,
        ports: last - first + 1,
        codec: Codec { framing, correlate },
        limit: args.limit,
        delay: args.delay.as_duration(),
        threads: (parts::machine().cores / 2).max(1),
    })?;
    let addresses: Vec<String> = responder.addresses().iter().map(ToString::to_string).collect();
    say(&format!("responder on {} until Ctrl-C", addresses.join(" ")));
    wait_for_signal()?;
    let stats = responder.stop();
    say(&format!(
        "{} connections, {} response ids issued, {} connections closed at their limit, {} malformed",
        stats.accepted, stats.issued, stats.closed_at_limit, stats.malformed
    ));
    Ok(exit::PASSED)
}

pub(super) fn store(args: &StoreArgs) -> Result<u8, Error> {
    let (dialect, scheme) = match args.dialect {
        DialectArg::Resp => (store::Dialect::Resp, "redis"),
        DialectArg::Text => (store::Dialect::Text, "text"),
    };
    let config = store::Config {
        bind: args.bind,
        port: args.port,
        password: args.password.clone(),
        dialect,
        ..store::Config::default()
    };
    parts::machine();
    let handle = store::Server::start(config)?;
    say(&format!("store on {scheme}://{} until Ctrl-C", handle.addr()));
    let (stopped, stop) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("signals".to_string())
        .spawn(move || {
            // A program that is gone needs no signal.
            let _ = stopped.send(wait_for_signal());
        })
        .map_err(|source| Error::System { what: "start a thread", source })?;
    // SHUTDOWN from a client ends it as well.
    while handle.is_running() {
        if let Ok(signal) = stop.recv_timeout(std::time::Duration::from_millis(50)) {
            signal?;
            break;
        }
    }
    handle.stop();
    Ok(exit::PASSED)
}

fn wait_for_signal() -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |what| move |source| Error::System { what, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(failed("start a runtime"))?;
    runtime.block_on(async {
        let of = |kind| signal(kind).map_err(failed("watch for signals"));
        let (mut interrupt, mut terminate) = (of(SignalKind::interrupt())?, of(SignalKind::terminate())?);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}
