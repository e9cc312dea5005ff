// node-redis against one server; see checks.js.
'use strict';

const { createClient, ErrorReply, WatchError, RESP_TYPES } = require('redis');
const { assert, check, equal, inbox, inTime, main, port, protocol, range, refused, sorted, until } = require('./checks.js');

const opened = [];

const client = async (more = {}) => {
  const made = createClient({ socket: { port, host: '127.0.0.1', reconnectStrategy: 0 }, RESP: protocol, unstableResp3: true, ...more });
  // A connection that is closed by the server is an event; checks look at what comes after it.
  made.on('error', () => {});
  opened.push(made);
  return made.connect();
};

const blocked = async (r) => Number(/blocked_clients:(\d+)/.exec(await r.info('clients'))[1]);
const oneBlocked = (r, count = 1) => until(`${count} blocked clients`, async () => (await blocked(r)) === count);
const plain = (map) => ({ ...map });

check('handshake', async (r) => {
  equal(await r.ping(), 'PONG');
  const hello = await r.hello();
  equal([hello.server, hello.version, hello.proto, hello.mode, hello.role], ['redis', '7.0.15', protocol, 'standalone', 'master']);
  const named = await client({ name: 'named', database: 3 });
  const info = await named.clientInfo();
  equal([info.name, info.db, info.resp], ['named', 3, protocol]);
  equal(await r.echo('hello'), 'hello');
  await refused('NOPROTO', r.sendCommand(['HELLO', '4']));
});

check('strings', async (r) => {
  equal(await r.set('k', 'v'), 'OK');
  equal(await r.get('k'), 'v');
  equal(await r.get('none'), null);
  equal(await r.set('k', 'w', { condition: 'NX' }), null);
  equal(await r.set('k', 'w', { GET: true }), 'v');
  equal(await r.getDel('k'), 'w');
  await r.mSet({ a: '1', b: '2' });
  equal(await r.mGet(['a', 'none', 'b']), ['1', null, '2']);
  equal([await r.incr('a'), await r.incrBy('a', 9), await r.decrBy('a', 5)], [2, 11, 6]);
  equal(Number(await r.incrByFloat('a', 0.5)), 6.5);
  equal([await r.append('s', 'hello'), await r.strLen('s'), await r.getRange('s', 1, -2)], [5, 5, 'ell']);
  const bytes = Buffer.from(range(256).concat([13, 10, 36, 45, 49, 13, 10]));
  await r.set('bytes', bytes);
  const raw = r.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  assert.ok(bytes.equals(await raw.get('bytes')));
  const large = 'x'.repeat(5 << 20);
  await r.set('large', large);
  assert.ok((await r.get('large')) === large);
});

check('hashes', async (r) => {
  equal(await r.hSet('h', { f: '1', g: 'x' }), 2);
  equal(plain(await r.hGetAll('h')), { f: '1', g: 'x' });
  equal(plain(await r.hGetAll('none')), {});
  equal(await r.hmGet('h', ['g', 'none']), ['x', null]);
  equal([await r.hIncrBy('h', 'f', 4), Number(await r.hIncrByFloat('h', 'f', 0.5)), await r.hLen('h')], [5, 5.5, 2]);
  equal([await r.hExists('h', 'f'), await r.hSetNX('h', 'f', '0'), await r.hDel('h', 'g')], [1, 0, 1]);
  await r.hSet('big', range(1000).flatMap((n) => [`f${n}`, `${n}`]));
  const found = new Set();
  for await (const page of r.hScanIterator('big', { COUNT: 50 })) {
    for (const { field } of page) found.add(field);
  }
  equal(found.size, 1000);
});

