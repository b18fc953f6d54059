/**
 * A feature is one capability of the node, such as the audit trail or the clients. Its `create…` function returns its
 * services together with a `Feature`, which lists what the node must run for it: caches that follow the change log,
 * scheduled jobs, metrics, readiness checks, a start and a stop. The functions of lifecycle.ts combine the features of
 * a node, so no feature depends on the `Feature` of another.
 */
import type { Metrics } from '../http/metrics.ts';
import type { Topic } from '../invalidation/log.ts';
import type { Job } from './scheduler.ts';

/** Data in memory that the change log keeps up to date. */
export interface Cache {
  readonly topic: Topic;
  /** Called for each change of the topic, with the key of the changed record. */
  readonly onChange: (key: string) => void | Promise<void>;
  /** Reads all data. Called at the start and after a reset. */
  readonly load?: () => Promise<void>;
  /** Called instead of `load` after a reset, when this node may have missed changes. */
  readonly onReset?: () => void | Promise<void>;
  /** Whether the other caches wait for this one at a reset. */
  readonly resetsFirst?: boolean;
}

export interface FeatureJob extends Job {
  /** If a node has several processes, only the first one runs the job. */
  readonly oncePerNode?: boolean;
}

/** The answer of a readiness check. */
export interface CheckResult {
  readonly ready: boolean;
  /** The text in the answer to the probe. */
  readonly says: string;
}

export interface Feature {
  readonly caches?: readonly Cache[];
  readonly jobs?: readonly FeatureJob[];
  readonly showMetrics?: (metrics: Metrics) => void;
  /** The readiness checks by their names in the answer to the probe. */
  readonly checks?: Readonly<Record<string, () => CheckResult>>;
  /** Throws if the database lacks data that this process uses. Called at the start and after each reset. */
  readonly verify?: () => Promise<void>;
  /** Called after the reset when another database, or an older state of the same one, answers. */
  readonly onDatabaseReplaced?: () => void;
  /** Called when the caches of all features are loaded. */
  readonly start?: () => void | Promise<void>;
  /** Called after the last request, in the reverse order of the features. */
  readonly stop?: () => void | Promise<void>;
}
