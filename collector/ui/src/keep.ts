// Until when a server may be kept, and the words for its end. Pure.

import { seconds } from './format';

export interface Choice {
  label: string;
  until: Date;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/// Hours after which a person usually is back: lunch, half a day.
const HOURS = [1, 4, 12];
/// When most people begin to work.
const MORNING_HOUR = 8;
/// A request takes a moment; policy counts from when it arrives.
const SLACK_MS = 5_000;

/// What a person can choose of, soonest first, none beyond what policy lets them.
export function choices(now: Date, holdMaxSeconds: number): Choice[] {
  const maxMs = holdMaxSeconds * 1000 - SLACK_MS;
  if (maxMs <= 0) {
    return [];
  }
  const latest = now.getTime() + maxMs;
  const after = (hours: number): Choice => ({ label: `for ${hours} h`, until: new Date(now.getTime() + hours * HOUR_MS) });
  const morning = new Date(now);
  morning.setHours(MORNING_HOUR, 0, 0, 0);
  if (morning.getTime() <= now.getTime() + HOUR_MS) {
    morning.setDate(morning.getDate() + 1);
  }
  const all = [...HOURS.map(after), { label: `until ${clock(morning, now)}`, until: morning }];
  const allowed = all.filter(choice => choice.until.getTime() <= latest);
  const longest = { label: `for ${seconds(Math.round(holdMaxSeconds / 60) * 60)}`, until: new Date(latest) };
  const longer = allowed.every(choice => latest - choice.until.getTime() > HOUR_MS);
  return [...allowed, ...(longer ? [longest] : [])].sort((a, b) => a.until.getTime() - b.until.getTime());
}

/// A time of day; with its day where that is not today.
export function clock(at: Date, now: Date): string {
  const time = at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hour12: false });
  const today = at.toDateString() === now.toDateString();
  return today ? time : `${at.toLocaleDateString([], { weekday: 'short' })} ${time}`;
}

/// What there is to say about a server's end; nothing when it has none.
export function endWords(row: { held_until: string | null; stops_at: string | null }, now: Date): string | null {
  if (row.held_until !== null) {
    return `held until ${clock(new Date(row.held_until), now)}`;
  }
  if (row.stops_at === null) {
    return null;
  }
  const left = (new Date(row.stops_at).getTime() - now.getTime()) / 1000;
  return left <= 0 ? 'stops now' : `stops in ${seconds(left < 60 ? left : Math.round(left / 60) * 60)}`;
}

/// What an admin should know of how servers are stopped.
export function policyWords(cull: { mode: string; warns_by: string[] }): string {
  if (cull.mode !== 'act') {
    return 'Policy on idle servers only watches: it warns nobody and stops nobody.';
  }
  if (cull.warns_by.length === 0) {
    return 'Idle servers are stopped without a warning: none is set.';
  }
  return cull.warns_by.includes('mail')
    ? 'Idle servers are stopped; their users are warned before, in JupyterLab and by mail.'
    : 'Idle servers are stopped; their users are warned before in JupyterLab alone: who has no page open sees nothing.';
}
