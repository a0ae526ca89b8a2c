import { describe, expect, it } from 'vitest';

import { pathOf, runsOf, sparkPath, spreadOf, topOf, xOf } from './chart';
import type { IPoint } from './feed';

const point = (atMs: number, usedBytes: number | null, holdsMs = 5_000): IPoint => ({
  atMs,
  usedBytes,
  limitBytes: null,
  cores: null,
  holdsMs
});
const used = (one: IPoint) => one.usedBytes;
const FRAME = { width: 100, height: 10, fromMs: 0, toMs: 100_000, max: 10 };

describe('runsOf', () => {
  it('has a hole where nothing was measured or nothing is known', () => {
    const points = [
      ...[0, 5, 10].map(s => point(s * 1000, 1)),
      point(15_000, null),
      ...[20, 25, 37, 50].map(s => point(s * 1000, 1)),
      point(63_000, 1)
    ];
    // A beat that was left out is none; more than two and a half are.
    expect(runsOf(points, used, 0).map(run => run.length)).toEqual([3, 3, 1, 1]);
  });

  it('bridges what a figure speaks for, be it half an hour, and no more', () => {
    const points = Array.from({ length: 50 }, (_, i) => point(i * 1_800_000, 1, 1_800_000));
    expect(runsOf(points, used, 0).length).toBe(1);
    expect(runsOf(points.filter((_, i) => i < 20 || i > 22), used, 0).length).toBe(2);
  });

  it('goes over from samples to figures that come once a minute without a hole', () => {
    const points = [point(0, 1), point(5_000, 1), point(65_000, 1, 60_000), point(125_000, 1, 60_000)];
    expect(runsOf(points, used, 0).length).toBe(1);
    expect(runsOf([...points, point(280_000, 1, 60_000)], used, 0).length).toBe(2);
  });

  it('begins where the picture begins', () => {
    expect(runsOf([point(0, 1), point(5, 2)], used, 3)).toEqual([[[5, 2]]]);
    expect(runsOf([], used, 0)).toEqual([]);
  });
});

describe('pathOf', () => {
  it('draws a line, and the area under it', () => {
    const run = [[0, 0], [50_000, 5], [100_000, 10]] as const;
    expect(pathOf(run, FRAME, false)).toBe('M0 10L50 5L100 0');
    expect(pathOf(run, FRAME, true)).toBe('M0 10L50 5L100 0V10H0Z');
  });

  it('stays in the picture where use is above the limit or a time beside it', () => {
    expect(pathOf([[200_000, 99]], FRAME, false)).toBe('M100 0h1');
    expect(xOf(-5, FRAME)).toBe(0);
  });
});

describe('topOf', () => {
  it('ends at the limit where use is near it, else above the most', () => {
    expect(topOf(3, 4)).toBeCloseTo(4.16);
    expect(topOf(5, 4)).toBeCloseTo(5.2);
    expect(topOf(1, 128)).toBeCloseTo(1.25);
    expect(topOf(1, null)).toBeCloseTo(1.25);
    expect(topOf(0, null)).toBe(1);
  });
});

describe('spreadOf', () => {
  it('is null where nothing is known', () => {
    expect(spreadOf([point(1, null)], used, 0)).toBeNull();
    expect(spreadOf([point(1, 4), point(2, 2), point(3, null)], used, 0)).toEqual({ low: 2, high: 4, last: null });
  });
});

describe('sparkPath', () => {
  it('makes no hill of noise', () => {
    const heights = (values: number[]) =>
      [...sparkPath(values, 40, 16).matchAll(/ ([\d.]+)/g)].map(([, y]) => Number(y));
    const flat = heights([1000, 1001, 1000]);
    expect(Math.max(...flat) - Math.min(...flat)).toBeLessThan(1);
    expect(heights([0, 1000])).toEqual([16, 0]);
    expect(sparkPath([0, 0], 40, 16)).not.toContain('NaN');
  });
});
