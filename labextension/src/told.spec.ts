import { describe, expect, it } from 'vitest';

import { storage } from './spec/double';
import { Told } from './told';

describe('Told', () => {
  it('is known to another tab, and after a reload', () => {
    const shared = storage();
    const one = new Told('t', shared);
    const other = new Told('t', shared);
    one.add('a');
    other.add('b');
    expect(other.has('a') && one.has('b') && new Told('t', shared).has('a')).toBe(true);
    expect(one.has('c')).toBe(false);
    expect(new Told('another server', shared).has('a')).toBe(false);
  });

  it('remembers by itself where the browser keeps nothing', () => {
    const broken = {
      getItem: () => {
        throw new Error('forbidden');
      },
      setItem: () => {
        throw new Error('full');
      }
    } as unknown as Storage;
    for (const told of [new Told('t', broken), new Told('t', null)]) {
      told.add('a');
      expect(told.has('a')).toBe(true);
    }
  });

  it('makes nothing of garbage and forgets the oldest', () => {
    const shared = storage();
    shared.setItem('t', '{"a":1}');
    const told = new Told('t', shared);
    for (let i = 0; i < 300; i += 1) {
      told.add(`e${i}`);
    }
    expect(told.has('e299')).toBe(true);
    expect(told.has('e0')).toBe(false);
  });
});
