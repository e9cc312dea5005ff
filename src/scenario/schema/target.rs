//! The words of the target: addresses, framing and correlation.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::Word;
use crate::units::Bytes;

/// The service that is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Target {
    /// Where the service listens: `host:port` or `host:first-last`; null for the built-in responder,
    /// `store` for the store of `redis.url`.
    pub addresses: Addresses,
    /// How requests and responses are told apart on a connection.
    pub framing: Framing,
    /// How a response finds its request. `order` where the framing carries no id (`raw`, `resp`).
    pub correlate: Correlate,
    /// The frame header of `framing: length`.
    pub length: LengthFraming,
}

impl Default for Target {
    fn default() -> Target {
        Target {
            addresses: Addresses::Responder,
            framing: Framing::Length,
            correlate: Correlate::Id,
            length: LengthFraming::default(),
        }
    }
}

/// Where the service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// The built-in responder.
    Responder,
    /// The store that `redis.url` names: the embedded one, or a Redis.
    Store,
    /// A service elsewhere.
    Given(Vec<Address>),
}

impl Addresses {
    /// The word for the store.
    pub const STORE: &'static str = "store";
}

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Addresses::Responder => serializer.serialize_none(),
            Addresses::Store => serializer.serialize_str(Addresses::STORE),
            Addresses::Given(list) => list.serialize(serializer),
        }
    }
}

impl JsonSchema for Addresses {
    fn schema_name() -> Cow<'static, str> {
        "Addresses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "null" },
                { "const": Addresses::STORE },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            ]
        })
    }
}

/// A second target, and how often the two are loaded in turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compare {
    /// Where the second target listens.
    pub target: Address,
    /// How often each target gets the load.
    pub rounds: u32,
}

impl Compare {
    /// Rounds where none are written.
    pub const DEFAULT_ROUNDS: u32 = 1;
}

impl JsonSchema for Compare {
    fn schema_name() -> Cow<'static, str> {
        "Compare".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "description": "redis://host:port, host:port, or empty for none." },
                {
                    "type": "object",
                    "properties": {
                        "target": {
                            "type": "string",
                            "description": "redis://host:port, host:port, or empty for none."
                        },
                        "rounds": {
                            "type": "integer", "minimum": 1, "default": Compare::DEFAULT_ROUNDS,
                            "description": "How often each target gets the load."
                        },
                    },
                    "required": ["target"],
                    "additionalProperties": false,
                },
            ]
        })
    }
}

words! {
    /// How requests and responses are told apart on a connection.
    Framing {
        /// A length header before each frame; see `target.length`.
        Length = "length",
        /// One line each.
        Line = "line",
        /// One write, one read; one request in flight.
        Raw = "raw",
        /// Redis commands and replies.
        Resp = "resp",
    } later []
}

words! {
    /// How a response finds its request.
    Correlate {
        /// By the request id that the response repeats.
        Id = "id",
        /// By its place: responses come in the order of the requests.
        Order = "order",
    } later []
}

/// The frame header of `framing: length`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct LengthFraming {
    /// Width of the length header in bytes: 2 or 4.
    #[schemars(extend("enum" = [2, 4]))]
    pub bytes: u8,
    /// Byte order of the length header, and of the request id.
    pub endian: Endian,
    /// Whether the length counts the header's own bytes.
    pub includes_header: bool,
    /// The largest frame that is accepted, without the header. A 2-byte header holds at most 65535.
    pub max: Bytes,
    /// Whether an eight-byte request id stands between the header and the payload, both ways.
    pub id: bool,
}

impl Default for LengthFraming {
    fn default() -> LengthFraming {
        LengthFraming { bytes: 4, endian: Endian::Big, includes_header: false, max: Bytes(1 << 20), id: true }
    }
}

impl LengthFraming {
    /// The largest frame that the length header can express, without the header.
    pub fn largest(&self) -> u64 {
        let header = if self.includes_header { u64::from(self.bytes) } else { 0 };
        let number = if self.bytes == 2 { u64::from(u16::MAX) } else { u64::from(u32::MAX) };
        number - header
    }
}

words! {
    /// Byte order.
    Endian {
        /// Most significant byte first, as networks write.
        Big = "big",
        /// Least significant byte first.
        Little = "little",
    } later []
}

/// A host and one or more of its ports: `10.0.0.5:9000-9009`, `service.local:80`, `[::1]:9000`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// The first port, at least 1.
    pub first_port: u16,
    /// The last port, which counts; never below the first.
    pub last_port: u16,
}

/// Why an address could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `host:port`.
    #[error("invalid address `{0}`: write host:port or host:first-last, such as 10.0.0.5:9000-9009")]
    Form(String),
    /// A port that is not a number from 1 to 65535.
    #[error("invalid port in address `{0}`: a port is a number from 1 to 65535")]
    Port(String),
    /// A port range whose end lies before its start.
    #[error("the ports of address `{0}` run backwards: the first must not be above the last")]
    Backwards(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let form = || AddressError::Form(text.to_string());
        let (host, ports) = text.trim().rsplit_once(':').ok_or_else(form)?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let unreadable = |c: char| c.is_whitespace() || c.is_control() || "/@[]".contains(c);
        let host = match bare {
            Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
            None if !host.is_empty() && !host.contains(':') && !host.contains(unreadable) => host,
            _ => return Err(form()),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |s: &str| match s.trim().parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(AddressError::Port(text.to_string())),
        };
        let (first_port, last_port) = (port(first)?, port(last)?);
        if first_port > last_port {
            return Err(AddressError::Backwards(text.to_string()));
        }
        Ok(Address { host: host.to_string(), first_port, last_port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.first_port)?;
        } else {
            write!(f, "{}:{}", self.host, self.first_port)?;
        }
        if self.last_port == self.first_port { Ok(()) } else { write!(f, "-{}", self.last_port) }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
