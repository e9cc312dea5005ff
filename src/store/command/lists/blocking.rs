//! Lists whose elements are waited for.

use super::{MultiPop, TWO, WO, end_of, move_element, pop_event, pop_named, removed};
use super::{edit, pop_each};
use crate::store::blocking::{Empty, Wait, timeout_seconds};
use crate::store::command::{BLOCKING, Call, Command, Failure, MOVABLE_KEYS, NOSCRIPT, WRITE};
use crate::store::list::{End, List};

const KEYS: (i16, i16, i16) = (1, -2, 1);
const NONE: (i16, i16, i16) = (0, 0, 0);
const POP: u32 = WRITE | NOSCRIPT | BLOCKING;
const MOVE: u32 = WO | NOSCRIPT | BLOCKING;
const MANY: u32 = WRITE | BLOCKING | MOVABLE_KEYS;
const G: &str = "list";

/// The rows of these commands.
pub const COMMANDS: &[Command] = &[
    Command::new(
        "blpop",
        -3,
        POP,
        KEYS,
        G,
        "Pops at the head of the first list with elements, or waits",
        blpop,
    ),
    Command::new(
        "brpop",
        -3,
        POP,
        KEYS,
        G,
        "Pops at the tail of the first list with elements, or waits",
        brpop,
    ),
    Command::new("blmove", 6, MOVE, TWO, G, "Moves an element to another list, or waits for one", blmove),
    Command::new(
        "brpoplpush",
        4,
        MOVE,
        TWO,
        G,
        "Moves the last element to another list, or waits",
        brpoplpush,
    ),
    Command::new("blmpop", -5, MANY, NONE, G, "Pops from the first list with elements, or waits", blmpop),
];

fn blpop(call: &mut Call<'_>) -> Result<(), Failure> {
    pop(call, End::Head)
}

fn brpop(call: &mut Call<'_>) -> Result<(), Failure> {
    pop(call, End::Tail)
}

fn pop(call: &mut Call<'_>, end: End) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let last = args.len() - 1;
    let timeout = timeout_seconds(&args[last], call.engine.keyspace.now_ms())?;
    let keys = args.iter().take(last).skip(1);
    let (resumed, ready) = (call.resumed, call.ready_key);
    for key in keys.clone().filter(|key| !resumed || *key == ready) {
        let (keyspace, out) = (&mut call.engine.keyspace, &mut call.session.out);
        let popped = edit(keyspace, db, key, |list| {
            out.array(2);
            out.bulk(key);
            pop_each(list, end, 1, out);
            (list.is_empty(), 1)
        });
        match popped {
            Ok(Some(empty)) => {
                removed(keyspace, db, key, pop_event(end), empty);
                return Ok(());
            }
            Ok(None) => {}
            Err(_) if resumed => {}
            Err(failure) => return Err(failure),
        }
    }
    call.block(Wait { keys, timeout, empty: Empty::NullArray, when_gone: false, command: None })
}

fn blmove(call: &mut Call<'_>) -> Result<(), Failure> {
    let (from, to) = (end_of(&call.args[3])?, end_of(&call.args[4])?);
    move_or_wait(call, from, to)
}

fn brpoplpush(call: &mut Call<'_>) -> Result<(), Failure> {
    move_or_wait(call, End::Tail, End::Head)
}

fn move_or_wait(call: &mut Call<'_>, from: End, to: End) -> Result<(), Failure> {
    let (args, db) = (call.args, call.session.db);
    let timeout = timeout_seconds(&args[args.len() - 1], call.engine.keyspace.now_ms())?;
    let is_list = |call: &mut Call<'_>| {
        let found = call.engine.keyspace.find(db, &args[1]);
        found.is_some_and(|entry| List::of(entry).is_some())
    };
    // Whoever waits is not told that the source has become something else.
    if (!call.resumed || is_list(call)) && move_element(call, from, to)? {
        return Ok(());
    }
    if call.session.in_exec {
        // A time-out answers with no array, this with no value.
        call.session.out.null();
        return Ok(());
    }
    let keys = std::iter::once(&args[1]);
    call.block(Wait { keys, timeout, empty: Empty::NullArray, when_gone: false, command: None })
}

fn blmpop(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let pop = MultiPop::parse(args.from(2))?;
    let timeout = timeout_seconds(&args[1], call.engine.keyspace.now_ms())?;
    if pop_named(call, &pop)? {
        return Ok(());
    }
    let keys = pop.keys();
    call.block(Wait { keys, timeout, empty: Empty::NullArray, when_gone: false, command: None })
}
