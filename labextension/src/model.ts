// What the meter says, made from what the agent measured. Pure: no clock, no page, no request.
// Unknown stays unknown: without a sample there is no number, old or new.

import { bytes, duration, percent, rate, Units, usedOfLimit } from './format';

/** The part of a translation bundle that we use. */
export interface ITranslate {
  __(msgid: string, ...args: any[]): string;
  _n(msgid: string, plural: string, n: number, ...args: any[]): string;
}

export interface IWorkload {
  readonly kind: string;
  readonly name: string;
  readonly memoryUsedBytes: number | null;
}

export interface ISample {
  readonly intervalMs: number;
  readonly usedBytes: number;
  readonly limitBytes: number | null;
  readonly limitSource: string | null;
  readonly limitEnforced: boolean | null;
  readonly limitShared: boolean | null;
  readonly memorySource: string | null;
  readonly trendBytesPerSecond: number | null;
  readonly secondsToLimit: number | null;
  readonly secondsToLimitLow: number | null;
  readonly secondsToLimitHigh: number | null;
  readonly workloads: readonly IWorkload[];
}

export type Level = 'no-data' | 'calm' | 'rising' | 'critical';

/** What is on the screen. */
export interface IView {
  readonly level: Level;
  /** Share of the limit in use, 0 to 1; null without a limit. */
  readonly share: number | null;
  /** The line in the status bar. */
  readonly text: string;
  /** The line and what stands behind it: tooltip. */
  readonly title: string;
  /** For a screen reader: the line, its state in a word. */
  readonly label: string;
}

const RISING_SHARE = 0.8;
const CRITICAL_SHARE = 0.95;
const RISING_SECONDS = 15 * 60;
const CRITICAL_SECONDS = 60;
/** A forecast below this share of the limit is a kernel that loads its data, not a danger. */
const FORECAST_SHARE_MIN = 0.25;
/** Slower than this is noise to a reader. */
const TREND_BYTES_PER_SECOND_MIN = 64 * 1024;
/** As many workloads as a tooltip can bear. */
const WORKLOADS_SHOWN = 5;
const NAME_CHARS_MAX = 40;

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
    intervalMs: size(raw.interval_ms) ?? 0,
    usedBytes,
    limitBytes: limitBytes === 0 ? null : limitBytes,
    limitSource: text(raw.memory_limit_source),
    limitEnforced: flag(raw.memory_limit_enforced),
    limitShared: flag(raw.memory_limit_shared),
    memorySource: text(raw.memory_source),
    trendBytesPerSecond: number(raw.trend_bytes_per_second),
    secondsToLimit: size(raw.seconds_to_limit),
    secondsToLimitLow: size(raw.seconds_to_limit_low),
    secondsToLimitHigh: size(raw.seconds_to_limit_high),
    workloads: Array.isArray(raw.workloads) ? raw.workloads.filter(isRecord).map(workload) : []
  };
}

/** How grave it is. */
export function levelOf(sample: ISample): Level {
  const share = shareOf(sample);
  if (share === null) {
    return 'calm';
  }
  const left = share >= FORECAST_SHARE_MIN ? secondsLeft(sample) : null;
  if (share >= CRITICAL_SHARE || (left !== null && left <= CRITICAL_SECONDS)) {
    return 'critical';
  }
  return share >= RISING_SHARE || (left !== null && left <= RISING_SECONDS) ? 'rising' : 'calm';
}

/** Everything that the meter shows. */
export function viewOf(sample: ISample | null, units: Units, trans: ITranslate): IView {
  if (sample === null) {
    const title = trans.__('Memory: no data. The agent that measures it does not answer.');
    return { level: 'no-data', share: null, text: trans.__('Memory: no data'), title, label: title };
  }
  const level = levelOf(sample);
  const share = shareOf(sample);
  const amount =
    sample.limitBytes === null
      ? bytes(sample.usedBytes, units)
      : usedOfLimit(sample.usedBytes, sample.limitBytes, units);
  const state = stateText(level, share, sample.trendBytesPerSecond, trans);
  // When all is well one calm figure; else the reason too, in words: never colour alone.
  const reason = level === 'calm' ? null : (trendText(sample, units, trans) ?? state);
  const line = reason === null ? amount : trans.__('%1, %2', amount, reason);
  const sentence = reason === state ? line : trans.__('%1, %2', line, state);
  return {
    level,
    share: share === null ? null : Math.min(share, 1),
    text: line,
    title: [trans.__('Memory: %1', sentence), ...details(sample, level, units, trans)].join('\n'),
    label: trans.__('Memory: %1', sentence)
  };
}

