//! CLIENT: who is connected, and what becomes of them.

use super::connection::{is_plain, valid_name};
use super::{ADMIN, Call, Command, Failure, LOADING, NOSCRIPT, STALE, dispatch, integer, shown};
use crate::store::blocking::{self, Timeout};
use crate::store::engine::Pause;
use crate::store::observers::Observers;
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
    Command::new("client|setinfo", 4, OWN, NONE, G, "Tells the library of this client", client_setinfo),
    Command::new("client|list", -2, ADM, NONE, G, "Lists the clients", client_list),
    Command::new("client|info", 2, OWN, NONE, G, "Describes this client", client_info),
    Command::new("client|kill", -3, ADM, NONE, G, "Closes clients", client_kill),
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

/// The line of a client, with its end.
fn describe(observers: &Observers, session: &Session, now_ms: i64) -> String {
    session.describe(now_ms, observers.is_dirty(session.id)) + "\n"
}

fn client_list(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let mut wanted: Option<Vec<u64>> = None;
    match args.get(2) {
        None => {}
        Some(word) if word.eq_ignore_ascii_case(b"TYPE") && args.len() == 4 => {
            let kind = args[3].to_ascii_lowercase();
            match kind.as_slice() {
                b"normal" => {}
                b"master" | b"replica" | b"slave" | b"pubsub" => wanted = Some(Vec::new()),
                _ => {
                    let kind = shown(&args[3], 128);
                    return Err(Failure(format!("ERR Unknown client type '{kind}'").into()));
                }
            }
        }
        Some(word) if word.eq_ignore_ascii_case(b"ID") && args.len() > 3 => {
            let invalid = Failure::text("ERR Invalid client ID");
            let ids = args.from(3).iter().map(|id| crate::wire::resp::parse_integer(id).map(|id| id as u64));
            wanted = Some(ids.collect::<Option<_>>().ok_or(invalid)?);
        }
        Some(_) => return Err(Failure::SYNTAX),
    }
    let now_ms = call.engine.keyspace.now_ms();
    let others = call.engine.clients.iter().flatten().map(|other| &**other);
    let mut sessions: Vec<&Session> = others.chain([&*call.session]).collect();
    sessions.retain(|session| wanted.as_ref().is_none_or(|wanted| wanted.contains(&session.id)));
    sessions.sort_unstable_by_key(|session| session.id);
    let line = |session: &&Session| describe(&call.engine.keyspace.observers, session, now_ms);
    let lines: Vec<String> = sessions.iter().map(line).collect();
    call.session.out.verbatim(&lines.concat());
    Ok(())
}

fn client_info(call: &mut Call<'_>) -> Result<(), Failure> {
    let keyspace = &call.engine.keyspace;
    let line = describe(&keyspace.observers, call.session, keyspace.now_ms());
    call.session.out.verbatim(&line);
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

/// Whom CLIENT KILL means.
struct Victims {
    id: Option<u64>,
    addr: Option<Vec<u8>>,
    laddr: Option<Vec<u8>>,
    skip_me: bool,
}

impl Victims {
    fn parse(call: &Call<'_>) -> Result<Victims, Failure> {
        let args = call.args;
        let mut victims = Victims { id: None, addr: None, laddr: None, skip_me: true };
        let options = args.from(2);
        if !options.len().is_multiple_of(2) {
            return Err(Failure::SYNTAX);
        }
        for (word, value) in options.pairs() {
            match word.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let id = crate::wire::resp::parse_integer(value).filter(|id| *id > 0);
                    let invalid = Failure::text("ERR client-id should be greater than 0");
                    victims.id = Some(id.ok_or(invalid)? as u64);
                }
                b"addr" => victims.addr = Some(value.to_vec()),
                b"laddr" => victims.laddr = Some(value.to_vec()),
                b"user" if value == b"default" => {}
                b"type" if value.eq_ignore_ascii_case(b"normal") => {}
                b"skipme" => match value.to_ascii_lowercase().as_slice() {
                    b"yes" => victims.skip_me = true,
                    b"no" => victims.skip_me = false,
                    _ => return Err(Failure::SYNTAX),
                },
                _ => return Err(Failure::SYNTAX),
            }
        }
        Ok(victims)
    }

    fn contain(&self, session: &Session) -> bool {
        let same = |wanted: &Option<Vec<u8>>, addr: std::net::SocketAddr| {
            wanted.as_ref().is_none_or(|wanted| wanted == addr.to_string().as_bytes())
        };
        self.id.is_none_or(|id| id == session.id)
            && same(&self.addr, session.peer)
            && same(&self.laddr, session.local)
    }
}

fn client_kill(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    // The old form: an address alone, and an error when nobody has it.
    let old_form = args.len() == 3;
    let victims = if old_form {
        Victims { id: None, addr: Some(args[2].to_vec()), laddr: None, skip_me: false }
    } else {
        Victims::parse(call)?
    };
    let mut killed = 0;
    for other in call.engine.clients.iter_mut().flatten().filter(|other| victims.contain(other)) {
        other.killed = true;
        killed += 1;
    }
    if !victims.skip_me && victims.contain(call.session) {
        // It still gets this reply.
        call.session.closing = true;
        killed += 1;
    }
    call.engine.has_killed |= killed > 0;
    match (old_form, killed) {
        (true, 0) => return Err(Failure::text("ERR No such client")),
        (true, _) => call.session.out.ok(),
        (false, killed) => call.session.out.integer(killed),
    }
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
        Some(word) if call.args.len() == 4 && word.eq_ignore_ascii_case(b"WRITE") => true,
        Some(word) if call.args.len() == 4 && word.eq_ignore_ascii_case(b"ALL") => false,
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
        Some(word) if call.args.len() == 4 && word.eq_ignore_ascii_case(b"TIMEOUT") => false,
        Some(word) if call.args.len() == 4 && word.eq_ignore_ascii_case(b"ERROR") => true,
        Some(_) => {
            return Err(Failure::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    };
    let id = integer(&call.args[2])?;
    let clients = call.engine.clients.iter().flatten();
    let waiter = clients.map(|client| client.waiter()).find(|waiter| waiter.id as i64 == id);
    let ended = waiter.is_some_and(|waiter| match with_error {
        true => dispatch::unblock_with_error(call.engine, waiter),
        false => call.engine.unblock(waiter.slot, |_, session, blocked| {
            blocked.empty.answer(&mut session.out);
        }),
    });
    call.session.out.integer(i64::from(ended));
    Ok(())
}