check('lists and blocking pops', async (r) => {
  equal(await r.rPush('l', ['a', 'b', 'c']), 3);
  equal(await r.lPush('l', 'z'), 4);
  equal(await r.lRange('l', 0, -1), ['z', 'a', 'b', 'c']);
  equal([await r.lPop('l'), await r.rPopCount('l', 2), await r.lLen('l')], ['z', ['c', 'b'], 1]);
  equal([await r.lMove('l', 'm', 'LEFT', 'RIGHT'), await r.lPos('m', 'a'), await r.exists('l')], ['a', 0, 0]);
  const second = await client();
  const popped = async (wait, push) => {
    await oneBlocked(r);
    await push();
    return wait;
  };
  equal(plain(await popped(second.blPop(['q', 'p'], 0), () => r.rPush('p', '1'))), { key: 'p', element: '1' });
  equal(plain(await popped(second.brPop('q', 10), () => r.rPush('q', ['1', '2']))), { key: 'q', element: '2' });
  equal(await popped(second.blMove('x', 'y', 'LEFT', 'LEFT', 10), () => r.rPush('x', 'm')), 'm');
  equal(plain(await popped(second.bzPopMin('z', 10), () => r.zAdd('z', { score: 1.5, value: 'a' }))), { key: 'z', value: 'a', score: 1.5 });
  equal(await second.blPop('none', 0.05), null);
  const waits = [];
  for (const n of range(4)) {
    waits.push((await client()).blPop('order', 0));
    await oneBlocked(r, n + 1);
  }
  await r.rPush('order', ['0', '1', '2', '3']);
  equal((await Promise.all(waits)).map(({ element }) => element), ['0', '1', '2', '3']);
});

check('sets', async (r) => {
  equal(await r.sAdd('s', ['a', 'b', 'c']), 3);
  equal(sorted(await r.sMembers('s')), ['a', 'b', 'c']);
  equal(await r.smIsMember('s', ['a', 'x']), [1, 0]);
  await r.sAdd('t', ['b', 'c', 'd']);
  equal(sorted(await r.sInter(['s', 't'])), ['b', 'c']);
  equal(sorted(await r.sUnion(['s', 't'])), ['a', 'b', 'c', 'd']);
  equal(await r.sDiff(['s', 't']), ['a']);
  equal([await r.sInterStore('i', ['s', 't']), await r.sInterCard(['s', 't']), await r.sRem('s', ['a', 'b'])], [2, 2, 2]);
  equal([await r.sPop('s'), await r.exists('s')], ['c', 0]);
});

check('sorted sets', async (r) => {
  equal(await r.zAdd('z', [{ score: 1, value: 'a' }, { score: 2, value: 'b' }, { score: Infinity, value: 'c' }]), 3);
  equal([await r.zScore('z', 'c'), await r.zScore('z', 'none'), await r.zRank('z', 'b')], [Infinity, null, 1]);
  equal((await r.zRangeWithScores('z', 0, 1)).map(plain), [{ value: 'a', score: 1 }, { value: 'b', score: 2 }]);
  equal(await r.zRange('z', '(1', '+inf', { BY: 'SCORE' }), ['b', 'c']);
  equal([await r.zIncrBy('z', 0.25, 'a'), await r.zCount('z', 1, 2), await r.zmScore('z', ['a', 'x'])], [1.25, 2, [1.25, null]]);
  equal(plain(await r.zPopMin('z')), { value: 'a', score: 1.25 });
  await r.zAdd('y', { score: 10, value: 'b' });
  equal(await r.zUnionStore('u', ['z', 'y']), 2);
  equal((await r.zRangeWithScores('u', 0, -1)).map(plain), [{ value: 'b', score: 12 }, { value: 'c', score: Infinity }]);
});

