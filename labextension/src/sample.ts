// What the agent measured, as the event bus brings it. Unknown is null, never 0.

import { Fields, flag, isRecord, list, number, size, text, time } from './json';

export interface IWorkload {
  /** Kind and id: the same in every sample. */
  readonly key: string;
  readonly kind: string;
  readonly id: string;
  /** What a person knows it by; may hold anything. */
  readonly name: string;
  /** The notebook as it was told: a path from the server's root folder, or only its end. */
  readonly notebook: string | null;
  readonly state: string | null;
  readonly memoryUsedBytes: number | null;
  readonly cpuCores: number | null;
  readonly idleSeconds: number | null;
  readonly trendBytesPerSecond: number | null;
  /** How fast it grows, where it grows evenly. */
  readonly driftBytesPerSecond: number | null;
}

export interface ISample {
  /** When it was measured, by the server's clock. */
  readonly atMs: number | null;
  readonly intervalMs: number;
  readonly usedBytes: number;
  readonly limitBytes: number | null;
  readonly limitSource: string | null;
  readonly limitEnforced: boolean | null;
  readonly limitShared: boolean | null;
  readonly memorySource: string | null;
  readonly rssBytes: number | null;
  readonly workingSetBytes: number | null;
  readonly swapBytes: number | null;
  readonly shmBytes: number | null;
  readonly trendBytesPerSecond: number | null;
  /** How fast memory grows, where it grows evenly: what one may count on by until the next event. */
  readonly driftBytesPerSecond: number | null;
  readonly secondsToLimit: number | null;
  readonly secondsToLimitLow: number | null;
  readonly secondsToLimitHigh: number | null;
  readonly jobEndsInSeconds: number | null;
  readonly cpuCores: number | null;
  readonly processes: number | null;
  readonly agentCpuMillis: number | null;
  readonly agentRssBytes: number | null;
  readonly agentUpSeconds: number | null;
  /** How the agent stands with its collector. */
  readonly linkState: string | null;
  readonly workloads: readonly IWorkload[];
  readonly workloadsLeftOut: number;
}

/** More rows than an event has; whoever sends more is not ours. */
const WORKLOADS_MAX = 500;
/** A file name's length, and a folder or two. */
const NAME_CHARS_MAX = 300;
/** The longest path there is. */
const PATH_CHARS_MAX = 4096;
const ID_CHARS_MAX = 128;
/** So long one counts on by oneself, and never up to the limit; `drift.py` has the same figures. */
const COUNTED_SECONDS_MAX = 30;
const COUNTED_SHARE_MAX = 0.99;
/** A time that is left is shown in seconds below this. */
const SECONDS_SHOWN_MAX = 100;

/** Reads an event or the `meter` of `api/metrics/v1`; null when it says "no data" or says nothing sane. */
export function parseSample(raw: unknown): ISample | null {
  if (!isRecord(raw) || raw.state !== 'live') {
    return null;
  }
  const usedBytes = size(raw.memory_used_bytes);
  if (usedBytes === null) {
    return null;
  }
  const limitBytes = size(raw.memory_limit_bytes);
  return {
    atMs: time(raw.time),
    intervalMs: size(raw.interval_ms) ?? 0,
    usedBytes,
    limitBytes: limitBytes === 0 ? null : limitBytes,
    limitSource: text(raw.memory_limit_source, PATH_CHARS_MAX),
    limitEnforced: flag(raw.memory_limit_enforced),
    limitShared: flag(raw.memory_limit_shared),
    memorySource: text(raw.memory_source, NAME_CHARS_MAX),
    rssBytes: size(raw.rss_bytes),
    workingSetBytes: size(raw.memory_working_set_bytes),
    swapBytes: size(raw.swap_bytes),
    shmBytes: size(raw.shm_bytes),
    trendBytesPerSecond: number(raw.trend_bytes_per_second),
    driftBytesPerSecond: size(raw.drift_bytes_per_second),
    secondsToLimit: size(raw.seconds_to_limit),
    secondsToLimitLow: size(raw.seconds_to_limit_low),
    secondsToLimitHigh: size(raw.seconds_to_limit_high),
    jobEndsInSeconds: size(raw.job_ends_in_seconds),
    cpuCores: size(raw.cpu_cores),
    processes: size(raw.processes),
    agentCpuMillis: size(raw.agent_cpu_millis),
    agentRssBytes: size(raw.agent_rss_bytes),
    agentUpSeconds: size(raw.agent_up_seconds),
    linkState: text(raw.link_state, NAME_CHARS_MAX),
    workloads: list(raw.workloads, WORKLOADS_MAX).filter(isRecord).map(workload),
    workloadsLeftOut: size(raw.workloads_left_out) ?? 0
  };
}

