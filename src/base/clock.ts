/** The time of day as an argument: an operation reads it once and passes it on as `now`; tests set it. */
export type Clock = () => Date;

export const systemClock: Clock = () => new Date();

export function addSeconds(time: Date, seconds: number): Date {
  return new Date(time.getTime() + seconds * 1000);
}

/** RFC 7519 NumericDate: whole seconds since the epoch. */
export function epochSeconds(time: Date): number {
  return Math.floor(time.getTime() / 1000);
}

export const DAY_SECONDS = 86_400;
