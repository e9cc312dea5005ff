"""redis-py against one server: python3 redis_py.py PORT PROTOCOL [WORD...], PROTOCOL 2 or 3.

Every check starts with an empty server. With words, only checks whose names contain one of them are run.
"""

import random
import sys
import threading
import time
import traceback

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PORT, PROTOCOL = int(sys.argv[1]), int(sys.argv[2])
WORDS = sys.argv[3:]
PATIENCE_S = 20
CHECKS = []


def check(run):
    CHECKS.append(run)
    return run


def client(**more):
    options = dict(
        host="127.0.0.1",
        port=PORT,
        protocol=PROTOCOL,
        decode_responses=True,
        socket_timeout=PATIENCE_S,
        single_connection_client=True,
        retry=Retry(NoBackoff(), 0),
    )
    return redis.Redis(**{**options, **more})


def equal(found, expected):
    assert found == expected, f"found {found!r}, expected {expected!r}"


def pairs(found):
    """Members with scores, whether the protocol gives lists or tuples."""
    return [(member, float(score)) for member, score in found]


def entries(found):
    """Streams with their entries: RESP2 gives a list of pairs, RESP3 a map with one more list around the entries."""
    if isinstance(found, dict):
        found = [(key, rows[0]) for key, rows in found.items()]
    return [(key, [(entry, fields) for entry, fields in rows]) for key, rows in found]


def refused(text, run, *args, **more):
    try:
        found = run(*args, **more)
    except redis.RedisError as error:
        assert text in str(error), f"refused with {error}, expected {text}"
    else:
        raise AssertionError(f"answered {found!r}, expected to be refused with {text}")


def until(what, ready):
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline, f"gave up waiting for {what}"


def blocked(r):
    return r.info("clients")["blocked_clients"]


