/** Stands in for `node:test` where the names of the tests are wanted and nothing is to be run. */

export interface TestName {
  /** From the repository's root: `test/authorization/code_flow.test.ts`. */
  readonly path: string;
  readonly name: string;
}

type Argument = string | { readonly skip?: unknown; readonly todo?: unknown } | (() => void) | undefined;

const names: TestName[] = [];
let path = '';

/** Every suite and test of a file, names that are composed included; what would be skipped proves nothing and is left out. */
export async function namesIn(file: string, load: () => Promise<unknown>): Promise<readonly TestName[]> {
  path = file;
  await load();
  return names.splice(0);
}

/** @public */
export function it(name: string, ...rest: readonly Argument[]): void {
  if (!isSkipped(rest)) names.push({ path, name });
}

/** A suite without a test proves nothing either. @public */
export function describe(name: string, ...rest: readonly Argument[]): void {
  if (isSkipped(rest)) return;
  const before = names.push({ path, name });
  for (const body of rest) if (typeof body === 'function') body();
  if (names.length === before) names.pop();
}

function isSkipped(given: readonly Argument[]): boolean {
  return given.some((one) => typeof one === 'object' && Boolean(one.skip || one.todo));
}

const nothing = (): void => {};
/** @public */
export const after = nothing;
/** @public */
export const afterEach = nothing;
/** @public */
export const before = nothing;
/** @public */
export const beforeEach = nothing;
/** @public */
export const mock = {};
