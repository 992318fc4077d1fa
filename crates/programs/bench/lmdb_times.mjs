// Times LMDB by its npm package, with a writable map: FOLDER BURSTS SEED SIZE, where each burst is PAGES:FLUSHES.
//
// A record is half a page. The first start fills a quarter of the map with them.

import { randomBytes, randomInt } from "node:crypto";
import { open } from "lmdb";

const RECORD = 2000;

const [path, bursts, , size] = process.argv.slice(2);
const records = Math.floor(Number(size) / 8192);
const key = (number) => number.toString(16).padStart(8, "0");
const now = () => process.hrtime.bigint();
const told = [];

const begin = now();
const database = open({ path, useWritemap: true, encoding: "binary", mapSize: Number(size) });
let found = 0;
for (const _ of database.getRange()) found += 1;
told.push(`open ${now() - begin}`);
if (found === 0) {
  await database.transaction(() => {
    for (let number = 0; number < records; number++) database.put(key(number), randomBytes(RECORD));
  });
  await database.flushed;
}
for (const burst of bursts.split(",").filter(Boolean)) {
  const [pages, flushes] = burst.split(":").map(Number);
  for (let flush = 0; flush < flushes; flush++) {
    const numbers = new Set();
    while (numbers.size < pages) numbers.add(randomInt(records));
    const data = randomBytes(RECORD);
    const start = now();
    let between;
    database.transaction(() => {
      for (const number of numbers) database.put(key(number), data);
      between = now();
    });
    await database.flushed;
    told.push(`${pages} ${between - start} ${now() - between}`);
  }
}
await database.close();
console.log(told.join("\n"));
