//! XINFO.

use super::super::{Call, Failure, integer};
use super::{group, no_group_in, read, write_entries, write_entry, write_help, write_id};
use crate::store::reply::Replies;
use crate::store::stream::Stream;
use crate::store::stream::entries::Entries;
use crate::store::stream::groups::{Consumer, Group};
use crate::store::stream::ids::StreamId;

/// Entries that FULL shows unless it is told how many.
const DEFAULT_COUNT: usize = 10;

/// How many entries FULL shows, 0 for all; `None` without FULL.
fn full(call: &Call<'_>) -> Result<Option<usize>, Failure> {
    let options = call.args.from(3);
    let refused = || Failure::sub_arity(&call.args[1], "XINFO");
    let Some(word) = options.get(0) else { return Ok(None) };
    if !word.eq_ignore_ascii_case(b"FULL") {
        return Err(refused());
    }
    match (options.len(), options.get(1), options.get(2)) {
        (1, ..) => Ok(Some(DEFAULT_COUNT)),
        (3, Some(word), Some(count)) if word.eq_ignore_ascii_case(b"COUNT") => {
            Ok(Some(usize::try_from(integer(count)?).unwrap_or(DEFAULT_COUNT)))
        }
        _ => Err(refused()),
    }
}

/// The stream of the call, which must be there.
fn required<'c>(call: &'c mut Call<'_>) -> Result<(&'c Stream, &'c mut Replies), Failure> {
    let args = call.args;
    let stream = read(&mut call.engine.keyspace, call.session.db, &args[2])?;
    Ok((stream.ok_or(Failure::NO_KEY)?, &mut call.session.out))
}

pub(super) fn stream(call: &mut Call<'_>) -> Result<(), Failure> {
    // The key is looked at before the options.
    required(call)?;
    let full = full(call)?;
    let (stream, out) = required(call)?;
    let entries = &stream.entries;
    out.map(if full.is_some() { 9 } else { 10 });
    write_entries_info(out, entries);
    match full {
        Some(count) => {
            let limit = if count == 0 { usize::MAX } else { count };
            out.text("entries");
            let all = (StreamId::MIN, StreamId::MAX);
            write_entries(out, entries.count(all.0, all.1, limit), entries.range(all.0, all.1));
            out.text("groups");
            out.array(stream.groups.len());
            stream.groups.iter().for_each(|(name, group)| write_group(out, name, group, entries, limit));
        }
        None => {
            out.text("groups");
            out.count(stream.groups.len());
            for (name, id) in [("first-entry", entries.first()), ("last-entry", entries.last())] {
                out.text(name);
                match id.and_then(|id| Some((id, entries.get(id)?))) {
                    Some((id, fields)) => write_entry(out, id, fields),
                    None => out.null(),
                }
            }
        }
    }
    Ok(())
}

/// The seven lines that a stream has in both forms.
fn write_entries_info(out: &mut Replies, entries: &Entries) {
    out.text("length");
    out.integer(entries.len() as i64);
    out.text("radix-tree-keys");
    out.count(entries.node_count());
    out.text("radix-tree-nodes");
    out.count(entries.tree_nodes());
    out.text("last-generated-id");
    write_id(out, entries.last_id);
    out.text("max-deleted-entry-id");
    write_id(out, entries.max_deleted);
    out.text("entries-added");
    out.integer(entries.added as i64);
    out.text("recorded-first-entry-id");
    write_id(out, entries.first().unwrap_or_default());
}

fn write_optional(out: &mut Replies, value: Option<i64>) {
    match value {
        Some(value) => out.integer(value),
        None => out.null(),
    }
}

/// A group with everything in it, of entries at most `limit`.
fn write_group(out: &mut Replies, name: &[u8], group: &Group, entries: &Entries, limit: usize) {
    out.map(7);
    out.text("name");
    out.bulk(name);
    out.text("last-delivered-id");
    write_id(out, group.last_id);
    out.text("entries-read");
    write_optional(out, group.entries_read);
    out.text("lag");
    write_optional(out, group.lag(entries));
    out.text("pel-count");
    out.count(group.pending().len());
    out.text("pending");
    out.array(group.pending().len().min(limit));
    for (id, delivery) in group.pending().iter().take(limit) {
        out.array(4);
        write_id(out, *id);
        out.bulk(group.name_of(delivery.consumer));
        out.integer(delivery.at_ms);
        out.integer(delivery.count as i64);
    }
    out.text("consumers");
    out.array(group.consumer_count());
    group.consumers().for_each(|consumer| write_consumer(out, consumer, group, limit));
}

fn write_consumer(out: &mut Replies, consumer: &Consumer, group: &Group, limit: usize) {
    out.map(4);
    out.text("name");
    out.bulk(consumer.name());
    out.text("seen-time");
    out.integer(consumer.seen_ms);
    out.text("pel-count");
    out.count(consumer.pending().len());
    out.text("pending");
    out.array(consumer.pending().len().min(limit));
    for id in consumer.pending().iter().take(limit) {
        let delivery = group.pending().get(id);
        out.array(3);
        write_id(out, *id);
        out.integer(delivery.map_or(0, |delivery| delivery.at_ms));
        out.integer(delivery.map_or(0, |delivery| delivery.count as i64));
    }
}

pub(super) fn groups(call: &mut Call<'_>) -> Result<(), Failure> {
    let (stream, out) = required(call)?;
    out.array(stream.groups.len());
    for (name, group) in &stream.groups {
        out.map(6);
        out.text("name");
        out.bulk(name);
        out.text("consumers");
        out.count(group.consumer_count());
        out.text("pending");
        out.count(group.pending().len());
        out.text("last-delivered-id");
        write_id(out, group.last_id);
        out.text("entries-read");
        write_optional(out, group.entries_read);
        out.text("lag");
        write_optional(out, group.lag(&stream.entries));
    }
    Ok(())
}

pub(super) fn consumers(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let now_ms = call.engine.keyspace.now_ms();
    let (stream, out) = required(call)?;
    let group = group(Some(stream), &args[3]).ok_or_else(|| no_group_in(&args[2], &args[3]))?;
    out.array(group.consumer_count());
    for consumer in group.consumers() {
        out.map(3);
        out.text("name");
        out.bulk(consumer.name());
        out.text("pending");
        out.count(consumer.pending().len());
        out.text("idle");
        out.integer(now_ms.wrapping_sub(consumer.seen_ms).max(0));
    }
    Ok(())
}

pub(super) fn help(call: &mut Call<'_>) -> Result<(), Failure> {
    write_help(
        call,
        &[
            "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
            "CONSUMERS <key> <groupname>",
            "    Show consumers of <groupname>.",
            "GROUPS <key>",
            "    Show the stream consumer groups.",
            "STREAM <key> [FULL [COUNT <count>]",
            "    Show information about the stream.",
            "HELP",
            "    Prints this help.",
        ],
    )
}
