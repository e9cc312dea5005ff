// What the scripts for JavaScript clients share: node SCRIPT PORT PROTOCOL [WORD...], PROTOCOL 2 or 3.
// Packages are looked for in $NODE_PATH. With words, only checks whose names contain one of them are run.
'use strict';

const assert = require('node:assert/strict');

const [port, protocol, ...words] = process.argv.slice(2);
const patienceMs = 20_000;
const checks = [];

exports.port = Number(port);
exports.protocol = Number(protocol);
exports.equal = assert.deepEqual;
exports.assert = assert;

exports.check = (name, run) => checks.push([name, run]);

// The promise's result, or an error when it takes too long.
const inTime = (promise, what) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`gave up waiting for ${what}`)), patienceMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};
exports.inTime = inTime;

// Asks until the answer is yes.
exports.until = async (what, ready) => {
  const deadline = Date.now() + patienceMs;
  while (!(await ready())) {
    assert.ok(Date.now() < deadline, `gave up waiting for ${what}`);
  }
};

exports.refused = async (text, promise) => {
  let found;
  try {
    found = await promise;
  } catch (error) {
    assert.ok(error.message.includes(text), `refused with ${error.message}, expected ${text}`);
    return;
  }
  assert.fail(`answered ${JSON.stringify(found)}, expected to be refused with ${text}`);
};

// Messages that arrive by callback, asked for one by one.
exports.inbox = () => {
  const [waiting, asked] = [[], []];
  return {
    put: (...message) => (asked.length ? asked.shift()(message) : waiting.push(message)),
    next: () => inTime(waiting.length ? Promise.resolve(waiting.shift()) : new Promise((done) => asked.push(done)), 'a message'),
  };
};

exports.range = (count) => Array.from({ length: count }, (_, n) => n);
exports.sorted = (values) => [...values].sort();

// Runs every check with the client that `open` gives, on an empty server, and ends the process.
exports.main = async (open, flush, close) => {
  let failed = 0;
  for (const [name, run] of checks) {
    if (words.length && !words.some((word) => name.includes(word))) continue;
    let client;
    try {
      client = await inTime(open(), 'a connection');
      await flush(client);
      await inTime(run(client), 'the check');
      console.log(`passed ${name}`);
    } catch (error) {
      failed += 1;
      console.error(`FAILED ${name}\n${error.stack}`);
    }
    if (client) close(client);
  }
  process.exit(failed ? 1 : 0);
};
