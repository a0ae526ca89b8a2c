// @vitest-environment jsdom
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import type { Badge } from './badge';
import { ISample, parseSample } from './model';

const trans = {
  __: (id: string, ...args: unknown[]) => id.replace(/%(\d)/g, (_, n) => String(args[n - 1])),
  _n: (id: string) => id
};
const sample = (over: object = {}) =>
  parseSample({
    state: 'live',
    interval_ms: 5000,
    memory_used_bytes: 2 ** 30,
    memory_limit_bytes: 2 ** 32,
    workloads: [],
    ...over
  }) as ISample;

let hidden = false;
let badge: Badge;
const line = () => badge.node.textContent;
const meter = () => badge.node.querySelector('meter') as HTMLMeterElement;

function look(away: boolean) {
  hidden = away;
  document.dispatchEvent(new Event('visibilitychange'));
}

let BadgeClass: typeof Badge;
beforeAll(async () => {
  // Lumino's drag and drop wants it when it is loaded; jsdom has none.
  (globalThis as any).DragEvent ??= class extends Event {};
  BadgeClass = (await import('./badge')).Badge;
});

beforeEach(() => {
  vi.useFakeTimers();
  hidden = false;
  vi.spyOn(document, 'hidden', 'get').mockImplementation(() => hidden);
  badge = new BadgeClass(trans);
});

afterEach(() => {
  badge.dispose();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe('Badge', () => {
  it('says "no data" until it is told something', () => {
    expect(line()).toBe('Memory: no data');
    expect(meter().hidden).toBe(true);
    expect(badge.hasClass('jp-mod-no-data')).toBe(true);
  });

  it('shows the figure on a native meter with a label in words', () => {
    badge.take(sample());
    expect(line()).toBe('1.0 / 4.0 GiB');
    expect(meter().value).toBeCloseTo(0.25);
    expect(meter().getAttribute('aria-label')).toBe('Memory: 1.0 / 4.0 GiB, calm, 25% used');
    expect(badge.hasClass('jp-mod-calm')).toBe(true);
    expect(badge.hasClass('jp-mod-no-data')).toBe(false);
  });

  it('never keeps an old number', () => {
    badge.take(sample());
    vi.advanceTimersByTime(29_000);
    expect(line()).toBe('1.0 / 4.0 GiB');
    vi.advanceTimersByTime(1_000);
    expect(line()).toBe('Memory: no data');
  });

  it('says at once that there is no data', () => {
    badge.take(sample());
    badge.take(null);
    expect(line()).toBe('Memory: no data');
  });

  it('does nothing in a hidden tab, and catches up when it is looked at', () => {
    badge.take(sample());
    look(true);
    expect(vi.getTimerCount()).toBe(0);
    badge.take(sample({ memory_used_bytes: 2 ** 31 }));
    expect(line()).toBe('1.0 / 4.0 GiB');
    expect(vi.getTimerCount()).toBe(0);
    look(false);
    expect(line()).toBe('2.0 / 4.0 GiB');
  });

  it('shows no number that went stale in a hidden tab', () => {
    badge.take(sample());
    look(true);
    vi.setSystemTime(Date.now() + 3_600_000);
    look(false);
    expect(line()).toBe('Memory: no data');
  });

  it('changes units at once', () => {
    badge.take(sample());
    badge.units = 'decimal';
    expect(line()).toBe('1.1 / 4.3 GB');
  });

  it('makes no element of a name', () => {
    const evil = '<img src=x onerror=alert(1)>';
    badge.take(sample({ workloads: [{ kind: 'kernel', notebook: evil, memory_used_bytes: 5 }] }));
    expect(badge.node.querySelector('img')).toBeNull();
    expect(badge.node.title).toContain(evil);
  });

  it('leaves no timer behind', () => {
    badge.take(sample());
    badge.dispose();
    expect(vi.getTimerCount()).toBe(0);
  });
});
