//! ACL, as far as it concerns the one user that there is: `default`, who may do everything.

use std::io::Read;

use super::command_info::is_in_category;
use super::{ADMIN, Call, Command, Failure, LOADING, NOSCRIPT, STALE, help, integer, shown};
use sha2::{Digest, Sha256};

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "server";
const OWN: u32 = NOSCRIPT | LOADING | STALE;
const ADM: u32 = ADMIN | OWN;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::container("acl", G, "Looks at users", SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    Command::new("acl|cat", -2, OWN, NONE, G, "Lists categories, or the commands of one", acl_cat),
    Command::new("acl|deluser", -3, ADM, NONE, G, "Removes users", acl_deluser),
    Command::new("acl|dryrun", -4, ADM, NONE, G, "Tells whether a user may run a command", acl_dryrun),
    Command::new("acl|genpass", -2, OWN, NONE, G, "Makes a password", acl_genpass),
    Command::new("acl|getuser", 3, ADM, NONE, G, "Describes a user", acl_getuser),
    Command::new("acl|help", 2, LOADING | STALE, NONE, G, "Shows the sub-commands", acl_help),
    Command::new("acl|list", 2, ADM, NONE, G, "Lists the users with their rules", acl_list),
    Command::new("acl|load", 2, ADM, NONE, G, "Reads the users from their file", no_file),
    Command::new("acl|log", -2, ADM, NONE, G, "Returns what was forbidden", acl_log),
    Command::new("acl|save", 2, ADM, NONE, G, "Writes the users to their file", no_file),
    Command::new("acl|setuser", -3, ADM, NONE, G, "Changes a user", acl_setuser),
    Command::new("acl|users", 2, ADM, NONE, G, "Lists the users", acl_users),
    Command::new("acl|whoami", 2, OWN, NONE, G, "Returns the user of this client", acl_whoami),
];

/// The categories, in Redis's order.
const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// Bits of a password when nothing else is asked for, and at most.
const PASSWORD_BITS: i64 = 256;
const MAX_PASSWORD_BITS: i64 = 4096;

fn acl_whoami(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.text("default");
    Ok(())
}

fn acl_users(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.array(1);
    call.session.out.text("default");
    Ok(())
}

/// The password as users are listed with it.
fn password_hash(call: &Call<'_>) -> Option<String> {
    call.engine.config.password.as_ref().map(|password| hex(password))
}

fn acl_list(call: &mut Call<'_>) -> Result<(), Failure> {
    let password = password_hash(call).map_or("nopass".to_string(), |hash| format!("#{hash}"));
    call.session.out.array(1);
    call.session.out.text(&format!("user default on {password} ~* &* +@all"));
    Ok(())
}

fn acl_getuser(call: &mut Call<'_>) -> Result<(), Failure> {
    if &call.args[2] != b"default" {
        call.session.out.null();
        return Ok(());
    }
    let password = password_hash(call);
    let out = &mut call.session.out;
    out.map(6);
    out.text("flags");
    out.set(if password.is_some() { 1 } else { 2 });
    out.text("on");
    if password.is_none() {
        out.text("nopass");
    }
    out.text("passwords");
    out.array(usize::from(password.is_some()));
    password.iter().for_each(|hash| out.text(hash));
    for (name, value) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        out.text(name);
        out.text(value);
    }
    out.text("selectors");
    out.array(0);
    Ok(())
}

fn acl_cat(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let names: Vec<&str> = match args.get(2) {
        None => CATEGORIES.to_vec(),
        Some(_) if args.len() > 3 => return Err(Failure::sub_arity(&args[1], "ACL")),
        Some(wanted) if !CATEGORIES.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(wanted)) => {
            let wanted = shown(wanted, usize::MAX);
            return Err(Failure(format!("ERR Unknown category '{wanted}'").into()));
        }
        Some(wanted) => {
            let rows = call.engine.index.rows().iter().map(|row| row.command.name);
            rows.filter(|name| is_in_category(name, wanted)).collect()
        }
    };
    call.session.out.array(names.len());
    names.iter().for_each(|name| call.session.out.text(name));
    Ok(())
}

