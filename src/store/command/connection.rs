//! Who is connected, and how they speak.

use super::{
    ALLOW_BUSY, Call, Command, FAST, Failure, HIDDEN, LOADING, NO_AUTH, NOSCRIPT, STALE, integer, shown,
};
use crate::store::VERSION;
use crate::store::session::{ReplyMode, Session};

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "connection";
const OPEN: u32 = NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("ping", -1, FAST, NONE, G, "Answers PONG, or what it is given", ping),
    Command::new("echo", 2, LOADING | STALE | FAST, NONE, G, "Returns what it is given", echo),
    Command::new("select", 2, LOADING | STALE | FAST, NONE, G, "Changes the database", select),
    Command::new("hello", -1, OPEN, NONE, G, "Changes the protocol, and greets", hello),
    Command::new("auth", -2, OPEN, NONE, G, "Gives the password", auth),
    Command::new("reset", 1, OPEN, NONE, G, "Sets the connection back to its start", reset),
    Command::new("quit", -1, OPEN, NONE, G, "Closes the connection", quit),
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

fn ping(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, out) = (call.args, &mut call.session.out);
    if call.session.subscriptions.is_some() && !out.is_resp3() && args.len() <= 2 {
        out.message(&[b"pong", args.get(1).unwrap_or_default()]);
        return Ok(());
    }
    match args.get(1) {
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
    if i32::try_from(index).is_err() {
        return Err(Failure::text(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
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
    let mut index = 2;
    while let Some(word) = args.get(index) {
        let left = args.len() - index - 1;
        if word.eq_ignore_ascii_case(b"AUTH") && left >= 2 {
            check_password(call, &args[index + 1], &args[index + 2])?;
            index += 3;
        } else if word.eq_ignore_ascii_case(b"SETNAME") && left >= 1 {
            call.session.name = valid_name(&args[index + 1])?;
            index += 2;
        } else {
            let word = shown(word, usize::MAX);
            return Err(Failure(format!("ERR Syntax error in HELLO option '{word}'").into()));
        }
    }
    if !call.session.authenticated {
        return Err(Failure::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        ));
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
    call.engine.unwatch(session);
    call.engine.stop_listening(session);
    call.engine.stop_caching(session);
    session.transaction = None;
    session.reply_mode = ReplyMode::On;
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

/// Whether a text has no blank and nothing that cannot be shown.
pub fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// A name for a client.
pub fn valid_name(name: &[u8]) -> Result<Vec<u8>, Failure> {
    if is_plain(name) {
        return Ok(name.to_vec());
    }
    Err(Failure::text("ERR Client names cannot contain spaces, newlines or special characters."))
}
