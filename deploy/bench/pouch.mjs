// What PouchDB and pouchdb-server do with the same documents: node pouch.mjs <server url> <server pid> <documents> <bytes> <streams>
import { readFileSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
const require = createRequire(process.cwd() + "/");
const PouchDB = require("pouchdb-core")
  .plugin(require("pouchdb-adapter-memory"))
  .plugin(require("pouchdb-adapter-http"))
  .plugin(require("pouchdb-replication"));

const [url, pid, count, bytes, streams] = process.argv.slice(2).map((text) => (isNaN(text) ? text : Number(text)));
const LATENCIES = 100;
const BATCH = { batch_size: 100, batches_limit: 10 };
const name = `${url}/bench`;
const text = (round) => `# Document ${round}\n\n` + "lorem ipsum ".repeat(bytes / 12);
const seconds = () => Number(process.hrtime.bigint()) / 1e9;
const memory = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
const say = (line) => process.stderr.write(`  pouchdb: ${line}\n`);

async function timed(work) {
  const began = seconds();
  await work();
  return seconds() - began;
}

const mine = new PouchDB("mine", { adapter: "memory" });
const remote = new PouchDB(name);
await remote.info();
const documents = Array.from({ length: count }, (_, n) => ({ _id: `d${n}`, title: `T${n}`, content: text(n) }));
await mine.bulkDocs(documents);
say("pushing");
const result = { push: count / (await timed(() => mine.replicate.to(remote, BATCH))) };
const other = new PouchDB("other", { adapter: "memory" });
say("bootstrapping");
result.bootstrap = count / (await timed(() => other.replicate.from(remote, BATCH)));
say("changing everything");
for (let start = 0; start < count; start += 500) {
  const some = await mine.allDocs({ include_docs: true, skip: start, limit: 500 });
  await mine.bulkDocs(some.rows.map((row) => ({ ...row.doc, content: text(start + count) })));
}
await mine.replicate.to(remote, BATCH);
say("pulling");
result.pull = count / (await timed(() => other.replicate.from(remote, BATCH)));

say("one edit after the other");
const seen = new Map();
const live = other.replicate.from(remote, { live: true, since: (await remote.info()).update_seq });
other.changes({ live: true, since: "now" }).on("change", (change) => seen.get(change.id)?.());
await new Promise((done) => setTimeout(done, 500));
const latencies = [];
for (let n = 0; n < LATENCIES; n++) {
  const doc = await remote.get(`d${n}`);
  const arrived = new Promise((done) => seen.set(doc._id, done));
  const began = seconds();
  await remote.put({ ...doc, content: text(-n) });
  await arrived;
  latencies.push((seconds() - began) * 1000);
  seen.delete(doc._id);
}
live.cancel();
latencies.sort((a, b) => a - b);
result.latency = [0.5, 0.95, 0.99].map((share) => latencies[Math.floor(share * (LATENCIES - 1))]);

say("streams");
const before = memory();
const agent = new http.Agent({ maxSockets: Infinity });
let open = 0;
const lags = [];
let wrote = 0;
await Promise.all(
  Array.from({ length: streams }, () => {
    return new Promise((done) => {
      const request = http.get(`${name}/_changes?feed=continuous&since=now&heartbeat=20000`, { agent }, (response) => {
        open++;
        response.on("data", (data) => {
          if (wrote && data.toString().includes('"id"')) lags.push((seconds() - wrote) * 1000);
        });
        done();
      });
      request.on("error", done);
      request.setTimeout(20000, done);
    });
  }),
);
await new Promise((done) => setTimeout(done, 1000));
result.streams = open;
result.stream_mb = memory() - before;
const doc = await remote.get("d0");
wrote = seconds();
await remote.put({ ...doc, content: "poke" });
for (let waited = 0; waited < 100 && lags.length < open; waited++) await new Promise((done) => setTimeout(done, 100));
lags.sort((a, b) => a - b);
result.poke_ms = lags.length ? [0.5, 0.99].map((share) => lags[Math.floor(share * (lags.length - 1))]) : null;
result.poked = lags.length;
console.log(JSON.stringify(result));
process.exit(0);
