//! Masters and replicas: this server is a master without any.

use super::{ADMIN, Call, Command, FAST, Failure, LOADING, NO_ASYNC_LOADING, NOSCRIPT, STALE, integer};
use crate::store::blocking::{self, Empty, Wait};
use crate::wire::resp::parse_integer;

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "server";
const FOLLOW: u32 = ADMIN | NOSCRIPT | STALE | NO_ASYNC_LOADING;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("failover", -1, ADMIN | NOSCRIPT | STALE, NONE, G, "Makes a replica the master", failover),
    Command::new("replicaof", 3, FOLLOW, NONE, G, "Follows a master, or nobody", replicaof),
    Command::new("role", 1, NOSCRIPT | LOADING | STALE | FAST, NONE, G, "Returns who follows whom", role),
    Command::new("slaveof", 3, FOLLOW, NONE, G, "Follows a master, or nobody", replicaof),
    Command::new("wait", 3, NOSCRIPT, NONE, "generic", "Waits until replicas have what was written", wait),
];

fn role(call: &mut Call<'_>) -> Result<(), Failure> {
    let out = &mut call.session.out;
    out.array(3);
    out.text("master");
    out.integer(0);
    out.array(0);
    Ok(())
}

fn replicaof(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    if args[1].eq_ignore_ascii_case(b"NO") && args[2].eq_ignore_ascii_case(b"ONE") {
        call.session.out.ok();
        return Ok(());
    }
    let port = parse_integer(&args[2]).filter(|port| (0..=65535).contains(port));
    port.ok_or(Failure::text("ERR Invalid master port"))?;
    Err(Failure::text("ERR this server follows no master; only NO ONE is possible"))
}

/// There is no replica that could answer, so only 0 of them are there at once.
fn wait(call: &mut Call<'_>) -> Result<(), Failure> {
    let wanted = integer(&call.args[1])?;
    let timeout = blocking::timeout_millis(&call.args[2], call.engine.keyspace.now_ms())?;
    if wanted <= 0 {
        call.session.out.integer(0);
        return Ok(());
    }
    let (keys, empty) = (std::iter::empty(), Empty::Integer(0));
    call.block(Wait { keys, timeout, empty, when_gone: false, command: None })
}

/// Without replicas nothing can fail over; what is asked is checked all the same.
fn failover(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (mut index, mut aborts, mut others) = (1, false, 0);
    while let Some(word) = args.get(index) {
        let left = args.len() - index - 1;
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if is(b"TIMEOUT") && left >= 1 {
            if integer(&args[index + 1])? <= 0 {
                return Err(Failure::text("ERR FAILOVER timeout must be greater than 0"));
            }
            index += 1;
        } else if is(b"TO") && left >= 2 {
            integer(&args[index + 2])?;
            index += 2;
        } else if is(b"ABORT") {
            aborts = true;
            others -= 1;
        } else if !is(b"FORCE") {
            return Err(Failure::SYNTAX);
        }
        others += 1;
        index += 1;
    }
    Err(match aborts {
        true if others > 0 => Failure::SYNTAX,
        true => Failure::text("ERR No failover in progress."),
        false => Failure::text("ERR FAILOVER requires connected replicas."),
    })
}
