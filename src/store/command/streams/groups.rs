//! XGROUP and XACK.

use super::super::{Call, Failure, integer};
use super::add::new_stream;
use super::{edit_groups, group, id, no_group_in, read, stream_mut, stream_of, write_help};
use crate::store::notify::Class;
use crate::store::stream::Stream;
use crate::store::stream::groups::Group;
use crate::store::stream::ids::StreamId;

const KEY_REQUIRED: Failure = Failure::text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
     option to create an empty stream automatically.",
);

/// The options of XGROUP CREATE and SETID.
#[derive(Default)]
struct Options {
    make_stream: bool,
    /// `None` for unknown, which is written -1.
    entries_read: Option<i64>,
}

impl Options {
    fn parse(call: &Call<'_>, takes_make_stream: bool) -> Result<Options, Failure> {
        let (args, mut options) = (call.args, Options::default());
        let refused = || Failure::sub_arity(&args[1], "XGROUP");
        let mut index = 5;
        while let Some(word) = args.get(index) {
            if takes_make_stream && word.eq_ignore_ascii_case(b"MKSTREAM") {
                options.make_stream = true;
                index += 1;
            } else if word.eq_ignore_ascii_case(b"ENTRIESREAD") {
                let read = integer(args.get(index + 1).ok_or_else(refused)?)?;
                if read < -1 {
                    return Err(Failure::text("ERR value for ENTRIESREAD must be positive or -1"));
                }
                options.entries_read = Some(read).filter(|read| *read >= 0);
                index += 2;
            } else {
                return Err(refused());
            }
        }
        Ok(options)
    }

    /// Options may be repeated, but not so often.
    fn check_len(call: &Call<'_>, max: usize) -> Result<(), Failure> {
        if call.args.len() > max {
            return Err(Failure::sub_arity(&call.args[1], "XGROUP"));
        }
        Ok(())
    }
}

/// The stream of the call, whether or not it is there.
fn find<'c>(call: &'c mut Call<'_>) -> Result<Option<&'c Stream>, Failure> {
    let args = call.args;
    call.engine.keyspace.find(call.session.db, &args[2]).map(stream_of).transpose()
}

/// The stream of the call must be there, and its group.
fn require_group(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let stream = find(call)?.ok_or(KEY_REQUIRED)?;
    group(Some(stream), &args[3]).map(|_| ()).ok_or_else(|| no_group_in(&args[2], &args[3]))
}

/// Changes the group of the call, which is there.
fn edit<R>(call: &mut Call<'_>, edit: impl FnOnce(&mut Group) -> (R, u64)) -> Result<R, Failure> {
    let (args, db) = (call.args, call.session.db);
    let edited = edit_groups(&mut call.engine.keyspace, db, &args[2], |stream| {
        match stream.groups.get_mut(&args[3]).map(edit) {
            Some((result, changes)) => (Ok(result), changes),
            None => (Err(no_group_in(&args[2], &args[3])), 0),
        }
    });
    edited?.ok_or(KEY_REQUIRED)
}

fn notify(call: &mut Call<'_>, event: &'static str) {
    let args = call.args;
    call.engine.keyspace.notify(Class::STREAM, event, call.session.db, &args[2]);
}

/// The id that a group is to have read up to.
fn read_up_to(
    text: &[u8],
    stream: Option<&Stream>,
    parse: impl FnOnce(&[u8]) -> Result<StreamId, Failure>,
) -> Result<StreamId, Failure> {
    match text {
        b"$" => Ok(stream.map_or(StreamId::MIN, |stream| stream.entries.last_id)),
        text => parse(text),
    }
}

