//! Script: the Lua hooks of a scenario, and the one door to the `mlua` package.
//!
//! A [`Script`] is one VM for one worker. It holds the hooks that load testers know from `wrk`: `setup`,
//! `request`, `response`, `done`, and functions of time for `lua` stages. Hooks run ahead of the due
//! time of what they shape, never on the sending path. Each call has a time limit, the VM a memory limit
//! (see [`sandbox`]); each error names file, line and hook.
//!
//! Everything random in a call follows from the seed and the request number, so request *n* has the same
//! bytes in every run and on any thread, unless a script makes them depend on state that it keeps in `ctx`.

mod api;
mod error;
mod json;
mod sandbox;
mod tallies;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaString, Table, Value};

use crate::clock::Stopwatch;
use crate::units::{Bytes, Nanos};

pub use error::{Error, Hook, Place};
pub use tallies::{Check, HookTime, Tallies};

/// The longest script, in bytes: compiling is not interrupted.
pub const MAX_SOURCE_BYTES: usize = 1 << 20;

/// The least that a VM with its helpers can live in, in bytes.
pub const MIN_MEMORY: Bytes = Bytes(2 << 20);

/// The hooks that are called by their name.
const HOOK_NAMES: [&str; 4] = ["setup", "request", "response", "done"];

/// The usual name of a rate function.
const RATE_NAME: &str = "tps_at";

/// What a script is made from.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the source comes from; for messages only.
    pub path: PathBuf,
    /// The source, at most [`MAX_SOURCE_BYTES`].
    pub source: String,
    /// `ctx.args`: what the scenario hands over (an object, or null for none).
    pub args: serde_json::Value,
    /// The seed of the run.
    pub seed: u64,
    /// The time that one call may take (some 20 ms more are tolerated).
    pub timeout: Duration,
    /// The bytes that the VM may hold, at least [`MIN_MEMORY`].
    pub memory: Bytes,
    /// The functions that `lua` stages name; each must exist.
    pub rates: Vec<String>,
}

/// Which hooks a file defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hooks {
    /// `setup(ctx)`.
    pub setup: bool,
    /// `request(ctx, record)`.
    pub request: bool,
    /// `response(ctx, record, reply)`.
    pub response: bool,
    /// `done(summary)`.
    pub done: bool,
}

/// The record of one request, as hooks see it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// `record.id`: a number, or its digits in a text above 2^53.
    pub id: u64,
    /// `record.key`: the key in Redis.
    pub key: &'a [u8],
    /// `record.value`: what Redis holds.
    pub value: &'a [u8],
    /// `record.seq`: the number of the request, from 0.
    pub seq: u64,
    /// `record.due`: when it is due, in whole microseconds from time zero; 0 in the closed model.
    pub due: Nanos,
}

/// The response to one request, as `response` sees it.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// `reply.id`: the response id.
    pub id: &'a [u8],
    /// `reply.body`: everything that came.
    pub body: &'a [u8],
    /// `reply.service_us`: received minus sent.
    pub service_us: u64,
    /// `reply.response_us`: received minus intended.
    pub response_us: u64,
}

/// What `request` decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Built {
    /// This many bytes were appended.
    Bytes(usize),
    /// It returned nil: do not send, count as dropped.
    Dropped,
}

/// The purposes of random streams, so that two hooks of one request draw different numbers.
mod purpose {
    pub const FILE: u64 = 0;
    pub const SETUP: u64 = 1;
    pub const REQUEST: u64 = 2;
    pub const RESPONSE: u64 = 3;
    pub const DONE: u64 = 4;
    pub const RATE: u64 = 5;
}

#[derive(Debug, Default)]
struct Times {
    file: HookTime,
    setup: HookTime,
    request: HookTime,
    response: HookTime,
    done: HookTime,
}

struct Rate {
    name: String,
    function: Function,
    time: HookTime,
}

