//! What one call of a Lua hook costs, with all limits on.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use runner::script::{Config, Record, Script};
use runner::units::{Bytes, Nanos};

const HOOKS: [(&str, &str); 7] = [
    ("identity", "return record.value"),
    ("format", "return string.format('%d|%s|%s', record.seq, record.key, record.value)"),
    ("random", "return record.value .. random(1, 1000000)"),
    ("json decode", "json.decode(record.value) return record.value"),
    (
        "json encode",
        "return json.encode({ id = 1, name = 'User1', phone = '900000000001', status = 'pending' })",
    ),
    ("json both", "local r = json.decode(record.value) r.tx = 'TX-' .. record.seq return json.encode(r)"),
    ("loop", "local sum = 0 for i = 1, 64 do sum = sum * 31 + i end return record.value .. sum"),
];

fn request(c: &mut Criterion) {
    for (name, body) in HOOKS {
        let mut script = Script::load(&Config {
            path: PathBuf::from("bench.lua"),
            source: format!("function request(ctx, record) {body} end"),
            args: serde_json::Value::Null,
            seed: 1,
            timeout: Duration::from_millis(50),
            memory: Bytes(32 << 20),
            rates: Vec::new(),
        })
        .expect("a script of this file");
        let value = br#"{"id":1,"name":"User1","phone":"900000000001","status":"pending"}"#;
        let mut out = Vec::with_capacity(1024);
        let mut key = Vec::new();
        let mut n = 0;
        c.bench_function(name, |b| {
            b.iter(|| {
                n += 1;
                out.clear();
                key.clear();
                key.extend_from_slice(b"record:");
                key.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
                let record = Record { id: n, key: &key, value, seq: n, due: Nanos(n) };
                black_box(script.request(&record, &mut out)).expect("bytes")
            });
        });
    }
}

criterion_group! {
    name = hooks;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = request
}
criterion_main!(hooks);
