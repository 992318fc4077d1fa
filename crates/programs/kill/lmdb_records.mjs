// The records of the LMDB programs: keys spread over all keys, and values that tell the version they are of.

export const KEYS = 500;
const MASK = (1n << 64n) - 1n;

function mix(x) {
  x = (x + 0x9e3779b97f4a7c15n) & MASK;
  x = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  x = ((x ^ (x >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return x ^ (x >> 31n);
}

export function key(number) {
  return (number * Math.floor(2 ** 32 / KEYS)).toString(16).padStart(8, "0");
}

export function value(seed, version, number) {
  const filler = mix(seed ^ mix(BigInt(version) ^ mix(BigInt(number))));
  return { version, filler: filler.toString(16).padStart(16, "0").repeat(Number(1n + (filler % 20n))) };
}
