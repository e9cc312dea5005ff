//! A real Redis Cluster of three masters: records, and a whole run with its mappings.

#[path = "support/program.rs"]
mod program;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

use program::{Bench, wait_for};
use redis_server::RedisServer;
use runner::datastore::{Config, Datastore, WriteBatch};
use runner::records::{self, Fill, Generator};

/// Where the slots of the masters begin and end.
const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10_922), (10_923, 16_383)];

struct Cluster {
    servers: Vec<RedisServer>,
}

impl Cluster {
    fn start() -> Cluster {
        let mut buses = vec![String::new(); 3];
        let server = |bus: &mut String| {
            RedisServer::start_with(|| {
                // It may be taken before the server has it, as the other port: each attempt has its own.
                *bus = free_port().to_string();
                let settings = [
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    "5000",
                    "--cluster-port",
                    bus.as_str(),
                ];
                settings.map(str::to_owned).to_vec()
            })
        };
        let cluster = Cluster { servers: buses.iter_mut().map(server).collect() };
        for (index, (first, last)) in SLOTS.iter().enumerate() {
            cluster.cli(index, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
            cluster.cli(index, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        }
        for (server, bus) in cluster.servers.iter().zip(&buses).skip(1) {
            let port = server.addr().port().to_string();
            cluster.cli(0, &["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
        }
        wait_for("the cluster to agree", || {
            (0..3).all(|index| {
                let info = cluster.cli(index, &["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
        });
        cluster
    }

    fn cli(&self, server: usize, args: &[&str]) -> String {
        let port = self.servers[server].addr().port().to_string();
        let output =
            Command::new("redis-cli").args(["-p", &port]).args(args).output().expect("redis-cli is there");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Any server, with a place before it where nobody is.
    fn url(&self) -> String {
        format!("redis-cluster://127.0.0.1:1,{}", self.servers[1].addr())
    }

    async fn connect(&self) -> Datastore {
        let config = Config { url: self.url(), timeout: Duration::from_secs(10) };
        Datastore::connect(&config).await.expect("the cluster answers")
    }

    fn sizes(&self) -> Vec<u64> {
        (0..3).map(|index| self.cli(index, &["DBSIZE"]).parse().expect("a number")).collect()
    }

    /// Gives a slot from the first master to the second, as if it had been moved.
    fn give_away(&self, slot: &str) {
        let owner = self.cli(1, &["CLUSTER", "MYID"]);
        for index in [1, 0, 2] {
            self.cli(index, &["CLUSTER", "SETSLOT", slot, "NODE", &owner]);
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn records_go_to_the_master_of_their_slot_and_are_found_on_all() {
    let bench = Bench::new();
    let cluster = Cluster::start();
    let url = cluster.url();
    let records = |args: &[&str]| {
        let mut all = vec!["records", args[0], "--redis", &url];
        all.extend(&args[1..]);
        let ended = bench.call(&all);
        ended.assert_code(0);
        ended
    };
    let generate = |more: &[&str]| -> serde_json::Value {
        let args = ["generate", "--count", "20000", "--template", "{name}{size:60}", "--json"];
        let ended = records(&[&args[..], more].concat());
        serde_json::from_str(&ended.stdout).expect("JSON")
    };
    let first = generate(&["--verify"]);
    assert_eq!(
        (first["written"].as_u64(), first["verified"]["equal"].as_u64()),
        (Some(20_000), Some(20_000))
    );
    let sizes = cluster.sizes();
    assert!(sizes.iter().all(|&size| size > 5000) && sizes.iter().sum::<u64>() == 20_000, "{sizes:?}");
    assert_eq!(records(&["count"]).stdout, "20000\n");

    assert_eq!(generate(&[])["kept"], 20_000);
    let over = generate(&["--existing", "overwrite", "--ttl", "1h"]);
    assert_eq!((over["written"].as_u64(), &over["checksum"]), (Some(20_000), &first["checksum"]));
    let refused =
        bench.call(&["records", "generate", "--redis", &url, "--count", "9", "--existing", "refuse"]);
    assert!(refused.assert_code(2).stderr.contains("`record:1` is there already"), "{}", refused.stderr);

    records(&["clear", "--yes"]);
    assert_eq!(cluster.sizes(), [0, 0, 0]);
}

#[tokio::test]
async fn keys_whose_slot_moves_are_followed() {
    let cluster = Cluster::start();
    let datastore = cluster.connect().await;
    // All of these keys are in slot 5061, the first master's.
    let generator = Generator::new("{bar}:{id}", "value {id}").expect("templates");
    assert_eq!(cluster.cli(0, &["CLUSTER", "KEYSLOT", "{bar}:1"]), "5061");

    // Half of the way: what the old master does not have is asked of the new one.
    let (old, new) = (cluster.cli(0, &["CLUSTER", "MYID"]), cluster.cli(1, &["CLUSTER", "MYID"]));
    cluster.cli(1, &["CLUSTER", "SETSLOT", "5061", "IMPORTING", &old]);
    cluster.cli(0, &["CLUSTER", "SETSLOT", "5061", "MIGRATING", &new]);
    let filled = generator.fill(&datastore, 1..=500, Fill::Missing, |_| {}).await.expect("filled");
    assert_eq!(filled.written, 500);
    assert_eq!(cluster.sizes(), [0, 500, 0]);
    let verified =
        generator.verify(&datastore, 1..=500, Duration::from_secs(10), |_| {}).await.expect("read");
    assert!(verified.is_whole(), "{verified:?}");

    // All of the way: the old one says where they are now.
    cluster.give_away("5061");
    let mut batch = WriteBatch::new();
    batch.set(b"{bar}:501", b"value 501");
    batch.hset(b"foo", &[("f", "v")]);
    batch.set(b"hello", b"world");
    assert_eq!(datastore.write(&batch).await, Ok(vec![Ok(()); 3]));
    let filled = generator.fill(&datastore, 1..=1000, Fill::Missing, |_| {}).await.expect("filled");
    assert_eq!(filled.written, 499);
    assert_eq!(records::count(&datastore, "{bar}:*").await, Ok(1000));
    let values = datastore.get_many(&["hello", "{bar}:501", "none", "foo"]).await.expect("values");
    assert_eq!(values, [Some(b"world".to_vec()), Some(b"value 501".to_vec()), None, None]);
    assert_eq!(records::clear(&datastore, "*").await, Ok(1002));
}

#[tokio::test]
async fn a_server_that_is_no_cluster_is_said_to_be_none() {
    let server = RedisServer::start(&[]);
    let config =
        Config { url: format!("redis-cluster://{}", server.addr()), timeout: Duration::from_secs(10) };
    let error = Datastore::connect(&config).await.expect_err("no cluster").to_string();
    assert!(error.contains("this is no cluster") && error.contains("write redis://"), "{error}");
}

#[test]
fn a_run_maps_its_responses_into_a_cluster() {
    let bench = Bench::new();
    let cluster = Cluster::start();
    for into in ["hash", "string", "stream", "record"] {
        let scenario = format!(
            "name: case\nredis: {{ url: '{}', timeout: 10s }}\nrecords: {{ range: 1..300 }}\n\
             load: {{ stages: [ {{ hold: 300, duration: 1s }} ] }}\nconnections: {{ count: 4 }}\n\
             mapping: {{ into: {into}, key: '{into}:{{key}}' }}\n",
            cluster.url()
        );
        let ended = bench.run(&scenario, &[]);
        ended.assert_code(0);
        assert_eq!(ended.summary(&["sent", "matched", "mapped", "map_failed"]), [300, 300, 300, 0]);
        std::fs::remove_dir_all(bench.path().join("out")).expect("the folder goes");
    }
    let sizes = cluster.sizes();
    assert!(sizes.iter().all(|&size| size > 100) && sizes.iter().sum::<u64>() == 4 * 300, "{sizes:?}");
}
