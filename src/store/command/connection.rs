//! Who is connected, and how they speak.

use super::{
    ADMIN, ALLOW_BUSY, Call, Command, FAST, Failure, HIDDEN, LOADING, NO_AUTH, NOSCRIPT, STALE, integer,
    shown,
};
use crate::store::VERSION;
use crate::store::session::Session;

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "connection";
const OPEN: u32 = NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY;
const OWN: u32 = NOSCRIPT | LOADING | STALE;
const ADM: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("ping", -1, FAST, NONE, G, "Answers PONG, or what it is given", ping),
    Command::new("echo", 2, LOADING | STALE | FAST, NONE, G, "Returns what it is given", echo),
    Command::new("select", 2, LOADING | STALE | FAST, NONE, G, "Changes the database", select),
    Command::new("hello", -1, OPEN, NONE, G, "Changes the protocol, and greets", hello),
    Command::new("auth", -2, OPEN, NONE, G, "Gives the password", auth),
    Command::new("reset", 1, OPEN, NONE, G, "Sets the connection back to its start", reset),
    Command::new("quit", -1, OPEN, NONE, G, "Closes the connection", quit),
    Command::container("client", G, "Looks at clients", CLIENT),
    // What a browser sends when a page tricks it into talking to this port: drop it at once.
    Command::new(
        "post",
        -1,
        LOADING | STALE | NO_AUTH | HIDDEN,
        NONE,
        G,
        "Closes the connection of an HTTP client",
        drop_http,
    ),
    Command::new(
        "host:",
        -1,
        LOADING | STALE | NO_AUTH | HIDDEN,
        NONE,
        G,
        "Closes the connection of an HTTP client",
        drop_http,
    ),
];

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
];

fn ping(call: &mut Call<'_>) -> Result<(), Failure> {
    match call.args.get(1) {
        None => call.session.out.raw(b"+PONG\r\n"),
        Some(text) if call.args.len() == 2 => call.session.out.bulk(text),
        Some(_) => return Err(Failure::arity("ping")),
    }
    Ok(())
}

fn echo(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    call.session.out.bulk(&args[1]);
    Ok(())
}

fn select(call: &mut Call<'_>) -> Result<(), Failure> {
    let index = integer(&call.args[1])?;
    let index = usize::try_from(index).ok().filter(|index| *index < call.engine.keyspace.databases());
    call.session.db = index.ok_or(Failure::text("ERR DB index is out of range"))?;
    call.session.out.ok();
    Ok(())
}

const WRONG_PASSWORD: Failure =
    Failure::text("WRONGPASS invalid username-password pair or user is disabled.");

/// Compares in a time that does not tell how much of the password is right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn check_password(call: &mut Call<'_>, user: &[u8], password: &[u8]) -> Result<(), Failure> {
    let right = call.engine.config.password.as_ref().is_none_or(|wanted| same(wanted, password));
    if user != b"default" || !right {
        return Err(WRONG_PASSWORD);
    }
    call.session.authenticated = true;
    Ok(())
}

fn auth(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    match args.len() {
        2 if call.engine.config.password.is_none() => {
            return Err(Failure::text(
                "ERR AUTH <password> called without any password configured for the default user. Are you \
                 sure your configuration is correct?",
            ));
        }
        2 => check_password(call, b"default", &args[1])?,
        3 => check_password(call, &args[1], &args[2])?,
        _ => return Err(Failure::SYNTAX),
    }
    call.session.out.ok();
    Ok(())
}

fn hello(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let version = match args.get(1) {
        None => None,
        Some(text) => {
            let invalid = Failure::text("ERR Protocol version is not an integer or out of range");
            let version = crate::wire::resp::parse_integer(text).ok_or(invalid)?;
            if !(2..=3).contains(&version) {
                return Err(Failure::text("NOPROTO unsupported protocol version"));
            }
            Some(version)
        }
    };
    let (mut credentials, mut name) = (None, None);
    let mut index = 2;
    while let Some(word) = args.get(index) {
        let left = args.len() - index - 1;
        if word.eq_ignore_ascii_case(b"AUTH") && left >= 2 {
            credentials = Some((&args[index + 1], &args[index + 2]));
            index += 3;
        } else if word.eq_ignore_ascii_case(b"SETNAME") && left >= 1 {
            name = Some(valid_name(&args[index + 1])?);
            index += 2;
        } else {
            let word = shown(word, usize::MAX);
            return Err(Failure(format!("ERR Syntax error in HELLO option '{word}'").into()));
        }
    }
    if let Some((user, password)) = credentials {
        check_password(call, user, password)?;
    }
    if !call.session.authenticated {
        return Err(Failure::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        ));
    }
    if let Some(name) = name {
        call.session.name = name;
    }
    if let Some(version) = version {
        call.session.out.set_resp3(version == 3);
    }
    greet(call.session);
    Ok(())
}

fn greet(session: &mut Session) {
    let id = session.id as i64;
    let out = &mut session.out;
    out.map(7);
    out.text("server");
    out.text("redis");
    out.text("version");
    out.text(VERSION);
    out.text("proto");
    out.integer(if out.is_resp3() { 3 } else { 2 });
    out.text("id");
    out.integer(id);
    out.text("mode");
    out.text("standalone");
    out.text("role");
    out.text("master");
    out.text("modules");
    out.array(0);
}

fn reset(call: &mut Call<'_>) -> Result<(), Failure> {
    let session = &mut *call.session;
    session.db = 0;
    session.name.clear();
    session.no_evict = false;
    session.authenticated = call.engine.config.password.is_none();
    session.out.set_resp3(false);
    session.out.simple("RESET");
    Ok(())
}

fn quit(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.ok();
    call.session.closing = true;
    Ok(())
}

fn drop_http(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.killed = true;
    Ok(())
}

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

fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn valid_name(name: &[u8]) -> Result<Vec<u8>, Failure> {
    if is_plain(name) {
        return Ok(name.to_vec());
    }
    Err(Failure::text("ERR Client names cannot contain spaces, newlines or special characters."))
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
    let lines: Vec<String> = sessions.iter().map(|session| session.describe(now_ms) + "\n").collect();
    call.session.out.verbatim(&lines.concat());
    Ok(())
}

fn client_info(call: &mut Call<'_>) -> Result<(), Failure> {
    let line = call.session.describe(call.engine.keyspace.now_ms()) + "\n";
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
