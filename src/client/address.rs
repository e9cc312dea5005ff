//! Where a server is, and how it is spoken to.

use std::fmt;
use std::path::PathBuf;

use super::Error;

/// The port where none is named.
const PORT: u16 = 6379;

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The Redis protocol.
    Resp,
    /// Plain lines.
    Text,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A host, as it was named, and a port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp(host, port) => write!(f, "{host}:{port}"),
            Place::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A server, and who one is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Where.
    pub place: Place,
    /// What it speaks.
    pub dialect: Dialect,
    /// The user, when not the default one.
    pub user: Option<String>,
    /// The password, when one is needed.
    pub password: Option<String>,
    /// The database.
    pub db: u32,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({} {:?} db {})", self.place, self.dialect, self.db)
    }
}

impl Address {
    /// Reads `host:port`, `redis://[user:password@]host:port[/db]`, `text://[:password@]host:port` or
    /// `unix:///path`. A host alone, or a port alone as in `:6380`, is completed with `127.0.0.1` and 6379.
    ///
    /// # Errors
    /// [`Error::Address`], without the password.
    pub fn parse(text: &str) -> Result<Address, Error> {
        let wrong = |reason| Error::Address { text: without_password(text), reason };
        let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
        let dialect = match scheme {
            "redis" => Dialect::Resp,
            "text" => Dialect::Text,
            "unix" if rest.starts_with('/') => {
                let place = Place::Unix(PathBuf::from(rest));
                return Ok(Address { place, dialect: Dialect::Resp, user: None, password: None, db: 0 });
            }
            "unix" => return Err(wrong("write unix:///path/to/socket")),
            "rediss" => return Err(wrong("TLS is not spoken here; use redis:// through a tunnel")),
            _ => return Err(wrong("write host:port, redis://host:port, text://host:port or unix:///path")),
        };
        if text == "embedded" {
            return Err(wrong("the embedded store of a run has a port of its own each time; name host:port"));
        }
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (host, db) = rest.split_once('/').unwrap_or((rest, ""));
        let db = match db {
            "" => 0,
            db => db.parse().map_err(|_| wrong("what follows the port is the number of a database"))?,
        };
        if dialect == Dialect::Text && db != 0 {
            return Err(wrong("the text dialect knows one database only"));
        }
        let place = host_and_port(host).ok_or_else(|| wrong("write host:port, a port being 1 to 65535"))?;
        let mut address = Address { place, dialect, user: None, password: None, db };
        if let Some(login) = login {
            let (user, password) = login.split_once(':').unwrap_or(("", login));
            let decoded = |text| decode(text).ok_or_else(|| wrong("`%` must be followed by two hex digits"));
            address.user = Some(decoded(user)?).filter(|user| !user.is_empty());
            address.password = Some(decoded(password)?).filter(|password| !password.is_empty());
        }
        Ok(address)
    }

    /// The same with another dialect, when one is named.
    ///
    /// # Errors
    /// [`Error::Address`] when the address itself says otherwise.
    pub fn speaking(mut self, dialect: Option<Dialect>, typed: &str) -> Result<Address, Error> {
        let Some(dialect) = dialect else { return Ok(self) };
        let is_settled = typed.contains("://") && !typed.starts_with("unix://");
        if is_settled && self.dialect != dialect || dialect == Dialect::Text && self.db != 0 {
            let reason = "its scheme and --dialect do not agree; name one of them";
            return Err(Error::Address { text: without_password(typed), reason });
        }
        self.dialect = dialect;
        Ok(self)
    }
}

fn host_and_port(text: &str) -> Option<Place> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { PORT } else { port(rest.strip_prefix(':')?)? };
        return Some(Place::Tcp(host.to_string(), port));
    }
    // An address of IPv6 without brackets has no port.
    let (host, number) = match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => (text, PORT),
        Some((host, number)) => (host, port(number)?),
        None => (text, PORT),
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let is_plain = !host.contains(|c: char| c.is_whitespace() || c.is_control() || "?#@/".contains(c));
    is_plain.then(|| Place::Tcp(host.to_string(), number))
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// `%40` is `@`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
}

fn without_password(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
        (None, Some((_, host))) => format!("***@{host}"),
        _ => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Place {
        Place::Tcp(host.to_string(), port)
    }

    #[test]
    fn addresses_may_be_short_or_urls() {
        for (text, place) in [
            ("localhost:8080", tcp("localhost", 8080)),
            ("localhost", tcp("localhost", 6379)),
            (":6380", tcp("127.0.0.1", 6380)),
            ("redis://10.0.0.5", tcp("10.0.0.5", 6379)),
            ("[::1]:7000", tcp("::1", 7000)),
            ("::1", tcp("::1", 6379)),
            ("redis://[::1]", tcp("::1", 6379)),
            ("unix:///tmp/a.sock", Place::Unix("/tmp/a.sock".into())),
        ] {
            let address = Address::parse(text).expect("an address");
            assert_eq!((&address.place, address.dialect), (&place, Dialect::Resp), "{text}");
        }
        assert_eq!(Address::parse("text://h:1").expect("an address").dialect, Dialect::Text);
        assert_eq!(tcp("::1", 7000).to_string(), "[::1]:7000");
    }

    #[test]
    fn a_url_says_who_one_is_and_which_database() {
        let address = Address::parse("redis://ann:p%40ss@h:1/3").expect("an address");
        assert_eq!(
            (address.user.as_deref(), address.password.as_deref(), address.db),
            (Some("ann"), Some("p@ss"), 3)
        );
        let address = Address::parse("text://:secret@h:1").expect("an address");
        assert_eq!((address.user, address.password.as_deref()), (None, Some("secret")));
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for text in [
            "h:0",
            "h:x",
            "h:70000",
            "http://h",
            "rediss://h",
            "unix://rel",
            "redis://h/x",
            "text://h/1",
            "a b",
            "embedded",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        let error = Address::parse("redis://:secret@h:0").expect_err("no port").to_string();
        assert!(error.contains("redis://***@h:0") && !error.contains("secret"), "{error}");
        let address = Address::parse("redis://:secret@h").expect("an address");
        assert!(!format!("{address:?}").contains("secret"));
    }

    #[test]
    fn a_dialect_may_be_named_beside_an_address_without_one() {
        let text = Some(Dialect::Text);
        let speaking =
            |typed: &str, dialect| Address::parse(typed).expect("an address").speaking(dialect, typed);
        assert_eq!(speaking("h:1", text).expect("text").dialect, Dialect::Text);
        assert_eq!(speaking("unix:///s", text).expect("text").dialect, Dialect::Text);
        assert!(speaking("redis://h:1", text).is_err());
        assert!(speaking("text://h:1", Some(Dialect::Resp)).is_err());
        assert!(speaking("text://h:1", text).is_ok());
    }
}
