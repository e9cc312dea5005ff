//! XPENDING, XCLAIM and XAUTOCLAIM: entries that were given to a consumer and are not acknowledged.

use super::super::{Call, Failure, integer, shown};
use super::{edit_groups, end, group, id, no_group, read, start, stream_of, write_entry, write_id};
use crate::store::notify::Class;
use crate::store::reply::Replies;
use crate::store::stream::Stream;
use crate::store::stream::entries::Entries;
use crate::store::stream::groups::{ConsumerId, Delivery, Group};
use crate::store::stream::ids::StreamId;
use crate::wire::resp::{Args, parse_integer};

/// Entries that one XAUTOCLAIM claims unless it says otherwise.
const DEFAULT_COUNT: usize = 100;
/// Entries that one XAUTOCLAIM looks at for each that it may claim.
const LOOKS: usize = 10;
/// The highest count of XAUTOCLAIM.
const MAX_COUNT: i64 = i64::MAX / 16;
/// From here on Redis would find no memory for that many ids.
const TOO_MANY: u64 = 1 << 43;

/// The entries that XPENDING lists.
struct Listed<'a> {
    min_idle_ms: i64,
    first: StreamId,
    last: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Listed<'a> {
    fn parse(args: Args<'a>) -> Result<Option<Listed<'a>>, Failure> {
        match args.len() {
            3 => return Ok(None),
            6..=9 => {}
            _ => return Err(Failure::SYNTAX),
        }
        let (mut at, mut min_idle_ms) = (3, 0);
        if args[3].eq_ignore_ascii_case(b"IDLE") {
            min_idle_ms = integer(&args[4])?;
            if args.len() < 8 {
                return Err(Failure::SYNTAX);
            }
            at = 5;
        }
        let count = usize::try_from(integer(&args[at + 2])?.max(0)).unwrap_or(usize::MAX);
        let (first, last) = (start(&args[at])?, end(&args[at + 1])?);
        Ok(Some(Listed { min_idle_ms, first, last, count, consumer: args.get(at + 3) }))
    }

    fn write(&self, out: &mut Replies, group: &Group, now_ms: i64) {
        let is_idle = |delivery: &Delivery| {
            self.min_idle_ms == 0 || now_ms.wrapping_sub(delivery.at_ms) >= self.min_idle_ms
        };
        // An interval that ends before it begins holds nothing.
        let count = if self.first <= self.last { self.count } else { 0 };
        let range = self.first..=self.last.max(self.first);
        let found: Vec<(StreamId, Delivery)> = match self.consumer {
            None => {
                let all = group.pending().range(range).map(|(id, delivery)| (*id, *delivery));
                all.filter(|(_, delivery)| is_idle(delivery)).take(count).collect()
            }
            Some(name) => {
                let consumer = group.find(name).and_then(|found| group.consumer(found));
                let ids = consumer.into_iter().flat_map(|consumer| consumer.pending().range(range.clone()));
                let all = ids.filter_map(|id| Some((*id, *group.pending().get(id)?)));
                all.filter(|(_, delivery)| is_idle(delivery)).take(count).collect()
            }
        };
        out.array(found.len());
        for (id, delivery) in found {
            out.array(4);
            write_id(out, id);
            out.bulk(group.name_of(delivery.consumer));
            out.integer(now_ms.wrapping_sub(delivery.at_ms).max(0));
            out.integer(delivery.count as i64);
        }
    }
}

pub(super) fn xpending(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let listed = Listed::parse(args)?;
    let now_ms = call.engine.keyspace.now_ms();
    let stream = read(&mut call.engine.keyspace, call.session.db, &args[1])?;
    let group = group(stream, &args[2]).ok_or_else(|| no_group(&args[1], &args[2]))?;
    match listed {
        Some(listed) => listed.write(&mut call.session.out, group, now_ms),
        None => write_summary(&mut call.session.out, group),
    }
    Ok(())
}

/// How many are pending, the lowest and the highest id, and how many each consumer has.
fn write_summary(out: &mut Replies, group: &Group) {
    let pending = group.pending();
    out.array(4);
    out.count(pending.len());
    let (Some((first, _)), Some((last, _))) = (pending.first_key_value(), pending.last_key_value()) else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    write_id(out, *first);
    write_id(out, *last);
    let busy = || group.consumers().filter(|consumer| !consumer.pending().is_empty());
    out.array(busy().count());
    for consumer in busy() {
        out.array(2);
        out.bulk(consumer.name());
        out.text(itoa::Buffer::new().format(consumer.pending().len()));
    }
}

/// The consumer that claims: looked for, or added, when the first entry is claimed.
struct Claimant<'a> {
    name: &'a [u8],
    now_ms: i64,
    place: Option<ConsumerId>,
    is_new: bool,
}

