/** Repeatable random numbers: a test that uses them prints the seed, and takes one from FAULT_SEED. */

export interface Random {
  readonly seed: number;
  /** From 0 up to, but not including, 1. */
  next(): number;
  /** A whole number, both ends included. */
  between(least: number, most: number): number;
  pick<T>(from: readonly T[]): T;
  /** So many of them at most, each once. */
  some<T>(from: readonly T[], atMost: number): T[];
}

export function seededRandom(seed = Number(process.env.FAULT_SEED ?? Math.trunc(Math.random() * 2 ** 31))): Random {
  let state = seed;
  // mulberry32
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const between = (least: number, most: number): number => least + Math.floor(next() * (most - least + 1));
  return {
    seed,
    next,
    between,
    pick: (from) => from[between(0, from.length - 1)]!,
    some(from, atMost) {
      const left = [...from];
      const taken = Math.min(atMost, left.length);
      return Array.from({ length: taken }, () => left.splice(between(0, left.length - 1), 1)[0]!);
    },
  };
}
