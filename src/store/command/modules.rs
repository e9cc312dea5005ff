//! MODULE: there are none, and none can be loaded.

use super::{ADMIN, Call, Command, Failure, LOADING, NO_ASYNC_LOADING, NOSCRIPT, STALE, help};

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "server";
const ADM: u32 = ADMIN | NOSCRIPT;
const CHANGE: u32 = ADM | NO_ASYNC_LOADING;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::container("module", G, "Looks at modules", SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    Command::new("module|help", 2, LOADING | STALE, NONE, G, "Shows the sub-commands", module_help),
    Command::new("module|list", 2, ADM, NONE, G, "Lists the modules", module_list),
    Command::new("module|load", -3, CHANGE, NONE, G, "Loads a module", not_allowed),
    Command::new("module|loadex", -3, CHANGE, NONE, G, "Loads a module with its settings", not_allowed),
    Command::new("module|unload", 3, CHANGE, NONE, G, "Unloads a module", not_allowed),
];

fn module_list(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.array(0);
    Ok(())
}

fn not_allowed(_: &mut Call<'_>) -> Result<(), Failure> {
    Err(Failure::text(
        "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it \
         from a local connection, otherwise you need to set this option in the configuration file, and then \
         restart the server.",
    ))
}

fn module_help(call: &mut Call<'_>) -> Result<(), Failure> {
    help::show(
        call,
        &[
            ("LIST", &["Lists the modules that are loaded."]),
            ("LOAD <path> [<arg> ...]", &["Loads the module at <path>."]),
            (
                "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
                &["Loads the module at <path> with settings of its own."],
            ),
            ("UNLOAD <name>", &["Unloads a module."]),
        ],
    )
}
