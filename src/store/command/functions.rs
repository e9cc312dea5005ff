//! FUNCTION: there are none, and none can be loaded.

use super::{ALLOW_BUSY, Call, Command, DENYOOM, Failure, LOADING, NOSCRIPT, STALE, WRITE, help, shown};

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "scripting";
const CHANGE: u32 = WRITE | NOSCRIPT;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::container("function", G, "Looks at functions", SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    Command::new("function|delete", 3, CHANGE, NONE, G, "Removes a library", delete),
    Command::new("function|dump", 2, NOSCRIPT, NONE, G, "Returns all libraries for RESTORE", unsupported),
    Command::new("function|flush", -2, CHANGE, NONE, G, "Removes all libraries", flush),
    Command::new("function|help", 2, LOADING | STALE, NONE, G, "Shows the sub-commands", function_help),
    Command::new("function|kill", 2, NOSCRIPT | ALLOW_BUSY, NONE, G, "Ends a function that runs", kill),
    Command::new("function|list", -2, NOSCRIPT, NONE, G, "Lists the libraries", list),
    Command::new("function|load", -3, CHANGE | DENYOOM, NONE, G, "Adds a library", unsupported),
    Command::new("function|restore", -3, CHANGE | DENYOOM, NONE, G, "Adds libraries from DUMP", unsupported),
    Command::new(
        "function|stats",
        2,
        NOSCRIPT | ALLOW_BUSY,
        NONE,
        G,
        "Tells what runs and what there is",
        stats,
    ),
];

fn unsupported(_: &mut Call<'_>) -> Result<(), Failure> {
    Err(Failure::text("ERR this store has no scripting: functions can be neither loaded nor saved"))
}

fn delete(_: &mut Call<'_>) -> Result<(), Failure> {
    Err(Failure::text("ERR Library not found"))
}

fn flush(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    match args.get(2) {
        Some(_) if args.len() > 3 => return Err(Failure::sub_arity(&args[1], "FUNCTION")),
        Some(word) if !word.eq_ignore_ascii_case(b"SYNC") && !word.eq_ignore_ascii_case(b"ASYNC") => {
            return Err(Failure::text("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
        }
        _ => call.session.out.ok(),
    }
    Ok(())
}

fn kill(_: &mut Call<'_>) -> Result<(), Failure> {
    Err(Failure::text("NOTBUSY No scripts in execution right now."))
}

fn list(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let mut index = 2;
    while let Some(word) = args.get(index) {
        if word.eq_ignore_ascii_case(b"WITHCODE") {
            index += 1;
        } else if word.eq_ignore_ascii_case(b"LIBRARYNAME") {
            if index + 1 == args.len() {
                return Err(Failure::text("ERR library name argument was not given"));
            }
            index += 2;
        } else {
            return Err(Failure(format!("ERR Unknown argument {}", shown(word, 128)).into()));
        }
    }
    call.session.out.array(0);
    Ok(())
}

fn stats(call: &mut Call<'_>) -> Result<(), Failure> {
    let out = &mut call.session.out;
    out.map(2);
    out.text("running_script");
    out.null();
    out.text("engines");
    out.map(1);
    out.text("LUA");
    out.map(2);
    out.text("libraries_count");
    out.integer(0);
    out.text("functions_count");
    out.integer(0);
    Ok(())
}

fn function_help(call: &mut Call<'_>) -> Result<(), Failure> {
    help::show(
        call,
        &[
            ("DELETE <library>", &["Removes a library: there is none."]),
            ("FLUSH [ASYNC|SYNC]", &["Removes all libraries."]),
            ("KILL", &["Ends the function that runs: none does."]),
            ("LIST [LIBRARYNAME <pattern>] [WITHCODE]", &["Lists the libraries: there are none."]),
            ("STATS", &["Tells what runs, and how many libraries there are."]),
        ],
    )
}
