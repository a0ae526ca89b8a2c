import { describe, expect, it } from 'vitest';

import { levelOf, viewOf } from './model';
import { parseSample } from './sample';
import { GIB, LIVE, MIB, trans } from './spec/double';

const view = (over: object) => viewOf(parseSample({ ...LIVE, ...over }), 'binary', trans);

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
    expect(critical.text).toBe('3.0 / 4.0 GiB, critical, +52 MiB/s, full in 18 s');
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
    expect(over.text).toBe('4.2 / 4.0 GiB, critical, +16 MiB/s, over the limit');
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

  it('says that the job ends where that comes before memory is full', () => {
    expect(view({ job_ends_in_seconds: 1080 }).text).toBe('1.2 / 4.0 GiB, job ends in 18 min');
    expect(view({ job_ends_in_seconds: 7200 }).text).toBe('1.2 / 4.0 GiB');
    const both = { job_ends_in_seconds: 600, trend_bytes_per_second: 52 * MIB, memory_used_bytes: 3 * GIB };
    expect(view({ ...both, seconds_to_limit: 18 }).text).toContain('full in 18 s');
    expect(view({ ...both, seconds_to_limit: 800 }).text).toContain('job ends in 10 min');
  });

  it('says rising with the word, not with the colour alone', () => {
    const rising = view({ memory_used_bytes: 2 * GIB, trend_bytes_per_second: 5 * MIB, seconds_to_limit: 400 });
    expect(rising.text).toBe('2.0 / 4.0 GiB, rising, +5 MiB/s, full in 7 min');
  });
});
