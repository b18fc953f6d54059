/** The clock of this process: what a Gatehouse here reads, oidc-provider and the clients of the tests included. */
import { mock } from 'node:test';

/** Moves it forward (again and again, if need be); from then on it stands still until it is moved. */
export function moveClock(seconds: number): void {
  const now = Date.now() + seconds * 1_000;
  mock.timers.reset();
  mock.timers.enable({ apis: ['Date'], now });
}

/** Back to the time of day: call it after each test that moved the clock. */
export function resetClock(): void {
  mock.timers.reset();
}
