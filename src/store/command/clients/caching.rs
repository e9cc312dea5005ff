//! CLIENT TRACKING and what belongs to it: clients that keep copies of what they have read.

use crate::store::command::{Call, Failure, integer};
use crate::store::session::Session;
use crate::store::tracking::Caching;

/// CLIENT TRACKING
///
/// 1. Every option is read; the client to tell instead must be there.
/// 2. ON, OFF, or a syntax error.
/// 3. With ON, the options must go with each other and with what the client does already.
pub fn client_tracking(call: &mut Call<'_>) -> Result<(), Failure> {
    let wanted = read_options(call)?;
    match call.args[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            check(&wanted, call.session)?;
            begin(call, wanted);
        }
        b"off" => call.engine.stop_caching(call.session),
        _ => return Err(Failure::SYNTAX),
    }
    call.session.out.ok();
    Ok(())
}

fn read_options(call: &Call<'_>) -> Result<Caching, Failure> {
    let args = call.args;
    let mut wanted = Caching::default();
    let mut index = 3;
    while let Some(word) = args.get(index) {
        let value = args.get(index + 1);
        match (word.to_ascii_lowercase().as_slice(), value) {
            (b"redirect", Some(_)) if wanted.redirect != 0 => {
                return Err(Failure::text("ERR A client can only redirect to a single other client"));
            }
            (b"redirect", Some(id)) => {
                let id = integer(id)? as u64;
                let mut others = call.engine.clients.iter().flatten().map(|other| other.id);
                if id != call.session.id && !others.any(|other| other == id) {
                    return Err(Failure::text("ERR The client ID you want redirect to does not exist"));
                }
                wanted.redirect = id;
                index += 1;
            }
            (b"prefix", Some(prefix)) => {
                wanted.prefixes.push(prefix.into());
                index += 1;
            }
            (b"bcast", _) => wanted.broadcast = true,
            (b"optin", _) => wanted.opt_in = true,
            (b"optout", _) => wanted.opt_out = true,
            (b"noloop", _) => wanted.no_loop = true,
            _ => return Err(Failure::SYNTAX),
        }
        index += 1;
    }
    Ok(wanted)
}

fn check(wanted: &Caching, session: &Session) -> Result<(), Failure> {
    if !wanted.broadcast && !wanted.prefixes.is_empty() {
        return Err(Failure::text("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    let old = session.caching.as_deref();
    if old.is_some_and(|old| old.broadcast != wanted.broadcast) {
        return Err(Failure::text(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
             re-enabling it with a different mode.",
        ));
    }
    if wanted.broadcast && (wanted.opt_in || wanted.opt_out) {
        return Err(Failure::text("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if wanted.opt_in && wanted.opt_out {
        return Err(Failure::text("ERR You can't specify both OPTIN mode and OPTOUT mode"));
    }
    if old.is_some_and(|old| wanted.opt_in && old.opt_out || wanted.opt_out && old.opt_in) {
        return Err(Failure::text(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
             re-enabling it with a different mode.",
        ));
    }
    check_prefixes(&wanted.prefixes, old.map_or(&[][..], |old| &old.prefixes))
}

/// No prefix of a client may be the beginning of another one.
fn check_prefixes(prefixes: &[Box<[u8]>], old: &[Box<[u8]>]) -> Result<(), Failure> {
    let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    let refused = |one: &[u8], which: &str, other: &[u8]| {
        let (one, other) = (String::from_utf8_lossy(one), String::from_utf8_lossy(other));
        let text = format!(
            "ERR Prefix '{one}' overlaps with {which} prefix '{other}'. Prefixes for a single client must not \
             overlap."
        );
        Failure(text.into())
    };
    for (position, prefix) in prefixes.iter().enumerate() {
        if let Some(other) = old.iter().find(|other| overlap(prefix, other)) {
            return Err(refused(prefix, "an existing", other));
        }
        if let Some(other) = prefixes[position + 1..].iter().find(|other| overlap(prefix, other)) {
            return Err(refused(prefix, "another provided", other));
        }
    }
    Ok(())
}

fn begin(call: &mut Call<'_>, mut wanted: Caching) {
    if wanted.broadcast && wanted.prefixes.is_empty() {
        // All keys begin with nothing.
        wanted.prefixes.push(Box::default());
    }
    if let Some(old) = call.session.caching.take() {
        wanted.prefixes.extend(old.prefixes);
    }
    wanted.prefixes.sort();
    wanted.prefixes.dedup();
    call.engine.tracking.join(call.session.waiter(), &wanted.prefixes);
    call.engine.keyspace.witnesses.changes.wanted = true;
    call.session.caching = Some(Box::new(wanted));
}

/// CLIENT CACHING: whether the keys of the next command are remembered.
pub fn client_caching(call: &mut Call<'_>) -> Result<(), Failure> {
    let Some(caching) = call.session.caching.as_mut().filter(|caching| caching.opt_in || caching.opt_out)
    else {
        return Err(Failure::text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
             enabled",
        ));
    };
    match call.args[2].to_ascii_lowercase().as_slice() {
        b"yes" if caching.opt_in => caching.next = true,
        b"yes" => {
            return Err(Failure::text(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
        b"no" if caching.opt_out => caching.next = true,
        b"no" => {
            return Err(Failure::text(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
        _ => return Err(Failure::SYNTAX),
    }
    call.session.out.ok();
    Ok(())
}

/// CLIENT GETREDIR
pub fn client_getredir(call: &mut Call<'_>) -> Result<(), Failure> {
    let redirect = call.session.caching.as_ref().map_or(-1, |caching| caching.redirect as i64);
    call.session.out.integer(redirect);
    Ok(())
}

/// CLIENT TRACKINGINFO
pub fn client_trackinginfo(call: &mut Call<'_>) -> Result<(), Failure> {
    let session = &mut *call.session;
    let (caching, out) = (session.caching.as_deref(), &mut session.out);
    let has = |flag: fn(&Caching) -> bool| caching.is_some_and(flag);
    let flags = [
        (caching.is_none(), "off"),
        (caching.is_some(), "on"),
        (has(|caching| caching.broadcast), "bcast"),
        (has(|caching| caching.opt_in), "optin"),
        (has(|caching| caching.opt_in && caching.next), "caching-yes"),
        (has(|caching| caching.opt_out), "optout"),
        (has(|caching| caching.opt_out && caching.next), "caching-no"),
        (has(|caching| caching.no_loop), "noloop"),
        (has(|caching| caching.broken), "broken_redirect"),
    ];
    let flags: Vec<&str> = flags.into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
    out.map(3);
    out.text("flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.text(flag));
    out.text("redirect");
    out.integer(caching.map_or(-1, |caching| caching.redirect as i64));
    out.text("prefixes");
    let prefixes = caching.map_or(&[][..], |caching| &caching.prefixes);
    out.array(prefixes.len());
    prefixes.iter().for_each(|prefix| out.bulk(prefix));
    Ok(())
}
