import { describe, expect, it } from 'vitest';

import { ITranslate, levelOf, parseSample, viewOf } from './model';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;

/** Fills in %1, %2 as gettext bundles do. */
const trans: ITranslate = {
  __: (id, ...args) => id.replace(/%(\d)/g, (_, n) => String(args[Number(n) - 1])),
  _n: (id, plural, n) => (n === 1 ? id : plural)
};

const LIVE = {
  state: 'live',
  interval_ms: 5000,
  memory_used_bytes: 1.2 * GIB,
  memory_limit_bytes: 4 * GIB,
  memory_limit_source: 'cgroup2:/user.slice',
  memory_limit_enforced: true,
  memory_limit_shared: false,
  memory_source: 'cgroup2',
  trend_bytes_per_second: null,
  seconds_to_limit: null,
  seconds_to_limit_low: null,
  seconds_to_limit_high: null,
  workloads: []
};

const view = (over: object) => viewOf(parseSample({ ...LIVE, ...over }), 'binary', trans);

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
    expect(sample?.workloads).toEqual([{ kind: 'other', name: '', memoryUsedBytes: null }]);
  });
});

describe('levelOf', () => {
  const level = (over: object) => levelOf(parseSample({ ...LIVE, ...over })!);
  const growing = (seconds: number, used = 2 * GIB) => ({
    memory_used_bytes: used,
    trend_bytes_per_second: 52 * MIB,
    seconds_to_limit: seconds
  });

  it('is calm in the middle, and where there is no limit', () => {
    expect(level({})).toBe('calm');
    expect(level({ memory_used_bytes: 900 * GIB, memory_limit_bytes: null })).toBe('calm');
    expect(level({ memory_used_bytes: 900 * GIB, memory_limit_bytes: 0 })).toBe('calm');
  });

  it('goes by the share in use', () => {
    expect(level({ memory_used_bytes: 3.3 * GIB })).toBe('rising');
    expect(level({ memory_used_bytes: 3.9 * GIB })).toBe('critical');
    expect(level({ memory_used_bytes: 5 * GIB })).toBe('critical');
  });

  it('goes by the time that is left', () => {
    expect(level(growing(1000))).toBe('calm');
    expect(level(growing(300))).toBe('rising');
    expect(level(growing(18))).toBe('critical');
  });

  it('does not cry at a kernel that loads its data into an empty server', () => {
    expect(level(growing(18, 0.2 * GIB))).toBe('calm');
  });

  it('does not cry when memory falls', () => {
    expect(level({ ...growing(18), trend_bytes_per_second: -1e7 })).toBe('calm');
  });
});

describe('viewOf', () => {
  it('is one calm figure when all is well', () => {
    const calm = view({ trend_bytes_per_second: 52 * MIB, seconds_to_limit: 4000 });
    expect(calm.text).toBe('1.2 / 4.0 GiB');
    expect(calm.level).toBe('calm');
    expect(calm.share).toBeCloseTo(0.3);
    expect(calm.label).toBe('Memory: 1.2 / 4.0 GiB, calm, 30% used');
  });

  it('says how fast and how long when it matters', () => {
    const critical = view({
      memory_used_bytes: 3 * GIB,
      trend_bytes_per_second: 52 * MIB,
      seconds_to_limit: 18,
      seconds_to_limit_low: 12,
      seconds_to_limit_high: 30
    });
    expect(critical.text).toBe('3.0 / 4.0 GiB, +52 MiB/s, full in 18 s');
    expect(critical.label).toContain('critical, 75% used');
    expect(critical.title).toContain('At this pace full in 12 s to 30 s');
  });

  it('has a word for the state where there is no trend: never colour alone', () => {
    expect(view({ memory_used_bytes: 3.4 * GIB }).text).toBe('3.4 / 4.0 GiB, high, 85% used');
    expect(view({ memory_used_bytes: 3.9 * GIB }).text).toBe('3.9 / 4.0 GiB, critical, 98% used');
    expect(view({ memory_used_bytes: 3.9 * GIB }).label).toBe('Memory: 3.9 / 4.0 GiB, critical, 98% used');
  });

  it('shows no number without data', () => {
    const none = viewOf(null, 'binary', trans);
    expect(none.level).toBe('no-data');
    expect(none.share).toBeNull();
    expect(`${none.text}${none.title}${none.label}`).not.toMatch(/\d/);
  });

  it('shows the figure alone when no limit is known', () => {
    const free = view({ memory_limit_bytes: null });
    expect(free.text).toBe('1.2 GiB');
    expect(free.share).toBeNull();
    expect(free.label).toBe('Memory: 1.2 GiB, no limit known');
  });

  it('keeps the meter within its ends when a limit is lower than use', () => {
    const over = view({ memory_used_bytes: 5 * GIB, memory_limit_enforced: false });
    expect(over.share).toBe(1);
    expect(over.text).toContain('125% used');
    expect(over.title).toContain('what this server was given');
  });

  it('counts down no further when the limit is passed', () => {
    const over = view({
      memory_used_bytes: 4.2 * GIB,
      trend_bytes_per_second: 16 * MIB,
      seconds_to_limit: 0
    });
    expect(over.text).toBe('4.2 / 4.0 GiB, +16 MiB/s, over the limit');
  });

  it('makes no forecast while all is calm', () => {
    const start = { trend_bytes_per_second: 52 * MIB, seconds_to_limit: 4000, seconds_to_limit_low: 120 };
    expect(view({ ...start, seconds_to_limit_high: 9000 }).title).not.toContain('At this pace');
  });

  it('names no workload that uses nothing', () => {
    const workloads = [{ kind: 'other', memory_used_bytes: 0 }];
    expect(view({ workloads }).title).not.toContain('Other processes');
  });

  it('names what is counted and where the limit is from', () => {
    expect(view({}).title).toContain('control group');
    expect(view({ memory_source: 'pss' }).title).toContain('shared memory once');
    expect(view({ memory_limit_source: 'machine' }).title).toContain('Limit: the memory of this machine');
    expect(view({ memory_limit_shared: true }).title).toContain('shared with others');
  });

  it('keeps names to one line of bearable length', () => {
    const row = (notebook: string) => ({ kind: 'kernel', notebook, memory_used_bytes: 1 });
    const { title } = view({
      workloads: [row('<img src=x onerror=alert(1)>\n\u202Eevil'), row('n'.repeat(4000))]
    });
    const lines = title.split('\n').slice(-2);
    expect(lines[0]).toBe('<img src=x onerror=alert(1)>  evil: 1 B');
    expect(lines[1]).toBe(`${'n'.repeat(40)}…: 1 B`);
  });

  it('lists the largest few workloads only', () => {
    const workloads = Array.from({ length: 500 }, (_, i) => ({
      kind: 'kernel',
      name: `k${i}`,
      memory_used_bytes: 1000 - i
    }));
    expect(view({ workloads }).title.split('\n').length).toBeLessThan(10);
  });
});