/// One VM with one script in it. Belongs to one thread.
pub struct Script {
    lua: Lua,
    shared: Rc<api::Shared>,
    enter: api::Enter,
    path: PathBuf,
    args: Value,
    seed: u64,
    timeout: Duration,
    memory: Bytes,
    hooks: Hooks,
    rates: Vec<Rate>,
    times: Times,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("path", &self.path).field("hooks", &self.hooks).finish_non_exhaustive()
    }
}

impl Script {
    /// Compiles the source, runs the body of the file under the limits and finds its hooks.
    ///
    /// # Errors
    /// When it does not compile, fails, runs or grows too long, or defines nothing that is ever called.
    pub fn load(config: &Config) -> Result<Script, Error> {
        if config.source.len() > MAX_SOURCE_BYTES {
            return Err(Error::TooLong { path: config.path.clone(), bytes: config.source.len() });
        }
        if config.memory.0 < MIN_MEMORY.0 {
            return Err(Error::LittleMemory { path: config.path.clone(), memory: config.memory });
        }
        let mut script = Script::empty(config)
            .map_err(|error| Error::Vm { path: config.path.clone(), message: error.to_string() })?;
        script.run_file(&config.source)?;
        script.find_hooks(&config.rates)?;
        Ok(script)
    }

    /// A sandboxed VM with the helpers and nothing of the user's.
    fn empty(config: &Config) -> mlua::Result<Script> {
        let limits = Rc::new(sandbox::Limits::new(config.timeout));
        let name = chunk_name(&config.path);
        let lua = sandbox::open(config.memory.0, &limits, &name)?;
        let shared = Rc::new(api::Shared { limits, stream: api::Stream::default(), name });
        let enter = api::install(&lua, &shared)?;
        lua.sandbox(true)?;
        let args = match &config.args {
            serde_json::Value::Null => Value::Table(lua.create_table()?),
            tree => json::from_tree(&lua, &shared.limits, tree)?,
        };
        Ok(Script {
            lua,
            shared,
            enter,
            path: config.path.clone(),
            args,
            seed: config.seed,
            timeout: config.timeout,
            memory: config.memory,
            hooks: Hooks::default(),
            rates: Vec::new(),
            times: Times::default(),
        })
    }

    fn run_file(&mut self, source: &str) -> Result<(), Error> {
        self.shared.stream.reseed(self.seed, purpose::FILE, 0);
        let (result, took) = self.call(|script| {
            let chunk = script.lua.load(source).set_name(format!("={}", script.shared.name));
            chunk.set_mode(ChunkMode::Text).exec()
        });
        self.times.file.add(took);
        result.map_err(|cause| self.error(cause, Hook::File))
    }

    fn find_hooks(&mut self, rates: &[String]) -> Result<(), Error> {
        let globals = self.lua.globals();
        let hook = |name: &'static str| self.function(&globals, name);
        let [setup, request, response, done] =
            [hook("setup")?, hook("request")?, hook("response")?, hook("done")?];
        self.hooks = Hooks {
            setup: setup.is_some(),
            request: request.is_some(),
            response: response.is_some(),
            done: done.is_some(),
        };
        let names = function_names(&globals);
        for name in rates {
            match self.function(&globals, name)? {
                Some(function) => {
                    self.rates.push(Rate { name: name.clone(), function, time: HookTime::default() })
                }
                None => return Err(self.unknown_function(name, &names)),
            }
        }
        let any = self.hooks != Hooks::default() || !rates.is_empty() || names.iter().any(|n| n == RATE_NAME);
        let known = HOOK_NAMES.into_iter().chain([RATE_NAME]);
        let misspelt = names.iter().filter(|name| !rates.contains(name)).find_map(|name| {
            known.clone().find(|hook| resembles(name, hook)).map(|hook| (name.clone(), hook.to_owned()))
        });
        match misspelt {
            did_you_mean if !any => return Err(Error::NoHooks { place: self.place(None), did_you_mean }),
            Some((name, hook)) => tracing::warn!(
                "{}: function `{name}` is never called by the runner: did you mean `{hook}`?",
                self.path.display()
            ),
            None => {}
        }
        let bound = self.enter.bind.call::<()>((setup, request, response, done)).and_then(|()| {
            let seed = json::exact_number(&self.lua, self.seed)?;
            self.enter.context.call::<()>((0, 1, seed, self.args.clone()))
        });
        bound.map_err(|error| self.error(Stopped::Failed(error), Hook::File))
    }