impl<'a> Claimant<'a> {
    fn new(name: &'a [u8], now_ms: i64) -> Claimant<'a> {
        Claimant { name, now_ms, place: None, is_new: false }
    }

    fn in_group(&mut self, group: &mut Group) -> ConsumerId {
        if let Some(place) = self.place {
            return place;
        }
        let found = group.heard(self.name, self.now_ms);
        self.is_new = found.is_none();
        let place = found.unwrap_or_else(|| group.add(self.name, self.now_ms));
        self.place = Some(place);
        place
    }

    /// Whether an entry has not been claimed or delivered for at least so long.
    fn is_idle(&self, delivery: &Delivery, min_idle_ms: i64) -> bool {
        min_idle_ms == 0 || self.now_ms.wrapping_sub(delivery.at_ms) >= min_idle_ms
    }
}

/// What XCLAIM is told.
struct Claim {
    min_idle_ms: i64,
    ids: Vec<StreamId>,
    /// When it counts as delivered.
    at_ms: i64,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Claim {
    /// The arguments up to the first that is no id are ids, then come the options.
    fn parse(args: Args<'_>, now_ms: i64) -> Result<Claim, Failure> {
        let invalid = Failure::text("ERR Invalid min-idle-time argument for XCLAIM");
        let min_idle_ms = parse_integer(&args[4]).ok_or(invalid)?.max(0);
        let ids = args.from(5).iter().map_while(|text| StreamId::parse(text, 0)).collect();
        let (last_id, deliveries) = (StreamId::MIN, None);
        let mut claim =
            Claim { min_idle_ms, ids, at_ms: -1, deliveries, force: false, just_id: false, last_id };
        let mut index = 5 + claim.ids.len();
        while let Some(word) = args.get(index) {
            let has_value = claim.option(word, args.get(index + 1), now_ms)?;
            index += 1 + usize::from(has_value);
        }
        // A time in the future, or before all time, is now.
        if claim.at_ms < 0 || claim.at_ms > now_ms {
            claim.at_ms = now_ms;
        }
        Ok(claim)
    }

    /// Reads an option; whether it has a value.
    fn option(&mut self, word: &[u8], value: Option<&[u8]>, now_ms: i64) -> Result<bool, Failure> {
        let number = |value: &[u8], name: &str| {
            let refused = || Failure(format!("ERR Invalid {name} option argument for XCLAIM").into());
            parse_integer(value).ok_or_else(refused)
        };
        match (word.to_ascii_uppercase().as_slice(), value) {
            (b"FORCE", _) => {
                self.force = true;
                return Ok(false);
            }
            (b"JUSTID", _) => {
                self.just_id = true;
                return Ok(false);
            }
            (b"IDLE", Some(value)) => self.at_ms = now_ms.wrapping_sub(number(value, "IDLE")?),
            (b"TIME", Some(value)) => self.at_ms = number(value, "TIME")?,
            (b"RETRYCOUNT", Some(value)) => {
                self.deliveries = u64::try_from(number(value, "RETRYCOUNT")?).ok();
            }
            (b"LASTID", Some(value)) => self.last_id = id(value)?,
            _ => {
                let word = shown(word, usize::MAX);
                return Err(Failure(format!("ERR Unrecognized XCLAIM option '{word}'").into()));
            }
        }
        Ok(true)
    }

    /// Claims what may be claimed, and forgets what is no longer in the stream; what was claimed, and how
    /// much has changed.
    fn apply(&self, group: &mut Group, entries: &Entries, by: &mut Claimant<'_>) -> (Vec<StreamId>, u64) {
        let (mut claimed, mut changes) = (Vec::new(), 0);
        if self.last_id > group.last_id {
            group.last_id = self.last_id;
            changes += 1;
        }
        for &id in &self.ids {
            if !entries.contains(id) {
                changes += u64::from(group.acknowledge(id));
                continue;
            }
            let before = group.pending().get(&id).copied();
            match before {
                Some(delivery) if !by.is_idle(&delivery, self.min_idle_ms) => continue,
                None if !self.force => continue,
                _ => {}
            }
            // What is forced in counts as delivered once before.
            let count = before.map_or(1, |before| before.count);
            let count = self.deliveries.unwrap_or(count.wrapping_add(u64::from(!self.just_id)));
            let consumer = by.in_group(group);
            group.give(id, Delivery { consumer, at_ms: self.at_ms, count });
            claimed.push(id);
            changes += 1;
        }
        (claimed, changes)
    }
}

pub(super) fn xclaim(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let now_ms = call.engine.keyspace.now_ms();
    require_group(call)?;
    let claim = Claim::parse(args, now_ms)?;
    let claimed = edit(call, |group, entries, by| claim.apply(group, entries, by))?;
    write_claimed(call, &claimed, claim.just_id)
}

/// What XAUTOCLAIM is told.
struct AutoClaim {
    min_idle_ms: i64,
    from: StreamId,
    count: usize,
    just_id: bool,
}

/// What XAUTOCLAIM has done.
#[derive(Default)]
struct AutoClaimed {
    claimed: Vec<StreamId>,
    /// No longer in the stream, and forgotten.
    deleted: Vec<StreamId>,
    /// Where to go on.
    next: StreamId,
}

impl AutoClaim {
    fn parse(args: Args<'_>) -> Result<AutoClaim, Failure> {
        let invalid = Failure::text("ERR Invalid min-idle-time argument for XAUTOCLAIM");
        let min_idle_ms = parse_integer(&args[4]).ok_or(invalid)?.max(0);
        let mut claim =
            AutoClaim { min_idle_ms, from: start(&args[5])?, count: DEFAULT_COUNT, just_id: false };
        let mut index = 6;
        while let Some(word) = args.get(index) {
            match args.get(index + 1) {
                Some(value) if word.eq_ignore_ascii_case(b"COUNT") => {
                    let count = parse_integer(value).filter(|count| (1..=MAX_COUNT).contains(count));
                    let count = count.ok_or(Failure::text("ERR COUNT must be > 0"))?;
                    claim.count = usize::try_from(count).unwrap_or(usize::MAX);
                    index += 1;
                }
                _ if word.eq_ignore_ascii_case(b"JUSTID") => claim.just_id = true,
                _ => return Err(Failure::SYNTAX),
            }
            index += 1;
        }
        Ok(claim)
    }

