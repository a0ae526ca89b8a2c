// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Badge } from './badge';
import { Feed } from './feed';
import { LIVE, tab, trans } from './spec/double';

let look: (away: boolean) => void;
let feed: Feed;
let badge: Badge;
let opened: number;
const line = () => badge.node.textContent;
const meter = () => badge.node.querySelector('meter') as HTMLMeterElement;
const take = (over: object = {}) => feed.take({ ...LIVE, memory_used_bytes: 2 ** 30, ...over });

beforeEach(() => {
  vi.useFakeTimers();
  look = tab();
  opened = 0;
  feed = new Feed();
  badge = new Badge(feed, trans, () => (opened += 1));
});

afterEach(() => {
  badge.dispose();
  feed.dispose();
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
    take();
    expect(line()).toBe('1.0 / 4.0 GiB');
    expect(meter().value).toBeCloseTo(0.25);
    expect(meter().getAttribute('aria-label')).toBe('Memory: 1.0 / 4.0 GiB, calm, 25% used');
    expect(badge.hasClass('jp-mod-calm')).toBe(true);
    expect(badge.hasClass('jp-mod-no-data')).toBe(false);
  });

  it('never keeps an old number', () => {
    take();
    vi.advanceTimersByTime(149_000);
    expect(line()).toBe('1.0 / 4.0 GiB');
    vi.advanceTimersByTime(1_000);
    expect(line()).toBe('Memory: no data');
  });

  it('says at once that there is no data', () => {
    take();
    feed.take({ state: 'no_data' });
    expect(line()).toBe('Memory: no data');
  });

  it('draws nothing in a hidden tab, and catches up when it is looked at', () => {
    take();
    look(true);
    take({ memory_used_bytes: 2 ** 31 });
    expect(line()).toBe('1.0 / 4.0 GiB');
    look(false);
    expect(line()).toBe('2.0 / 4.0 GiB');
  });

  it('opens the panel by a click anywhere on it, and by a button for the keyboard', () => {
    meter().click();
    badge.node.querySelector('button')!.click();
    expect(opened).toBe(2);
  });

  it('changes units at once', () => {
    take();
    badge.units = 'decimal';
    expect(line()).toBe('1.1 / 4.3 GB');
  });

  it('makes no element of a name', () => {
    const evil = '<img src=x onerror=alert(1)>';
    take({ workloads: [{ kind: 'kernel', notebook: evil, memory_used_bytes: 5 }] });
    expect(badge.node.querySelector('img')).toBeNull();
    expect(badge.node.title).toContain(evil);
  });
});
