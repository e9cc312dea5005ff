//! The clients that people use, in their newest versions, over both protocols.
//!
//! Each script in `tests/clients` runs against Redis first, so that a script that Redis itself does not pass cannot
//! stand, and then against the store. Packages come from their registries once, into the folder for temporary
//! files below `target`; another version in the lists makes another folder.

#[path = "clients/redis_rs.rs"]
mod redis_rs;
#[path = "support/redis_server.rs"]
mod redis_server;
#[path = "support/store_process.rs"]
mod store_process;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use redis_server::RedisServer;
use store_process::{Store, everything, finish};

const PYTHON: &str = "the packages python3 and python3-pip";
const NODE: &str = "the packages nodejs and npm";

fn clients(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a command that has to succeed, and returns what it says.
fn succeed(command: &mut Command, needs: &str) -> String {
    let output = finish(command, needs);
    let said = everything(&output);
    assert!(
        output.status.success(),
        "{command:?} failed ({needs} are needed, and a way to the registry):\n{said}"
    );
    said
}

/// The folder with packages that `install` has filled, now or earlier; `key` names everything that it depends on.
fn installed(name: &str, key: &[&str], install: impl Fn(&Path)) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = home.join(format!("{name}-{:016x}", hasher.finish()));
    if !folder.is_dir() {
        // Made aside and moved when it is whole, so that half of one is never used.
        let aside = tempfile::tempdir_in(home).expect("a folder below target");
        let made = aside.path().join("packages");
        std::fs::create_dir(&made).expect("a folder");
        install(&made);
        if let Err(error) = std::fs::rename(&made, &folder) {
            assert!(folder.is_dir(), "{}: {error}", folder.display());
        }
    }
    folder
}

fn python_packages() -> PathBuf {
    let version = succeed(Command::new("python3").arg("--version"), PYTHON);
    let list = clients("requirements.txt");
    let wanted = std::fs::read_to_string(&list).expect("a list of packages");
    installed("python", &[&version, &wanted], |folder| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]);
        succeed(pip.arg(folder).arg("--requirement").arg(&list), PYTHON);
    })
}

/// The newest packages that this machine's node can run; once for the tests of this file.
fn node_packages() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let version = succeed(Command::new("node").arg("--version"), NODE);
        let major: u32 = version
            .trim_start_matches('v')
            .split('.')
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or_else(|| panic!("`node --version` says {version}"));
        assert!(major >= 18, "the clients need node 18 or newer, this is {version}");
        let list = clients(if major >= 20 { "node20" } else { "node18" });
        let lock = std::fs::read_to_string(list.join("package-lock.json")).expect("a list of packages");
        installed("node", &[&version, &lock], |folder| {
            for name in ["package.json", "package-lock.json"] {
                std::fs::copy(list.join(name), folder.join(name)).expect("copied");
            }
            let mut npm = Command::new("npm");
            succeed(npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(folder), NODE);
        })
    })
}

/// Runs a script against Redis and then against the store, with RESP2 and with RESP3.
fn run_script(interpreter: &str, script: &str, packages: (&str, &Path), needs: &str) {
    let (theirs, ours) = (RedisServer::start(&[]), Store::start(&[]));
    for (name, addr) in [("redis-server", theirs.addr()), ("the store", ours.addr())] {
        for protocol in ["2", "3"] {
            let mut command = Command::new(interpreter);
            command.arg(clients(script)).args([&addr.port().to_string(), protocol]);
            // Python would leave its compiled files among the sources.
            command.env(packages.0, packages.1).env("PYTHONDONTWRITEBYTECODE", "1");
            let output = finish(&mut command, needs);
            let said = everything(&output);
            assert!(output.status.success(), "{script} over RESP{protocol} against {name}:\n{said}");
            assert!(said.contains("passed") || said.contains("skipped"), "{script} checked nothing:\n{said}");
        }
    }
}

#[test]
fn redis_py_works_as_it_does_with_redis() {
    run_script("python3", "redis_py.py", ("PYTHONPATH", &python_packages()), PYTHON);
}

#[test]
fn node_redis_works_as_it_does_with_redis() {
    run_script("node", "node_redis.js", ("NODE_PATH", &node_packages().join("node_modules")), NODE);
}

#[test]
fn ioredis_works_as_it_does_with_redis() {
    run_script("node", "io_redis.js", ("NODE_PATH", &node_packages().join("node_modules")), NODE);
}

#[test]
fn redis_rs_works_as_it_does_with_redis() {
    let (theirs, ours) = (RedisServer::start(&[]), Store::start(&[]));
    for (name, addr) in [("redis-server", theirs.addr()), ("the store", ours.addr())] {
        for protocol in [2, 3] {
            for (what, check) in redis_rs::CHECKS {
                // Where a check fails, this says against whom.
                eprintln!("{what} over RESP{protocol} against {name}");
                check(&redis_rs::Party { addr, protocol });
            }
        }
    }
}