fn acl_deluser(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.args.from(2).iter().any(|name| name == b"default") {
        return Err(Failure::text("ERR The 'default' user cannot be removed"));
    }
    call.session.out.integer(0);
    Ok(())
}

fn acl_dryrun(call: &mut Call<'_>) -> Result<(), Failure> {
    let (user, args) = (&call.args[2], call.args.from(3));
    if user != b"default" {
        let user = shown(user, usize::MAX);
        return Err(Failure(format!("ERR User '{user}' not found").into()));
    }
    let index = call.engine.index;
    let found = index.find(&args[0]).and_then(|row| match args.get(1) {
        Some(name) if !row.command.subcommands.is_empty() => index.find_sub(row, name),
        _ => Some(row),
    });
    let Some(row) = found else {
        let name = shown(&args[0], usize::MAX);
        return Err(Failure(format!("ERR Command '{name}' not found").into()));
    };
    if !row.command.accepts(args.len()) {
        return Err(Failure::arity(row.command.name));
    }
    call.session.out.ok();
    Ok(())
}

fn acl_genpass(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let bits = match args.get(2) {
        None => PASSWORD_BITS,
        Some(_) if args.len() > 3 => return Err(Failure::sub_arity(&args[1], "ACL")),
        Some(bits) => integer(bits)?,
    };
    if !(1..=MAX_PASSWORD_BITS).contains(&bits) {
        return Err(Failure::text(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             4096",
        ));
    }
    let digits = (bits as usize).div_ceil(4);
    let mut random = vec![0; digits.div_ceil(2)];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random));
    read.map_err(|_| Failure::text("ERR the system gives no random numbers"))?;
    let mut password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    password.truncate(digits);
    call.session.out.text(&password);
    Ok(())
}

/// Nothing is forbidden to anybody, so there is nothing in it.
fn acl_log(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    match args.get(2) {
        Some(_) if args.len() > 3 => return Err(Failure::sub_arity(&args[1], "ACL")),
        Some(word) if word.eq_ignore_ascii_case(b"RESET") => {
            call.session.out.ok();
            return Ok(());
        }
        Some(count) => drop(integer(count)?),
        None => {}
    }
    call.session.out.array(0);
    Ok(())
}

fn acl_setuser(_: &mut Call<'_>) -> Result<(), Failure> {
    Err(Failure::text("ERR this server has no users but default; CONFIG SET requirepass gives it a password"))
}

fn no_file(_: &mut Call<'_>) -> Result<(), Failure> {
    Err(Failure::text(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL \
         SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in \
         order to store users in the Redis configuration.",
    ))
}

fn acl_help(call: &mut Call<'_>) -> Result<(), Failure> {
    help::show(
        call,
        &[
            ("CAT [<category>]", &["Lists the categories, or the commands of one <category>."]),
            ("DELUSER <username> [<username> ...]", &["Removes users."]),
            ("DRYRUN <username> <command> [<arg> ...]", &["Tells whether a user may run a command line."]),
            ("GETUSER <username>", &["Describes a user."]),
            ("GENPASS [<bits>]", &["Makes a password of so many random bits, 256 without a number."]),
            ("LIST", &["Lists the users with their rules."]),
            ("LOAD", &["Reads the users from their file."]),
            ("LOG [<count> | RESET]", &["Shows what was forbidden, or forgets it."]),
            ("SAVE", &["Writes the users to their file."]),
            ("SETUSER <username> <attribute> [<attribute> ...]", &["Makes or changes a user."]),
            ("USERS", &["Lists the names of the users."]),
            ("WHOAMI", &["Tells which user this client is."]),
        ],
    )
}

/// The SHA-256 of a password, which is all that is shown of it.
fn hex(password: &[u8]) -> String {
    Sha256::digest(password).iter().map(|byte| format!("{byte:02x}")).collect()
}
