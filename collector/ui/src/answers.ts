// What people said about notices: which of it is about a verdict, and its words. Pure.

import type { Answer, Me, Verdict } from './api';
import { clock } from './keep';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/// What a service's name stands behind.
const SERVICE = 'service:';

/// How long something may be muted, shortest first; the API takes 30 days at most.
export const MUTES: { label: string; ms: number }[] = [
  { label: 'for 1 h', ms: HOUR_MS },
  { label: 'for 1 day', ms: DAY_MS },
  { label: 'for 7 days', ms: 7 * DAY_MS }
];

/// Whether who looks may change something about the server that `row` is about.
export function mayChange(row: { user: string }, me: Me | null): boolean {
  return me !== null && (me.changes_all || me.user === row.user);
}

export function ackOf(said: Answer[], verdict: Verdict): Answer | null {
  return said.find(answer => answer.what === 'ack' && answer.episode === verdict.episode) ?? null;
}

export function muteOf(said: Answer[], verdict: Verdict): Answer | null {
  const isIt = (answer: Answer): boolean =>
    answer.what === 'mute' && answer.rule === verdict.rule && answer.user === verdict.user && answer.server === verdict.server;
  return said.find(isIt) ?? null;
}

/// What holds, by whom and since when.
export function answerWords(answer: Answer, now: Date): string {
  const by = answer.by === null ? '' : ` by ${answer.by.startsWith(SERVICE) ? `the service ${answer.by.slice(SERVICE.length)}` : answer.by}`;
  const time = answer.time === null ? '' : `, ${clock(new Date(answer.time), now)}`;
  if (answer.what === 'ack') {
    return `acknowledged${by}${time}`;
  }
  const until = answer.until === null ? '' : ` until ${day(new Date(answer.until), now)}`;
  return `muted${until}${by}${time}`;
}

/// A moment; with its date where that is further away than a weekday says.
function day(at: Date, now: Date): string {
  const far = at.getTime() - now.getTime() > 6 * DAY_MS;
  return far ? at.toLocaleDateString([], { day: 'numeric', month: 'short' }) : clock(at, now);
}
