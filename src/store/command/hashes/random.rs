//! HRANDFIELD.

use super::read;
use crate::store::command::sets::random_count;
use crate::store::command::{Call, Failure};
use crate::store::hash::{Hash, Pair};
use crate::store::random::Random;
use crate::store::reply::Replies;

/// Fields, or fields with their values: in RESP3 each pair is an array of its own.
#[derive(Clone, Copy)]
struct Shape {
    with_values: bool,
}

impl Shape {
    fn start(self, fields: usize, out: &mut Replies) {
        let flat = self.with_values && !out.is_resp3();
        out.array(fields.saturating_mul(1 + usize::from(flat)));
    }

    fn pair(self, (field, value): Pair<'_>, out: &mut Replies) {
        if self.with_values && out.is_resp3() {
            out.array(2);
        }
        out.bulk(field);
        if self.with_values {
            out.bulk(value);
        }
    }
}

/// The options, checked in this order as Redis does: the count, what follows it, and whether twice as
/// many replies could still be counted.
pub fn hrandfield(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let mut random = Random::new(call.engine.random());
    let Some(count) = args.get(2) else {
        let (hash, out) = read(call)?;
        out.optional(hash.and_then(|hash| hash.pick(&mut random)).map(|(field, _)| field));
        return Ok(());
    };
    let (count, repeated) = random_count(count)?;
    let with_values = args.get(3).is_some_and(|word| word.eq_ignore_ascii_case(b"WITHVALUES"));
    if args.len() > 4 || args.len() == 4 && !with_values {
        return Err(Failure::SYNTAX);
    }
    if with_values && count > i64::MAX as usize / 2 {
        return Err(Failure::text("ERR value is out of range"));
    }
    let shape = Shape { with_values };
    let (hash, out) = read(call)?;
    match hash {
        Some(hash) if repeated => repeated_fields(hash, count, &mut random, shape, out),
        Some(hash) => {
            let found = hash.some(count, &mut random);
            shape.start(found.len(), out);
            found.into_iter().for_each(|pair| shape.pair(pair, out));
        }
        None => out.array(0),
    }
    Ok(())
}

fn repeated_fields(hash: Hash<'_>, count: usize, random: &mut Random, shape: Shape, out: &mut Replies) {
    // Of a packed hash each is reached in one step only when all lie side by side.
    let pairs: Vec<Pair<'_>> = match hash {
        Hash::Packed(_) => hash.iter().collect(),
        Hash::Table(_) => Vec::new(),
    };
    shape.start(count, out);
    for _ in 0..count {
        // Far more than a client may ask for: it will be disconnected.
        if out.overflowed() {
            break;
        }
        let pair = match hash {
            Hash::Packed(_) => pairs.get(random.below(pairs.len())).copied(),
            Hash::Table(_) => hash.pick(random),
        };
        if let Some(pair) = pair {
            shape.pair(pair, out);
        }
    }
}
