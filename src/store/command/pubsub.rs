//! Channels: who listens, and what is said.

use super::{Call, Command, FAST, Failure, LOADING, MAY_REPLICATE, NOSCRIPT, PUBSUB, STALE, help};
use crate::store::glob;
use crate::store::pubsub::Scope;

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "pubsub";
const LISTEN: u32 = PUBSUB | NOSCRIPT | LOADING | STALE;
const SPEAK: u32 = PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE;
const LOOK: u32 = PUBSUB | LOADING | STALE;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("subscribe", -2, LISTEN, NONE, G, "Listens to channels", subscribe),
    Command::new("unsubscribe", -1, LISTEN, NONE, G, "Stops listening to channels", unsubscribe),
    Command::new(
        "psubscribe",
        -2,
        LISTEN,
        NONE,
        G,
        "Listens to all channels that match a pattern",
        psubscribe,
    ),
    Command::new("punsubscribe", -1, LISTEN, NONE, G, "Stops listening to patterns", punsubscribe),
    Command::new("ssubscribe", -2, LISTEN, (1, -1, 1), G, "Listens to shard channels", ssubscribe),
    Command::new(
        "sunsubscribe",
        -1,
        LISTEN,
        (1, -1, 1),
        G,
        "Stops listening to shard channels",
        sunsubscribe,
    ),
    Command::new("publish", 3, SPEAK, NONE, G, "Sends a message to a channel", publish),
    Command::new("spublish", 3, SPEAK, (1, 1, 1), G, "Sends a message to a shard channel", spublish),
    Command::container("pubsub", G, "Looks at channels", PUBSUB_SUBCOMMANDS),
];

const PUBSUB_SUBCOMMANDS: &[Command] = &[
    Command::new("pubsub|channels", -2, LOOK, NONE, G, "Lists channels with listeners", channels),
    Command::new("pubsub|help", 2, LOADING | STALE, NONE, G, "Shows the sub-commands", pubsub_help),
    Command::new("pubsub|numsub", -2, LOOK, NONE, G, "Counts the listeners of channels", numsub),
    Command::new("pubsub|numpat", 2, LOOK, NONE, G, "Counts the patterns", numpat),
    Command::new(
        "pubsub|shardchannels",
        -2,
        LOOK,
        NONE,
        G,
        "Lists shard channels with listeners",
        shardchannels,
    ),
    Command::new(
        "pubsub|shardnumsub",
        -2,
        LOOK,
        NONE,
        G,
        "Counts the listeners of shard channels",
        shardnumsub,
    ),
];

fn begin(call: &mut Call<'_>, scope: Scope, word: &str) -> Result<(), Failure> {
    let mut own = call.session.subscriptions.take().unwrap_or_default();
    for name in call.args.from(1).iter() {
        call.engine.pubsub.subscribe(scope, name, call.session.slot, &mut own);
        let out = &mut call.session.out;
        out.push(3);
        out.text(word);
        out.bulk(name);
        out.count(own.shown_count(scope));
    }
    call.session.subscriptions = Some(own);
    Ok(())
}

/// Without names all of this kind end; when there is none, that is said once.
fn end(call: &mut Call<'_>, scope: Scope, word: &str) -> Result<(), Failure> {
    let mut own = call.session.subscriptions.take().unwrap_or_default();
    let mut names: Vec<Option<Vec<u8>>> = call.args.from(1).iter().map(|name| Some(name.to_vec())).collect();
    if names.is_empty() {
        names.extend(own.names(scope).iter().map(|name| Some(name.to_vec())));
    }
    if names.is_empty() {
        names.push(None);
    }
    for name in names {
        if let Some(name) = &name {
            call.engine.pubsub.unsubscribe(scope, name, call.session.slot, &mut own);
        }
        let out = &mut call.session.out;
        out.push(3);
        out.text(word);
        out.optional(name.as_deref());
        out.count(own.shown_count(scope));
    }
    call.session.subscriptions = Some(own).filter(|own| !own.is_empty());
    Ok(())
}

fn subscribe(call: &mut Call<'_>) -> Result<(), Failure> {
    begin(call, Scope::Channel, "subscribe")
}

fn unsubscribe(call: &mut Call<'_>) -> Result<(), Failure> {
    end(call, Scope::Channel, "unsubscribe")
}

fn psubscribe(call: &mut Call<'_>) -> Result<(), Failure> {
    begin(call, Scope::Pattern, "psubscribe")
}

fn punsubscribe(call: &mut Call<'_>) -> Result<(), Failure> {
    end(call, Scope::Pattern, "punsubscribe")
}

fn ssubscribe(call: &mut Call<'_>) -> Result<(), Failure> {
    begin(call, Scope::Shard, "ssubscribe")
}

fn sunsubscribe(call: &mut Call<'_>) -> Result<(), Failure> {
    end(call, Scope::Shard, "sunsubscribe")
}

fn publish(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let receivers = call.engine.publish(Some(call.session), &args[1], &args[2]);
    call.session.out.count(receivers);
    Ok(())
}

fn spublish(call: &mut Call<'_>) -> Result<(), Failure> {
    let args = call.args;
    let receivers = call.engine.publish_to_shard(call.session, &args[1], &args[2]);
    call.session.out.count(receivers);
    Ok(())
}

fn list_names(call: &mut Call<'_>, scope: Scope) -> Result<(), Failure> {
    let args = call.args;
    if args.len() > 3 {
        return Err(Failure::sub_arity(&args[1], "PUBSUB"));
    }
    let wanted = |name: &&[u8]| args.get(2).is_none_or(|pattern| glob::matches(pattern, name, false));
    let names: Vec<&[u8]> = call.engine.pubsub.names(scope).filter(wanted).collect();
    call.session.out.array(names.len());
    names.iter().for_each(|name| call.session.out.bulk(name));
    Ok(())
}

fn count_listeners(call: &mut Call<'_>, scope: Scope) -> Result<(), Failure> {
    let names = call.args.from(2);
    call.session.out.array(names.len() * 2);
    for name in names.iter() {
        call.session.out.bulk(name);
        call.session.out.count(call.engine.pubsub.listening(scope, name).len());
    }
    Ok(())
}

fn channels(call: &mut Call<'_>) -> Result<(), Failure> {
    list_names(call, Scope::Channel)
}

fn numsub(call: &mut Call<'_>) -> Result<(), Failure> {
    count_listeners(call, Scope::Channel)
}

fn numpat(call: &mut Call<'_>) -> Result<(), Failure> {
    call.session.out.count(call.engine.pubsub.pattern_count());
    Ok(())
}

fn shardchannels(call: &mut Call<'_>) -> Result<(), Failure> {
    list_names(call, Scope::Shard)
}

fn shardnumsub(call: &mut Call<'_>) -> Result<(), Failure> {
    count_listeners(call, Scope::Shard)
}

fn pubsub_help(call: &mut Call<'_>) -> Result<(), Failure> {
    help::show(
        call,
        &[
            ("CHANNELS [<pattern>]", &["Lists the channels with listeners, or those that match <pattern>."]),
            ("NUMPAT", &["Counts the patterns that clients listen to."]),
            ("NUMSUB [<channel> ...]", &["Counts the listeners of channels, those of patterns left out."]),
            ("SHARDCHANNELS [<pattern>]", &["Lists the shard channels with listeners."]),
            ("SHARDNUMSUB [<shardchannel> ...]", &["Counts the listeners of shard channels."]),
        ],
    )
}
