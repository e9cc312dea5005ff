//! What one record costs before it travels.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use runner::datastore::bulk::Pairs;
use runner::records::{Generator, load};

/// Templates of about 100 bytes: ids alone, and everything that follows from the seed.
const TEMPLATES: [(&str, &str); 3] = [
    (
        "ids",
        r#"{"id":{id},"name":"User{id}","phone":"90000000{id:04}","status":"pending","city":"Berlin","v":10}"#,
    ),
    ("people", r#"{"id":{id},"name":"{name}","email":"{email}","phone":"{phone}","status":"{status}"}"#),
    ("size", r#"{"id":{id},"pad":"{size:100}"}"#),
];

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(1));
    for (name, template) in TEMPLATES {
        let generator = Generator::new("record:{id}", template).expect("templates");
        let mut out = Vec::with_capacity(1024);
        let mut id = 100_000;
        group.bench_function(format!("value/{name}"), |bencher| {
            bencher.iter(|| {
                id += 1;
                out.clear();
                generator.value(id, &mut out);
                out.len()
            });
        });
        let mut pairs = Pairs::default();
        group.bench_function(format!("wire and checksum/{name}"), |bencher| {
            bencher.iter(|| {
                id += 1;
                if pairs.len() == 2000 {
                    pairs.clear();
                }
                pairs.push(|out| generator.key(id, out), |out| generator.value(id, out));
                load::checksum(pairs.wire(pairs.len() - 1))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, records);
criterion_main!(benches);
