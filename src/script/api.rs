//! Api: what a script finds in its VM. The visible list is `prelude.lua`; here is what it needs from Rust.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaString, Table, Value};

use super::json;
use super::sandbox::Limits;

/// The chunk name of the prelude in tracebacks.
pub(super) const PRELUDE: &str = "[runner]";

/// Counters and checks a script may name; what comes after shares [`MORE_NAMES`].
pub(super) const MAX_NAMES: u32 = 1000;

/// Where counts go when the names are used up.
pub(super) const MORE_NAMES: &str = "(more names)";

/// Bytes in the name of a counter or check.
const MAX_NAME_BYTES: u32 = 128;

/// Lines a script may print; the rest is only counted.
const MAX_PRINT_LINES: u32 = 100;

/// Bytes of a printed line that are shown.
const MAX_PRINT_BYTES: usize = 4096;

/// Text bytes times pattern bytes: the longest that one uninterrupted step of a pattern can take is this
/// many character comparisons (tens of milliseconds).
const PATTERN_PRODUCT: u32 = 1 << 26;

/// The same for plain search, which compares many bytes at once.
const PLAIN_PRODUCT: u32 = 1 << 28;

/// Elements that one `table.move` may move.
const MAX_MOVE: u32 = 100_000;

/// A stream of random numbers that follows from the seed, a purpose and a number, and from nothing else.
/// (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.)
#[derive(Debug, Default)]
pub(super) struct Stream(Cell<u64>);

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Stream {
    /// Begins the stream of number `n` of `purpose`.
    pub(super) fn reseed(&self, seed: u64, purpose: u64, n: u64) {
        let seed = mix(seed.wrapping_add(GAMMA.wrapping_mul(purpose + 1)));
        self.0.set(mix(seed ^ mix(n.wrapping_add(GAMMA))));
    }

    fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(GAMMA);
        self.0.set(state);
        mix(state)
    }

    /// At least 0, below 1.
    fn fraction(&self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A whole number from `low` to `high`, both included; both within 2^53. The bias of multiplying
    /// instead of rejecting is below 2^-10 even for the widest range.
    fn between(&self, low: f64, high: f64) -> f64 {
        let span = (high - low) as u64 + 1;
        low + ((u128::from(self.next()) * u128::from(span)) >> 64) as f64
    }

    /// A version 4 UUID in its usual text form.
    fn uuid(&self) -> [u8; 36] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next().to_be_bytes());
        bytes[6] = bytes[6] & 0x0F | 0x40;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (i, byte) in bytes.iter().enumerate() {
            at += usize::from(matches!(i, 4 | 6 | 8 | 10));
            text[at] = b"0123456789abcdef"[usize::from(byte >> 4)];
            text[at + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
            at += 2;
        }
        text
    }
}

/// What the helpers share with the room.
#[derive(Debug)]
pub(super) struct Shared {
    /// The limits of the running call.
    pub(super) limits: Rc<Limits>,
    /// The random stream of the running call.
    pub(super) stream: Stream,
    /// The script's file name, for what it prints.
    pub(super) name: String,
}

/// The ways into the VM, in the order of `prelude.lua`.
#[derive(Debug)]
pub(super) struct Enter {
    pub(super) bind: Function,
    pub(super) context: Function,
    pub(super) setup: Function,
    pub(super) request: Function,
    pub(super) response: Function,
    pub(super) done: Function,
    pub(super) tallies: Function,
}

