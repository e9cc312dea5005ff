//! COMMAND, and what it tells of each command.

use super::facts::{self, Argument, Begin, Facts, Find, KeySpec};
use super::{Call, Command, FLAG_NAMES, Failure, HIDDEN, Index, LOADING, STALE, getkeys, help};
use crate::store::glob;
use crate::store::reply::Replies;

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "server";
const LS: u32 = LOADING | STALE;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command {
    subcommands: SUBCOMMANDS,
    ..Command::new("command", -1, LS, NONE, G, "Describes all commands", command)
}];

const SUBCOMMANDS: &[Command] = &[
    Command::new("command|count", 2, LS, NONE, G, "Counts the commands", command_count),
    Command::new("command|docs", -2, LS, NONE, G, "Returns what commands do", command_docs),
    Command::new(
        "command|getkeys",
        -4,
        LS,
        NONE,
        G,
        "Returns the keys of a command",
        getkeys::command_getkeys,
    ),
    Command::new(
        "command|getkeysandflags",
        -4,
        LS,
        NONE,
        G,
        "Returns the keys of a command and what happens to them",
        getkeys::command_getkeysandflags,
    ),
    Command::new("command|help", 2, LS, NONE, G, "Shows the sub-commands", command_help),
    Command::new("command|info", -2, LS, NONE, G, "Describes some commands", command_info),
    Command::new("command|list", -2, LS, NONE, G, "Lists the names of commands", command_list),
];

/// The sub-commands that are shown.
fn shown_subcommands(command: &'static Command) -> impl Iterator<Item = &'static Command> + Clone {
    command.subcommands.iter().filter(|sub| sub.flags & HIDDEN == 0)
}

fn command(call: &mut Call<'_>) -> Result<(), Failure> {
    let commands = call.engine.index.commands();
    call.session.out.array(commands.len());
    commands.iter().for_each(|command| describe(&mut call.session.out, command));
    Ok(())
}

fn command_count(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.count(call.engine.index.commands().len());
    Ok(())
}

/// A command, or a sub-command by its full name (`config|get`).
pub fn find(index: &Index, name: &[u8]) -> Option<&'static Command> {
    let found = match memchr::memchr(b'|', name) {
        None => index.find(name)?.command,
        Some(bar) => {
            let mut subcommands = index.find(&name[..bar])?.command.subcommands.iter();
            subcommands.find(|command| command.name.as_bytes().eq_ignore_ascii_case(name))?
        }
    };
    Some(found).filter(|command| command.flags & HIDDEN == 0)
}

fn command_info(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.args.len() == 2 {
        return command(call);
    }
    let names = call.args.from(2);
    call.session.out.array(names.len());
    for name in names.iter() {
        match find(call.engine.index, name) {
            Some(command) => describe(&mut call.session.out, command),
            None => call.session.out.null(),
        }
    }
    Ok(())
}

fn command_list(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let commands = call.engine.index.commands().iter().copied();
    let out = &mut call.session.out;
    let all = commands.flat_map(|command| [command].into_iter().chain(shown_subcommands(command)));
    let mut names: Vec<&str> = all.map(|command| command.name).collect();
    if args.len() > 2 {
        if args.len() != 5 || !args[2].eq_ignore_ascii_case(b"FILTERBY") {
            return Err(Failure::SYNTAX);
        }
        let wanted = &args[4];
        match args[3].to_ascii_lowercase().as_slice() {
            b"pattern" => names.retain(|name| glob::matches(wanted, name.as_bytes(), true)),
            b"module" => names.clear(),
            b"aclcat" => names.retain(|name| is_in_category(name, wanted)),
            _ => return Err(Failure::SYNTAX),
        }
    }
    out.array(names.len());
    names.iter().for_each(|name| out.text(name));
    Ok(())
}

/// Whether a command is in a category of access control.
pub fn is_in_category(name: &str, category: &[u8]) -> bool {
    let own = facts::of(name).categories.split(' ');
    !category.is_empty() && own.map(str::as_bytes).any(|own| own.eq_ignore_ascii_case(category))
}

fn write_words(out: &mut Replies, words: &'static str, write: impl Fn(&mut Replies, &'static str)) {
    out.set(words.split_ascii_whitespace().count());
    words.split_ascii_whitespace().for_each(|word| write(out, word));
}

/// The ten elements that COMMAND INFO has for a command.
fn describe(out: &mut Replies, command: &'static Command) {
    let facts = facts::of(command.name);
    out.array(10);
    out.text(command.name);
    out.integer(i64::from(command.arity));
    let flags = FLAG_NAMES.iter().enumerate().filter(|(bit, _)| command.flags & 1 << bit != 0);
    out.set(flags.clone().count());
    flags.for_each(|(_, name)| out.simple(name));
    let (first, last, step) = command.keys;
    [first, last, step].into_iter().for_each(|number| out.integer(i64::from(number)));
    write_words(out, facts.categories, |out, category| out.simple(&format!("@{category}")));
    write_words(out, facts.tips, |out, tip| out.text(tip));
    out.set(facts.keys.len());
    facts.keys.iter().for_each(|spec| describe_keys(out, spec));
    match shown_subcommands(command).count() {
        0 => out.set(0),
        count => out.array(count),
    }
    shown_subcommands(command).for_each(|sub| describe(out, sub));
}

