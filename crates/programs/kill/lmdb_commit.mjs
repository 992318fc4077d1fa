// LMDB by its npm package, with a writable map: FOLDER SEED VERSIONS. Each transaction rewrites every record, and the root.

import { writeSync } from "node:fs";
import { open } from "lmdb";
import { KEYS, key, value } from "./lmdb_records.mjs";

const [path, seed, versions] = [process.argv[2], BigInt(process.argv[3]), Number(process.argv[4])];
const say = (line) => writeSync(1, `${line}\n`);

const database = open({ path, useWritemap: true });
say("ready");
for (let version = 1; version <= versions; version++) {
  database.transaction(() => {
    for (let number = 0; number < KEYS; number++) {
      database.put(key(number), value(seed, version, number));
    }
    database.put("root", version);
  });
  // Committed is visible; flushed is durable.
  await database.flushed;
  say(version);
}
await database.close();