    fn function(&self, globals: &Table, name: &str) -> Result<Option<Function>, Error> {
        match globals.raw_get(name) {
            Ok(Value::Nil) => Ok(None),
            Ok(Value::Function(function)) => Ok(Some(function)),
            Ok(other) => Err(Error::NotAFunction {
                place: self.place(None),
                name: name.to_owned(),
                got: json::type_name(&other),
            }),
            Err(error) => Err(self.error(Stopped::Failed(error), Hook::File)),
        }
    }

    /// Which hooks the file defines.
    pub fn hooks(&self) -> Hooks {
        self.hooks
    }

    /// Tells the script which worker it serves (from 0) and calls its `setup`, if it has one.
    ///
    /// # Errors
    /// When the hook fails, or runs or grows too long.
    pub fn setup(&mut self, worker: u32, workers: u32) -> Result<(), Error> {
        self.shared.stream.reseed(self.seed, purpose::SETUP, u64::from(worker));
        let (result, took) = self.call(|script| {
            let seed = json::exact_number(&script.lua, script.seed)?;
            script.enter.context.call::<()>((worker, workers, seed, script.args.clone()))?;
            if script.hooks.setup { script.enter.setup.call::<()>(()) } else { Ok(()) }
        });
        if self.hooks.setup {
            self.times.setup.add(took);
        }
        result.map_err(|cause| self.error(cause, Hook::Setup))
    }

