// Lines of a chart as SVG paths. Pure; where nothing was measured there is no line.

import type { IPoint } from './feed';

/** The box that is drawn in; the picture is stretched to the place there is. */
export interface IFrame {
  readonly width: number;
  readonly height: number;
  readonly fromMs: number;
  readonly toMs: number;
  readonly max: number;
}

export interface ISpread {
  readonly low: number;
  readonly high: number;
  readonly last: number | null;
}

/** Points further apart than this many times what they speak for have a hole between them. */
const HOLE_STEPS = 2.5;
/** A limit further away than this is not drawn: what is used would be a flat line. */
const LIMIT_SHARE_MIN = 0.25;

/** Runs of points without a hole. */
export function runsOf(
  points: readonly IPoint[],
  valueOf: (point: IPoint) => number | null,
  fromMs: number
): readonly (readonly (readonly [number, number])[])[] {
  const runs: (readonly [number, number])[][] = [];
  let before: IPoint | null = null;
  for (const point of points) {
    const value = valueOf(point);
    if (value === null) {
      before = null;
    } else if (point.atMs >= fromMs) {
      if (before === null || isHole(before, point)) {
        runs.push([]);
      }
      runs[runs.length - 1].push([point.atMs, value]);
      before = point;
    }
  }
  return runs;
}

function isHole(one: IPoint, next: IPoint): boolean {
  return next.atMs - one.atMs > HOLE_STEPS * Math.max(one.holdsMs, next.holdsMs);
}

/** A line through one run, with the area under it closed if asked for. */
export function pathOf(run: readonly (readonly [number, number])[], frame: IFrame, closed: boolean): string {
  const x = (atMs: number) => fixed(xOf(atMs, frame));
  const y = (value: number) => fixed(frame.height * (1 - Math.min(value / frame.max, 1)));
  const line = run.map(([atMs, value], i) => `${i === 0 ? 'M' : 'L'}${x(atMs)} ${y(value)}`).join('');
  // A lone point would be no line at all.
  const shown = run.length === 1 ? `${line}h1` : line;
  return closed
    ? `${shown}V${frame.height}H${x(run[0][0])}Z`
    : shown;
}

export function xOf(atMs: number, frame: IFrame): number {
  const share = (atMs - frame.fromMs) / (frame.toMs - frame.fromMs);
  return frame.width * Math.min(Math.max(share, 0), 1);
}

/** The least, the most and the newest; null where nothing is known. */
export function spreadOf(
  points: readonly IPoint[],
  valueOf: (point: IPoint) => number | null,
  fromMs: number
): ISpread | null {
  let low = Infinity;
  let high = -Infinity;
  for (const point of points) {
    const value = valueOf(point);
    if (value !== null && point.atMs >= fromMs) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  const end = points[points.length - 1];
  return high === -Infinity ? null : { low, high, last: end === undefined ? null : valueOf(end) };
}

/** Where the picture ends: at the limit where use comes near it, else a little above the most. */
export function topOf(high: number, limit: number | null): number {
  const most = Math.max(high, 0);
  if (limit !== null && most >= LIMIT_SHARE_MIN * limit) {
    return Math.max(most, limit) * 1.04;
  }
  return most * 1.25 || 1;
}

/** Changes smaller than this share of the figure are no hills. */
const SPARK_SHARE_MIN = 0.1;

/** A sparkline: as many steps as there are figures, from the least to the most. */
export function sparkPath(values: readonly number[], width: number, height: number): string {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const range = Math.max(high - low, SPARK_SHARE_MIN * high, 1);
  // What hardly moves runs through the middle.
  const base = (low + high - range) / 2;
  const step = width / Math.max(values.length - 1, 1);
  return values
    .map((value, i) => {
      const y = height - (height * (value - base)) / range;
      return `${i === 0 ? 'M' : 'L'}${fixed(i * step)} ${fixed(y)}`;
    })
    .join('');
}

function fixed(value: number): string {
  return String(Math.round(value * 10) / 10);
}