/// Installs the helpers. Must run before the VM is sandboxed.
pub(super) fn install(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Enter> {
    let native = natives(lua, shared)?;
    let limits = lua.create_table_from([
        ("names", MAX_NAMES),
        ("name_bytes", MAX_NAME_BYTES),
        ("print_lines", MAX_PRINT_LINES),
        ("pattern_product", PATTERN_PRODUCT),
        ("plain_product", PLAIN_PRODUCT),
        ("move", MAX_MOVE),
    ])?;
    limits.raw_set("more_names", MORE_NAMES)?;
    let prelude = lua
        .load(include_str!("prelude.lua"))
        .set_name(format!("={PRELUDE}"))
        .set_mode(ChunkMode::Text)
        .into_function()?;
    let enter: Table = prelude.call((native, limits))?;
    Ok(Enter {
        bind: enter.raw_get("bind")?,
        context: enter.raw_get("context")?,
        setup: enter.raw_get("setup")?,
        request: enter.raw_get("request")?,
        response: enter.raw_get("response")?,
        done: enter.raw_get("done")?,
        tallies: enter.raw_get("tallies")?,
    })
}

fn natives(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Table> {
    let native = lua.create_table()?;
    let array = json::array_mark(lua)?;
    native.raw_set("array", &array)?;
    native.raw_set("null", Value::NULL)?;

    let this = Rc::clone(shared);
    native.raw_set("fraction", lua.create_function(move |_, ()| Ok(this.stream.fraction()))?)?;
    let this = Rc::clone(shared);
    let between = move |_: &Lua, (low, high): (f64, f64)| Ok(this.stream.between(low, high));
    native.raw_set("between", lua.create_function(between)?)?;
    let this = Rc::clone(shared);
    let uuid = move |lua: &Lua, ()| lua.create_string(this.stream.uuid());
    native.raw_set("uuid", lua.create_function(uuid)?)?;

    let (this, mark) = (Rc::clone(shared), array.clone());
    let decode =
        move |lua: &Lua, text: LuaString| match json::decode(lua, &this.limits, &mark, &text.as_bytes()) {
            Ok(value) => Ok((value, None)),
            Err(json::Fault::Problem(problem)) => Ok((Value::Nil, Some(problem))),
            Err(json::Fault::Vm(error)) => Err(error),
        };
    native.raw_set("decode", lua.create_function(decode)?)?;

    let this = Rc::clone(shared);
    let buffer = RefCell::new(Vec::new());
    let encode = move |lua: &Lua, value: Value| {
        let mut out = buffer.borrow_mut();
        out.clear();
        // One huge text must not stay for ever.
        out.shrink_to(64 * 1024);
        match json::encode(&this.limits, &array, &value, &mut out) {
            Ok(()) => Ok((Some(lua.create_string(out.as_slice())?), None)),
            Err(json::Fault::Problem(problem)) => Ok((None, Some(problem))),
            Err(json::Fault::Vm(error)) => Err(error),
        }
    };
    native.raw_set("encode", lua.create_function(encode)?)?;

    let this = Rc::clone(shared);
    let print = move |_: &Lua, (text, last): (LuaString, bool)| {
        let bytes = text.as_bytes();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_PRINT_BYTES)]);
        tracing::info!(target: "runner::script", script = %this.name, "{shown}");
        if last {
            let limit = MAX_PRINT_LINES;
            tracing::info!(target: "runner::script", script = %this.name, "{limit} lines printed: the rest is only counted");
        }
        Ok(())
    };
    native.raw_set("print", lua.create_function(print)?)?;
    Ok(native)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_random_number_lies_within_its_bounds(
            seed: u64, n: u64, low in -1_000_000_000_000i64..1_000_000_000_000, span in 0i64..1_000_000_000_000,
        ) {
            let stream = Stream::default();
            stream.reseed(seed, 0, n);
            let (low, high) = (low as f64, (low + span) as f64);
            for _ in 0..8 {
                let value = stream.between(low, high);
                prop_assert!(value >= low && value <= high && value.fract() == 0.0);
                prop_assert!((0.0..1.0).contains(&stream.fraction()));
            }
        }

        #[test]
        fn a_stream_follows_from_seed_purpose_and_number_alone(seed: u64, purpose in 0u64..8, n: u64) {
            let (one, other) = (Stream::default(), Stream::default());
            other.reseed(1, 1, 1);
            other.next();
            one.reseed(seed, purpose, n);
            other.reseed(seed, purpose, n);
            prop_assert_eq!(one.next(), other.next());
            other.reseed(seed, purpose, n.wrapping_add(1));
            one.reseed(seed, purpose, n);
            prop_assert_ne!(one.next(), other.next());
        }
    }

    #[test]
    fn a_uuid_has_the_shape_of_version_4() {
        let stream = Stream::default();
        stream.reseed(1, 0, 0);
        let text = String::from_utf8(stream.uuid().to_vec()).expect("ASCII");
        let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
        assert_eq!(dashes, [8, 13, 18, 23]);
        assert_eq!(&text[14..15], "4");
        assert!("89ab".contains(&text[19..20]));
    }
}
