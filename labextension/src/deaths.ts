// What the collector remembers of a death, told when the page is opened: after a server died, its user
// comes back to a new one that knows nothing.

import type { Feed } from './feed';
import type { IVerdict } from './verdict';

/** A death that is older explains nothing that somebody still wonders about. */
const AGE_MS_MAX = 24 * 3_600_000;

/** The newest death, if somebody may still wonder about it. */
export function newestDeath(verdicts: readonly IVerdict[], serverNowMs: number): IVerdict | null {
  const death = verdicts.find(one => one.rule === 'killed');
  return death !== undefined && serverNowMs - death.sinceMs <= AGE_MS_MAX ? death : null;
}

/**
 * Asks once; where that is refused, once more when the agent has found its collector. A server that was
 * started just now has not found it yet.
 */
export async function askedOnceOrTwice<T>(ask: () => Promise<T>, feed: Feed): Promise<T | null> {
  try {
    return await ask();
  } catch {
    if (feed.sample?.linkState === 'streaming') {
      return null;
    }
  }
  await new Promise<void>(resolve => {
    const look = () => {
      if (feed.sample?.linkState === 'streaming') {
        feed.changed.disconnect(look);
        resolve();
      }
    };
    feed.changed.connect(look);
  });
  return ask().catch(() => null);
}
