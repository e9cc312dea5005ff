//! The form of a mapping: which key, which fields, and how they become commands.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::datastore::{self, Datastore, WriteBatch};
use crate::mapping::Error;
use crate::template::{Template, push_number};

/// The names that field templates know.
pub const FIELD_NAMES: [&str; 16] = [
    "response.id",
    "response",
    "run",
    "key",
    "id",
    "n",
    "seq",
    "request.id",
    "port",
    "connection",
    "response_us",
    "service_us",
    "lag_us",
    "intended_us",
    "sent_us",
    "received_us",
];

/// The names that the key template knows.
pub const KEY_NAMES: [&str; 3] = ["key", "id", "run"];

/// What a mapping is in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Into {
    /// A hash with the fields.
    Hash,
    /// A string: the response.
    String,
    /// The record itself: the fields are merged into its JSON.
    Record,
    /// An entry of a stream.
    Stream,
}

/// A mapping as the scenario describes it; also the first line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What a mapping is.
    pub into: Into,
    /// Template of its key.
    pub key: String,
    /// Names and templates of its fields.
    pub fields: BTreeMap<String, String>,
    /// How long it lives in milliseconds; 0 for ever.
    pub ttl_ms: u64,
    /// The id of the run.
    pub run: String,
    /// Template of the record's key.
    pub record_key: String,
}

/// One response with everything that templates may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    /// The record's id.
    pub record: u64,
    /// The request number.
    pub n: u64,
    /// The target's port.
    pub port: u16,
    /// The connection slot.
    pub slot: u32,
    /// Which connection of the slot.
    pub generation: u32,
    /// When it was due.
    pub due_ns: u64,
    /// When it was sent.
    pub sent_ns: u64,
    /// When the response was complete.
    pub received_ns: u64,
    /// The response.
    pub body: &'a [u8],
}

/// A mapping ready to be written.
#[derive(Debug, Clone)]
pub struct Form {
    config: Config,
    key: Template,
    record_key: Template,
    fields: Vec<(String, Template)>,
}

impl Form {
    /// Takes the templates apart.
    ///
    /// # Errors
    /// When one of them is no template.
    pub fn new(config: Config) -> Result<Form, Error> {
        let parse = |path: String, text: &str, known: &[&str]| {
            Template::parse(text, known).map_err(|source| Error::Template { path, source })
        };
        let mut named = config.fields.clone();
        if config.into == Into::Record {
            named.entry("status".to_string()).or_insert_with(|| "processed".to_string());
        }
        let mut fields = Vec::with_capacity(named.len());
        for (name, text) in &named {
            fields.push((name.clone(), parse(format!("mapping.fields.{name}"), text, &FIELD_NAMES)?));
        }
        Ok(Form {
            key: parse("mapping.key".to_string(), &config.key, &KEY_NAMES)?,
            record_key: parse("records.key".to_string(), &config.record_key, &["id"])?,
            fields,
            config,
        })
    }

    /// What the scenario says.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether each record has a mapping of its own.
    pub fn is_per_record(&self) -> bool {
        self.config.into == Into::Record || self.key.uses(0) || self.key.uses(1)
    }

    /// The field that holds nothing but the response, by which a mapping can be checked.
    pub fn checked_field(&self) -> Option<&str> {
        let whole = |template: &Template| matches!(template.as_str(), "{response.id}" | "{response}");
        self.fields.iter().find(|(_, template)| whole(template)).map(|(name, _)| name.as_str())
    }

    /// Appends the key of a record's mapping.
    pub fn render_key(&self, record: u64, out: &mut Vec<u8>) {
        if self.config.into == Into::Record {
            return self.record_key(record, out);
        }
        self.key.render(out, |name, out| match name {
            0 => self.record_key(record, out),
            1 => push_number(out, record),
            _ => out.extend_from_slice(self.config.run.as_bytes()),
        });
    }

    fn record_key(&self, record: u64, out: &mut Vec<u8>) {
        self.record_key.render(out, |_, out| push_number(out, record));
    }

