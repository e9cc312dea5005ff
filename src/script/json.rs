//! Json: text to Lua values and back, bounded in depth, size and time.
//!
//! 1. Object keys are written in the order of their bytes, so that the same table is always the same text.
//! 2. A list is a table with elements 1 to n and nothing else; an empty table is `{}` unless it came from
//!    `[]` or from `json.array()`.
//! 3. Whole numbers are exact to 2^53. Larger ones are decoded as their digits in a string, because a Lua
//!    number would silently be another number.
//! 4. `null` is `json.null`, which is not `nil` and can therefore stand in a table.

use std::cell::RefCell;
use std::fmt;

use mlua::{Lua, Table, Value};
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::sandbox::Limits;

/// Levels of lists and objects within each other.
const MAX_DEPTH: u32 = 64;

/// Bytes of a JSON text, read or written.
const MAX_TEXT: usize = 16 << 20;

/// Keys of the objects within each other that are being written: they are held to be sorted, and the
/// binding has a bounded number of slots for what Rust holds (see [`reserve_slots`]).
const MAX_KEYS: usize = 8192;

/// Values that Rust may hold besides: a few for each level of a text that is read.
const SPARE_SLOTS: usize = 1024;

/// Makes room for what [`encode`] holds while there is memory: the binding panics when it finds no slot.
pub(super) fn reserve_slots(lua: &Lua) -> mlua::Result<()> {
    let slots: mlua::Result<Vec<_>> =
        (0..2 * MAX_KEYS + SPARE_SLOTS).map(|_| lua.create_string("")).collect();
    slots.map(drop)
}

/// The last whole number up to which all whole numbers are exact as a double.
pub(super) const EXACT: u64 = 1 << 53;

/// What Lua calls the type of a value. The binding tells whole numbers apart, Lua does not.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "number",
        other => other.type_name(),
    }
}

/// Why a text or a value could not be turned.
#[derive(Debug)]
pub(super) enum Fault {
    /// The script's mistake, which it may catch.
    Problem(String),
    /// A limit of the VM.
    Vm(mlua::Error),
}

impl From<mlua::Error> for Fault {
    fn from(error: mlua::Error) -> Fault {
        Fault::Vm(error)
    }
}

fn problem(text: impl Into<String>) -> Fault {
    Fault::Problem(text.into())
}

/// The metatable that marks a table as a list even when it is empty.
pub(super) fn array_mark(lua: &Lua) -> mlua::Result<Table> {
    let mark = lua.create_table()?;
    mark.raw_set("__metatable", "json.array")?;
    mark.set_readonly(true);
    Ok(mark)
}

/// A number that is exact: a Lua number, or above 2^53 its digits.
pub(super) fn exact_number(lua: &Lua, number: u64) -> mlua::Result<Value> {
    if number <= EXACT {
        return Ok(Value::Number(number as f64));
    }
    Ok(Value::String(lua.create_string(itoa::Buffer::new().format(number))?))
}

// ---------------------------------------------------------------------------------------------
// Text to value

/// Lifts the VM's memory limit while a text is read, and puts it back.
///
/// Under a limit the binding wraps every single operation in a protected call: a third of the time.
/// Instead the memory is checked after every value, so that a text overshoots by one value at most.
struct Lifted<'a> {
    lua: &'a Lua,
    limit: usize,
}

impl Lifted<'_> {
    fn new(lua: &Lua) -> mlua::Result<Lifted<'_>> {
        Ok(Lifted { lua, limit: lua.set_memory_limit(0)? })
    }

    fn check(&self) -> mlua::Result<()> {
        if self.limit != 0 && self.lua.used_memory() > self.limit {
            return Err(mlua::Error::MemoryError("not enough memory".to_owned()));
        }
        Ok(())
    }
}

impl Drop for Lifted<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.lua.set_memory_limit(self.limit) {
            tracing::error!("cannot restore the memory limit of a script: {error}");
        }
    }
}

