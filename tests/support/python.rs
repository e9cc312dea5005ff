//! Python with packages of its own, for what is checked by programs that are not ours.

#![allow(dead_code, reason = "not every test that includes this file uses all of it")]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const NEEDS: &str = "the packages python3 and python3-pip, and a way to their registry";

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{NEEDS} are needed: {error}"))
}

fn everything(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The folder with the packages of a list below `tests`; another version of one makes another folder.
fn packages(list: &str) -> PathBuf {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(list);
    let version = output(Command::new("python3").arg("--version"));
    let mut hasher = DefaultHasher::new();
    (version.stdout, std::fs::read(&list).expect("a list of packages")).hash(&mut hasher);
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = home.join(format!("python-{:016x}", hasher.finish()));
    if !folder.is_dir() {
        // Made aside and moved when it is whole, so that half of one is never used.
        let aside = tempfile::tempdir_in(home).expect("a folder below target");
        let made = aside.path().join("packages");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
        let installed = output(pip.arg(&made).arg("--requirement").arg(&list));
        assert!(installed.status.success(), "{NEEDS} are needed:\n{}", everything(&installed));
        if let Err(error) = std::fs::rename(&made, &folder) {
            assert!(folder.is_dir(), "{}: {error}", folder.display());
        }
    }
    folder
}

/// Runs a script below `tests` with these packages. What it printed, when it was content.
pub fn python(list: &str, script: &str, args: &[&Path]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let mut command = Command::new("python3");
    command.arg(script).args(args).env("PYTHONPATH", packages(list)).env("PYTHONDONTWRITEBYTECODE", "1");
    let ended = output(&mut command);
    assert!(ended.status.success(), "{}", everything(&ended));
    everything(&ended)
}
