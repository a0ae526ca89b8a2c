// What specs share: a translation that fills in, a sample, a feed, a tab that is looked at or not.

import { vi } from 'vitest';

import { Feed } from '../feed';
import { Told } from '../told';
import type { ITranslate } from '../translation';

export const GIB = 1024 ** 3;
export const MIB = 1024 ** 2;

/** Fills in %1, %2 as gettext bundles do. */
export const trans: ITranslate = {
  __: (id, ...args) => fill(id, args),
  // The number is %1, what comes behind it %2.
  _n: (id, plural, n, ...args) => fill(n === 1 ? id : plural, [n, ...args])
};

function fill(id: string, args: unknown[]): string {
  return id.replace(/%(\d)/g, (_, n) => String(args[Number(n) - 1]));
}

export const LIVE = {
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

export function kernel(id: string, notebook: string, mib: number, over: object = {}) {
  return {
    kind: 'kernel',
    id,
    notebook,
    name: 'python3',
    state: 'busy',
    memory_used_bytes: mib * MIB,
    cpu_cores: 0.5,
    idle_seconds: 0,
    ...over
  };
}

export function feedOf(over: object = {}): Feed {
  const feed = new Feed();
  feed.take({ ...LIVE, ...over });
  return feed;
}

/** Makes the tab one that can be turned away. */
export function tab(): (away: boolean) => void {
  let hidden = false;
  vi.spyOn(document, 'hidden', 'get').mockImplementation(() => hidden);
  return away => {
    hidden = away;
    document.dispatchEvent(new Event('visibilitychange'));
  };
}

/** A browser's storage that two tabs may share. */
export function storage(): Storage {
  const kept = new Map<string, string>();
  return {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value)
  } as unknown as Storage;
}

export function told(shared = storage()): Told {
  return new Told('told', shared);
}
