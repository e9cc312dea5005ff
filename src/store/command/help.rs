//! What the HELP of a container answers.

use super::{Call, Failure};

/// Shows sub-commands, each with its arguments and the lines that explain it.
pub fn show(call: &mut Call<'_>, subcommands: &[(&str, &[&str])]) -> Result<(), Failure> {
    let name = String::from_utf8_lossy(&call.args[0]).to_ascii_uppercase();
    let out = &mut call.session.out;
    let explained: usize = subcommands.iter().map(|(_, lines)| 1 + lines.len()).sum();
    out.array(explained + 3);
    out.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (usage, lines) in subcommands.iter().chain([&("HELP", &["Prints this help."][..])]) {
        out.simple(usage);
        lines.iter().for_each(|line| out.simple(&format!("    {line}")));
    }
    Ok(())
}
