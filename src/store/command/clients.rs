//! CLIENT: who is connected, and what becomes of them.

mod caching;
mod list;

use super::connection::{is_plain, valid_name};
use super::{ADMIN, Call, Command, Failure, HIDDEN, LOADING, NOSCRIPT, STALE, help, integer, shown};
use crate::store::blocking::{self, Timeout};
use crate::store::engine::Pause;
use crate::store::session::{ReplyMode, Session};

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "connection";
const OWN: u32 = NOSCRIPT | LOADING | STALE;
const ADM: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::container("client", G, "Looks at clients", CLIENT)];

const CLIENT: &[Command] = &[
    Command::new("client|id", 2, OWN, NONE, G, "Returns the number of this client", client_id),
    Command::new("client|getname", 2, OWN, NONE, G, "Returns the name of this client", client_getname),
    Command::new("client|setname", 3, OWN, NONE, G, "Names this client", client_setname),
    // Not yet in 7.0, but libraries send it.
    Command::new(
        "client|setinfo",
        4,
        OWN | HIDDEN,
        NONE,
        G,
        "Tells the library of this client",
        client_setinfo,
    ),
    Command::new("client|list", -2, ADM, NONE, G, "Lists the clients", list::client_list),
    Command::new("client|info", 2, OWN, NONE, G, "Describes this client", list::client_info),
    Command::new("client|kill", -3, ADM, NONE, G, "Closes clients", list::client_kill),
    Command::new(
        "client|no-evict",
        3,
        ADM,
        NONE,
        G,
        "Keeps this client when memory is short",
        client_no_evict,
    ),
    Command::new("client|reply", 3, OWN, NONE, G, "Tells which commands are answered", client_reply),
    Command::new("client|pause", -3, ADM, NONE, G, "Holds up clients for a time", client_pause),
    Command::new("client|unpause", 2, ADM, NONE, G, "Lets all clients go on", client_unpause),
    Command::new(
        "client|caching",
        3,
        OWN,
        NONE,
        G,
        "Tells whether the next keys are kept",
        caching::client_caching,
    ),
    Command::new("client|getredir", 2, OWN, NONE, G, "Returns who is told instead", caching::client_getredir),
    Command::new("client|help", 2, LOADING | STALE, NONE, G, "Shows the sub-commands", client_help),
    Command::new(
        "client|tracking",
        -3,
        OWN,
        NONE,
        G,
        "Tells which keys have changed",
        caching::client_tracking,
    ),
    Command::new(
        "client|trackinginfo",
        2,
        OWN,
        NONE,
        G,
        "Returns how keys are tracked",
        caching::client_trackinginfo,
    ),
    Command::new("client|unblock", -3, ADM, NONE, G, "Ends the wait of a client", client_unblock),
];

fn client_id(call: &mut Call<'_>) -> Result<(), Failure> {
    let id = call.session.id as i64;
    call.session.out.integer(id);
    Ok(())
}

fn client_getname(call: &mut Call<'_>) -> Result<(), Failure> {
    let Session { name, out, .. } = &mut *call.session;
    out.optional(Some(name.as_slice()).filter(|name| !name.is_empty()));
    Ok(())
}

fn client_setname(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.name = valid_name(&call.args[2])?;
    call.session.out.ok();
    Ok(())
}

fn client_setinfo(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (option, value) = (&args[2], &args[3]);
    let is_name = option.eq_ignore_ascii_case(b"LIB-NAME");
    if !is_name && !option.eq_ignore_ascii_case(b"LIB-VER") {
        let option = shown(option, 128);
        return Err(Failure(format!("ERR Unrecognized option '{option}'").into()));
    }
    if !is_plain(value) {
        let option = if is_name { "lib-name" } else { "lib-ver" };
        let text = format!("ERR {option} cannot contain spaces, newlines or special characters.");
        return Err(Failure(text.into()));
    }
    let place = if is_name { &mut call.session.lib_name } else { &mut call.session.lib_version };
    *place = value.to_vec();
    call.session.out.ok();
    Ok(())
}

fn client_no_evict(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.no_evict = match call.args[2].to_ascii_lowercase().as_slice() {
        b"on" => true,
        b"off" => false,
        _ => return Err(Failure::SYNTAX),
    };
    call.session.out.ok();
    Ok(())
}

fn client_reply(call: &mut Call<'_>) -> Result<(), Failure> {
    let session = &mut *call.session;
    match call.args[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            session.reply_mode = ReplyMode::On;
            session.out.ok();
        }
        b"off" => session.reply_mode = ReplyMode::Off,
        b"skip" if session.reply_mode == ReplyMode::Off => {}
        b"skip" => session.reply_mode = ReplyMode::Skip,
        _ => return Err(Failure::SYNTAX),
    }
    Ok(())
}

