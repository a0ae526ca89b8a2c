import { describe, expect, it } from 'vitest';

import { countedOn, isMoving, parseSample } from './sample';
import { GIB, kernel, LIVE, MIB } from './spec/double';

describe('parseSample', () => {
  it('takes nothing but a live sample with a figure', () => {
    expect(parseSample(LIVE)).not.toBeNull();
    for (const bad of [
      null,
      undefined,
      7,
      'live',
      [],
      {},
      { ...LIVE, state: 'no_data' },
      { ...LIVE, memory_used_bytes: null },
      { ...LIVE, memory_used_bytes: '1' },
      { ...LIVE, memory_used_bytes: -1 },
      { ...LIVE, memory_used_bytes: NaN }
    ]) {
      expect(parseSample(bad)).toBeNull();
    }
  });

  it('reads garbage beside the figure as unknown', () => {
    const sample = parseSample({ ...LIVE, memory_limit_bytes: 'x', workloads: [null, 3, { kind: 4 }] });
    expect(sample?.limitBytes).toBeNull();
    expect(sample?.workloads.length).toBe(1);
    expect(sample?.workloads[0]).toMatchObject({ kind: 'other', name: '', memoryUsedBytes: null, state: null });
  });

  it('takes as unknown what an older server extension does not send', () => {
    const sample = parseSample(LIVE)!;
    expect(sample.jobEndsInSeconds).toBeNull();
    expect(sample.agentRssBytes).toBeNull();
    expect(sample.atMs).toBeNull();
    expect(sample.workloadsLeftOut).toBe(0);
  });

  it('calls a workload by its notebook without the folder, else by its name, else by its id', () => {
    const rows = [
      { kind: 'kernel', id: 'a', notebook: 'deep/er/train.ipynb', name: 'python3' },
      { kind: 'kernel', id: 'b', notebook: null, name: 'julia' },
      { kind: 'kernel', id: 'c' }
    ];
    const sample = parseSample({ ...LIVE, workloads: rows })!;
    expect(sample.workloads.map(one => one.name)).toEqual(['train.ipynb', 'julia', 'c']);
    expect(sample.workloads[0].notebook).toBe('deep/er/train.ipynb');
  });

  it('takes no more rows and no longer names than a page can bear', () => {
    const rows = Array.from({ length: 9000 }, (_, i) => ({ kind: 'kernel', id: `k${i}`, name: 'n'.repeat(4000) }));
    const sample = parseSample({ ...LIVE, workloads: rows })!;
    expect(sample.workloads.length).toBe(500);
    expect(sample.workloads[0].name.length).toBe(300);
  });
});

describe('countedOn', () => {
  const GROWING = {
    ...LIVE,
    memory_used_bytes: 2 * GIB,
    trend_bytes_per_second: 20 * MIB,
    drift_bytes_per_second: 20 * MIB,
    seconds_to_limit: 102,
    seconds_to_limit_low: 5,
    seconds_to_limit_high: null,
    workloads: [
      kernel('a', 'a.ipynb', 900, { drift_bytes_per_second: 18 * MIB }),
      kernel('b', 'b.ipynb', 80, { drift_bytes_per_second: null })
    ]
  };
  const growing = (over: object = {}) => parseSample({ ...GROWING, ...over })!;

  it('goes on with what grows evenly, of the server and of a workload, and leaves the others', () => {
    const later = countedOn(growing(), 10);
    expect(later.usedBytes).toBe(2 * GIB + 200 * MIB);
    expect(later.workloads.map(one => one.memoryUsedBytes)).toEqual([1080 * MIB, 80 * MIB]);
  });

  it('counts the time that is left down, and no further than to nothing', () => {
    const later = countedOn(growing(), 10);
    expect([later.secondsToLimit, later.secondsToLimitLow, later.secondsToLimitHigh]).toEqual([92, 0, null]);
    expect(countedOn(growing({ job_ends_in_seconds: 60 }), 10).jobEndsInSeconds).toBe(50);
  });

  it('stands still where nothing is known to grow', () => {
    const still = parseSample({ ...LIVE, trend_bytes_per_second: 20 * MIB })!;
    expect(countedOn(still, 10)).toEqual(still);
    expect(growing({ drift_bytes_per_second: -5 }).driftBytesPerSecond).toBeNull();
  });

  it('goes no further than half a minute, and never up to a limit that is not reached', () => {
    const far = countedOn(growing({ memory_limit_bytes: 400 * GIB }), 3600);
    expect(far.usedBytes).toBe(2 * GIB + 600 * MIB);
    expect(countedOn(growing({ memory_used_bytes: 3.9 * GIB }), 30).usedBytes).toBe(0.99 * 4 * GIB);
    expect(countedOn(growing({ memory_used_bytes: 5 * GIB }), 30).usedBytes).toBe(5 * GIB);
    expect(countedOn(growing({ memory_limit_bytes: null }), 30).usedBytes).toBe(2 * GIB + 600 * MIB);
  });

  it('moves each second while it counts, and while seconds are shown', () => {
    expect(isMoving(growing(), 29)).toBe(true);
    expect(isMoving(growing({ drift_bytes_per_second: null }), 0), 'two minutes').toBe(false);
    expect(isMoving(growing({ drift_bytes_per_second: null, seconds_to_limit: 60 }), 30)).toBe(true);
    expect(isMoving(growing({ seconds_to_limit: null }), 31)).toBe(false);
    expect(isMoving(parseSample(LIVE)!, 1)).toBe(false);
  });
});
