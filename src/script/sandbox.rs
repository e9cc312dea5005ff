//! Sandbox: one Luau VM that cannot run for ever, grow for ever or reach out.
//!
//! 1. Time: the VM calls back at every loop turn, call, return and pattern step. Past the deadline each
//!    of these raises an error again, so `pcall` and coroutines cannot hold on to the thread. What runs
//!    long inside C without such a step is bounded by `prelude.lua`. A hook waits for nothing, so one that
//!    is late but uses no processor time was only not let run: it gets [`GRACE`] more to finish.
//! 2. Memory: the allocator refuses beyond the limit; strings, tables and stacks all count.
//! 3. Reach: no `os`, `io`, `debug`, `require`, `load`; globals and libraries are read-only.

use std::cell::Cell;
use std::time::Duration;

use std::rc::Rc;

use mlua::{Lua, LuaOptions, StdLib, VmState};

use crate::clock::{coarse_ns, thread_cpu};

/// The coarse clock may lag one kernel tick (up to 10 ms): a hook gets this much more rather than less.
const TICK_NS: u64 = 10_000_000;

/// Processor time after the deadline. A busy machine may keep a thread waiting for longer than a hook's
/// time; an honest hook is done within this, an endless one is stopped all the same.
const GRACE: Duration = Duration::from_millis(10);

/// Bytes of a message that a script raises which are shown.
const MAX_MESSAGE: usize = 2000;

/// How far down the stack the interrupted line of the script is looked for.
const LOCATE_LEVELS: usize = 32;

/// The limits of the call that is under way.
#[derive(Debug)]
pub(super) struct Limits {
    timeout_ns: u64,
    deadline_ns: Cell<u64>,
    /// The thread's processor time at which the grace ends, once the deadline has passed.
    grace_until: Cell<Option<Duration>>,
    expired: Cell<bool>,
    line: Cell<Option<u32>>,
}

impl Limits {
    pub(super) fn new(timeout: Duration) -> Limits {
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Limits {
            timeout_ns,
            deadline_ns: Cell::new(u64::MAX),
            grace_until: Cell::new(None),
            expired: Cell::new(false),
            line: Cell::new(None),
        }
    }

    /// Starts the time of one call.
    pub(super) fn begin(&self) {
        self.expired.set(false);
        self.grace_until.set(None);
        self.line.set(None);
        self.deadline_ns.set(coarse_ns().saturating_add(self.timeout_ns).saturating_add(TICK_NS));
    }

    /// Ends it: whether the time was used up.
    pub(super) fn end(&self) -> bool {
        self.deadline_ns.set(u64::MAX);
        self.expired.get()
    }

    /// The line of the script that was running when the time was used up.
    pub(super) fn line(&self) -> Option<u32> {
        self.line.get()
    }

    /// Fails when the time of the call is used up, for work that Rust does for a script.
    pub(super) fn check(&self) -> mlua::Result<()> {
        if coarse_ns() < self.deadline_ns.get() || self.has_grace() {
            return Ok(());
        }
        self.expired.set(true);
        Err(mlua::Error::RuntimeError("time limit reached".to_owned()))
    }

    #[cold]
    fn has_grace(&self) -> bool {
        let used = thread_cpu();
        let until = self.grace_until.get().unwrap_or(used + GRACE);
        self.grace_until.set(Some(until));
        !self.expired.get() && used < until
    }

    /// The same from inside the VM: notes the line once, for the message.
    fn interrupt(&self, lua: &Lua, chunk: &str) -> mlua::Result<VmState> {
        self.check().inspect_err(|_| {
            if self.line.get().is_none() {
                self.line.set(running_line(lua, chunk));
            }
        })?;
        Ok(VmState::Continue)
    }
}

/// The line of the innermost running function of `chunk`.
fn running_line(lua: &Lua, chunk: &str) -> Option<u32> {
    (0..LOCATE_LEVELS).find_map(|level| {
        lua.inspect_stack(level, |frame| {
            let here = frame.source().short_src.as_deref() == Some(chunk);
            here.then(|| frame.current_line().and_then(|line| u32::try_from(line).ok())).flatten()
        })
        .flatten()
    })
}

