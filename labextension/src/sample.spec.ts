import { describe, expect, it } from 'vitest';

import { parseSample } from './sample';
import { LIVE } from './spec/double';

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
