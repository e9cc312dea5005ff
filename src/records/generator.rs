//! Generator: the key and the value of record *id*.

use std::sync::Arc;

use crate::datastore;
use crate::records::value::{self, Value};
use crate::template::{self, Padding, Template, push_number};

/// The seed where none is given: that of a scenario without one.
const SEED: u64 = 1;

/// Why records could not be made. Fits after "failed to".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The template of keys is none.
    #[error("read records.key: {0}")]
    Key(#[source] template::Error),
    /// The template of values is none.
    #[error("read records.template: {0}")]
    Value(#[source] value::Error),
    /// The template of keys gives all records the same key.
    #[error("use records.key `{0}`: it has no {{id}}, so that all records would have one key")]
    NoId(String),
    /// The template of keys asks for something that only values have.
    #[error(
        "use records.key `{key}`: a key is made of the id alone, so write {{id}} instead of {placeholder}"
    )]
    KeyName {
        /// As it was written.
        key: String,
        /// What is no part of a key.
        placeholder: String,
    },
    /// A record is there that should not be.
    #[error("fill {url}: `{key}` is there already: keep or overwrite what is there, or choose other keys")]
    Exists {
        /// Where, without the password.
        url: String,
        /// The first that was found.
        key: String,
    },
    /// Somebody else wrote keys of ours meanwhile.
    #[error("fill {url}: {count} of the keys were written by somebody else meanwhile; those were kept")]
    Appeared {
        /// Where, without the password.
        url: String,
        /// How many.
        count: u64,
    },
    /// The datastore did not take them.
    #[error("write records: {0}")]
    Datastore(#[from] datastore::Error),
    /// A task that was writing ended without a result; only a runtime that shuts down does that.
    #[error("write records: the runtime is shutting down")]
    ShutDown,
}

/// Makes keys and values from the seed and the id: the same in every run and on every machine. Clones
/// share the templates.
#[derive(Debug, Clone)]
pub struct Generator {
    templates: Arc<(Template, Value)>,
    seed: u64,
}

impl Generator {
    /// A generator from two templates, with the seed of a scenario that names none. The key knows `{id}`,
    /// the value what [`value::NAMES`] lists.
    ///
    /// # Errors
    /// When one of them is no template, or the key is not made of the id.
    pub fn new(key: &str, value: &str) -> Result<Generator, Error> {
        Generator::seeded(key, value, SEED)
    }

    /// The same with a seed.
    ///
    /// # Errors
    /// As [`Generator::new`].
    pub fn seeded(key: &str, value: &str, seed: u64) -> Result<Generator, Error> {
        only_ids(key)?;
        let key = Template::parse(key, &["id"]).map_err(Error::Key)?;
        if !key.uses(0) {
            return Err(Error::NoId(key.as_str().to_owned()));
        }
        let value = Value::parse(value).map_err(Error::Value)?;
        Ok(Generator { templates: Arc::new((key, value)), seed })
    }

    /// Whether values have the size that their template asks for, with ids up to `last_id`.
    ///
    /// # Errors
    /// When the rest of the template may be longer.
    pub fn fits(&self, last_id: u64) -> Result<(), Error> {
        self.templates.1.fits(last_id).map_err(Error::Value)
    }

    /// Appends the key of record `id`.
    #[inline]
    pub fn key(&self, id: u64, out: &mut Vec<u8>) {
        self.templates.0.render(out, |_, out| push_number(out, id));
    }

    /// Appends the value of record `id`.
    #[inline]
    pub fn value(&self, id: u64, out: &mut Vec<u8>) {
        self.templates.1.render(self.seed, id, out);
    }
}

/// A key is known before its value, and read back by the id alone.
fn only_ids(key: &str) -> Result<(), Error> {
    template::parts(key, |placeholder| {
        if placeholder.name == "id" {
            Padding::of(placeholder).map_err(Error::Key)?;
        } else if value::NAMES.contains(&placeholder.name) {
            let placeholder = placeholder.text.to_owned();
            return Err(Error::KeyName { key: key.to_owned(), placeholder });
        }
        Ok(None::<()>)
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = r#"{"id":{id},"name":"User{id}","phone":"90000000{id:04}","status":"pending"}"#;

    #[test]
    fn a_record_follows_from_its_id() {
        let generator = Generator::new("record:{id}", VALUE).expect("templates");
        let (mut key, mut value) = (Vec::new(), Vec::new());
        generator.key(7, &mut key);
        generator.value(7, &mut value);
        assert_eq!(key, b"record:7");
        assert_eq!(value, br#"{"id":7,"name":"User7","phone":"900000000007","status":"pending"}"#);
    }

    #[test]
    fn a_key_is_made_of_the_id_and_of_nothing_else() {
        assert_eq!(Generator::new("record", "x").expect_err("no id"), Error::NoId("record".to_owned()));
        assert!(matches!(Generator::new("{id:x}", "x"), Err(Error::Key(_))));
        assert!(matches!(Generator::new("{id}", "{id:x}"), Err(Error::Value(_))));
        let error = Generator::new("{id}:{uuid}", "x").expect_err("a key has no uuid").to_string();
        assert!(error.contains("{uuid}"), "{error}");
        assert!(Generator::new("{{id}}:{other}", "x").is_ok());
    }
}