check('streams and groups', async (r) => {
  for (const n of range(5)) await r.xAdd('s', `${n + 1}-0`, { n: `${n}` });
  // In RESP3 version 5 hands on the map as it comes.
  const entry = (row) => (Array.isArray(row) ? [row[0], { [row[1][0]]: row[1][1] }] : [row.id, plain(row.message)]);
  const named = (streams) => (Array.isArray(streams) ? streams.map(({ name, messages }) => [name, messages]) : Object.entries(streams));
  const flat = (streams) => named(streams).map(([name, rows]) => [name, rows.map(entry)]);
  equal(flat(await r.xRead({ key: 's', id: '4-0' })), [['s', [['5-0', { n: '4' }]]]]);
  equal((await r.xRange('s', '-', '+', { COUNT: 1 })).map(({ id }) => id), ['1-0']);
  equal(await r.xGroupCreate('s', 'g', '0'), 'OK');
  await refused('BUSYGROUP', r.xGroupCreate('s', 'g', '0'));
  equal(flat(await r.xReadGroup('g', 'one', { key: 's', id: '>' }, { COUNT: 2 })), [['s', [['1-0', { n: '0' }], ['2-0', { n: '1' }]]]]);
  equal(await r.xAck('s', 'g', '1-0'), 1);
  const pending = await r.xPending('s', 'g');
  equal([pending.pending, pending.firstId, pending.lastId], [1, '2-0', '2-0']);
  const [row] = await r.xPendingRange('s', 'g', '-', '+', 10);
  equal([row.id, row.consumer, row.deliveriesCounter], ['2-0', 'one', 1]);
  const claimed = await r.xAutoClaim('s', 'g', 'two', 0, '0-0');
  equal([claimed.nextId, claimed.messages.map(({ id }) => id)], ['0-0', ['2-0']]);
  const [group] = await r.xInfoGroups('s');
  equal([group.name, group.consumers, group.pending, group['last-delivered-id'], group.lag], ['g', 2, 1, '2-0', 3]);
  const info = await r.xInfoStream('s');
  equal([info.length, info['last-generated-id'], info.groups], [5, '5-0', 1]);
  const second = await client();
  const late = second.xRead({ key: 's', id: '$' }, { BLOCK: 0 });
  await oneBlocked(r);
  await r.xAdd('s', '9-9', { late: '1' });
  equal(flat(await late), [['s', [['9-9', { late: '1' }]]]]);
  equal(await second.xRead({ key: 's', id: '$' }, { BLOCK: 20 }), null);
});

check('pub/sub with patterns', async (r) => {
  const subscriber = await client();
  const [news, all] = [inbox(), inbox()];
  await subscriber.subscribe('news', news.put);
  await subscriber.pSubscribe('n*s', all.put);
  equal(await r.publish('news', 'one'), 2);
  equal([await news.next(), await all.next()], [['one', 'news'], ['one', 'news']]);
  equal([await r.publish('none', 'x'), await r.pubSubChannels(), await r.pubSubNumPat()], [0, ['news'], 1]);
  // In RESP3 messages are pushes, and the connection goes on with other commands.
  if (protocol === 3) equal(await subscriber.set('k', 'v'), 'OK');
  equal(await subscriber.ping(), protocol === 3 ? 'PONG' : 'pong');
  await Promise.all(range(1000).map((n) => r.publish('news', `${n}`)));
  for (const n of range(1000)) equal(await news.next(), [`${n}`, 'news']);
  await subscriber.unsubscribe('news');
  equal(await r.publish('news', 'x'), 1);
  await subscriber.pUnsubscribe();
  equal(await r.publish('news', 'x'), 0);
  equal(String(await subscriber.set('k', 'w')), 'OK');
});

check('transactions', async (r) => {
  equal(await r.multi().set('a', '1').incr('a').get('a').exec(), ['OK', 2, '2']);
  equal(await r.multi().set('s', 'text').get('s').execAsPipeline(), ['OK', 'text']);
  const failed = await r.multi().set('s', 'text').incr('s').set('after', '1').exec().catch((error) => error.replies);
  equal([failed[1] instanceof ErrorReply, failed[1].message, await r.get('after')], [true, 'ERR value is not an integer or out of range', '1']);
  const second = await client();
  await r.watch('a');
  await second.set('a', '5');
  await assert.rejects(r.multi().set('a', '6').exec(), WatchError);
  equal(await r.get('a'), '5');
  await r.watch('a');
  equal(await r.multi().set('a', '6').exec(), ['OK']);
  await assert.rejects(r.multi().addCommand(['NOSUCH']).set('a', '7').exec());
  equal(await r.get('a'), '6');
});