def beside(run):
    """Runs it in a thread; the function that is returned waits for its result."""
    result = []

    def work():
        try:
            result.append((run(), None))
        except Exception as error:  # it is raised where the result is asked for
            result.append((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def wait():
        thread.join(PATIENCE_S)
        assert result, "no result in time"
        value, error = result[0]
        if error:
            raise error
        return value

    return wait


@check
def handshake(r):
    assert r.ping()
    hello = r.execute_command("HELLO")
    if not isinstance(hello, dict):
        hello = dict(zip(hello[::2], hello[1::2]))
    equal(hello["proto"], PROTOCOL)
    equal((hello["server"], hello["version"], hello["mode"], hello["role"]), ("redis", "7.0.15", "standalone", "master"))
    equal(r.echo("hello"), "hello")
    equal(client(protocol=None).ping(), True)
    named = client(client_name="named", db=3)
    equal((named.client_getname(), named.client_info()["db"]), ("named", 3))
    refused("NOPROTO unsupported protocol version", r.execute_command, "HELLO", 4)
    refused("AUTH <password> called without any password", r.execute_command, "AUTH", "x")
    equal(len(r.time()), 2)


@check
def strings(r):
    equal(r.set("k", "v"), True)
    equal(r.get("k"), "v")
    equal(r.set("k", "w", nx=True), None)
    equal(r.set("no", "w", xx=True), None)
    equal(r.set("k", "w", get=True), "v")
    equal(r.getset("k", "x"), "w")
    equal(r.getdel("k"), "x")
    equal(r.getdel("k"), None)
    r.mset({"a": 1, "b": 2})
    equal(r.msetnx({"b": 1, "c": 2}), False)
    equal(r.mget("a", "c", "b"), ["1", None, "2"])
    equal((r.incr("a"), r.incrby("a", 9), r.decr("a"), r.decrby("a", 5)), (2, 11, 10, 5))
    equal((r.incrbyfloat("a", 0.1), r.get("a")), (5.1, "5.1"))
    equal(r.append("s", "hello"), 5)
    equal((r.strlen("s"), r.getrange("s", 1, -2), r.setrange("s", 7, "!")), (5, "ell", 8))
    equal(r.get("s"), "hello\0\0!")
    raw = client(decode_responses=False)
    every = bytes(range(256)) * 300 + b"\r\n$-1\r\n"
    raw.set(every, every)
    equal(raw.get(every), every)
    large = b"x" * (5 << 20)
    raw.set("large", large)
    assert raw.get("large") == large
    r.mset({"one": "ohmytext", "two": "mynewtext"})
    equal((r.lcs("one", "two"), r.lcs("one", "two", len=True)), ("mytext", 6))


@check
def hashes(r):
    equal(r.hset("h", "f", 1), 1)
    equal(r.hset("h", mapping={"f": 2, "g": "x"}), 1)
    equal(r.hgetall("h"), {"f": "2", "g": "x"})
    equal(r.hgetall("no"), {})
    equal((r.hget("h", "f"), r.hget("h", "no"), r.hmget("h", "g", "no")), ("2", None, ["x", None]))
    equal((r.hexists("h", "f"), r.hexists("h", "no"), r.hlen("h"), r.hstrlen("h", "g")), (True, False, 2, 1))
    equal((r.hkeys("h"), r.hvals("h")), (["f", "g"], ["2", "x"]))
    equal((r.hincrby("h", "f", 3), r.hincrbyfloat("h", "f", 0.5)), (5, 5.5))
    equal((r.hsetnx("h", "f", 0), r.hsetnx("h", "n", 0), r.hdel("h", "n", "no")), (False, True, 1))
    assert r.hrandfield("h") in ("f", "g")
    equal(sorted(r.hrandfield("h", 5)), ["f", "g"])
    equal(dict(map(tuple, both(r.hrandfield("h", 2, withvalues=True)))), {"f": "5.5", "g": "x"})
    r.hset("big", mapping={f"f{n}": n for n in range(1000)})
    equal(dict(r.hscan_iter("big", count=50)), {f"f{n}": str(n) for n in range(1000)})
    equal({field for field, _ in r.hscan_iter("big", match="f99*")}, {"f99"} | {f"f99{n}" for n in range(10)})
    equal((r.object("encoding", "h"), r.object("encoding", "big")), ("listpack", "hashtable"))


def both(found):
    """A flat list in pairs; RESP3 has pairs already."""
    if found and isinstance(found[0], (list, tuple)):
        return found
    return list(zip(found[::2], found[1::2]))


@check
def lists(r):
    equal(r.rpush("l", "a", "b", "c"), 3)
    equal(r.lpush("l", "z"), 4)
    equal(r.lrange("l", 0, -1), ["z", "a", "b", "c"])
    equal((r.lindex("l", -1), r.lindex("l", 9), r.llen("l")), ("c", None, 4))
    equal((r.linsert("l", "before", "b", "x"), r.lset("l", 0, "y"), r.lrem("l", 1, "x")), (5, True, 1))
    equal(r.lpos("l", "b"), 2)
    equal(r.ltrim("l", 0, 2), True)
    equal((r.lpop("l"), r.rpop("l", 2), r.lpop("l"), r.exists("l")), ("y", ["b", "a"], None, 0))
    equal((r.lpushx("l", 1), r.rpushx("l", 1)), (0, 0))
    r.rpush("l", *range(5))
    equal((r.lmove("l", "m", "LEFT", "RIGHT"), r.rpoplpush("l", "m")), ("0", "4"))
    equal(r.lrange("m", 0, -1), ["4", "0"])
    equal(r.lmpop(2, "no", "l", direction="LEFT", count=2), ["l", ["1", "2"]])
    equal(r.sort("m", desc=True), ["4", "0"])
    r.rpush("long", *range(5000))
    equal((r.llen("long"), r.lindex("long", 4321), r.lrange("long", 4998, -1)), (5000, "4321", ["4998", "4999"]))


@check
def blocking_pops(r):
    def popped(run, push):
        wait = beside(lambda: run(client()))
        until("a blocked client", lambda: blocked(r) == 1)
        push()
        result = wait()
        until("no blocked client", lambda: blocked(r) == 0)
        return result

    equal(popped(lambda c: list(c.blpop(["q", "p"], 0)), lambda: r.rpush("p", "1")), ["p", "1"])
    equal(popped(lambda c: list(c.brpop("q", 10)), lambda: r.lpush("q", "1", "2")), ["q", "1"])
    equal((r.lpop("q"), r.exists("p")), ("2", 0))
    equal(popped(lambda c: c.blmove("q", "to", 10), lambda: r.rpush("q", "m")), "m")
    equal(popped(lambda c: c.brpoplpush("q", "to", 10), lambda: r.rpush("q", "n")), "n")
    equal(r.lrange("to", 0, -1), ["n", "m"])
    equal(popped(lambda c: c.blmpop(10, 2, "q", "p", direction="LEFT", count=5), lambda: r.rpush("q", 1, 2)), ["q", ["1", "2"]])
    equal(popped(lambda c: list(c.bzpopmin("z", 10)), lambda: r.zadd("z", {"b": 2, "a": 1})), ["z", "a", 1.0])
    equal(popped(lambda c: list(c.bzpopmax(["x", "y"], 10)), lambda: r.zadd("y", {"a": 1})), ["y", "a", 1.0])
    equal(client().blpop("q", 0.05), None)

    # Who has waited longest is served first.
    waits = []
    for n in range(4):
        waits.append(beside(lambda: client().blpop("order", 0)[1]))
        until("one more blocked client", lambda: blocked(r) == n + 1)
    r.rpush("order", *range(4))
    equal([wait() for wait in waits], ["0", "1", "2", "3"])

    # One that leaves takes nothing with it.
    leaving = client()
    own = leaving.client_id()
    wait = beside(lambda: leaving.blpop("left", 0))
    until("a blocked client", lambda: blocked(r) == 1)
    equal(r.client_unblock(own), True)
    equal(wait(), None)
    wait = beside(lambda: leaving.blpop("left", 0))
    until("a blocked client", lambda: blocked(r) == 1)
    equal(r.client_unblock(own, error=True), True)
    try:
        raise AssertionError(f"answered {wait()!r}")
    except redis.ResponseError as error:
        assert "UNBLOCKED client unblocked via CLIENT UNBLOCK" in str(error), error
    r.rpush("left", "1")
    equal(r.lrange("left", 0, -1), ["1"])


@check
def sets(r):
    equal(r.sadd("s", "a", "b", "c"), 3)
    equal((set(r.smembers("s")), r.scard("s")), ({"a", "b", "c"}, 3))
    equal((bool(r.sismember("s", "a")), bool(r.sismember("s", "x")), r.smismember("s", "a", "x")), (True, False, [1, 0]))
    r.sadd("t", "b", "c", "d")
    equal((set(r.sinter("s", "t")), set(r.sunion("s", "t")), set(r.sdiff("s", "t"))), ({"b", "c"}, set("abcd"), {"a"}))
    equal((r.sinterstore("i", "s", "t"), r.sunionstore("u", "s", "t"), r.sdiffstore("d", "s", "t")), (2, 4, 1))
    equal((r.sintercard(2, ["s", "t"]), r.sintercard(2, ["s", "t"], limit=1)), (2, 1))
    equal((bool(r.smove("s", "t", "a")), r.srem("s", "b", "x")), (True, 1))
    equal((r.srandmember("s"), r.srandmember("s", -3), r.spop("s"), r.exists("s")), ("c", ["c"] * 3, "c", 0))
    equal(len(r.spop("u", 3)), 3)
    r.sadd("numbers", *range(2000))
    equal(set(r.sscan_iter("numbers", count=77)), {str(n) for n in range(2000)})
    r.sadd("few", 1, 2, 3)
    r.sadd("words", "x")
    encodings = (r.object("encoding", "few"), r.object("encoding", "words"), r.object("encoding", "numbers"))
    assert encodings in (("intset", "hashtable", "hashtable"), ("intset", "listpack", "hashtable")), encodings


@check
def sorted_sets(r):
    equal(r.zadd("z", {"a": 1, "b": 2, "c": 3.5}), 3)
    equal((r.zadd("z", {"a": 5}, nx=True), r.zadd("z", {"a": 0}, gt=True), r.zadd("z", {"a": 1.5}, ch=True)), (0, 0, 1))
    equal((r.zscore("z", "c"), r.zscore("z", "no"), r.zmscore("z", ["a", "no"])), (3.5, None, [1.5, None]))
    equal((r.zrange("z", 0, -1), pairs(r.zrange("z", 0, 0, withscores=True))), (["a", "b", "c"], [("a", 1.5)]))
    equal((r.zrevrange("z", 0, 0), r.zrank("z", "c"), r.zrevrank("z", "c"), r.zrank("z", "no")), (["c"], 2, 0, None))
    equal((r.zincrby("z", 2, "a"), r.zcard("z"), r.zcount("z", "(2", "+inf")), (3.5, 3, 2))
    equal(r.zadd("z", {"b": "+inf"}, incr=True), float("inf"))
    equal(r.zscore("z", "b"), float("inf"))
    equal(r.zrangebyscore("z", "-inf", "(inf", start=1, num=1), ["c"])
    equal(r.zrange("z", "inf", "-inf", byscore=True, desc=True, offset=0, num=2), ["b", "c"])
    equal((pairs(r.zpopmin("z", 1)), pairs(r.zpopmax("z", 2))), ([("a", 3.5)], [("b", float("inf")), ("c", 3.5)]))
    r.zadd("w", {word: 0 for word in "abcdef"})
    equal((r.zrangebylex("w", "[b", "(e"), r.zrevrangebylex("w", "+", "[e"), r.zlexcount("w", "-", "+")), (list("bcd"), ["f", "e"], 6))
    equal((r.zremrangebylex("w", "[b", "[b"), r.zremrangebyrank("w", 0, 0), r.zrem("w", "c", "no")), (1, 1, 1))
    r.zadd("x", {"d": 1, "e": 2, "q": 3})
    equal(r.zunionstore("u", {"w": 2, "x": 3}, aggregate="MAX"), 4)
    equal(pairs(r.zrange("u", 0, -1, withscores=True)), [("f", 0.0), ("d", 3.0), ("e", 6.0), ("q", 9.0)])
    equal((r.zinter(["w", "x"]), r.zdiff(["x", "w"]), r.zintercard(2, ["w", "x"])), (["d", "e"], ["q"], 2))
    equal(pairs(r.zunion(["w", "x"], withscores=True))[-1], ("q", 3.0))
    equal((r.zrangestore("st", "x", 0, 1), r.zremrangebyscore("x", 1, 2)), (2, 2))
    popped = r.zmpop(2, ["no", "x"], min=True)
    equal((popped[0], pairs(popped[1])), ("x", [("q", 3.0)]))
    equal((sorted(r.zrandmember("st", 9)), sorted(pairs(both(r.zrandmember("st", 2, withscores=True))))), (["d", "e"], [("d", 1.0), ("e", 2.0)]))
    scores = {f"m{n}": random.Random(n).random() for n in range(3000)}
    r.zadd("big", scores)
    equal(dict(r.zscan_iter("big", count=100)), scores)
    equal(r.zrange("big", 0, -1), sorted(scores, key=lambda member: (scores[member], member)))
    equal((r.object("encoding", "st"), r.object("encoding", "big")), ("listpack", "skiplist"))


@check
def streams(r):
    equal(r.xadd("s", {"a": 1}, id="1-1"), "1-1")
    equal(r.xadd("s", {"a": 2, "b": 3}, id="1-*"), "1-2")
    equal(r.xadd("no", {"a": 1}, nomkstream=True), None)
    refused("equal or smaller than the target stream top item", r.xadd, "s", {"a": 1}, id="1-1")
    equal(r.xlen("s"), 2)
    equal([tuple(entry) for entry in r.xrange("s")], [("1-1", {"a": "1"}), ("1-2", {"a": "2", "b": "3"})])
    equal([tuple(entry) for entry in r.xrevrange("s", count=1)], [("1-2", {"a": "2", "b": "3"})])
    equal(entries(r.xread({"s": "1-1", "no": 0})), [("s", [("1-2", {"a": "2", "b": "3"})])])
    assert not r.xread({"s": "1-2"})
    for n in range(10):
        r.xadd("s", {"n": n}, id=f"2-{n}")
    equal((r.xtrim("s", maxlen=10, approximate=False), r.xdel("s", "2-0", "9-9")), (2, 1))
    info = r.xinfo_stream("s")
    equal((info["length"], info["last-generated-id"], info["entries-added"], info["max-deleted-entry-id"]), (9, "2-9", 12, "2-0"))
    wait = beside(lambda: client().xread({"s": "$", "t": "$"}, block=0))
    until("a blocked client", lambda: blocked(r) == 1)
    r.xadd("t", {"late": 1}, id="5-5")
    equal(entries(wait()), [("t", [("5-5", {"late": "1"})])])
    assert not r.xread({"t": "$"}, block=20)


@check
def stream_groups(r):
    for n in range(1, 6):
        r.xadd("s", {"n": n}, id=f"{n}-0")
    equal(r.xgroup_create("s", "g", id="0"), True)
    equal(r.xgroup_create("new", "g", mkstream=True), True)
    refused("BUSYGROUP Consumer Group name already exists", r.xgroup_create, "s", "g")
    refused("NOGROUP No such key", r.xreadgroup, "none", "c", {"s": ">"})
    found = entries(r.xreadgroup("g", "one", {"s": ">"}, count=2))
    equal(found, [("s", [("1-0", {"n": "1"}), ("2-0", {"n": "2"})])])
    equal(entries(r.xreadgroup("g", "two", {"s": ">"}, count=2))[0][1][0][0], "3-0")
    equal(r.xack("s", "g", "1-0", "7-7"), 1)
    equal(entries(r.xreadgroup("g", "one", {"s": "0"})), [("s", [("2-0", {"n": "2"})])])
    pending = r.xpending("s", "g")
    equal((pending["pending"], pending["min"], pending["max"]), (3, "2-0", "4-0"))
    equal({row["name"]: int(row["pending"]) for row in pending["consumers"]}, {"one": 1, "two": 2})
    rows = r.xpending_range("s", "g", "-", "+", 10, consumername="two")
    equal([(row["message_id"], row["consumer"], row["times_delivered"]) for row in rows], [("3-0", "two", 1), ("4-0", "two", 1)])
    equal([entry[0] for entry in r.xclaim("s", "g", "one", 0, ["3-0"])], ["3-0"])
    claimed = r.xautoclaim("s", "g", "three", 0, start_id="0-0", count=2)
    equal((claimed[0], [entry[0] for entry in claimed[1]]), ("4-0", ["2-0", "3-0"]))
    equal(r.xgroup_createconsumer("s", "g", "four"), 1)
    equal(r.xgroup_delconsumer("s", "g", "three"), 2)
    equal({row["name"]: row["pending"] for row in r.xinfo_consumers("s", "g")}, {"one": 0, "two": 1, "four": 0})
    group = r.xinfo_groups("s")[0]
    equal((group["name"], group["consumers"], group["pending"], group["last-delivered-id"], group["entries-read"], group["lag"]), ("g", 3, 1, "4-0", 4, 1))
    equal(r.xgroup_setid("s", "g", "0"), True)
    equal(len(entries(r.xreadgroup("g", "two", {"s": ">"}, noack=True))[0][1]), 5)
    wait = beside(lambda: client().xreadgroup("g", "two", {"new": ">"}, block=0))
    until("a blocked client", lambda: blocked(r) == 1)
    r.xadd("new", {"x": 1}, id="1-1")
    equal(entries(wait()), [("new", [("1-1", {"x": "1"})])])
    full = r.xinfo_stream("s", full=True)
    equal((full["length"], len(full["groups"])), (5, 1))
    equal(r.xgroup_destroy("s", "g"), True)


@check
def pubsub(r):
    p = client().pubsub()
    p.subscribe("news", "sport")
    p.psubscribe("n*s", "h?llo")

    def following():
        message = p.get_message(timeout=PATIENCE_S)
        assert message, "no message in time"
        return tuple(message[name] for name in ("type", "pattern", "channel", "data"))

    equal([following() for _ in range(4)], [("subscribe", None, "news", 1), ("subscribe", None, "sport", 2), ("psubscribe", None, "n*s", 3), ("psubscribe", None, "h?llo", 4)])
    equal((r.publish("news", "one"), r.publish("hallo", "two"), r.publish("none", "x")), (2, 1, 0))
    equal([following() for _ in range(3)], [("message", None, "news", "one"), ("pmessage", "n*s", "news", "one"), ("pmessage", "h?llo", "hallo", "two")])
    equal((sorted(r.pubsub_channels()), r.pubsub_channels("s*"), r.pubsub_numpat()), (["news", "sport"], ["sport"], 2))
    equal([tuple(row) for row in both(list(r.pubsub_numsub("news", "none")))], [("news", 1), ("none", 0)])
    if PROTOCOL == 2:
        # In RESP3 the reply is no message, and the package cannot tell it from one.
        p.ping("still there")
        equal(following(), ("pong", None, None, "still there"))
    p.unsubscribe("news")
    p.punsubscribe()
    equal(following(), ("unsubscribe", None, "news", 3))
    left = [following() for _ in range(2)]
    equal({(row[0], row[2]) for row in left}, {("punsubscribe", "n*s"), ("punsubscribe", "h?llo")})
    equal([row[3] for row in left], [2, 1])
    equal(r.publish("sport", "end"), 1)
    equal(following(), ("message", None, "sport", "end"))
    for n in range(1000):
        r.publish("sport", n)
    equal([following()[3] for _ in range(1000)], [str(n) for n in range(1000)])
    p.close()
    until("no subscriber", lambda: r.publish("sport", "x") == 0)


@check
def keyspace_notifications(r):
    r.config_set("notify-keyspace-events", "KEA")
    equal(set(r.config_get("notify-keyspace-events")["notify-keyspace-events"]), set("AKE"))
    p = client().pubsub()
    p.psubscribe("__key*__:*")
    equal(p.get_message(timeout=PATIENCE_S)["type"], "psubscribe")
    r.set("k", "v")
    r.hset("h", "f", 1)
    r.delete("k")
    found = [p.get_message(timeout=PATIENCE_S) for _ in range(6)]
    equal([(m["channel"], m["data"]) for m in found], [
        ("__keyspace@0__:k", "set"), ("__keyevent@0__:set", "k"),
        ("__keyspace@0__:h", "hset"), ("__keyevent@0__:hset", "h"),
        ("__keyspace@0__:k", "del"), ("__keyevent@0__:del", "k"),
    ])
    r.set("soon", "v", px=20)
    events = []
    until("the expiry", lambda: events.append(p.get_message(timeout=1)) or (events[-1] or {}).get("channel") == "__keyevent@0__:expired")
    r.config_set("notify-keyspace-events", "")
    p.close()


@check
def transactions(r):
    with r.pipeline(transaction=True) as tx:
        equal(tx.set("a", 1).incr("a").get("a").hset("h", "f", 1).hgetall("h").execute(), [True, 2, "2", 1, {"f": "1"}])
        tx.set("s", "text").incr("s").set("after", 1)
        found = tx.execute(raise_on_error=False)
        equal((found[0], str(found[1]), found[2]), (True, "value is not an integer or out of range", True))
    other = client()
    with r.pipeline() as tx:
        tx.watch("a")
        other.set("a", 5)
        tx.multi()
        tx.set("a", 6)
        try:
            raise AssertionError(f"answered {tx.execute()!r}")
        except redis.WatchError:
            pass
    equal(r.get("a"), "5")
    with r.pipeline() as tx:
        tx.watch("a")
        value = int(tx.get("a"))
        tx.multi()
        tx.set("a", value + 1)
        equal(tx.execute(), [True])
    equal(r.transaction(lambda tx: (tx.multi(), tx.incr("a")), "a"), [7])
    single = client()
    single.execute_command("MULTI")
    refused("MULTI calls can not be nested", single.execute_command, "MULTI")
    refused("unknown command", single.execute_command, "NOSUCH")
    refused("Transaction discarded because of previous errors", single.execute_command, "EXEC")
    refused("EXEC without MULTI", single.execute_command, "EXEC")
    refused("DISCARD without MULTI", single.execute_command, "DISCARD")

    # Many clients add one, each in a transaction of its own.
    def add():
        own = client()
        for _ in range(50):
            own.transaction(lambda tx: (lambda n: (tx.multi(), tx.set("sum", n + 1)))(int(tx.get("sum") or 0)), "sum")

    for wait in [beside(add) for _ in range(4)]:
        wait()
    equal(r.get("sum"), "200")


@check
def long_pipelines(r):
    with r.pipeline(transaction=False) as pipe:
        for n in range(10_000):
            pipe.set(f"k{n}", n)
        equal(set(pipe.execute()), {True})
        for n in range(10_000):
            pipe.get(f"k{n}")
        equal(pipe.execute(), [str(n) for n in range(10_000)])
    with r.pipeline(transaction=True) as pipe:
        for _ in range(10_000):
            pipe.incr("n")
        equal(pipe.execute(), list(range(1, 10_001)))
    equal(r.dbsize(), 10_001)


@check
def scans(r):
    r.mset({f"record:{n}": n for n in range(5000)})
    r.hset("hash:1", "f", 1)
    r.mset({f"other:{n}": n for n in range(5000)})
    equal(sorted(r.scan_iter("record:*")), sorted(f"record:{n}" for n in range(5000)))
    equal(len(set(r.scan_iter(count=1000))), 10_001)
    equal(list(r.scan_iter(_type="hash")), ["hash:1"])
    equal(sorted(r.keys("record:10?")), [f"record:10{n}" for n in range(10)])
    assert r.randomkey() in set(r.keys())


@check
def expiry(r):
    r.set("k", "v", ex=100)
    assert 99 <= r.ttl("k") <= 100 and 99_000 < r.pttl("k") <= 100_000
    equal((r.persist("k"), r.ttl("k"), r.ttl("no")), (True, -1, -2))
    at = int(time.time()) + 1000
    equal((r.expireat("k", at), r.expiretime("k"), r.pexpiretime("k")), (True, at, at * 1000))
    equal((r.expire("k", 10, gt=True), r.expire("k", 10, nx=True), r.expire("k", 10, lt=True)), (False, False, True))
    equal((r.getex("k", persist=True), r.ttl("k")), ("v", -1))
    r.set("k", "w", keepttl=True)
    equal((r.expire("k", -1), r.exists("k")), (True, 0))
    expired = r.info("stats")["expired_keys"]
    r.set("a", 1, px=1)
    until("a to be gone on access", lambda: r.get("a") is None)
    r.set("b", 1, px=1)
    until("b to be gone", lambda: r.dbsize() == 0)
    equal(r.info("stats")["expired_keys"], expired + 2)
    r.set("c", 1, ex=100)
    equal((r.copy("c", "d"), r.ttl("d") > 90, r.rename("d", "e"), r.ttl("e") > 90), (True, True, True, True))
    refused("invalid expire time in 'set' command", r.set, "k", "v", ex=0)


@check
def errors(r):
    r.set("s", "text")
    refused("WRONGTYPE Operation against a key holding the wrong kind of value", r.execute_command, "HGET", "s", "f")
    refused("value is not an integer or out of range", r.incr, "s")
    refused("wrong number of arguments for 'get' command", r.execute_command, "GET")
    refused("unknown command 'NOSUCH', with args beginning with: 'a' 'b' ", r.execute_command, "NOSUCH", "a", "b")
    refused("syntax error", r.execute_command, "SET", "k", "v", "WRONG")
    refused("no such key", r.rename, "none", "other")
    refused("DB index is out of range", r.execute_command, "SELECT", 9999)
    refused("unknown subcommand 'WRONG'. Try CLIENT HELP.", r.execute_command, "CLIENT", "WRONG")
    refused("increment or decrement would overflow", r.incrby, "n", 2**63 - 1) if r.set("n", 1) else None
    equal(r.ping(), True)


@check
def clients(r):
    r.client_setname("first")
    other = client(client_name="second")
    other.ping()
    found = {row["name"]: row for row in r.client_list()}
    assert {"first", "second"} <= set(found), found
    equal((found["second"]["id"], found["first"]["cmd"]), (str(other.client_id()), "client|list"))
    equal([row["name"] for row in r.client_list(client_id=[other.client_id()])], ["second"])
    info = r.client_info()
    equal((info["name"], info["resp"], info["db"], info["multi"]), ("first", str(PROTOCOL), 0, -1))
    equal(r.client_no_evict("ON"), True if isinstance(r.client_no_evict("OFF"), bool) else "OK")
    equal(r.client_getredir(), -1)
    refused("No such client", r.execute_command, "CLIENT", "KILL", "1.2.3.4:5")
    equal(r.client_kill_filter(_id="999999"), 0)


@check
def reconnects(r):
    leaving = client(retry=Retry(NoBackoff(), 3), client_name="leaving", db=2)
    leaving.set("k", "v")
    first = leaving.client_id()
    equal(r.client_kill_filter(_id=first), 1)
    equal(leaving.get("k"), "v")
    assert leaving.client_id() != first
    equal((leaving.client_getname(), leaving.client_info()["db"]), ("leaving", 2))
    pooled = redis.Redis(port=PORT, protocol=PROTOCOL, decode_responses=True, retry=Retry(NoBackoff(), 3))
    pooled.set("k", "v")
    r.client_kill_filter(_type="normal", skipme=True)
    equal(pooled.get("k"), "v")
    p = client(retry=Retry(NoBackoff(), 3)).pubsub()
    p.subscribe("c")
    equal(p.get_message(timeout=PATIENCE_S)["type"], "subscribe")
    equal(r.client_kill_filter(_type="pubsub"), 1)
    until("subscribed again", lambda: (p.get_message(timeout=0.1) or True) and r.pubsub_numsub("c")[0][1] == 1)
    p.close()


@check
def info_and_config(r):
    info = r.info()
    equal((info["redis_version"], info["tcp_port"], info["redis_mode"], info["role"]), ("7.0.15", PORT, "standalone", "master"))
    assert info["used_memory"] > 0 and info["uptime_in_seconds"] >= 0 and info["connected_clients"] >= 1
    r.set("k", "v", ex=100)
    keyspace = r.info("keyspace")["db0"]
    equal((keyspace["keys"], keyspace["expires"]), (1, 1))
    hits = r.info("stats")["keyspace_hits"]
    r.get("k")
    equal(r.info("stats")["keyspace_hits"], hits + 1)
    calls = r.info("commandstats")["cmdstat_get"]["calls"]
    r.get("k")
    equal(r.info("commandstats")["cmdstat_get"]["calls"], calls + 1)
    assert "redis_version" in r.info("everything") and "redis_version" in r.info("server")
    equal(r.config_get("maxmemory"), {"maxmemory": "0"})
    assert {"save", "appendonly", "databases"} <= set(r.config_get("*"))
    equal(r.config_set("hash-max-listpack-entries", 3), True)
    equal(r.config_get("hash-max-listpack-e*"), {"hash-max-listpack-entries": "3"})
    r.hset("h", mapping={"a": 1, "b": 2, "c": 3, "d": 4})
    equal(r.object("encoding", "h"), "hashtable")
    r.config_set("hash-max-listpack-entries", 128)
    refused("Unknown option or number of arguments for CONFIG SET - 'no-such'", r.config_set, "no-such", 1)
    equal(r.config_resetstat(), True)
    assert r.command_count() > 50
    equal(r.command_getkeys("MSET", "a", 1, "b", 2), ["a", "b"])
    assert r.memory_usage("k") > 0
    equal(r.swapdb(0, 1), True)
    equal((r.dbsize(), client(db=1).get("k")), (0, "v"))
    equal(r.flushall(), True)
    slow = r.config_get("slowlog-log-slower-than")["slowlog-log-slower-than"]
    r.config_set("slowlog-log-slower-than", 0)
    r.slowlog_reset()
    r.set("logged", "v")
    found = r.slowlog_get(10)
    assert any(b"SET logged v" in as_bytes(row["command"]) for row in found), found
    r.config_set("slowlog-log-slower-than", slow)


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode()


@check
def monitor(r):
    with client(single_connection_client=False).monitor() as m:
        r.set("seen", "by monitor")
        for row in m.listen():
            if row["command"] == "SET seen by monitor":
                equal((row["db"], row["client_type"]), (0, "tcp"))
                break


@check
def databases_and_moves(r):
    one = client(db=1)
    r.set("k", "v")
    equal((r.move("k", 1), r.exists("k"), one.get("k")), (True, 0, "v"))
    equal((one.copy("k", "copied", destination_db=0), r.get("copied")), (True, "v"))
    equal((r.touch("copied", "no"), r.unlink("copied", "no"), r.type("no")), (1, 1, "none"))
    equal((one.flushdb(), one.dbsize()), (True, 0))


def main():
    failed = 0
    for run in CHECKS:
        if WORDS and not any(word in run.__name__ for word in WORDS):
            continue
        r = client()
        try:
            r.flushall()
            run(r)
        except Exception:
            failed += 1
            print(f"FAILED {run.__name__}", file=sys.stderr)
            traceback.print_exc()
        else:
            print(f"passed {run.__name__}")
        r.close()
    sys.exit(1 if failed else 0)


main()