/** A share of the limit, 0 and up; null without a limit. */
export function shareOf(sample: ISample): number | null {
  return sample.limitBytes === null ? null : sample.usedBytes / sample.limitBytes;
}

/** Only growth fills memory: a forecast beside a falling trend is none. */
export function secondsLeft(sample: ISample): number | null {
  return (sample.trendBytesPerSecond ?? 0) > 0 ? sample.secondsToLimit : null;
}

/** The sample as it is so many seconds later, if all goes on as it did: the server's extension tells when it
 * does not (`by_now` in `notable.py` does the same). */
export function countedOn(sample: ISample, seconds: number): ISample {
  if (sample.driftBytesPerSecond === null && sample.secondsToLimit === null && sample.jobEndsInSeconds === null) {
    return sample;
  }
  const counted = Math.min(Math.max(seconds, 0), COUNTED_SECONDS_MAX);
  const later = (one: number | null) => (one === null ? null : Math.max(0, one - seconds));
  const most = sample.limitBytes === null ? Infinity : COUNTED_SHARE_MAX * sample.limitBytes;
  const grown = sample.usedBytes + counted * (sample.driftBytesPerSecond ?? 0);
  return {
    ...sample,
    usedBytes: Math.min(grown, Math.max(sample.usedBytes, most)),
    secondsToLimit: later(sample.secondsToLimit),
    secondsToLimitLow: later(sample.secondsToLimitLow),
    secondsToLimitHigh: later(sample.secondsToLimitHigh),
    jobEndsInSeconds: later(sample.jobEndsInSeconds),
    workloads: sample.workloads.map(one =>
      one.driftBytesPerSecond === null || one.memoryUsedBytes === null
        ? one
        : { ...one, memoryUsedBytes: one.memoryUsedBytes + counted * one.driftBytesPerSecond }
    )
  };
}

/** Whether what is shown of it is another with each second. */
export function isMoving(sample: ISample, seconds: number): boolean {
  const left = secondsLeft(sample);
  return (
    (sample.driftBytesPerSecond !== null && seconds < COUNTED_SECONDS_MAX) ||
    (left !== null && left > seconds && left - seconds < SECONDS_SHOWN_MAX)
  );
}

function workload(raw: Fields): IWorkload {
  const kind = text(raw.kind, ID_CHARS_MAX) ?? 'other';
  const id = text(raw.id, ID_CHARS_MAX) ?? '';
  const notebook = text(raw.notebook, PATH_CHARS_MAX);
  const name = notebook?.slice(notebook.lastIndexOf('/') + 1) || text(raw.name) || id;
  return {
    key: `${kind}:${id}`,
    kind,
    id,
    name: name.slice(0, NAME_CHARS_MAX),
    notebook,
    state: text(raw.state, ID_CHARS_MAX),
    memoryUsedBytes: size(raw.memory_used_bytes),
    cpuCores: size(raw.cpu_cores),
    idleSeconds: size(raw.idle_seconds),
    trendBytesPerSecond: number(raw.trend_bytes_per_second),
    driftBytesPerSecond: size(raw.drift_bytes_per_second)
  };
}