fn describe_keys(out: &mut Replies, spec: &'static KeySpec) {
    out.map(3 + usize::from(spec.notes.is_some()));
    if let Some(notes) = spec.notes {
        out.text("notes");
        out.text(notes);
    }
    out.text("flags");
    write_words(out, spec.flags, |out, flag| out.simple(flag));
    out.text("begin_search");
    match spec.begin {
        Begin::Index(index) => write_spec(out, "index", &[("index", index)]),
        Begin::Keyword(word, from) => {
            out.map(2);
            out.text("type");
            out.text("keyword");
            out.text("spec");
            out.map(2);
            out.text("keyword");
            out.text(word);
            out.text("startfrom");
            out.integer(from);
        }
        Begin::Unknown => write_spec(out, "unknown", &[]),
    }
    out.text("find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            write_spec(out, "range", &[("lastkey", last), ("keystep", step), ("limit", limit)]);
        }
        Find::KeyNumber { index, first, step } => {
            write_spec(out, "keynum", &[("keynumidx", index), ("firstkey", first), ("keystep", step)]);
        }
        Find::Unknown => write_spec(out, "unknown", &[]),
    }
}

fn write_spec(out: &mut Replies, kind: &str, numbers: &[(&str, i64)]) {
    out.map(2);
    out.text("type");
    out.text(kind);
    out.text("spec");
    out.map(numbers.len());
    for (name, number) in numbers {
        out.text(name);
        out.integer(*number);
    }
}

fn command_docs(call: &mut Call<'_>) -> Result<(), Failure> {
    let names = call.args.from(2);
    let index = call.engine.index;
    let commands: Vec<&'static Command> = if names.is_empty() {
        index.commands().to_vec()
    } else {
        names.iter().filter_map(|name| find(index, name)).collect()
    };
    let out = &mut call.session.out;
    out.map(commands.len());
    commands.iter().for_each(|command| document(out, command));
    Ok(())
}

fn document(out: &mut Replies, command: &'static Command) {
    let facts: &Facts = facts::of(command.name);
    let group = if facts.group.is_empty() { command.group } else { facts.group };
    let texts = [
        ("summary", Some(command.summary)),
        ("since", Some(facts.since)),
        ("group", Some(group)),
        ("complexity", Some(facts.complexity).filter(|text| !text.is_empty())),
    ];
    let texts = texts.iter().filter_map(|(name, text)| text.map(|text| (name, text)));
    let has_subcommands = !command.subcommands.is_empty();
    let parts = [
        !facts.marks.is_empty(),
        facts.deprecated_since.is_some(),
        !facts.arguments.is_empty(),
        has_subcommands,
    ];
    out.text(command.name);
    out.map(texts.clone().count() + parts.into_iter().filter(|part| *part).count());
    for (name, text) in texts {
        out.text(name);
        out.text(text);
    }
    if !facts.marks.is_empty() {
        out.text("doc_flags");
        write_words(out, facts.marks, |out, mark| out.simple(mark));
    }
    if let Some(version) = facts.deprecated_since {
        out.text("deprecated_since");
        out.text(version);
    }
    if !facts.arguments.is_empty() {
        out.text("arguments");
        document_arguments(out, &facts.arguments);
    }
    if has_subcommands {
        out.text("subcommands");
        out.map(shown_subcommands(command).count());
        shown_subcommands(command).for_each(|sub| document(out, sub));
    }
}

fn document_arguments(out: &mut Replies, arguments: &[Argument]) {
    out.array(arguments.len());
    for argument in arguments {
        let texts = [
            ("token", argument.token),
            ("since", argument.since),
            ("deprecated_since", argument.deprecated_since),
        ];
        let texts = texts.iter().filter_map(|(name, text)| text.map(|text| (name, text)));
        let parts = [argument.key.is_some(), !argument.marks.is_empty(), !argument.parts.is_empty()];
        out.map(2 + texts.clone().count() + parts.into_iter().filter(|part| *part).count());
        out.text("name");
        out.text(argument.name);
        out.text("type");
        out.text(argument.kind);
        if let Some(key) = argument.key {
            out.text("key_spec_index");
            out.integer(key);
        }
        for (name, text) in texts {
            out.text(name);
            out.text(text);
        }
        if !argument.marks.is_empty() {
            out.text("flags");
            out.set(argument.marks.len());
            argument.marks.chars().for_each(|mark| {
                out.simple(match mark {
                    '?' => "optional",
                    '*' => "multiple",
                    _ => "multiple_token",
                });
            });
        }
        if !argument.parts.is_empty() {
            out.text("arguments");
            document_arguments(out, &argument.parts);
        }
    }
}

fn command_help(call: &mut Call<'_>) -> Result<(), Failure> {
    help::show(
        call,
        &[
            ("(no subcommand)", &["Describes every command."]),
            ("COUNT", &["Counts the commands."]),
            ("LIST", &["Lists the names of all commands, or of those that a filter leaves."]),
            ("INFO [<command-name> ...]", &["Describes some commands, or all of them."]),
            ("DOCS [<command-name> ...]", &["Tells what some commands do and take, or all of them."]),
            ("GETKEYS <full-command>", &["Finds the keys of a command line."]),
            (
                "GETKEYSANDFLAGS <full-command>",
                &["Finds the keys of a command line, and what happens to each."],
            ),
        ],
    )
}
