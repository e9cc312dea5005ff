//! `runner init`: a scenario and a Lua hook to start from, commented, and ready to be run.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::app::error::{Error, exit};
use crate::app::say;
use crate::cli::InitArgs;
use crate::report;

const SCENARIO: &str = include_str!("init/scenario.yaml");
const HOOK: &str = include_str!("init/hook.lua");

/// Stands in both for the name.
const NAME: &str = "NAME";

pub(super) fn init(args: &InitArgs) -> Result<u8, Error> {
    let name = &args.name;
    let files = [(format!("{name}.yaml"), SCENARIO), (format!("{name}.lua"), HOOK)];
    // Both or none: whether there is room for the second is known before the first is written.
    if let Some((taken, _)) = files.iter().find(|(file, _)| Path::new(file).exists()) {
        return Err(Error::FileTaken(PathBuf::from(taken)));
    }
    for (file, text) in &files {
        write(Path::new(file), text.replace(NAME, name).as_bytes())?;
    }
    let [(scenario, _), (hook, _)] = &files;
    say(&format!("{scenario} and {hook} are written. What next:"));
    say(&format!("  runner {scenario} --dry-run    # the plan; opens nothing"));
    say(&format!("  runner {scenario}              # runs it, on the built-in store and service"));
    Ok(exit::PASSED)
}

/// Writes a file that is not there yet.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new: std::io::Result<File> = OpenOptions::new().write(true).create_new(true).open(path);
    new.and_then(|mut file| file.write_all(bytes)).map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => Error::FileTaken(path.to_path_buf()),
        _ => report::Error::Write { path: path.to_path_buf(), source }.into(),
    })
}
