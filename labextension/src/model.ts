// What the meter says, made from what the agent measured. Pure: no clock, no page, no request.
// Unknown stays unknown: without a sample there is no number, old or new.

import { bytes, duration, percent, rate, Units, usedOfLimit } from './format';
import { ISample, secondsLeft, shareOf } from './sample';
import type { ITranslate } from './translation';
import { titleOf } from './workload';

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
/** A job that ends later than this ends nothing that somebody works at now. */
const JOB_ENDS_SECONDS = 30 * 60;

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
  const reason = reasonText(sample, level, units, trans);
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

/** When all is well one calm figure and no reason; else the state in words: never colour alone. */
function reasonText(sample: ISample, level: Level, units: Units, trans: ITranslate): string | null {
  const job = jobText(sample, trans);
  if (job !== null || level === 'calm') {
    return job;
  }
  const trend = trendText(sample, units, trans);
  if (trend === null) {
    return stateText(level, shareOf(sample), sample.trendBytesPerSecond, trans);
  }
  const grows = (sample.trendBytesPerSecond ?? 0) > 0;
  if (level === 'critical') {
    return trans.__('critical, %1', trend);
  }
  return grows ? trans.__('rising, %1', trend) : trans.__('high, %1', trend);
}

/** What ends it first: the job, if it ends before memory is full. */
function jobText(sample: ISample, trans: ITranslate): string | null {
  const ends = sample.jobEndsInSeconds;
  if (ends === null || ends > JOB_ENDS_SECONDS || (secondsLeft(sample) ?? Infinity) <= ends) {
    return null;
  }
  return trans.__('job ends in %1', duration(ends));
}

export function trendText(sample: ISample, units: Units, trans: ITranslate): string | null {
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

/** How it is, in a word and a figure. */
export function stateText(
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
    lines.push(trans.__('%1: %2', titleOf(one, trans), bytes(one.memoryUsedBytes ?? 0, units)));
  }
  return lines;
}

/** What the figure is made of. */
export function countedText(source: string | null, trans: ITranslate): string {
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

/** Where the limit comes from and what it does. */
export function limitText(sample: ISample, trans: ITranslate): string {
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