struct Decoder<'a> {
    lua: &'a Lua,
    memory: Lifted<'a>,
    limits: &'a Limits,
    mark: &'a Table,
    /// What the VM said, which the parser cannot carry.
    fault: RefCell<Option<mlua::Error>>,
}

impl Decoder<'_> {
    fn keep<T, E: de::Error>(&self, result: mlua::Result<T>) -> Result<T, E> {
        result.map_err(|error| {
            let text = E::custom("stopped");
            *self.fault.borrow_mut() = Some(error);
            text
        })
    }
}

/// Reads one JSON text.
pub(super) fn decode(lua: &Lua, limits: &Limits, mark: &Table, text: &[u8]) -> Result<Value, Fault> {
    if text.len() > MAX_TEXT {
        return Err(problem(format!("the text is longer than {MAX_TEXT} bytes")));
    }
    let decoder = Decoder { lua, memory: Lifted::new(lua)?, limits, mark, fault: RefCell::new(None) };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Node { decoder: &decoder, depth: 0 }.deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| match decoder.fault.take() {
        Some(fault) => Fault::Vm(fault),
        None => problem(error.to_string()),
    })
}

/// A whole tree that is there already (a summary, the arguments of a script).
pub(super) fn from_tree(lua: &Lua, limits: &Limits, tree: &serde_json::Value) -> mlua::Result<Value> {
    let mark = array_mark(lua)?;
    let decoder = Decoder { lua, memory: Lifted::new(lua)?, limits, mark: &mark, fault: RefCell::new(None) };
    let value = Node { decoder: &decoder, depth: 0 }.deserialize(tree);
    value.map_err(|error| match decoder.fault.take() {
        Some(fault) => fault,
        None => mlua::Error::RuntimeError(error.to_string()),
    })
}

#[derive(Clone, Copy)]
struct Node<'a> {
    decoder: &'a Decoder<'a>,
    depth: u32,
}

