/**
 * Imported before a node's own code: gives its process another time of day. SIGUSR2 makes the clock jump, and the next
 * one brings it back. The time that passes (timers, `performance`) stays as it is.
 */
const environment = process.env;
const shift = Number(environment['TEST_CLOCK_SHIFT_SECONDS'] ?? 0) * 1_000;
const jump = Number(environment['TEST_CLOCK_JUMP_SECONDS'] ?? 0) * 1_000;
let added = 0;
process.on('SIGUSR2', () => (added = added === 0 ? jump : 0));

const now = Date.now.bind(Date);
Date.now = () => now() + shift + added;
globalThis.Date = new Proxy(Date, {
  construct: (target, given, asked) =>
    Reflect.construct(target, given.length === 0 ? [Date.now()] : given, asked) as Date,
});
