// ioredis against one server; see checks.js. Version 5 speaks RESP2 only.
'use strict';

const { Redis } = require('ioredis');
const { assert, check, equal, inbox, inTime, main, port, protocol, range, refused, sorted, until } = require('./checks.js');

if (protocol === 3 && require('ioredis/package.json').version.startsWith('5.')) {
  console.log('skipped: this version speaks RESP2 only');
  process.exit(0);
}
const opened = [];

const client = (more = {}) => {
  const made = new Redis({ port, host: '127.0.0.1', protocol, retryStrategy: () => 0, ...more });
  // A connection that is closed by the server is an event; checks look at what comes after it.
  made.on('error', () => {});
  opened.push(made);
  return made;
};

const blocked = async (r) => Number(/blocked_clients:(\d+)/.exec(await r.info('clients'))[1]);
const oneBlocked = (r, count = 1) => until(`${count} blocked clients`, async () => (await blocked(r)) === count);
const collect = async (stream) => {
  const found = [];
  for await (const page of stream) found.push(...page);
  return found;
};

check('handshake', async (r) => {
  equal([await r.ping(), await r.ping('hello'), await r.echo('hello')], ['PONG', 'hello', 'hello']);
  const named = client({ connectionName: 'named', db: 3 });
  const info = await named.client('INFO');
  assert.ok(info.includes(' name=named ') && info.includes(' db=3 '), info);
  equal((await r.hello()).slice(0, 6), ['server', 'redis', 'version', '7.0.15', 'proto', protocol]);
});

check('strings and hashes', async (r) => {
  equal([await r.set('k', 'v', 'EX', 100), await r.get('k'), await r.get('none')], ['OK', 'v', null]);
  equal([await r.set('k', 'w', 'NX'), await r.set('k', 'w', 'KEEPTTL', 'GET'), await r.getdel('k')], [null, 'v', 'w']);
  equal([await r.mset(new Map([['a', 1], ['b', 2]])), await r.mget('a', 'none', 'b')], ['OK', ['1', null, '2']]);
  equal([await r.incrby('a', 9), await r.incrbyfloat('a', 0.5)], [10, '10.5']);
  const bytes = Buffer.from(range(256).concat([13, 10]));
  await r.set('bytes', bytes);
  assert.ok(bytes.equals(await r.getBuffer('bytes')));
  equal([await r.hset('h', { f: 1, g: 'x' }), await r.hgetall('h'), await r.hgetall('none')], [2, { f: '1', g: 'x' }, {}]);
  equal([await r.hincrby('h', 'f', 4), await r.hmget('h', 'f', 'none'), await r.hdel('h', 'f', 'g')], [5, ['5', null], 2]);
  await r.hset('big', ...range(1000).flatMap((n) => [`f${n}`, n]));
  equal(new Set((await collect(r.hscanStream('big', { count: 50 }))).filter((_, n) => n % 2 === 0)).size, 1000);
});

check('lists and blocking pops', async (r) => {
  equal([await r.rpush('l', 'a', 'b', 'c'), await r.lpush('l', 'z'), await r.lrange('l', 0, -1)], [3, 4, ['z', 'a', 'b', 'c']]);
  equal([await r.lpop('l'), await r.rpop('l', 2), await r.linsert('l', 'AFTER', 'a', 'b'), await r.lrem('l', 0, 'a')], ['z', ['c', 'b'], 2, 1]);
  const second = client();
  const popped = async (wait, push) => {
    await oneBlocked(r);
    await push();
    return wait;
  };
  equal(await popped(second.blpop('q', 'p', 0), () => r.rpush('p', '1')), ['p', '1']);
  equal(await popped(second.brpop('q', 10), () => r.rpush('q', '1', '2')), ['q', '2']);
  equal(await popped(second.blmove('x', 'y', 'LEFT', 'LEFT', 10), () => r.rpush('x', 'm')), 'm');
  equal(await popped(second.bzpopmax('z', 10), () => r.zadd('z', 1.5, 'a')), ['z', 'a', '1.5']);
  equal(await second.blpop('none', 0.05), null);
});

