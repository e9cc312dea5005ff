//! SLOWLOG and MONITOR: what runs, and what takes long.

use super::{ADMIN, Call, Command, Failure, LOADING, NOSCRIPT, STALE, help};
use crate::wire::resp::parse_integer;

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "server";
const ADM: u32 = ADMIN | LOADING | STALE;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("monitor", 1, ADM | NOSCRIPT, NONE, G, "Shows every command as it runs", monitor),
    Command::container("slowlog", G, "Looks at slow commands", SLOWLOG),
];

const SLOWLOG: &[Command] = &[
    Command::new("slowlog|get", -2, ADM, NONE, G, "Returns slow commands", slowlog_get),
    Command::new("slowlog|help", 2, LOADING | STALE, NONE, G, "Shows the sub-commands", slowlog_help),
    Command::new("slowlog|len", 2, ADM, NONE, G, "Counts slow commands", slowlog_len),
    Command::new("slowlog|reset", 2, ADM, NONE, G, "Forgets slow commands", slowlog_reset),
];

fn monitor(call: &mut Call<'_>) -> Result<(), Failure> {
    if call.session.in_exec {
        return Err(Failure::text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if !call.session.monitor {
        call.session.monitor = true;
        call.engine.monitors.push(call.session.slot);
    }
    call.session.out.ok();
    Ok(())
}

/// Without a count ten; -1 for all.
fn slowlog_get(call: &mut Call<'_>) -> Result<(), Failure> {
    let count = match call.args.get(2) {
        None => 10,
        Some(_) if call.args.len() > 3 => return Err(Failure::sub_arity(&call.args[1], "SLOWLOG")),
        Some(count) => {
            let invalid = Failure::text("ERR count should be greater than or equal to -1");
            let count = parse_integer(count).filter(|count| *count >= -1).ok_or(invalid)?;
            usize::try_from(count).unwrap_or(usize::MAX)
        }
    };
    let log = &call.engine.slow_log;
    let out = &mut call.session.out;
    out.array(log.iter().len().min(count));
    for command in log.iter().take(count) {
        out.array(6);
        out.integer(command.id as i64);
        out.integer(command.at_s as i64);
        out.integer(command.micros as i64);
        out.array(command.args.len());
        command.args.iter().for_each(|arg| out.bulk(arg));
        out.text(&command.client);
        out.bulk(&command.client_name);
    }
    Ok(())
}

fn slowlog_len(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.count(call.engine.slow_log.iter().len());
    Ok(())
}

fn slowlog_reset(call: &mut Call<'_>) -> Result<(), Failure> {
    call.engine.slow_log.clear();
    call.session.out.ok();
    Ok(())
}

fn slowlog_help(call: &mut Call<'_>) -> Result<(), Failure> {
    help::show(
        call,
        &[
            (
                "GET [<count>]",
                &[
                    "Lists the newest <count> slow commands, 10 without a number, -1 for all. Of each:",
                    "number, time, microseconds, arguments, address and name of the client",
                ],
            ),
            ("LEN", &["Counts the slow commands that are kept."]),
            ("RESET", &["Forgets the slow commands."]),
        ],
    )
}
