// History as the collector or the agent tells it, in columns, made into points of this browser's time.

import type { IPoint } from './feed';
import { isRecord, list, size, text, time } from './json';
import type { ISpan } from './requests';

export type Range = 'minutes' | 'hours' | 'days';

/** What a range asks for, and how wide it is. */
export const RANGES: Record<Range, { readonly span: ISpan; readonly widthMs: number }> = {
  minutes: { span: { from: '-10m' }, widthMs: 10 * 60_000 },
  hours: { span: { from: '-6h', step: '1m' }, widthMs: 6 * 3_600_000 },
  days: { span: { from: '-7d', step: '30m' }, widthMs: 7 * 86_400_000 }
};

export interface IHistory {
  readonly points: readonly IPoint[];
  /** The agent alone knows ten minutes. */
  readonly source: 'collector' | 'agent';
  /** How far the teller's clock is before this browser's. */
  readonly skewMs: number;
}

/** More points than any picture has. */
const POINTS_MAX = 2000;
/** The longest interval there is: what came after more than that came after a hole. */
const INTERVAL_MS_MAX = 60_000;

/** Reads an answer that came at `nowMs`; null when it is none. */
export function parseHistory(raw: unknown, nowMs: number): IHistory | null {
  if (!isRecord(raw) || !isRecord(raw.columns)) {
    return null;
  }
  const { columns } = raw;
  // What the teller calls now is now, whatever its clock says.
  const toMs = time(raw.to);
  const skewMs = toMs === null ? 0 : toMs - nowMs;
  const column = (name: string) => list(columns[name], POINTS_MAX);
  const used = column('memory_used_bytes');
  const limits = column('memory_limit_bytes');
  const cores = column('cpu_cores');
  const holds = holdsOf(size(raw.step_ms), column('interval_ms'));
  const points = column('time').flatMap((at, i) => {
    const atMs = time(at);
    return atMs === null
      ? []
      : [
          {
            atMs: atMs - skewMs,
            usedBytes: size(used[i]),
            limitBytes: size(limits[i]) || null,
            cores: size(cores[i]),
            holdsMs: holds(i)
          }
        ];
  });
  points.sort((a, b) => a.atMs - b.atMs);
  return { points, source: text(raw.source) === 'agent' ? 'agent' : 'collector', skewMs };
}

/**
 * For how long each row speaks. A sample says how long ago the one before was, which after a hole is the hole;
 * the next one then says the usual.
 */
function holdsOf(stepMs: number | null, intervals: readonly unknown[]): (i: number) => number {
  const interval = (i: number) => size(intervals[i]) || INTERVAL_MS_MAX;
  return i => stepMs || Math.min(interval(i), interval(i + 1), INTERVAL_MS_MAX);
}

/** What was told, and after it what was seen since. */
export function joined(told: readonly IPoint[], seen: readonly IPoint[]): readonly IPoint[] {
  const last = told[told.length - 1]?.atMs ?? -Infinity;
  return [...told, ...seen.filter(point => point.atMs > last)];
}
