//! Cluster: which master has which key, and how to follow keys that move.
//!
//! 1. The map of slots is read from any server that answers (`CLUSTER SLOTS`): at the start, when a server
//!    says that a key is elsewhere, and when the cluster was away.
//! 2. Each command of a pipeline goes to the master of its first key, all masters at once; answers come
//!    back in the order of the commands.
//! 3. `MOVED` reads the map again, `ASK` follows once, `TRYAGAIN` and `CLUSTERDOWN` wait; after
//!    [`super::Config::timeout`] what the server says is the answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Arg, Cmd, Pipeline, RedisError, Value};
use tokio::task::JoinSet;

use super::{Config, Datastore, Error};
use crate::clock::{self, Stopwatch};

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// Nobody serves the slot.
const NOBODY: u16 = u16::MAX;

/// The pause before what a cluster could not do is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// What stands before the addresses of a cluster.
pub(super) const SCHEME: &str = "redis-cluster://";

/// What is known of a cluster.
pub(super) struct Cluster {
    /// The servers that were named.
    seeds: Vec<Datastore>,
    /// `user:password@`, as in the URL.
    login: String,
    map: Mutex<Option<Arc<Map>>>,
    /// Held while one task reads the map.
    reading: tokio::sync::Mutex<()>,
}

/// Which master has which slot.
pub(super) struct Map {
    servers: Vec<Datastore>,
    /// For each slot an index of `servers`, or [`NOBODY`].
    owners: Vec<u16>,
    url: String,
}

impl Map {
    /// The master that has a key, as an index for [`Map::server`].
    pub(super) fn server_of(&self, key: &[u8]) -> Result<usize, Error> {
        let slot = slot_of(key);
        match self.owners.get(usize::from(slot)) {
            Some(&owner) if owner != NOBODY => Ok(usize::from(owner)),
            _ => {
                let message = format!("no master of the cluster serves slot {slot}");
                Err(Error::Unreachable { url: self.url.clone(), message })
            }
        }
    }

    pub(super) fn server(&self, index: usize) -> &Datastore {
        &self.servers[index]
    }
}