    fn render_field(&self, template: &Template, response: &Response<'_>, out: &mut Vec<u8>) {
        let us = |ns: u64| (ns + 500) / 1000;
        template.render(out, |name, out| match FIELD_NAMES[name] {
            "response.id" | "response" => out.extend_from_slice(response.body),
            "run" => out.extend_from_slice(self.config.run.as_bytes()),
            "key" => self.record_key(response.record, out),
            "id" => push_number(out, response.record),
            "n" | "seq" | "request.id" => push_number(out, response.n),
            "port" => push_number(out, response.port.into()),
            "connection" => {
                push_number(out, response.slot.into());
                out.push(b'.');
                push_number(out, response.generation.into());
            }
            "response_us" => push_number(out, us(response.received_ns.saturating_sub(response.due_ns))),
            "service_us" => push_number(out, us(response.received_ns.saturating_sub(response.sent_ns))),
            "lag_us" => push_number(out, us(response.sent_ns.saturating_sub(response.due_ns))),
            "intended_us" => push_number(out, us(response.due_ns)),
            "sent_us" => push_number(out, us(response.sent_ns)),
            _ => push_number(out, us(response.received_ns)),
        });
    }

    /// Writes mappings, in their order. The results are those of the responses.
    ///
    /// # Errors
    /// When the connection broke: any part may have been written.
    pub async fn write(
        &self,
        datastore: &Datastore,
        responses: &[Response<'_>],
    ) -> Result<Vec<Result<(), String>>, datastore::Error> {
        if self.config.into == Into::Record {
            return self.merge_into_records(datastore, responses).await;
        }
        let mut batch = WriteBatch::new();
        let mut key = Vec::new();
        let mut values: Vec<(&str, Vec<u8>)> =
            self.fields.iter().map(|(name, _)| (name.as_str(), Vec::new())).collect();
        for response in responses {
            key.clear();
            self.render_key(response.record, &mut key);
            if self.config.into == Into::String {
                batch.set(&key, response.body);
            } else {
                for ((_, template), (_, value)) in self.fields.iter().zip(&mut values) {
                    value.clear();
                    self.render_field(template, response, value);
                }
                if self.config.into == Into::Hash {
                    batch.hset(&key, &values);
                } else {
                    batch.xadd(&key, &values);
                }
            }
            if self.config.ttl_ms > 0 {
                batch.expire(&key, Duration::from_millis(self.config.ttl_ms));
            }
        }
        let results = datastore.write(&batch).await?;
        let commands = if self.config.ttl_ms > 0 { 2 } else { 1 };
        Ok(results.chunks(commands).map(|of_one| of_one.iter().cloned().collect()).collect())
    }

    async fn merge_into_records(
        &self,
        datastore: &Datastore,
        responses: &[Response<'_>],
    ) -> Result<Vec<Result<(), String>>, datastore::Error> {
        let keys: Vec<Vec<u8>> = responses
            .iter()
            .map(|response| {
                let mut key = Vec::new();
                self.record_key(response.record, &mut key);
                key
            })
            .collect();
        let values = datastore.get_many(&keys).await?;
        let mut batch = WriteBatch::new();
        let mut results = Vec::with_capacity(responses.len());
        for ((response, key), value) in responses.iter().zip(&keys).zip(values) {
            match self.merged(value.as_deref(), response) {
                Ok(record) => {
                    batch.set(key, &record);
                    if self.config.ttl_ms > 0 {
                        batch.expire(key, Duration::from_millis(self.config.ttl_ms));
                    }
                    results.push(Ok(()));
                }
                Err(why) => results.push(Err(why.to_string())),
            }
        }
        let commands = if self.config.ttl_ms > 0 { 2 } else { 1 };
        let written = datastore.write(&batch).await?;
        let mut written = written.chunks(commands);
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            *result = written.next().map_or(Ok(()), |of_one| of_one.iter().cloned().collect());
        }
        Ok(results)
    }

    /// The record with the fields merged in; its other members keep their place and their digits.
    fn merged(&self, record: Option<&[u8]>, response: &Response<'_>) -> Result<Vec<u8>, &'static str> {
        let record = record.ok_or("the record is no longer there, or is no string")?;
        let mut members: Members =
            serde_json::from_slice(record).map_err(|_| "the record is not a JSON object")?;
        for (name, template) in &self.fields {
            let mut value = Vec::new();
            self.render_field(template, response, &mut value);
            let value =
                std::str::from_utf8(&value).map_err(|_| "the response is no text, which JSON cannot hold")?;
            let text = json_value(value);
            let raw = RawValue::from_string(text).map_err(|_| "the field is not JSON")?;
            match members.0.iter_mut().find(|(member, _)| member == name) {
                Some((_, old)) => *old = raw,
                None => members.0.push((name.clone(), raw)),
            }
        }
        let mut out = Vec::with_capacity(record.len() + 64);
        out.push(b'{');
        for (index, (name, value)) in members.0.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(serde_json::Value::from(name.as_str()).to_string().as_bytes());
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
        out.push(b'}');
        Ok(out)
    }

    /// The checked field of a record, as it was before it became JSON.
    pub fn field_of_record(&self, record: &[u8]) -> Option<Vec<u8>> {
        let members: Members = serde_json::from_slice(record).ok()?;
        let field = self.checked_field()?;
        let (_, value) = members.0.into_iter().find(|(name, _)| name == field)?;
        match serde_json::from_str(value.get()).ok()? {
            serde_json::Value::String(text) => Some(text.into_bytes()),
            other => Some(other.to_string().into_bytes()),
        }
    }
}

/// A field in a record: a number stays a number, everything else is a string.
fn json_value(text: &str) -> String {
    let is_number = !text.is_empty() && text.len() < 16 && text.bytes().all(|b| b.is_ascii_digit());
    if is_number && (text == "0" || !text.starts_with('0')) {
        text.to_string()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

/// The members of a JSON object in their order, their values untouched.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(into: Into, fields: &[(&str, &str)]) -> Form {
        let fields = fields.iter().map(|(n, t)| (n.to_string(), t.to_string())).collect();
        Form::new(Config {
            into,
            key: "response:{key}".to_string(),
            fields,
            ttl_ms: 0,
            run: "steady-1".to_string(),
            record_key: "record:{id}".to_string(),
        })
        .expect("templates")
    }

    const RESPONSE: Response<'static> = Response {
        record: 7,
        n: 1006,
        port: 9003,
        slot: 6,
        generation: 2,
        due_ns: 1_000_000,
        sent_ns: 1_400_000,
        received_ns: 3_000_499,
        body: b"abc-9003-1",
    };

    #[test]
    fn a_mapping_lies_next_to_its_record() {
        let form = form(Into::Hash, &[("response_id", "{response.id}")]);
        let mut key = Vec::new();
        form.render_key(7, &mut key);
        assert_eq!(key, b"response:record:7");
        assert!(form.is_per_record());
        assert_eq!(form.checked_field(), Some("response_id"));
    }

    #[test]
    fn fields_may_ask_for_everything() {
        let all = FIELD_NAMES.map(|name| format!("{{{name}}}")).join(" ");
        let form = form(Into::Hash, &[("all", &all)]);
        let mut out = Vec::new();
        form.render_field(&form.fields[0].1, &RESPONSE, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "abc-9003-1 abc-9003-1 steady-1 record:7 7 1006 1006 1006 9003 6.2 2000 1600 400 1000 1400 3000"
        );
    }

    #[test]
    fn a_record_keeps_its_other_members_their_order_and_their_digits() {
        let form = form(Into::Record, &[("response_id", "{response.id}"), ("service_us", "{service_us}")]);
        let record = br#"{"id":7,"big":12345678901234567890.10,"status":"pending","z":[1, 2]}"#;
        let merged = form.merged(Some(record), &RESPONSE).expect("an object");
        assert_eq!(
            String::from_utf8_lossy(&merged),
            r#"{"id":7,"big":12345678901234567890.10,"status":"processed","z":[1, 2],"response_id":"abc-9003-1","service_us":1600}"#
        );
        assert_eq!(form.field_of_record(&merged).as_deref(), Some(&b"abc-9003-1"[..]));
        assert!(form.merged(Some(b"[1]"), &RESPONSE).is_err());
        assert!(form.merged(None, &RESPONSE).is_err());
        let no_text = Response { body: b"\xff", ..RESPONSE };
        assert!(form.merged(Some(record), &no_text).is_err());
    }
}