/// A pause that lasts already is only made longer and wider.
fn client_pause(call: &mut Call<'_>) -> Result<(), Failure> {
    let only_writes = match call.args.get(3) {
        None => false,
        Some(_) if call.args.len() > 4 => return Err(Failure::sub_arity(&call.args[1], "CLIENT")),
        Some(word) if word.eq_ignore_ascii_case(b"WRITE") => true,
        Some(word) if word.eq_ignore_ascii_case(b"ALL") => false,
        Some(_) => return Err(Failure::text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let now_us = call.engine.now_us();
    let micros = match blocking::timeout_millis(&call.args[2], call.engine.keyspace.now_ms())? {
        Timeout::Never => 0,
        Timeout::After(micros) => micros,
    };
    let until_us = now_us.saturating_add(micros);
    call.engine.pause = Some(match call.engine.pause {
        None => Pause { until_us, only_writes },
        Some(pause) => {
            Pause { until_us: pause.until_us.max(until_us), only_writes: pause.only_writes && only_writes }
        }
    });
    call.session.out.ok();
    Ok(())
}

fn client_unpause(call: &mut Call<'_>) -> Result<(), Failure> {
    call.engine.end_pause();
    call.session.out.ok();
    Ok(())
}

fn client_unblock(call: &mut Call<'_>) -> Result<(), Failure> {
    let with_error = match call.args.get(3) {
        None => false,
        Some(_) if call.args.len() > 4 => return Err(Failure::sub_arity(&call.args[1], "CLIENT")),
        Some(word) if word.eq_ignore_ascii_case(b"TIMEOUT") => false,
        Some(word) if word.eq_ignore_ascii_case(b"ERROR") => true,
        Some(_) => {
            return Err(Failure::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    };
    let id = integer(&call.args[2])?;
    let clients = call.engine.clients.iter().flatten();
    let waiter = clients.map(|client| client.waiter()).find(|waiter| waiter.id as i64 == id);
    let ended = waiter.is_some_and(|waiter| {
        call.engine.unblock(waiter.slot, |engine, session, blocked| match with_error {
            true => engine.fail(session, "UNBLOCKED client unblocked via CLIENT UNBLOCK"),
            false => blocked.empty.answer(&mut session.out),
        })
    });
    call.session.out.integer(i64::from(ended));
    Ok(())
}

fn client_help(call: &mut Call<'_>) -> Result<(), Failure> {
    help::show(
        call,
        &[
            ("CACHING (YES|NO)", &["Tells whether the keys of the next command are tracked."]),
            ("GETREDIR", &["Shows which client is told of changed keys instead of this one."]),
            ("GETNAME", &["Shows the name of this client."]),
            ("ID", &["Shows the number of this client."]),
            ("INFO", &["Describes this client."]),
            ("KILL <ip:port>", &["Closes the client from <ip:port>."]),
            (
                "KILL <option> <value> [<option> <value> [...]]",
                &[
                    "Closes all clients to which every option applies:",
                    "* ADDR (<ip:port>|<unixsocket>:0)",
                    "  They come from there.",
                    "* LADDR (<ip:port>|<unixsocket>:0)",
                    "  They have connected to there.",
                    "* TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
                    "  They are of this kind.",
                    "* USER <username>",
                    "  They are this user.",
                    "* SKIPME (YES|NO)",
                    "  This client stays, or is closed too (default: yes).",
                ],
            ),
            (
                "LIST [options ...]",
                &[
                    "Describes all clients, or some:",
                    "* TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
                    "  Those of a kind.",
                ],
            ),
            ("UNPAUSE", &["Ends a pause before its time."]),
            ("PAUSE <timeout> [WRITE|ALL]", &["Holds up all clients, or all that write, for milliseconds."]),
            ("REPLY (ON|OFF|SKIP)", &["Tells which commands of this client are answered."]),
            ("SETNAME <name>", &["Names this client."]),
            ("UNBLOCK <clientid> [TIMEOUT|ERROR]", &["Ends the wait of a client."]),
            (
                "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
                &[
                    "     [OPTIN] [OPTOUT] [NOLOOP]",
                    "Tells this client, or another one, which keys have changed.",
                ],
            ),
            ("TRACKINGINFO", &["Shows how this client tracks keys."]),
            ("NO-EVICT (ON|OFF)", &["Keeps this client when memory is short."]),
        ],
    )
}