check('long pipelines', async (r) => {
  equal(new Set(await Promise.all(range(10_000).map((n) => r.set(`k${n}`, `${n}`)))), new Set(['OK']));
  equal(await Promise.all(range(10_000).map((n) => r.get(`k${n}`))), range(10_000).map(String));
  const many = r.multi();
  range(10_000).forEach(() => many.incr('n'));
  equal(await many.exec(), range(10_000).map((n) => n + 1));
});

check('scans', async (r) => {
  await r.mSet(Object.fromEntries(range(5000).flatMap((n) => [[`record:${n}`, 'v'], [`other:${n}`, 'v']])));
  const found = new Set();
  for await (const page of r.scanIterator({ MATCH: 'record:*', COUNT: 100 })) {
    for (const key of page) found.add(key);
  }
  equal(found, new Set(range(5000).map((n) => `record:${n}`)));
});

check('expiry', async (r) => {
  await r.set('k', 'v', { expiration: { type: 'EX', value: 100 } });
  assert.ok((await r.ttl('k')) > 90 && (await r.pTTL('k')) > 90_000);
  equal([await r.persist('k'), await r.ttl('k'), await r.ttl('none')], [1, -1, -2]);
  await r.set('soon', 'v', { expiration: { type: 'PX', value: 5 } });
  await until('the expiry', async () => (await r.exists('soon')) === 0);
  equal(await r.getEx('k', { type: 'EX', value: 50 }), 'v');
  assert.ok((await r.ttl('k')) > 40);
});

check('errors', async (r) => {
  await r.set('s', 'text');
  await refused('WRONGTYPE Operation against a key holding the wrong kind of value', r.hGet('s', 'f'));
  await refused('ERR value is not an integer or out of range', r.incr('s'));
  await refused("ERR unknown command 'NOSUCH', with args beginning with: 'a' ", r.sendCommand(['NOSUCH', 'a']));
  await refused("ERR wrong number of arguments for 'get' command", r.sendCommand(['GET']));
  equal(await r.ping(), 'PONG');
});

check('clients, info and config', async (r) => {
  const second = await client({ name: 'second' });
  equal((await r.clientList()).filter(({ name }) => name === 'second').map(({ id }) => id), [await second.clientId()]);
  equal(await r.clientSetName('first'), 'OK');
  equal([await r.clientGetName(), (await r.clientInfo()).cmd], ['first', 'client|info']);
  const info = await r.info();
  for (const line of ['redis_version:7.0.15', `tcp_port:${port}`, 'role:master', '# Keyspace']) {
    assert.ok(info.includes(`${line}\r\n`), line);
  }
  equal(plain(await r.configGet('maxmemory')), { maxmemory: '0' });
  equal(await r.configSet('hash-max-listpack-entries', '64'), 'OK');
  equal(plain(await r.configGet('hash-max-listpack-e*')), { 'hash-max-listpack-entries': '64' });
  equal(await r.configSet('hash-max-listpack-entries', '128'), 'OK');
  assert.ok((await r.commandCount()) > 50);
  const [get] = await r.commandInfo(['get']);
  equal([get.name, get.arity], ['get', 2]);
});

check('a new connection after CLIENT KILL', async (r) => {
  const leaving = await client({ name: 'leaving', database: 2 });
  await leaving.set('k', 'v');
  const id = await leaving.clientId();
  const again = new Promise((done) => leaving.once('ready', done));
  equal(await r.clientKill({ filter: 'ID', id }), 1);
  await inTime(again, 'the new connection');
  assert.notEqual(await leaving.clientId(), id);
  equal([await leaving.get('k'), await leaving.clientGetName()], ['v', 'leaving']);
  // Subscriptions are made again.
  const news = inbox();
  await leaving.subscribe('news', news.put);
  const third = new Promise((done) => leaving.once('ready', done));
  equal(await r.clientKill({ filter: 'TYPE', type: 'pubsub' }), 1);
  await inTime(third, 'the third connection');
  await until('the subscription', async () => (await r.publish('news', 'x')) === 1);
  equal(await news.next(), ['x', 'news']);
});

main(client, (r) => r.flushAll(), () => opened.splice(0).forEach((made) => made.destroy()));