    fn apply(&self, group: &mut Group, entries: &Entries, by: &mut Claimant<'_>) -> (AutoClaimed, u64) {
        let (mut done, mut changes) = (AutoClaimed::default(), 0);
        let mut from = Some(self.from);
        for _ in 0..self.count.saturating_mul(LOOKS) {
            let pending = from.and_then(|from| group.pending().range(from..).next());
            let Some((&id, &delivery)) = pending.filter(|_| done.answered() < self.count) else { break };
            from = id.next();
            if !entries.contains(id) {
                group.acknowledge(id);
                done.deleted.push(id);
            } else if by.is_idle(&delivery, self.min_idle_ms) {
                let consumer = by.in_group(group);
                let count = delivery.count.wrapping_add(u64::from(!self.just_id));
                group.give(id, Delivery { consumer, at_ms: by.now_ms, count });
                done.claimed.push(id);
            } else {
                continue;
            }
            changes += 1;
        }
        let next = from.and_then(|from| group.pending().range(from..).next());
        done.next = next.map_or(StreamId::MIN, |(id, _)| *id);
        (done, changes)
    }
}

impl AutoClaimed {
    /// What counts against COUNT.
    fn answered(&self) -> usize {
        self.claimed.len() + self.deleted.len()
    }
}

pub(super) fn xautoclaim(call: &mut Call<'_>) -> Result<(), Failure> {
    let claim = AutoClaim::parse(call.args)?;
    require_group(call)?;
    if claim.count as u64 >= TOO_MANY {
        return Err(Failure::text(
            "ERR Insufficient memory, failed allocating transient memory, COUNT too high.",
        ));
    }
    let done = edit(call, |group, entries, by| claim.apply(group, entries, by))?;
    call.session.out.array(3);
    write_id(&mut call.session.out, done.next);
    write_claimed(call, &done.claimed, claim.just_id)?;
    let out = &mut call.session.out;
    out.array(done.deleted.len());
    done.deleted.iter().for_each(|id| write_id(out, *id));
    Ok(())
}

/// The key and the group of the call must be there.
fn require_group(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let stream = read(&mut call.engine.keyspace, call.session.db, &args[1])?;
    group(stream, &args[2]).map(|_| ()).ok_or_else(|| no_group(&args[1], &args[2]))
}

/// Changes the group of the call, which is there, on behalf of the consumer of the call.
fn edit<R>(
    call: &mut Call<'_>,
    edit: impl FnOnce(&mut Group, &Entries, &mut Claimant<'_>) -> (R, u64),
) -> Result<R, Failure> {
    let (args, db) = (call.args, call.session.db);
    let keyspace = &mut call.engine.keyspace;
    let mut by = Claimant::new(&args[3], keyspace.now_ms());
    let missing = || no_group(&args[1], &args[2]);
    let edited = edit_groups(keyspace, db, &args[1], |stream| {
        let Stream { entries, groups } = stream;
        let Some(group) = groups.get_mut(&args[2]) else { return (Err(missing()), 0) };
        let (result, changes) = edit(group, entries, &mut by);
        (Ok(result), changes + u64::from(by.is_new))
    })?;
    if by.is_new {
        keyspace.notify(Class::STREAM, "xgroup-createconsumer", db, &args[1]);
    }
    edited.ok_or_else(missing)
}

/// Writes entries that are in the stream, or only their ids.
fn write_claimed(call: &mut Call<'_>, ids: &[StreamId], just_id: bool) -> Result<(), Failure> {
    let args = call.args;
    let found = call.engine.keyspace.find(call.session.db, &args[1]);
    let stream = found.map(stream_of).transpose()?;
    let out = &mut call.session.out;
    out.array(ids.len());
    for id in ids {
        match stream.and_then(|stream| stream.entries.get(*id)) {
            Some(fields) if !just_id => write_entry(out, *id, fields),
            _ => write_id(out, *id),
        }
    }
    Ok(())
}