impl Node<'_> {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.decoder.keep(self.decoder.limits.check())?;
        Ok(Node { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::NULL)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.decoder.keep(exact_number(self.decoder.lua, value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() <= EXACT {
            return Ok(Value::Number(value as f64));
        }
        self.visit_str(itoa::Buffer::new().format(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.decoder.keep(self.decoder.lua.create_string(text).map(Value::String))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        self.decoder.keep(self.decoder.memory.check())?;
        let table = self.decoder.keep(self.decoder.lua.create_table())?;
        let mut n = 0;
        while let Some(value) = list.next_element_seed(inner)? {
            n += 1;
            self.decoder.keep(table.raw_set(n, value))?;
            self.decoder.keep(self.decoder.memory.check())?;
            if n % 64 == 0 {
                self.decoder.keep(self.decoder.limits.check())?;
            }
        }
        self.decoder.keep(table.set_metatable(Some(self.decoder.mark.clone())))?;
        Ok(Value::Table(table))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        self.decoder.keep(self.decoder.memory.check())?;
        let table = self.decoder.keep(self.decoder.lua.create_table())?;
        let mut n = 0u32;
        while let Some(key) = object.next_key_seed(inner)? {
            let value = object.next_value_seed(inner)?;
            self.decoder.keep(table.raw_set(key, value))?;
            self.decoder.keep(self.decoder.memory.check())?;
            n += 1;
            if n.is_multiple_of(64) {
                self.decoder.keep(self.decoder.limits.check())?;
            }
        }
        Ok(Value::Table(table))
    }
}

// ---------------------------------------------------------------------------------------------
// Value to text

struct Encoder<'a> {
    limits: &'a Limits,
    mark: &'a Table,
    /// Entries of all objects around the present place.
    held: usize,
    out: &'a mut Vec<u8>,
}

/// Appends the JSON text of `value` to `out`.
pub(super) fn encode(limits: &Limits, mark: &Table, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
    Encoder { limits, mark, held: 0, out }.value(value, 0)
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value, depth: u32) -> Result<(), Fault> {
        if self.out.len() > MAX_TEXT {
            return Err(problem(format!("the text becomes longer than {MAX_TEXT} bytes")));
        }
        match value {
            Value::Nil => self.out.extend_from_slice(b"null"),
            value if *value == Value::NULL => self.out.extend_from_slice(b"null"),
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Integer(number) => {
                self.out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
            }
            Value::Number(number) => self.number(*number)?,
            Value::String(text) => self.text(&text.as_bytes())?,
            Value::Table(table) => {
                self.limits.check()?;
                if depth >= MAX_DEPTH {
                    return Err(problem(format!(
                        "nested deeper than {MAX_DEPTH} levels (a table that contains itself?)"
                    )));
                }
                self.table(table, depth + 1)?;
            }
            other => return Err(problem(format!("a {} has no JSON form", type_name(other)))),
        }
        Ok(())
    }

    fn number(&mut self, number: f64) -> Result<(), Fault> {
        if !number.is_finite() {
            return Err(problem(format!("{number} has no JSON form")));
        }
        if number.fract() == 0.0 && number.abs() <= EXACT as f64 {
            self.out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
            return Ok(());
        }
        serde_json::to_writer(&mut *self.out, &number).map_err(|error| problem(error.to_string()))
    }

    fn text(&mut self, text: &[u8]) -> Result<(), Fault> {
        let text = std::str::from_utf8(text).map_err(|error| {
            problem(format!("a text is not valid UTF-8 (byte {} of it)", error.valid_up_to() + 1))
        })?;
        serde_json::to_writer(&mut *self.out, text).map_err(|error| problem(error.to_string()))
    }

    fn table(&mut self, table: &Table, depth: u32) -> Result<(), Fault> {
        let length = table.raw_len();
        if length > 0 {
            return self.list(table, length, depth);
        }
        if table.metatable().is_some_and(|mark| mark == *self.mark) && table.is_empty() {
            self.out.extend_from_slice(b"[]");
            return Ok(());
        }
        self.object(table, depth)
    }

    fn list(&mut self, table: &Table, length: usize, depth: u32) -> Result<(), Fault> {
        let mut pairs = 0usize;
        table.for_each(|_: Value, _: Value| {
            pairs += 1;
            if pairs.is_multiple_of(1024) { self.limits.check() } else { Ok(()) }
        })?;
        if pairs != length {
            return Err(problem(format!(
                "a table with {length} list elements and {pairs} keys is neither a list (1 to n) nor an object (texts only)"
            )));
        }
        self.out.push(b'[');
        for i in 1..=length {
            if i > 1 {
                self.out.push(b',');
            }
            if i % 64 == 0 {
                self.limits.check()?;
            }
            self.value(&table.raw_get::<Value>(i)?, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: u32) -> Result<(), Fault> {
        let mut entries = Vec::new();
        let mut wrong = None;
        let seen = table.for_each(|key: Value, value: Value| {
            match key {
                Value::String(key) if self.held + entries.len() < MAX_KEYS => {
                    entries.push((key, value));
                    return Ok(());
                }
                Value::String(_) => wrong = Some(format!("objects have more than {MAX_KEYS} keys")),
                key => {
                    wrong = Some(format!(
                        "the key of an object must be a text, got a {}: a list must have elements 1 to n",
                        type_name(&key)
                    ));
                }
            }
            Err(mlua::Error::RuntimeError("stopped".to_owned()))
        });
        if let Some(wrong) = wrong {
            return Err(problem(wrong));
        }
        seen?;
        entries.sort_unstable_by_key(|(key, _)| key.as_bytes());
        self.held += entries.len();
        self.out.push(b'{');
        for (i, (key, value)) in entries.iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            if i % 64 == 63 {
                self.limits.check()?;
            }
            self.text(&key.as_bytes())?;
            self.out.push(b':');
            self.value(value, depth)?;
        }
        self.out.push(b'}');
        self.held -= entries.len();
        Ok(())
    }
}
