// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Feed } from './feed';
import { kernel, LIVE, tab } from './spec/double';

let look: (away: boolean) => void;
let feed: Feed;
let changes: number;

beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime(1_800_000_000_000);
  look = tab();
  feed = new Feed();
  changes = 0;
  feed.changed.connect(() => (changes += 1));
});

afterEach(() => {
  feed.dispose();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe('Feed', () => {
  it('takes garbage for no data', () => {
    feed.take(LIVE);
    for (const garbage of [null, 7, 'x', [], { state: 'live' }, { ...LIVE, memory_used_bytes: '9' }]) {
      feed.take(garbage);
      expect(feed.sample).toBeNull();
    }
  });

  it('tells nobody and runs no timer in a hidden tab', () => {
    feed.take(LIVE);
    look(true);
    changes = 0;
    expect(vi.getTimerCount()).toBe(0);
    feed.take(LIVE);
    expect(changes).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
    look(false);
    expect(changes).toBe(1);
  });

  it('has no number that went stale in a hidden tab', () => {
    feed.take(LIVE);
    look(true);
    vi.setSystemTime(Date.now() + 3_600_000);
    look(false);
    expect(feed.sample).toBeNull();
  });

  it('does not let an answer overtake an event', () => {
    feed.take({ ...LIVE, memory_used_bytes: 5 });
    feed.seed({ ...LIVE, memory_used_bytes: 3 });
    expect(feed.sample?.usedBytes).toBe(5);
  });

  it('keeps ten minutes of samples and one a minute before them', () => {
    for (let i = 0; i < 3600; i += 1) {
      vi.setSystemTime(Date.now() + 1000);
      feed.take(LIVE);
    }
    const { points } = feed;
    expect(points.length).toBeLessThan(700 + 60);
    const times = points.map(point => point.atMs);
    expect([...times].sort((a, b) => a - b)).toEqual(times);
    expect(times[times.length - 1] - times[0]).toBeGreaterThan(50 * 60_000);
  });

  it('leaves a hole where there was no data', () => {
    feed.take(LIVE);
    vi.setSystemTime(Date.now() + 5000);
    feed.take({ state: 'no_data' });
    expect(feed.points.map(point => point.usedBytes)).toEqual([LIVE.memory_used_bytes, null]);
  });

  it('reads the server\'s clock where it is an hour off, and takes no notice of a second', () => {
    const now = Date.now();
    feed.take({ ...LIVE, time: new Date(now + 3_600_000).toISOString() });
    expect(feed.serverNow()).toBe(now + 3_600_000);
    expect(feed.toLocal(now + 3_600_000)).toBe(now);
    feed.take({ ...LIVE, time: new Date(now - 1000).toISOString() });
    expect(feed.serverNow()).toBe(now);
  });

  it('counts on each second what grows evenly, keeps only what was measured, and stops by itself', () => {
    const used = LIVE.memory_used_bytes;
    feed.take({ ...LIVE, drift_bytes_per_second: 1000 });
    changes = 0;
    vi.advanceTimersByTime(10_000);
    expect(changes).toBe(10);
    expect(feed.sample?.usedBytes).toBe(used + 10_000);
    expect(feed.points.map(point => point.usedBytes)).toEqual([used]);
    vi.advanceTimersByTime(60_000);
    expect(feed.sample?.usedBytes).toBe(used + 30_000);
    expect(changes).toBe(30);
  });

  it('counts nothing in a hidden tab, and has counted when somebody looks', () => {
    feed.take({ ...LIVE, drift_bytes_per_second: 1000 });
    look(true);
    changes = 0;
    vi.advanceTimersByTime(10_000);
    expect(changes).toBe(0);
    look(false);
    expect(changes).toBe(1);
    expect(feed.sample?.usedBytes).toBe(LIVE.memory_used_bytes + 10_000);
  });

  it('makes nothing younger when the clock is set back', () => {
    feed.take({ ...LIVE, drift_bytes_per_second: 1000, seconds_to_limit: 50 });
    vi.setSystemTime(Date.now() - 3_600_000);
    expect(feed.sample?.usedBytes).toBe(LIVE.memory_used_bytes);
    expect(feed.sample?.secondsToLimit).toBe(50);
  });

  it('has a sparkline for each workload that is there, and forgets the others', () => {
    feed.take({ ...LIVE, workloads: [kernel('a', 'a.ipynb', 1), kernel('b', 'b.ipynb', 2)] });
    feed.take({ ...LIVE, workloads: [kernel('a', 'a.ipynb', 3)] });
    expect(feed.sparkOf('kernel:a').length).toBe(2);
    expect(feed.sparkOf('kernel:b')).toEqual([]);
    for (let i = 0; i < 200; i += 1) {
      feed.take({ ...LIVE, workloads: [kernel('a', 'a.ipynb', i)] });
    }
    expect(feed.sparkOf('kernel:a').length).toBe(60);
  });

  it('goes on after the server was started again under an open tab', () => {
    feed.take({ ...LIVE, workloads: [kernel('old', 'a.ipynb', 1)] });
    feed.take({ state: 'no_data' });
    expect(feed.sample).toBeNull();
    feed.take({ ...LIVE, workloads: [kernel('new', 'a.ipynb', 1)] });
    expect(feed.sample?.workloads.map(one => one.id)).toEqual(['new']);
    expect(feed.sparkOf('kernel:old')).toEqual([]);
  });

  it('has no data as soon as nobody answers', () => {
    feed.take(LIVE);
    feed.lose();
    expect(feed.sample).toBeNull();
  });

  it('leaves no timer behind', () => {
    feed.take(LIVE);
    feed.dispose();
    expect(vi.getTimerCount()).toBe(0);
  });
});
