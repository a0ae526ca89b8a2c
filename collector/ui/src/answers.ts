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

/// What is never muted by whose server it is: they see what is gone, and nothing else says why.
const ALWAYS_TOLD = ['killed'];

/// Whether who looks may answer notices about the server that `row` is about.
export function mayAnswer(row: { user: string }, me: Me | null): boolean {
  return me !== null && (me.changes_all || me.user === row.user);
}

/// Whether who looks may mute the rule of `verdict`.
export function mayMute(verdict: { rule: string; user: string }, me: Me | null): boolean {
  return mayAnswer(verdict, me) && (me?.changes_all === true || !ALWAYS_TOLD.includes(verdict.rule));
}

/// Whether who looks may keep this server alive. A scope with a filter lets them do that, and nothing else.
export function mayHold(row: { user: string; server: string; groups: string[] }, me: Me | null): boolean {
  if (me === null || mayAnswer(row, me)) {
    return me !== null;
  }
  const { users, groups, servers } = me.holds_for;
  return users.includes(row.user) || row.groups.some(group => groups.includes(group)) || servers.includes(`${row.user}/${row.server}`);
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
  const by = answer.by === null ? '' : ` by ${who(answer.by)}`;
  const time = answer.time === null ? '' : `, ${clock(new Date(answer.time), now)}`;
  if (answer.what === 'ack') {
    return `acknowledged${by}${time}`;
  }
  const until = answer.until === null ? '' : ` until ${day(new Date(answer.until), now)}`;
  return `muted${until}${by}${time}`;
}

/// Who did something, by the name that is kept of them.
export function who(by: string): string {
  return by.startsWith(SERVICE) ? `the service ${by.slice(SERVICE.length)}` : by;
}

/// A moment; with its date where that is further away than a weekday says.
export function day(at: Date, now: Date): string {
  const far = at.getTime() - now.getTime() > 6 * DAY_MS;
  return far ? at.toLocaleDateString([], { day: 'numeric', month: 'short' }) : clock(at, now);
}