check('sets and sorted sets', async (r) => {
  equal([await r.sadd('s', 'a', 'b', 'c'), sorted(await r.smembers('s')), await r.smismember('s', 'a', 'x')], [3, ['a', 'b', 'c'], [1, 0]]);
  await r.sadd('t', 'b', 'c', 'd');
  equal([sorted(await r.sinter('s', 't')), await r.sunionstore('u', 's', 't'), await r.scard('u')], [['b', 'c'], 4, 4]);
  equal(sorted(await collect(r.sscanStream('u'))), ['a', 'b', 'c', 'd']);
  equal(await r.zadd('z', 1, 'a', 2.5, 'b', '+inf', 'c'), 3);
  equal([await r.zrange('z', 0, -1, 'WITHSCORES'), await r.zscore('z', 'none')], [['a', '1', 'b', '2.5', 'c', 'inf'], null]);
  equal([await r.zrangebyscore('z', '(1', '+inf', 'LIMIT', 0, 1), await r.zrevrank('z', 'a'), await r.zincrby('z', 0.1, 'a')], [['b'], 2, '1.1000000000000001']);
  equal([await r.zpopmin('z'), await r.zremrangebyscore('z', '-inf', '+inf')], [['a', '1.1000000000000001'], 2]);
});

check('streams and groups', async (r) => {
  for (const n of range(4)) await r.xadd('s', `${n + 1}-0`, 'n', n);
  equal(await r.xread('COUNT', 1, 'STREAMS', 's', '2-0'), [['s', [['3-0', ['n', '2']]]]]);
  equal([await r.xlen('s'), await r.xrange('s', '-', '+', 'COUNT', 1), await r.xgroup('CREATE', 's', 'g', 0)], [4, [['1-0', ['n', '0']]], 'OK']);
  equal(await r.xreadgroup('GROUP', 'g', 'one', 'COUNT', 2, 'STREAMS', 's', '>'), [['s', [['1-0', ['n', '0']], ['2-0', ['n', '1']]]]]);
  equal([await r.xack('s', 'g', '1-0'), await r.xpending('s', 'g')], [1, [1, '2-0', '2-0', [['one', '1']]]]);
  equal(await r.xautoclaim('s', 'g', 'two', 0, 0), ['0-0', [['2-0', ['n', '1']]], []]);
  const second = client();
  const late = second.xreadgroup('GROUP', 'g', 'one', 'BLOCK', 0, 'STREAMS', 's', 's2', '>', '>');
  await refused('NOGROUP', late);
  const later = second.xread('BLOCK', 0, 'STREAMS', 's', '$');
  await oneBlocked(r);
  await r.xadd('s', '9-9', 'late', 1);
  equal(await later, [['s', [['9-9', ['late', '1']]]]]);
});

check('pub/sub with patterns', async (r) => {
  const subscriber = client();
  const [messages, matches] = [inbox(), inbox()];
  subscriber.on('message', messages.put);
  subscriber.on('pmessage', matches.put);
  equal([await subscriber.subscribe('news', 'sport'), await subscriber.psubscribe('n*s')], [2, 3]);
  equal(await r.publish('news', 'one'), 2);
  equal([await messages.next(), await matches.next()], [['news', 'one'], ['n*s', 'news', 'one']]);
  equal([await r.pubsub('NUMSUB', 'news', 'none'), await r.pubsub('NUMPAT')], [['news', 1, 'none', 0], 1]);
  const pipeline = r.pipeline();
  range(1000).forEach((n) => pipeline.publish('sport', n));
  await pipeline.exec();
  for (const n of range(1000)) equal(await messages.next(), ['sport', `${n}`]);
  equal([await subscriber.punsubscribe('n*s'), await subscriber.unsubscribe('news', 'sport')], [2, 0]);
  equal(await subscriber.set('k', 'v'), 'OK');
});

