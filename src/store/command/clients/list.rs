//! CLIENT LIST, INFO and KILL: who is connected, and who is to be closed.

use crate::store::command::{Call, Failure, shown};
use crate::store::keyspace::Keyspace;
use crate::store::session::Session;
use crate::wire::resp::{Args, parse_integer};

/// The line of a client, with its end. `running` is the command that it runs.
fn describe(keyspace: &Keyspace, session: &Session, running: Option<Args<'_>>) -> String {
    // As it came: the count, and each argument with its length and two line ends.
    let digits = |number: usize| number.checked_ilog10().map_or(1, |log| log as usize + 1);
    let input = running.map_or(0, |args| {
        3 + digits(args.len()) + args.iter().map(|arg| 5 + digits(arg.len()) + arg.len()).sum::<usize>()
    });
    session.describe(keyspace.now_ms(), keyspace.witnesses.observers.is_dirty(session.id), input) + "\n"
}

/// A kind of client as it is written; replicas have two names.
fn kind(word: &[u8]) -> Result<&'static str, Failure> {
    match word.to_ascii_lowercase().as_slice() {
        b"normal" => Ok("normal"),
        b"slave" | b"replica" => Ok("replica"),
        b"master" => Ok("master"),
        b"pubsub" => Ok("pubsub"),
        _ => Err(Failure(format!("ERR Unknown client type '{}'", shown(word, usize::MAX)).into())),
    }
}

/// CLIENT LIST, of all, of one kind, or of some numbers.
pub fn client_list(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let (mut wanted_kind, mut wanted_ids) = (None, None);
    match args.get(2) {
        None => {}
        Some(word) if word.eq_ignore_ascii_case(b"TYPE") && args.len() == 4 => {
            wanted_kind = Some(kind(&args[3])?);
        }
        Some(word) if word.eq_ignore_ascii_case(b"ID") && args.len() > 3 => {
            let invalid = Failure::text("ERR Invalid client ID");
            let ids = args.from(3).iter().map(|id| parse_integer(id).map(|id| id as u64));
            wanted_ids = Some(ids.collect::<Option<Vec<u64>>>().ok_or(invalid)?);
        }
        Some(_) => return Err(Failure::SYNTAX),
    }
    let keyspace = &call.engine.keyspace;
    let others = call.engine.clients.iter().flatten().map(|other| &**other);
    let mut sessions: Vec<&Session> = others.chain([&*call.session]).collect();
    sessions.retain(|session| {
        wanted_kind.is_none_or(|kind| session.kind() == kind)
            && wanted_ids.as_ref().is_none_or(|ids| ids.contains(&session.id))
    });
    sessions.sort_unstable_by_key(|session| session.id);
    let own = call.session.id;
    let line = |session: &&Session| describe(keyspace, session, (session.id == own).then_some(args));
    let lines: Vec<String> = sessions.iter().map(line).collect();
    call.session.out.verbatim(&lines.concat());
    Ok(())
}

/// CLIENT INFO
pub fn client_info(call: &mut Call<'_>) -> Result<(), Failure> {
    let keyspace = &call.engine.keyspace;
    let line = describe(keyspace, call.session, Some(call.args));
    call.session.out.verbatim(&line);
    Ok(())
}

/// Whom CLIENT KILL means.
#[derive(Default)]
struct Victims {
    id: Option<u64>,
    addr: Option<Vec<u8>>,
    laddr: Option<Vec<u8>>,
    kind: Option<&'static str>,
    with_me: bool,
}

impl Victims {
    fn parse(call: &Call<'_>) -> Result<Victims, Failure> {
        let mut victims = Victims::default();
        let options = call.args.from(2);
        let mut index = 0;
        while let Some(word) = options.get(index) {
            let value = options.get(index + 1).ok_or(Failure::SYNTAX)?;
            match word.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let id = parse_integer(value).filter(|id| *id > 0);
                    let invalid = Failure::text("ERR client-id should be greater than 0");
                    victims.id = Some(id.ok_or(invalid)? as u64);
                }
                b"type" => victims.kind = Some(kind(value)?),
                b"addr" => victims.addr = Some(value.to_vec()),
                b"laddr" => victims.laddr = Some(value.to_vec()),
                b"user" if value == b"default" => {}
                b"user" => {
                    let user = shown(value, usize::MAX);
                    return Err(Failure(format!("ERR No such user '{user}'").into()));
                }
                b"skipme" => match value.to_ascii_lowercase().as_slice() {
                    b"yes" => victims.with_me = false,
                    b"no" => victims.with_me = true,
                    _ => return Err(Failure::SYNTAX),
                },
                _ => return Err(Failure::SYNTAX),
            }
            index += 2;
        }
        Ok(victims)
    }

    fn contain(&self, session: &Session) -> bool {
        let same = |wanted: &Option<Vec<u8>>, addr: std::net::SocketAddr| {
            wanted.as_ref().is_none_or(|wanted| wanted == addr.to_string().as_bytes())
        };
        self.id.is_none_or(|id| id == session.id)
            && self.kind.is_none_or(|kind| kind == session.kind())
            && same(&self.addr, session.peer)
            && same(&self.laddr, session.local)
    }
}

/// CLIENT KILL, in the old form (an address alone, and an error when nobody has it) or with options.
pub fn client_kill(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let old_form = args.len() == 3;
    let victims = if old_form {
        // The first client with this address, wherever it is.
        Victims { addr: Some(args[2].to_vec()), with_me: true, ..Victims::default() }
    } else {
        Victims::parse(call)?
    };
    let mut killed = 0;
    for slot in 0..call.engine.clients.len() {
        if call.engine.clients[slot].as_ref().is_some_and(|other| victims.contain(other)) {
            call.engine.kill(slot);
            killed += 1;
        }
    }
    if victims.with_me && victims.contain(call.session) {
        // It still gets this reply.
        call.session.closing = true;
        killed += 1;
    }
    match (old_form, killed) {
        (true, 0) => return Err(Failure::text("ERR No such client")),
        (true, _) => call.session.out.ok(),
        (false, killed) => call.session.out.integer(killed),
    }
    Ok(())
}