impl Cluster {
    /// From a URL with [`SCHEME`].
    pub(super) fn of(config: &Config) -> Result<Cluster, Error> {
        let wrong =
            |message: &str| Error::Url { url: super::masked(&config.url), message: message.to_owned() };
        let rest = config.url.strip_prefix(SCHEME).unwrap_or(&config.url);
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (format!("{login}@"), hosts),
            None => (String::new(), rest),
        };
        let hosts = hosts.strip_suffix("/0").or_else(|| hosts.strip_suffix('/')).unwrap_or(hosts);
        if hosts.contains(['/', '?']) {
            return Err(wrong("a cluster has one database, and its address no options"));
        }
        let mut seeds = Vec::new();
        for host in hosts.split(',').map(str::trim) {
            if host.is_empty() {
                return Err(wrong("an address of the cluster is missing"));
            }
            seeds.push(server_at(&login, host, config.timeout)?);
        }
        Ok(Cluster { seeds, login, map: Mutex::default(), reading: tokio::sync::Mutex::default() })
    }

    /// The client of the first server that was named.
    pub(super) fn first(&self) -> &redis::Client {
        &self.seeds[0].shared.client
    }

    fn current(&self) -> Option<Arc<Map>> {
        // Nothing panics while it is held.
        self.map.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One server of a cluster, not yet connected.
fn server_at(login: &str, host: &str, timeout: Duration) -> Result<Datastore, Error> {
    let config = Config { url: format!("redis://{login}{host}"), timeout };
    Datastore::unconnected(&config, true)
}

impl Datastore {
    pub(super) fn is_cluster(&self) -> bool {
        self.shared.cluster.is_some()
    }

    /// The servers whose keys together are all keys: the datastore itself, or the masters of a cluster.
    /// [`Datastore::scan`] and [`Datastore::unlink`] are asked of each of them.
    ///
    /// # Errors
    /// When nobody tells the masters.
    pub async fn servers(&self) -> Result<Vec<Datastore>, Error> {
        match &self.shared.cluster {
            None => Ok(vec![self.clone()]),
            Some(cluster) => Ok(self.read_map(cluster).await?.servers.clone()),
        }
    }

    /// The map as it is known.
    pub(super) fn map(&self) -> Result<Arc<Map>, Error> {
        self.shared.cluster.as_ref().and_then(Cluster::current).ok_or_else(|| Error::Unreachable {
            url: self.url().to_owned(),
            message: "the masters of the cluster are not known".to_owned(),
        })
    }

    /// Whether all slots are served by masters that answer.
    pub(super) async fn ping_cluster(&self, cluster: &Cluster) -> Result<(), Error> {
        let map = self.read_map(cluster).await?;
        if let Some(slot) = map.owners.iter().position(|owner| *owner == NOBODY) {
            let message = format!("no master of the cluster serves slot {slot}");
            return Err(Error::Unreachable { url: self.url().to_owned(), message });
        }
        for server in &map.servers {
            server.ask("PING", &redis::cmd("PING")).await?;
        }
        Ok(())
    }

    /// Asks the servers one by one, those first that are known to work.
    async fn read_map(&self, cluster: &Cluster) -> Result<Arc<Map>, Error> {
        let _turn = cluster.reading.lock().await;
        let known = cluster.current();
        let known = known.as_ref().map(|map| map.servers.as_slice()).unwrap_or_default();
        let mut last = None;
        for server in known.iter().chain(&cluster.seeds) {
            match self.map_from(cluster, server, known).await {
                Ok(map) => {
                    let map = Arc::new(map);
                    *cluster.map.lock().unwrap_or_else(PoisonError::into_inner) = Some(map.clone());
                    return Ok(map);
                }
                Err(error) if error.is_away() => last = Some(error),
                Err(Error::Refused { message, .. }) => {
                    let message = format!("this is no cluster: {message}");
                    return Err(Error::Url { url: self.url().to_owned(), message });
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Url {
            url: self.url().to_owned(),
            message: "no address of the cluster".to_owned(),
        }))
    }

    async fn map_from(
        &self,
        cluster: &Cluster,
        server: &Datastore,
        known: &[Datastore],
    ) -> Result<Map, Error> {
        const COMMAND: &str = "CLUSTER SLOTS";
        let answer = server.ask(COMMAND, redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let mut map =
            Map { servers: Vec::new(), owners: vec![NOBODY; usize::from(SLOTS)], url: self.url().to_owned() };
        let Value::Array(ranges) = answer else { return Err(server.unexpected(COMMAND, &answer)) };
        for range in &ranges {
            let (first, last, address) =
                range_of(range, server).ok_or_else(|| server.unexpected(COMMAND, range))?;
            let found = map.servers.iter().position(|server| address_of(server) == address);
            let index = match found {
                Some(index) => index,
                None => {
                    let old = known.iter().find(|server| address_of(server) == address).cloned();
                    let server = match old {
                        Some(server) => server,
                        None => server_at(&cluster.login, &address, self.timeout())?,
                    };
                    map.servers.push(server);
                    map.servers.len() - 1
                }
            };
            for owner in &mut map.owners[usize::from(first)..=usize::from(last)] {
                // There are not more masters than slots.
                *owner = index as u16;
            }
        }
        Ok(map)
    }

    /// Each command to the master of its first key.
    pub(super) async fn ask_cluster(
        &self,
        cluster: &Cluster,
        command: &'static str,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, Error> {
        let commands: Vec<&Cmd> = pipeline.cmd_iter().collect();
        let mut answers = vec![Value::Nil; commands.len()];
        let mut left: Vec<usize> = (0..commands.len()).collect();
        let watch = Stopwatch::start();
        let mut map = self.map()?;
        loop {
            let mut asked = Vec::new();
            let mut again = Vec::new();
            for (index, answer) in self.ask_masters(&map, command, &commands, &left).await? {
                match redirect_of(&answer) {
                    Some(Redirect::Ask(address)) => asked.push((index, address)),
                    Some(Redirect::Again) => again.push(index),
                    None => {}
                }
                answers[index] = answer;
            }
            for (index, address) in asked {
                answers[index] = self.follow_once(cluster, &map, command, commands[index], &address).await?;
                if redirect_of(&answers[index]).is_some() {
                    again.push(index);
                }
            }
            if again.is_empty() || watch.elapsed() > self.timeout() {
                return Ok(answers);
            }
            if again.len() == left.len() {
                clock::sleep(PAUSE).await;
            }
            left = again;
            map = self.read_map(cluster).await?;
        }
    }

    /// One round: the commands with these indices, all masters at once.
    async fn ask_masters(
        &self,
        map: &Map,
        command: &'static str,
        commands: &[&Cmd],
        indices: &[usize],
    ) -> Result<Vec<(usize, Value)>, Error> {
        let mut parts: BTreeMap<usize, (Pipeline, Vec<usize>)> = BTreeMap::new();
        for &index in indices {
            let key = match commands[index].args_iter().nth(1) {
                Some(Arg::Simple(key)) => key,
                _ => &[],
            };
            let (pipeline, members) = parts.entry(map.server_of(key)?).or_default();
            pipeline.add_command(commands[index].clone());
            members.push(index);
        }
        let mut tasks = JoinSet::new();
        for (server, (pipeline, members)) in parts {
            let server = map.server(server).clone();
            tasks.spawn(async move {
                let answers = server.ask_all_here(command, &pipeline).await?;
                Ok::<_, Error>(members.into_iter().zip(answers))
            });
        }
        let mut all = Vec::with_capacity(indices.len());
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(answers) => all.extend(answers?),
                Err(_) => {
                    let message = "the runtime is shutting down".to_owned();
                    return Err(Error::Unreachable { url: self.url().to_owned(), message });
                }
            }
        }
        Ok(all)
    }

    /// A command whose key is being moved, to where it is moved to.
    async fn follow_once(
        &self,
        cluster: &Cluster,
        map: &Map,
        command: &'static str,
        cmd: &Cmd,
        address: &str,
    ) -> Result<Value, Error> {
        let server = match map.servers.iter().find(|server| address_of(server) == address) {
            Some(server) => server.clone(),
            None => server_at(&cluster.login, address, self.timeout())?,
        };
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("ASKING").add_command(cmd.clone());
        let mut answers = server.ask_all_here(command, &pipeline).await?;
        Ok(answers.pop().unwrap_or(Value::Nil))
    }
}

/// `host:port` of a server.
fn address_of(server: &Datastore) -> String {
    match server.info().addr() {
        redis::ConnectionAddr::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
        redis::ConnectionAddr::Tcp(host, port) => format!("{host}:{port}"),
        other => other.to_string(),
    }
}

/// First slot, last slot and address of the master, from one entry of `CLUSTER SLOTS`.
fn range_of(value: &Value, asked: &Datastore) -> Option<(u16, u16, String)> {
    let Value::Array(parts) = value else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else {
        return None;
    };
    let slot = |number: &i64| u16::try_from(*number).ok().filter(|slot| *slot < SLOTS);
    let (first, last) = (slot(first)?, slot(last)?);
    let [host, Value::Int(port), ..] = master.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        Value::Nil => String::new(),
        _ => return None,
    };
    // A server that does not know its own address is where it was asked.
    let host = match host.as_str() {
        "" | "?" => match asked.info().addr() {
            redis::ConnectionAddr::Tcp(host, _) => host.clone(),
            _ => return None,
        },
        _ => host,
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    (first <= last).then(|| (first, last, format!("{host}:{port}")))
}

enum Redirect {
    /// To this address, this once.
    Ask(String),
    /// With a new map, or in a moment.
    Again,
}

fn redirect_of(answer: &Value) -> Option<Redirect> {
    let Value::ServerError(error) = answer else { return None };
    let error = RedisError::from(error.clone());
    if let (Some("ASK"), Some((address, _))) = (error.code(), error.redirect_node()) {
        return Some(Redirect::Ask(address.to_owned()));
    }
    is_elsewhere(error.code()?).then_some(Redirect::Again)
}

/// Whether a server says that it is not its turn. The text of an error, or its first word.
pub(super) fn is_elsewhere(text: &str) -> bool {
    let word = text.split(' ').next().unwrap_or_default();
    ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY"].contains(&word)
}

/// The slot of a key: of what stands between the first `{` and the next `}` where there is something.
fn slot_of(key: &[u8]) -> u16 {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let rest = &key[open + 1..];
        memchr::memchr(b'}', rest).filter(|&close| close > 0).map(|close| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, as the cluster specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    static TABLE: [u16; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut crc = (index as u16) << 8;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
                bit += 1;
            }
            table[index] = crc;
            index += 1;
        }
        table
    };
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // What `CLUSTER KEYSLOT` says.
        for (key, slot) in
            [("somekey", 11_058), ("foo{hash_tag}", 2515), ("bar{hash_tag}", 2515), ("foo", 12_182)]
        {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
    }

    #[test]
    fn addresses_of_a_cluster_stand_behind_one_login() {
        let of = |url: &str| {
            Cluster::of(&Config { url: url.to_owned(), timeout: Duration::from_secs(1) })
                .map(|cluster| cluster.seeds.iter().map(address_of).collect::<Vec<_>>())
        };
        assert_eq!(of("redis-cluster://a:1,b:2").expect("two"), ["a:1", "b:2"]);
        assert_eq!(of("redis-cluster://me:se@a:1,[::1]:2/0").expect("two"), ["a:1", "[::1]:2"]);
        for url in ["redis-cluster://", "redis-cluster://a:1,,b:2", "redis-cluster://me:se@a:1/3"] {
            let error = of(url).expect_err(url).to_string();
            assert!(!error.contains("me:se"), "{error}");
        }
    }

    #[test]
    fn what_is_elsewhere_is_told_from_what_is_refused() {
        for text in ["MOVED 1 a:1", "ASK 1 a:1", "TRYAGAIN wait", "CLUSTERDOWN"] {
            assert!(is_elsewhere(text), "{text}");
        }
        for text in ["ERR MOVED", "MOVEDX", "OOM", ""] {
            assert!(!is_elsewhere(text), "{text}");
        }
    }
}