    /// Calls `request` and appends the bytes it returns to `out`. Without the hook the record's value is
    /// sent as it is.
    ///
    /// # Errors
    /// When the hook fails, runs or grows too long, or returns neither text, buffer nor nil.
    pub fn request(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<Built, Error> {
        if !self.hooks.request {
            out.extend_from_slice(record.value);
            return Ok(Built::Bytes(record.value.len()));
        }
        self.shared.stream.reseed(self.seed, purpose::REQUEST, record.seq);
        let (result, took) = self.call(|script| {
            let id = json::exact_number(&script.lua, record.id)?;
            let seq = json::exact_number(&script.lua, record.seq)?;
            let (key, value) = (LuaString::wrap(record.key), LuaString::wrap(record.value));
            script.enter.request.call::<Value>((id, key, value, seq, due_us(record)))
        });
        self.times.request.add(took);
        match result {
            Ok(Value::String(bytes)) => {
                let bytes = bytes.as_bytes();
                out.extend_from_slice(&bytes);
                Ok(Built::Bytes(bytes.len()))
            }
            Ok(Value::Buffer(buffer)) => {
                let bytes = buffer.to_vec();
                out.extend_from_slice(&bytes);
                Ok(Built::Bytes(bytes.len()))
            }
            Ok(Value::Nil) => Ok(Built::Dropped),
            Ok(other) => Err(Error::BadReturn {
                place: self.place(None),
                hook: Hook::Request,
                expected: "a text, a buffer, or nil to drop the request",
                got: format!("a {}", json::type_name(&other)),
            }),
            Err(cause) => Err(self.error(cause, Hook::Request)),
        }
    }

    /// Calls `response`, if the script has it.
    ///
    /// # Errors
    /// When the hook fails, or runs or grows too long.
    pub fn response(&mut self, record: &Record<'_>, reply: &Reply<'_>) -> Result<(), Error> {
        if !self.hooks.response {
            return Ok(());
        }
        self.shared.stream.reseed(self.seed, purpose::RESPONSE, record.seq);
        let (result, took) = self.call(|script| {
            let id = json::exact_number(&script.lua, record.id)?;
            let seq = json::exact_number(&script.lua, record.seq)?;
            script.enter.response.call::<()>((
                id,
                LuaString::wrap(record.key),
                LuaString::wrap(record.value),
                seq,
                due_us(record),
                LuaString::wrap(reply.id),
                LuaString::wrap(reply.body),
                reply.service_us as f64,
                reply.response_us as f64,
            ))
        });
        self.times.response.add(took);
        result.map_err(|cause| self.error(cause, Hook::Response))
    }

    /// Calls `done` with the summary of the run, if the script has it.
    ///
    /// # Errors
    /// When the hook fails, or runs or grows too long.
    pub fn done(&mut self, summary: &serde_json::Value) -> Result<(), Error> {
        if !self.hooks.done {
            return Ok(());
        }
        self.shared.stream.reseed(self.seed, purpose::DONE, 0);
        let (result, took) = self.call(|script| {
            let summary = json::from_tree(&script.lua, &script.shared.limits, summary)?;
            script.enter.done.call::<()>(summary)
        });
        self.times.done.add(took);
        result.map_err(|cause| self.error(cause, Hook::Done))
    }

    /// Asks a rate function of the `lua` stages (one of [`Config::rates`]) for the rate at second `t` of
    /// its stage, in requests per second.
    ///
    /// # Errors
    /// When there is no such function, when it fails or runs too long, or when it returns anything but a
    /// finite number of 0 or more.
    pub fn rate_at(&mut self, function: &str, t: f64) -> Result<f64, Error> {
        let Some(at) = self.rates.iter().position(|rate| rate.name == function) else {
            let names: Vec<String> = self.rates.iter().map(|rate| rate.name.clone()).collect();
            return Err(self.unknown_function(function, &names));
        };
        self.shared.stream.reseed(self.seed, purpose::RATE, t.to_bits());
        let (result, took) = self.call(|script| script.rates[at].function.call::<Value>(t));
        self.rates[at].time.add(took);
        let got = match result {
            Ok(Value::Integer(rate)) if rate >= 0 => return Ok(rate as f64),
            Ok(Value::Integer(rate)) => rate.to_string(),
            Ok(Value::Number(rate)) if rate.is_finite() && rate >= 0.0 => return Ok(rate),
            Ok(Value::Number(rate)) => rate.to_string(),
            Ok(other) => json::type_name(&other).to_owned(),
            Err(cause) => return Err(self.error(cause, Hook::Rate(function.to_owned()))),
        };
        Err(Error::BadRate { place: self.place(None), function: function.to_owned(), t, got })
    }

    /// What the script counted so far, and the time it took.
    pub fn tallies(&self) -> Tallies {
        let mut tallies = Tallies { hooks: self.hook_times(), ..Tallies::default() };
        // Reading must succeed even when the script has used all its memory.
        let lifted = self.lua.set_memory_limit(0);
        if let Err(error) = self.read_counts(&mut tallies) {
            tracing::warn!("{}: cannot read the script's counters: {error}", self.path.display());
        }
        if let Ok(limit) = lifted
            && let Err(error) = self.lua.set_memory_limit(limit)
        {
            tracing::warn!("{}: cannot restore the memory limit: {error}", self.path.display());
        }
        tallies
    }

    fn hook_times(&self) -> BTreeMap<Hook, HookTime> {
        let Times { file, setup, request, response, done } = &self.times;
        let fixed = [
            (Hook::File, file),
            (Hook::Setup, setup),
            (Hook::Request, request),
            (Hook::Response, response),
            (Hook::Done, done),
        ];
        let rates = self.rates.iter().map(|rate| (Hook::Rate(rate.name.clone()), rate.time));
        let called = |(_, time): &(Hook, HookTime)| time.calls > 0;
        fixed.into_iter().map(|(hook, time)| (hook, *time)).chain(rates).filter(called).collect()
    }

    fn read_counts(&self, tallies: &mut Tallies) -> mlua::Result<()> {
        let (counters, checks, printed): (Table, Table, f64) = self.enter.tallies.call(())?;
        counters.for_each(|name: LuaString, n: f64| {
            tallies.counters.insert(name.to_string_lossy(), n);
            Ok(())
        })?;
        checks.for_each(|name: LuaString, counts: Table| {
            let count = |i: usize| counts.raw_get::<f64>(i).map(|n| n as u64);
            let check = Check { passed: count(1)?, failed: count(2)? };
            tallies.checks.insert(name.to_string_lossy(), check);
            Ok(())
        })?;
        tallies.printed = printed as u64;
        Ok(())
    }

    /// Runs one call under the limits. A call that used up its time has failed, whatever it returned.
    fn call<T>(&self, work: impl FnOnce(&Script) -> mlua::Result<T>) -> (Result<T, Stopped>, Duration) {
        let watch = Stopwatch::start();
        self.shared.limits.begin();
        let result = work(self);
        let expired = self.shared.limits.end();
        let took = watch.elapsed();
        match result {
            _ if expired => (Err(Stopped::Expired), took),
            Ok(value) => (Ok(value), took),
            Err(error) => (Err(Stopped::Failed(error)), took),
        }
    }

    #[cold]
    fn error(&self, stopped: Stopped, hook: Hook) -> Error {
        let error = match stopped {
            Stopped::Expired => {
                let place = self.place(self.shared.limits.line());
                return Error::Timeout { place, hook, limit: self.timeout };
            }
            Stopped::Failed(error) => error,
        };
        match sandbox::explain(&error, &self.shared.name) {
            sandbox::Cause::Memory => Error::Memory { place: self.place(None), hook, limit: self.memory },
            sandbox::Cause::Syntax { line, message } => Error::Syntax { place: self.place(line), message },
            sandbox::Cause::Runtime { line, message } => {
                Error::Runtime { place: self.place(line), hook, message }
            }
        }
    }

    fn place(&self, line: Option<u32>) -> Place {
        Place { path: self.path.clone(), line }
    }

    fn unknown_function(&self, name: &str, known: &[String]) -> Error {
        let meant = known.iter().find(|known| resembles(name, known));
        let did_you_mean = meant.map(|known| (name.to_owned(), known.clone()));
        Error::UnknownFunction { place: self.place(None), name: name.to_owned(), did_you_mean }
    }
}

/// Why a call ended without a value.
enum Stopped {
    Expired,
    Failed(mlua::Error),
}

fn due_us(record: &Record<'_>) -> f64 {
    (record.due.0 / 1000) as f64
}

/// The name under which the VM knows a script: short enough that the VM never shortens it itself.
fn chunk_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let plain = |c: char| !c.is_control() && c != ':';
    let name: String = name.unwrap_or_default().chars().filter(|&c| plain(c)).take(40).collect();
    if name.is_empty() { "script".to_owned() } else { name }
}

/// The functions that a script defines, sorted by name. Names that are not text cannot be meant.
fn function_names(globals: &Table) -> Vec<String> {
    let mut names = Vec::new();
    let seen = globals.for_each(|key: Value, value: Value| {
        if let (Value::String(name), Value::Function(_)) = (key, value)
            && names.len() < api::MAX_NAMES as usize
        {
            names.push(name.to_string_lossy());
        }
        Ok(())
    });
    if let Err(error) = seen {
        tracing::debug!("cannot list the functions of a script: {error}");
    }
    names.sort_unstable();
    names
}

/// Not the same name, but easily typed for it.
fn resembles(typed: &str, meant: &str) -> bool {
    typed != meant && strsim::damerau_levenshtein(&typed.to_lowercase(), meant) <= 2
}

#[cfg(test)]
mod tests;
