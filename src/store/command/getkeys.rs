//! COMMAND GETKEYS: which arguments of a command are keys, and what it does to them.
//!
//! 1. The places that are known of a command (`facts`) are tried, unless what happens to a key depends on
//!    other arguments.
//! 2. Where one of them does not fit, or tells only a part, the command has rules of its own.

use super::facts::{self, Begin, Facts, Find, KeySpec};
use super::{Args, Call, Command, Failure, NO_MANDATORY_KEYS};
use crate::wire::resp::parse_integer;

/// The position of a key, and what happens to it.
type Key = (usize, &'static str);

const READS: &str = "RO access";
const OVERWRITES: &str = "OW update";
const CHANGES: &str = "RW access update";
const TAKES: &str = "RW access delete";

/// COMMAND GETKEYS
pub fn command_getkeys(call: &mut Call<'_>) -> Result<(), Failure> {
    let keys = keys_of_call(call)?;
    let args = call.args.from(2);
    let out = &mut call.session.out;
    out.array(keys.len());
    keys.iter().for_each(|(position, _)| out.bulk(&args[*position]));
    Ok(())
}

/// COMMAND GETKEYSANDFLAGS
pub fn command_getkeysandflags(call: &mut Call<'_>) -> Result<(), Failure> {
    let keys = keys_of_call(call)?;
    let args = call.args.from(2);
    let out = &mut call.session.out;
    out.array(keys.len());
    for (position, flags) in keys {
        out.array(2);
        out.bulk(&args[position]);
        out.set(flags.split_ascii_whitespace().count());
        flags.split_ascii_whitespace().for_each(|flag| out.simple(flag));
    }
    Ok(())
}

fn keys_of_call(call: &Call<'_>) -> Result<Vec<Key>, Failure> {
    let args = call.args.from(2);
    let invalid = Failure::text("ERR Invalid command specified");
    let mut row = call.engine.index.find(&args[0]).ok_or(invalid.clone())?;
    if !row.command.subcommands.is_empty() && args.len() >= 2 {
        row = call.engine.index.find_sub(row, &args[1]).ok_or(invalid)?;
    }
    let command = row.command;
    let facts = facts::of(command.name);
    if facts.keys.iter().all(|spec| spec.has("not_key")) {
        return Err(Failure::text("ERR The command has no key arguments"));
    }
    if !command.accepts(args.len()) {
        return Err(Failure::text("ERR Invalid number of arguments specified for command"));
    }
    let keys = keys(command, facts, args);
    if keys.is_empty() && command.flags & NO_MANDATORY_KEYS == 0 {
        return Err(Failure::text("ERR Invalid arguments specified for command"));
    }
    Ok(keys)
}

/// Where the keys of a command are.
pub fn positions(command: &Command, args: Args<'_>) -> Vec<usize> {
    let facts = facts::of(command.name);
    if facts.keys.iter().all(|spec| spec.has("not_key")) {
        return Vec::new();
    }
    keys(command, facts, args).into_iter().map(|(position, _)| position).collect()
}

/// The keys of a command that has keys.
fn keys(command: &Command, facts: &Facts, args: Args<'_>) -> Vec<Key> {
    let depends = facts.keys.iter().any(|spec| spec.has("variable_flags"));
    let found = if depends { None } else { keys_in_places(facts, args) };
    found.unwrap_or_else(|| match command.name {
        "set" => set(args),
        "bitfield" => bitfield(args),
        "sort" => sort(args),
        "sort_ro" => vec![(1, READS)],
        "migrate" => migrate(args),
        _ => counted(facts, args),
    })
}

/// The keys at all known places; `None` when one of the places does not fit.
fn keys_in_places(facts: &Facts, args: Args<'_>) -> Option<Vec<Key>> {
    let mut keys = Vec::new();
    for spec in facts.keys.iter().filter(|spec| !spec.has("not_key")) {
        let first = match spec.begin {
            Begin::Index(index) => index,
            Begin::Keyword(word, from) => match behind(word, from, args) {
                Some(first) => first,
                None => continue,
            },
            Begin::Unknown => return None,
        };
        keys.extend(range(spec, first, args)?);
        if spec.has("incomplete") {
            return None;
        }
    }
    Some(keys)
}

/// The position behind a word.
fn behind(word: &str, from: i64, args: Args<'_>) -> Option<i64> {
    let is_word = |index: &i64| {
        let arg = usize::try_from(*index).ok().and_then(|index| args.get(index));
        arg.is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    let len = args.len() as i64;
    let found = if from > 0 { (from..len - 1).find(is_word) } else { (2..=len + from).rev().find(is_word) };
    found.map(|index| index + 1)
}

fn range(spec: &KeySpec, first: i64, args: Args<'_>) -> Option<Vec<Key>> {
    let len = args.len() as i64;
    let (first, last, step) = match spec.find {
        Find::Range { last, step, .. } if last >= 0 => (first, first + last, step),
        Find::Range { last, step, limit: 0 } => (first, len + last, step),
        Find::Range { last, step, limit } => (first, first + (len - first) / limit + last, step),
        Find::KeyNumber { index, first: offset, step } => {
            let number = args.get(usize::try_from(first + index).ok()?)?;
            let number = parse_integer(number).filter(|number| (0..=len).contains(number))?;
            (first + offset, first + offset + (number - 1) * step, step)
        }
        Find::Unknown => return None,
    };
    if last >= len || last < first || first >= len {
        return None;
    }
    let step = usize::try_from(step).ok().filter(|step| *step > 0)?;
    Some((first as usize..=last as usize).step_by(step).map(|position| (position, spec.flags)).collect())
}

/// What a C program reads as number at the start of a text.
fn leading_number(text: &[u8]) -> i64 {
    let end = text.iter().skip(1).position(|byte| !byte.is_ascii_digit()).map_or(text.len(), |end| end + 1);
    text.get(..end).and_then(parse_integer).unwrap_or(0)
}

/// The number of keys stands before them, and is no whole number: its beginning counts.
fn counted(facts: &Facts, args: Args<'_>) -> Vec<Key> {
    let Some(spec) = facts.keys.last() else { return Vec::new() };
    let (Begin::Index(begin), Find::KeyNumber { index, first, .. }) = (spec.begin, spec.find) else {
        return Vec::new();
    };
    let number = args.get((begin + index) as usize).map_or(0, leading_number);
    let first = begin + first;
    if number < 1 || number > args.len() as i64 - first {
        return Vec::new();
    }
    let before = facts.keys.iter().rev().skip(1).filter_map(|spec| match spec.begin {
        Begin::Index(index) => Some((index as usize, spec.flags)),
        _ => None,
    });
    before.chain((first..first + number).map(|position| (position as usize, spec.flags))).collect()
}

fn set(args: Args<'_>) -> Vec<Key> {
    let gets = args.from(3).iter().any(|word| word.eq_ignore_ascii_case(b"GET"));
    vec![(1, if gets { CHANGES } else { OVERWRITES })]
}

fn bitfield(args: Args<'_>) -> Vec<Key> {
    let mut index = 2;
    while let Some(word) = args.get(index) {
        let left = args.len() - index - 1;
        if word.eq_ignore_ascii_case(b"GET") && left >= 2 {
            index += 3;
        } else if word.eq_ignore_ascii_case(b"OVERFLOW") && left >= 1 {
            index += 2;
        } else {
            return vec![(1, CHANGES)];
        }
    }
    vec![(1, READS)]
}

fn sort(args: Args<'_>) -> Vec<Key> {
    let mut keys = vec![(1, READS)];
    let mut index = 2;
    while let Some(word) = args.get(index) {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if is(b"LIMIT") {
            index += 2;
        } else if is(b"GET") || is(b"BY") {
            index += 1;
        } else if is(b"STORE") && index + 1 < args.len() {
            // The last one counts.
            keys.truncate(1);
            keys.push((index + 1, OVERWRITES));
            index += 1;
        }
        index += 1;
    }
    keys
}

fn migrate(args: Args<'_>) -> Vec<Key> {
    let mut index = 6;
    while let Some(word) = args.get(index) {
        if word.eq_ignore_ascii_case(b"KEYS") && args.get(3).is_some_and(<[u8]>::is_empty) {
            return (index + 1..args.len()).map(|position| (position, TAKES)).collect();
        }
        index += match () {
            () if word.eq_ignore_ascii_case(b"AUTH") => 2,
            () if word.eq_ignore_ascii_case(b"AUTH2") => 3,
            () => 1,
        };
    }
    vec![(3, TAKES)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::command::Index;
    use crate::wire::resp::OwnedArgs;

    fn found(line: &str) -> Vec<String> {
        let args: OwnedArgs = line.split(' ').map(|word| word.trim_matches('"').as_bytes()).collect();
        let args = args.args();
        let row = Index::shared().find(&args[0]).expect("a command");
        let keys = keys(row.command, facts::of(row.command.name), args);
        keys.iter().map(|(at, flags)| format!("{} {flags}", String::from_utf8_lossy(&args[*at]))).collect()
    }

    #[test]
    fn a_number_that_says_more_keys_than_there_are_finds_none() {
        let args: OwnedArgs =
            ["eval", "s", "9223372036854775807", "a"].iter().map(|a| a.as_bytes()).collect();
        assert!(keys_in_places(facts::of("eval"), args.args()).is_none());
        assert!(counted(facts::of("eval"), args.args()).is_empty());
        let args: OwnedArgs = ["zunionstore", "d", "2x", "a", "b"].iter().map(|a| a.as_bytes()).collect();
        assert_eq!(counted(facts::of("zunionstore"), args.args()).len(), 3);
    }

    #[test]
    fn what_happens_to_a_key_may_depend_on_other_arguments() {
        assert_eq!(found("set a 1"), ["a OW update"]);
        assert_eq!(found("set a 1 EX 3 get"), ["a RW access update"]);
    }
}
