/**
 * A feature is one capability of the node, such as the audit trail or the clients. Its `create…` function returns its
 * services together with a `Feature`, which says what the capability needs from the node: caches that follow the change
 * log, scheduled jobs, metrics, readiness checks, a start and a stop. The functions of this folder combine the features
 * of a node; no feature knows another one.
 */
import type { Metrics } from '../http/metrics.ts';
import type { Topic } from '../invalidation/log.ts';
import type { Job } from './scheduler.ts';

/** Data in memory that the change log keeps up to date. */
export interface Cache {
  readonly topic: Topic;
  /** Called for each change of the topic, with the key of what changed. */
  readonly onChange: (key: string) => void | Promise<void>;
  /** Reads everything: at the start, and after a reset. */
  readonly load?: () => Promise<void>;
  /** Called in the place of `load` when changes may have been missed. */
  readonly onReset?: () => void | Promise<void>;
  /** At a reset the others wait for this cache. */
  readonly resetsFirst?: boolean;
}

export interface FeatureJob extends Job {
  /** Where several processes share the work of a node, only the first one runs the job. */
  readonly oncePerNode?: boolean;
}

/** The answer of a readiness check. */
export interface CheckResult {
  readonly ready: boolean;
  /** What the probe reads. */
  readonly says: string;
}

export interface Feature {
  readonly caches?: readonly Cache[];
  readonly jobs?: readonly FeatureJob[];
  readonly showMetrics?: (metrics: Metrics) => void;
  /** By the name under which the probe reads the answer. */
  readonly checks?: Readonly<Record<string, () => CheckResult>>;
  /** Throws if the database lacks data that this process works with: called at the start and after each reset. */
  readonly verify?: () => Promise<void>;
  /** Called when another database, or an older state of it, answers; after the reset. */
  readonly onDatabaseReplaced?: () => void;
  /** Called when the caches of all features are loaded. */
  readonly start?: () => void | Promise<void>;
  /** Called after the last request, in the reverse order of the features. */
  readonly stop?: () => void | Promise<void>;
}
