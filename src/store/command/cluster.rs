//! CLUSTER and what belongs to it, as a server answers that is not part of a cluster.

use super::{ADMIN, Call, Command, FAST, Failure, LOADING, NO_ASYNC_LOADING, NOSCRIPT, STALE};

const NONE: (i16, i16, i16) = (0, 0, 0);
const G: &str = "cluster";
const LOOK: u32 = STALE;
const ADM: u32 = ADMIN | STALE;
const CHANGE: u32 = ADMIN | STALE | NO_ASYNC_LOADING;
const MODE: u32 = LOADING | STALE | FAST;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::container("cluster", G, "Looks at the cluster", SUBCOMMANDS),
    Command::new("asking", 1, FAST, NONE, G, "Allows the next command on a slot that moves", disabled),
    Command::new("readonly", 1, MODE, NONE, G, "Lets a replica answer reads", disabled),
    Command::new("readwrite", 1, MODE, NONE, G, "Takes READONLY back", disabled),
];

const fn sub(name: &'static str, arity: i16, flags: u32, summary: &'static str) -> Command {
    Command::new(name, arity, flags, NONE, G, summary, disabled)
}

const SUBCOMMANDS: &[Command] = &[
    sub("cluster|addslots", -3, CHANGE, "Takes slots"),
    sub("cluster|addslotsrange", -4, CHANGE, "Takes ranges of slots"),
    sub("cluster|bumpepoch", 2, CHANGE, "Advances the epoch"),
    sub("cluster|count-failure-reports", 3, ADM, "Counts who says that a node fails"),
    sub("cluster|countkeysinslot", 3, LOOK, "Counts the keys of a slot"),
    sub("cluster|delslots", -3, CHANGE, "Gives slots away"),
    sub("cluster|delslotsrange", -4, CHANGE, "Gives ranges of slots away"),
    sub("cluster|failover", -2, CHANGE, "Makes a replica the master"),
    sub("cluster|flushslots", 2, CHANGE, "Gives all slots away"),
    sub("cluster|forget", 3, CHANGE, "Forgets a node"),
    sub("cluster|getkeysinslot", 4, LOOK, "Lists keys of a slot"),
    sub("cluster|help", 2, LOADING | STALE, "Shows the sub-commands"),
    sub("cluster|info", 2, LOOK, "Describes the cluster"),
    sub("cluster|keyslot", 3, LOOK, "Returns the slot of a key"),
    sub("cluster|links", 2, LOOK, "Lists the links to other nodes"),
    sub("cluster|meet", -4, CHANGE, "Meets another node"),
    sub("cluster|myid", 2, LOOK, "Returns the name of this node"),
    sub("cluster|nodes", 2, LOOK, "Lists the nodes"),
    sub("cluster|replicas", 3, ADM, "Lists the replicas of a master"),
    sub("cluster|replicate", 3, CHANGE, "Becomes a replica"),
    sub("cluster|reset", -2, ADMIN | NOSCRIPT | STALE, "Begins anew"),
    sub("cluster|saveconfig", 2, CHANGE, "Saves what is known of the cluster"),
    sub("cluster|set-config-epoch", 3, CHANGE, "Sets the epoch"),
    sub("cluster|setslot", -4, CHANGE, "Tells to whom a slot belongs"),
    sub("cluster|shards", 2, LOOK, "Lists the shards"),
    sub("cluster|slaves", 3, ADM, "Lists the replicas of a master"),
    sub("cluster|slots", 2, LOOK, "Lists the slots with their nodes"),
];

fn disabled(_: &mut Call<'_>) -> Result<(), Failure> {
    Err(Failure::text("ERR This instance has cluster support disabled"))
}