/// A VM with the harmless libraries, `memory` bytes and the time limits of `limits`. The caller adds its
/// helpers, then closes it with [`Lua::sandbox`].
pub(super) fn open(memory: u64, limits: &Rc<Limits>, chunk: &str) -> mlua::Result<Lua> {
    let libraries = StdLib::COROUTINE
        | StdLib::TABLE
        | StdLib::STRING
        | StdLib::UTF8
        | StdLib::BIT
        | StdLib::MATH
        | StdLib::BUFFER
        | StdLib::VECTOR;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    // Before the limit counts: growing the slots needs old and new ones side by side for a moment.
    super::json::reserve_slots(&lua)?;
    lua.set_memory_limit(usize::try_from(memory).unwrap_or(usize::MAX))?;
    let (limits, chunk) = (Rc::clone(limits), chunk.to_owned());
    lua.set_interrupt(move |lua| limits.interrupt(lua, &chunk));
    Ok(lua)
}

/// What an error of the VM comes down to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The memory limit.
    Memory,
    /// The source does not compile.
    Syntax {
        /// Where, when the compiler says.
        line: Option<u32>,
        /// What, without the place.
        message: String,
    },
    /// Anything that a script did or called.
    Runtime {
        /// The innermost line of the script itself, when known.
        line: Option<u32>,
        /// What, without the place.
        message: String,
    },
}

/// Finds kind, line and bare message of an error. `chunk` is the name under which the script was loaded.
pub(super) fn explain(error: &mlua::Error, chunk: &str) -> Cause {
    match error {
        mlua::Error::MemoryError(_) => Cause::Memory,
        mlua::Error::SyntaxError { message, .. } => {
            let (line, message) = split_place(message, chunk);
            Cause::Syntax { line, message: shown(message) }
        }
        mlua::Error::CallbackError { traceback, cause } => match explain(cause, chunk) {
            Cause::Runtime { line, message } => {
                Cause::Runtime { line: line.or_else(|| first_line(traceback, chunk)), message }
            }
            other => other,
        },
        mlua::Error::WithContext { cause, .. } => explain(cause, chunk),
        mlua::Error::RuntimeError(text) => {
            let (message, traceback) = text.split_once("\nstack traceback:").unwrap_or((text, ""));
            let (line, message) = split_place(message, chunk);
            Cause::Runtime {
                line: line.or_else(|| first_line(traceback, chunk)),
                message: shown(message.trim_end()),
            }
        }
        other => Cause::Runtime { line: None, message: shown(&other.to_string()) },
    }
}

/// A message as a terminal may see it: a script can raise a whole record with anything in it.
fn shown(message: &str) -> String {
    let longest = message.len().min(MAX_MESSAGE);
    let end = (0..=longest).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
    let visible = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    let mut text: String = message[..end].chars().map(visible).collect();
    if end < message.len() {
        text.push_str("...");
    }
    text
}

/// Takes `chunk:12: ` (or the prelude's own place, which means nothing to a user) off a message.
fn split_place<'m>(message: &'m str, chunk: &str) -> (Option<u32>, &'m str) {
    for name in [chunk, super::api::PRELUDE] {
        let rest = message.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
        if let Some((line, text)) = rest.and_then(|rest| rest.split_once(": "))
            && let Ok(line) = line.parse()
        {
            return ((name == chunk).then_some(line), text);
        }
    }
    (None, message)
}

/// The innermost line of `chunk` in a traceback.
fn first_line(traceback: &str, chunk: &str) -> Option<u32> {
    traceback.lines().find_map(|frame| {
        let rest = frame.trim_start().strip_prefix(chunk)?.strip_prefix(':')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_taken_off_a_message_even_when_a_helper_raised_it() {
        let raised = mlua::Error::RuntimeError(
            "[runner]:61: bad\nstack traceback:\n\t[runner]:61: in find\n\thook.lua:7: in request".to_owned(),
        );
        let cause = explain(&raised, "hook.lua");
        assert_eq!(cause, Cause::Runtime { line: Some(7), message: "bad".to_owned() });
    }

    #[test]
    fn a_message_without_a_place_stays_as_it_is() {
        assert_eq!(split_place("a: b: c", "hook.lua"), (None, "a: b: c"));
        assert_eq!(split_place("hook.lua:x: c", "hook.lua"), (None, "hook.lua:x: c"));
        assert_eq!(split_place("hook.lua:3: c", "hook.lua"), (Some(3), "c"));
    }
}