function trendText(sample: ISample, units: Units, trans: ITranslate): string | null {
  const trend = sample.trendBytesPerSecond;
  if (trend === null || Math.abs(trend) < TREND_BYTES_PER_SECOND_MIN) {
    return null;
  }
  if ((shareOf(sample) ?? 0) >= 1) {
    return trans.__('%1, over the limit', rate(trend, units));
  }
  const left = secondsLeft(sample);
  return left === null
    ? rate(trend, units)
    : trans.__('%1, full in %2', rate(trend, units), duration(left));
}

function stateText(
  level: Level,
  share: number | null,
  trend: number | null,
  trans: ITranslate
): string {
  if (share === null) {
    return trans.__('no limit known');
  }
  switch (level) {
    case 'critical':
      return trans.__('critical, %1 used', percent(share));
    case 'rising':
      return trend !== null && trend >= TREND_BYTES_PER_SECOND_MIN
        ? trans.__('rising, %1 used', percent(share))
        : trans.__('high, %1 used', percent(share));
    default:
      return trans.__('calm, %1 used', percent(share));
  }
}

function details(sample: ISample, level: Level, units: Units, trans: ITranslate): string[] {
  const lines = [countedText(sample.memorySource, trans)];
  if (sample.limitBytes !== null) {
    lines.push(limitText(sample, trans));
  }
  const { secondsToLimitLow: low, secondsToLimitHigh: high } = sample;
  if (level !== 'calm' && secondsLeft(sample) !== null && low !== null) {
    lines.push(
      high === null
        ? trans.__('At this pace full in %1 or later', duration(low))
        : trans.__('At this pace full in %1 to %2', duration(low), duration(high))
    );
  }
  const shown = sample.workloads.filter(one => (one.memoryUsedBytes ?? 0) > 0);
  for (const one of shown.slice(0, WORKLOADS_SHOWN)) {
    lines.push(trans.__('%1: %2', nameOf(one, trans), bytes(one.memoryUsedBytes ?? 0, units)));
  }
  return lines;
}

function countedText(source: string | null, trans: ITranslate): string {
  switch (source) {
    case 'cgroup2':
    case 'cgroup1':
      return trans.__('Counted: all of this server that cannot be given back, by its control group');
    case 'pss':
      return trans.__('Counted: all processes of this server, shared memory once');
    case 'rss':
      return trans.__('Counted: all processes of this server; shared memory may count more than once');
    default:
      return trans.__('Counted: all processes of this server');
  }
}

function limitText(sample: ISample, trans: ITranslate): string {
  const source = sample.limitSource ?? '';
  if (source === 'machine') {
    return trans.__('Limit: the memory of this machine');
  }
  if (sample.limitShared === true) {
    return trans.__('Limit: shared with others, enforced by the system');
  }
  if (sample.limitEnforced === false) {
    return trans.__('Limit: what this server was given; passing it is not stopped by the system');
  }
  return trans.__('Limit: enforced by the system; passing it ends a process');
}

function nameOf(one: IWorkload, trans: ITranslate): string {
  if (one.kind === 'server') {
    return trans.__('Jupyter itself');
  }
  if (one.kind === 'other') {
    return trans.__('Other processes');
  }
  // A name may hold anything: one line of it, of bearable length.
  const name = one.name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ');
  const chars = [...name];
  const short = chars.length > NAME_CHARS_MAX ? `${chars.slice(0, NAME_CHARS_MAX).join('')}…` : name;
  return one.kind === 'terminal' ? trans.__('Terminal %1', short) : short;
}

function shareOf(sample: ISample): number | null {
  return sample.limitBytes === null ? null : sample.usedBytes / sample.limitBytes;
}

/** Only growth fills memory: a forecast beside a falling trend is not shown. */
function secondsLeft(sample: ISample): number | null {
  return (sample.trendBytesPerSecond ?? 0) > 0 ? sample.secondsToLimit : null;
}

function workload(raw: Record<string, unknown>): IWorkload {
  return {
    kind: text(raw.kind) ?? 'other',
    name: text(raw.notebook) ?? text(raw.name) ?? text(raw.id) ?? '',
    memoryUsedBytes: size(raw.memory_used_bytes)
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function number(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

function size(value: unknown): number | null {
  const found = number(value);
  return found !== null && found >= 0 ? found : null;
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function flag(value: unknown): boolean | null {
  return typeof value === 'boolean' ? value : null;
}