pub(super) fn create(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let options = Options::parse(call, true)?;
    let stream = find(call)?;
    if stream.is_none() && !options.make_stream {
        return Err(KEY_REQUIRED);
    }
    Options::check_len(call, 8)?;
    let stream = find(call)?;
    let last_id = read_up_to(&args[4], stream, id)?;
    let is_new = stream.is_none();
    let add = |stream: &mut Stream| {
        if stream.groups.contains_key(&args[3]) {
            return (Err(Failure::text("BUSYGROUP Consumer Group name already exists")), 0);
        }
        stream.groups.insert(args[3].into(), Group::new(last_id, options.entries_read));
        (Ok(()), 1)
    };
    let keyspace = &mut call.engine.keyspace;
    if is_new {
        keyspace.edit_or_insert(db, &args[2], new_stream, |entry| match stream_mut(entry) {
            Ok(stream) => add(stream),
            Err(failure) => (Err(failure), 0),
        })?;
    } else {
        edit_groups(keyspace, db, &args[2], add)?;
    }
    notify(call, "xgroup-create");
    call.session.out.ok();
    Ok(())
}

pub(super) fn set_id(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let options = Options::parse(call, false)?;
    require_group(call)?;
    Options::check_len(call, 7)?;
    let parse = |text: &[u8]| StreamId::parse_or_end(text, 0).ok_or(super::INVALID_ID);
    let last_id = read_up_to(&args[4], find(call)?, parse)?;
    edit(call, |group| {
        (group.last_id, group.entries_read) = (last_id, options.entries_read);
        ((), 1)
    })?;
    notify(call, "xgroup-setid");
    call.session.out.ok();
    Ok(())
}

pub(super) fn destroy(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    find(call)?.ok_or(KEY_REQUIRED)?;
    let keyspace = &mut call.engine.keyspace;
    let gone = edit_groups(keyspace, db, &args[2], |stream| {
        let gone = stream.groups.remove(&args[3]).is_some();
        (Ok(gone), u64::from(gone))
    })?;
    let gone = gone.unwrap_or(false);
    if gone {
        keyspace.wake(db, &args[2]);
        notify(call, "xgroup-destroy");
    }
    call.session.out.integer(i64::from(gone));
    Ok(())
}

pub(super) fn create_consumer(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    require_group(call)?;
    let now_ms = call.engine.keyspace.now_ms();
    let is_new = edit(call, |group| {
        let is_new = group.find(&args[4]).is_none();
        if is_new {
            group.add(&args[4], now_ms);
        }
        (is_new, u64::from(is_new))
    })?;
    if is_new {
        notify(call, "xgroup-createconsumer");
    }
    call.session.out.integer(i64::from(is_new));
    Ok(())
}

pub(super) fn delete_consumer(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    require_group(call)?;
    let pending = edit(call, |group| {
        let pending = group.remove(&args[4]);
        (pending, u64::from(pending.is_some()))
    })?;
    if pending.is_some() {
        notify(call, "xgroup-delconsumer");
    }
    call.session.out.count(pending.unwrap_or(0));
    Ok(())
}

pub(super) fn xack(call: &mut Call<'_>) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let keyspace = &mut call.engine.keyspace;
    // Without a group nobody looks at the ids.
    if group(read(keyspace, db, &args[1])?, &args[2]).is_none() {
        call.session.out.integer(0);
        return Ok(());
    }
    let ids = args.from(3).iter().map(id).collect::<Result<Vec<_>, _>>()?;
    let done = edit_groups(keyspace, db, &args[1], |stream| {
        let group = stream.groups.get_mut(&args[2]);
        let done = group.map_or(0, |group| ids.iter().filter(|id| group.acknowledge(**id)).count());
        (Ok(done), done as u64)
    })?;
    call.session.out.count(done.unwrap_or(0));
    Ok(())
}

pub(super) fn help(call: &mut Call<'_>) -> Result<(), Failure> {
    write_help(
        call,
        &[
            "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
            "CREATE <key> <groupname> <id|$> [option]",
            "    Create a new consumer group. Options are:",
            "    * MKSTREAM",
            "      Create the empty stream if it does not exist.",
            "    * ENTRIESREAD entries_read",
            "      Set the group's entries_read counter (internal use).",
            "CREATECONSUMER <key> <groupname> <consumer>",
            "    Create a new consumer in the specified group.",
            "DELCONSUMER <key> <groupname> <consumer>",
            "    Remove the specified consumer.",
            "DESTROY <key> <groupname>",
            "    Remove the specified group.",
            "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
            "    Set the current group ID and entries_read counter.",
            "HELP",
            "    Prints this help.",
        ],
    )
}
