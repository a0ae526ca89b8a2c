// @vitest-environment jsdom
import { afterEach, describe, expect, it } from 'vitest';

import { askedOnceOrTwice, newestDeath } from './deaths';
import { Feed } from './feed';
import { LIVE } from './spec/double';
import { parseVerdicts } from './verdict';

const HOUR = 3_600_000;
const AT = Date.parse('2027-01-15T08:00:00.000Z');
const feed = new Feed();

afterEach(() => feed.take({ state: 'no_data' }));

describe('newestDeath', () => {
  const of = (...items: [string, number][]) =>
    newestDeath(
      parseVerdicts({
        items: items.map(([rule, at]) => ({ rule, episode: `${rule}${at}`, since: new Date(at).toISOString() }))
      }),
      AT
    )?.episode;

  it('is the newest of the last day, whatever else was judged', () => {
    expect(of(['killed', AT - 3 * HOUR], ['killed', AT - HOUR], ['idle', AT])).toBe(`killed${AT - HOUR}`);
    expect(of(['killed', AT - 25 * HOUR])).toBeUndefined();
    expect(of(['runaway_memory', AT])).toBeUndefined();
  });
});

describe('askedOnceOrTwice', () => {
  /** Refused until `good` times have passed. */
  const teller = (good: number) => {
    const told = { asked: 0 };
    const ask = async () => {
      told.asked += 1;
      if (told.asked < good) {
        throw new Error('503');
      }
      return 'answer';
    };
    return { told, ask };
  };

  it('asks once where there is an answer', async () => {
    const { told, ask } = teller(1);
    expect(await askedOnceOrTwice(ask, feed)).toBe('answer');
    expect(told.asked).toBe(1);
  });

  it('asks again when the agent has found its collector, and then no more', async () => {
    for (const good of [2, 99]) {
      const { told, ask } = teller(good);
      feed.take({ ...LIVE, link_state: 'connecting' });
      const answer = askedOnceOrTwice(ask, feed);
      await Promise.resolve();
      feed.take({ ...LIVE, link_state: 'connecting' });
      expect(told.asked).toBe(1);
      feed.take({ ...LIVE, link_state: 'streaming' });
      expect(await answer).toBe(good === 2 ? 'answer' : null);
      feed.take({ ...LIVE, link_state: 'streaming' });
      expect(told.asked).toBe(2);
    }
  });

  it('does not ask again where the collector was there and refused', async () => {
    const { told, ask } = teller(99);
    feed.take({ ...LIVE, link_state: 'streaming' });
    expect(await askedOnceOrTwice(ask, feed)).toBeNull();
    expect(told.asked).toBe(1);
  });
});