check('transactions', async (r) => {
  equal(await r.multi().set('a', 1).incr('a').get('a').exec(), [[null, 'OK'], [null, 2], [null, '2']]);
  const failed = await r.multi().set('s', 'text').incr('s').set('after', 1).exec();
  equal([failed[1][0].message, await r.get('after')], ['ERR value is not an integer or out of range', '1']);
  const second = client();
  await r.watch('a');
  await second.set('a', 5);
  equal(await r.multi().set('a', 6).exec(), null);
  await r.watch('a');
  equal(await r.multi().set('a', 6).exec(), [[null, 'OK']]);
  await refused('EXECABORT', r.multi().call('NOSUCH').set('a', 7).exec());
  equal(await r.get('a'), '6');
});

check('long pipelines', async (r) => {
  const pipeline = r.pipeline();
  range(10_000).forEach((n) => pipeline.set(`k${n}`, n));
  range(10_000).forEach((n) => pipeline.get(`k${n}`));
  const replies = await pipeline.exec();
  equal(replies.slice(10_000).map(([error, value]) => error ?? value), range(10_000).map(String));
  const automatic = client({ enableAutoPipelining: true });
  equal(await Promise.all(range(10_000).map((n) => automatic.get(`k${n}`))), range(10_000).map(String));
});

check('scans and expiry', async (r) => {
  await r.mset(...range(5000).flatMap((n) => [`record:${n}`, n, `other:${n}`, n]));
  equal(new Set(await collect(r.scanStream({ match: 'record:*', count: 100 }))).size, 5000);
  await r.set('soon', 'v', 'PX', 5);
  await until('the expiry', async () => (await r.exists('soon')) === 0);
  equal([await r.expire('record:1', 100), (await r.ttl('record:1')) > 90, await r.persist('record:1')], [1, true, 1]);
});

check('errors, clients, info and config', async (r) => {
  await r.set('s', 'text');
  await refused('WRONGTYPE Operation against a key holding the wrong kind of value', r.lpush('s', 1));
  await refused("ERR unknown command 'NOSUCH', with args beginning with: 'a' ", r.call('NOSUCH', 'a'));
  await refused("ERR wrong number of arguments for 'get' command", r.call('GET'));
  equal([await r.client('SETNAME', 'first'), await r.client('GETNAME')], ['OK', 'first']);
  assert.ok((await r.client('LIST')).includes(' name=first '));
  assert.ok((await r.info('server')).includes('redis_version:7.0.15\r\n'));
  equal(await r.config('GET', 'maxmemory'), ['maxmemory', '0']);
  equal(await r.config('SET', 'maxmemory', '0'), 'OK');
  equal((await r.command('INFO', 'get'))[0].slice(0, 2), ['get', 2]);
});

check('monitor', async (r) => {
  const watching = await r.monitor();
  const seen = inbox();
  watching.on('monitor', (_, args) => seen.put(...args));
  await r.set('seen', 'by monitor');
  let found;
  do found = await seen.next();
  while (found[0].toLowerCase() !== 'set');
  equal(found.slice(1), ['seen', 'by monitor']);
  watching.disconnect();
});

check('a new connection after CLIENT KILL', async (r) => {
  const leaving = client({ db: 2 });
  const messages = inbox();
  await leaving.set('k', 'v');
  const id = await leaving.client('ID');
  const again = new Promise((done) => leaving.once('ready', done));
  equal(await r.client('KILL', 'ID', id), 1);
  await inTime(again, 'the new connection');
  assert.notEqual(await leaving.client('ID'), id);
  equal(await leaving.get('k'), 'v');
  leaving.on('message', messages.put);
  await leaving.subscribe('news');
  equal(await r.client('KILL', 'TYPE', 'pubsub'), 1);
  await until('the subscription', async () => (await r.publish('news', 'x')) === 1);
  equal(await messages.next(), ['news', 'x']);
});

main(async () => client(), (r) => r.flushall(), () => opened.splice(0).forEach((made) => made.disconnect()));
