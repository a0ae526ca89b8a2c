// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Person } from './person';
import { tab } from './spec/double';

let look: (away: boolean) => void;
let told: number;
let listeners: Map<string, (event: object) => void>;
const people: Person[] = [];

function sit(): Person {
  const person = new Person(() => {
    told += 1;
    return Promise.reject(new Error('an older server extension'));
  }, '/user/alice/');
  people.push(person);
  return person;
}

/** An input as the browser makes it: scripts cannot make trusted ones. */
const input = (kind = 'keydown', isTrusted = true) => listeners.get(kind)?.({ isTrusted });

beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime(1_800_000_000_000);
  look = tab();
  told = 0;
  listeners = new Map();
  localStorage.clear();
  const add = document.addEventListener.bind(document);
  vi.spyOn(document, 'addEventListener').mockImplementation((kind: string, handler: any, options: any) => {
    listeners.set(kind, handler);
    add(kind, handler, options);
  });
});

afterEach(() => {
  people.splice(0).forEach(person => person.dispose());
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe('Person', () => {
  it('tells of input once in five minutes, however much there is', () => {
    sit();
    for (let s = 0; s < 600; s += 1) {
      input();
      vi.setSystemTime(Date.now() + 1000);
    }
    expect(told).toBe(2);
  });

  it('takes keys, pointer, wheel and touch', () => {
    sit();
    for (const kind of ['keydown', 'pointerdown', 'wheel', 'touchstart']) {
      input(kind);
      vi.setSystemTime(Date.now() + 300_000);
    }
    expect(told).toBe(4);
  });

  it('takes nothing that a script made, and nothing in a hidden tab', () => {
    sit();
    input('keydown', false);
    document.dispatchEvent(new KeyboardEvent('keydown'));
    look(true);
    input();
    expect(told).toBe(0);
  });

  it('tells once for two tabs', () => {
    sit();
    input();
    sit();
    input();
    expect(told).toBe(1);
  });

  it('goes on when the clock was set back', () => {
    sit();
    input();
    vi.setSystemTime(Date.now() - 3_600_000);
    input();
    expect(told).toBe(2);
  });

  it('asks nothing and waits for nothing by itself', () => {
    const before = vi.getTimerCount();
    sit();
    expect(vi.getTimerCount()).toBe(before);
    vi.advanceTimersByTime(3_600_000);
    expect(told).toBe(0);
  });
});
