// What an LMDB environment holds: FOLDER SEED. Every page in use is read, every record compared with what it must be.

import { mkdtempSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { open } from "lmdb";
import { KEYS, key, value } from "./lmdb_records.mjs";

const [path, seed] = [process.argv[2], BigInt(process.argv[3])];

const database = open({ path, useWritemap: true });
const numbers = new Map(Array.from({ length: KEYS }, (_, number) => [key(number), number]));
const told = { root: database.get("root") ?? 0, oldest: 0, newest: 0, records: 0, wrong: 0 };
for (const { key: name, value: found } of database.getRange()) {
  if (name === "root") continue;
  const { version } = found;
  told.oldest = told.records === 0 ? version : Math.min(told.oldest, version);
  told.newest = Math.max(told.newest, version);
  told.records += 1;
  const number = numbers.get(name);
  const good = number !== undefined && value(seed, version, number).filler === found.filler;
  told.wrong += good ? 0 : 1;
}
// A compacting copy walks the trees, a plain one reads every page.
for (const compact of [true, false]) {
  const copy = mkdtempSync(join(dirname(path), "copy-"));
  await database.backup(copy, compact);
  rmSync(copy, { recursive: true });
}
await database.close();
console.log(JSON.stringify(told));
