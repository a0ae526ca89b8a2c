// What was done to users, in words. Pure.

import type { Deed } from './api';
import { day, who } from './answers';
import { rule } from './format';
import { clock } from './keep';

/// Characters of a kernel's id that tell it from its neighbours.
const ID_CHARS = 8;

/// What was done, and who did it.
export function deedWords(deed: Deed, now: Date): string {
  const until = deed.until === null ? '' : day(new Date(deed.until), now);
  const by = deed.by_policy ? ' by policy' : deed.by === null ? '' : ` by ${who(deed.by)}`;
  const about = deed.about ?? '';
  const kernel = `idle kernel ${about.slice(0, ID_CHARS)}`;
  switch (deed.what) {
    case 'hold':
      return `kept alive until ${until}${by}`;
    case 'release':
      return `no longer kept alive${by}`;
    case 'ack':
      return `${rule(about)} acknowledged${by}`;
    case 'take_back':
      return `${rule(about)} no longer acknowledged${by}`;
    case 'mute':
      return `${rule(about)} muted for admins until ${until}${by}`;
    case 'unmute':
      return `${rule(about)} no longer muted for admins${by}`;
    case 'message':
      return `message${by} to ${deed.users === 1 ? '1 user' : `${deed.users} users`} (${about})`;
    case 'warn':
      return `warned${by} that it stops at ${until}`;
    case 'end_kernel':
      return `${kernel} to be shut down at ${until}${by}`;
    case 'keep_kernel':
      return `${kernel} not to be shut down any more${by}`;
    default:
      return `${deed.what}${about === '' ? '' : ` ${about}`}${by}`;
  }
}

/// When it was done.
export function deedTime(deed: Deed, now: Date): string {
  return deed.time === null ? '' : clock(new Date(deed.time), now);
}
