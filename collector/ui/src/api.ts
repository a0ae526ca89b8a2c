// The collector's API as this page uses it: shapes of the contract, and the calls.

import { VITAL_COLUMNS } from './vitals';

export interface Workload {
  kind: string;
  id: string;
  name: string;
  notebook: string | null;
  state: string | null;
  memory_used_bytes: number | null;
  cpu_cores: number | null;
  idle_seconds: number | null;
}

export interface Verdict {
  rule: string;
  episode: string;
  user: string;
  server: string;
  workload: string | null;
  severity: 'info' | 'warning' | 'critical';
  state: 'open' | 'cleared';
  since: string;
  updated: string;
  cleared: string | null;
  evidence: Record<string, number | string | boolean | null>;
  clears_when: string;
}

export interface Server {
  user: string;
  server: string;
  groups: string[];
  state: 'live' | 'silent' | 'gone';
  host: string | null;
  started: string | null;
  last_seen: string | null;
  interval_ms: number | null;
  memory_used_bytes: number | null;
  memory_source: string | null;
  memory_limit_bytes: number | null;
  memory_limit_source: string | null;
  memory_limit_enforced: boolean | null;
  memory_limit_shared: boolean | null;
  rss_bytes: number | null;
  momentum_bytes: number | null;
  trend_bytes_per_second: number | null;
  seconds_to_limit: number | null;
  cpu_cores: number | null;
  cpu_limit_cores: number | null;
  idle_seconds: number | null;
  idle_since: string | null;
  busy_reason: string | null;
  held_until: string | null;
  stops_at: string | null;
  processes: number | null;
  threads: number | null;
  workloads: Workload[];
  verdicts: Verdict[];
}

/// A notice and what became of it.
export interface Notice {
  id: number;
  episode: string;
  rule: string | null;
  user: string;
  server: string;
  severity: 'info' | 'warning' | 'critical';
  channel: string;
  /// Of a warning of a stop `quarter` or `last`.
  phase: 'opened' | 'worse' | 'again' | 'cleared' | 'quarter' | 'last';
  outcome: 'sent' | 'waiting' | 'failing' | 'dropped';
  reason: string | null;
  attempts: number;
  queued: string;
  next: string | null;
  sent: string | null;
  acknowledged: string | null;
}

/// What somebody said about notices, while it holds.
export interface Answer {
  what: 'ack' | 'mute';
  episode: string;
  rule: string;
  user: string;
  server: string;
  by: string | null;
  time: string | null;
  until: string | null;
}

/// Something that was done to a user.
export interface Deed {
  time: string | null;
  what: string;
  by: string | null;
  by_policy: boolean;
  /// `null` for a message, which went to whom its filter selected.
  user: string | null;
  server: string | null;
  about: string | null;
  until: string | null;
  users: number;
}

export interface Me {
  user: string;
  /// Sees all rows, which need not mean that anything about them may be changed.
  admin: boolean;
  changes_all: boolean;
  /// Whose servers may be held beyond one's own, where not everybody's.
  holds_for: { users: string[]; groups: string[]; servers: string[] };
  hub_home?: string | null;
  logout?: string | null;
  cull?: CullTerms;
}

/// What there is to know about stopping servers.
export interface CullTerms {
  mode: 'watch' | 'act';
  hold_max_seconds: number;
  warns_by: string[];
}

export interface History {
  from: string;
  to: string;
  step_ms: number;
  columns: Record<string, (number | string | null)[]>;
}

/// An answer that is not 2xx, with the server's own words.
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string
  ) {
    super(message);
  }
}

/// Rows asked for at once; the contract's largest page.
const PAGE_ROWS_MAX = 5000;

async function ask<T>(path: string, change: RequestInit = {}): Promise<T> {
  const headers = { accept: 'application/json', ...change.headers };
  const answer = await fetch(path, { ...change, headers, cache: 'no-store' });
  if (!answer.ok) {
    const problem = (await answer.json().catch(() => null)) as { detail?: string; title?: string } | null;
    throw new ApiError(answer.status, problem?.detail ?? problem?.title ?? `HTTP ${answer.status}`);
  }
  return (await answer.json()) as T;
}

export function me(): Promise<Me> {
  return ask<Me>('api/v1/me');
}

async function pages<T>(path: string): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const more: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const page: { items: T[]; next: string | null } = await ask(`${path}limit=${PAGE_ROWS_MAX}${more}`);
    items.push(...page.items);
    cursor = page.next;
  } while (cursor !== null);
  return items;
}

export function servers(): Promise<Server[]> {
  return pages<Server>('api/v1/servers?');
}

export function verdicts(): Promise<Verdict[]> {
  return pages<Verdict>('api/v1/verdicts?state=all&');
}

/// The newest notices, newest first.
export async function notices(limit: number): Promise<Notice[]> {
  const page = await ask<{ items: Notice[] }>(`api/v1/notices?limit=${limit}`);
  return page.items;
}

/// What was done to users, newest first.
export async function deeds(limit: number): Promise<Deed[]> {
  const page = await ask<{ items: Deed[] }>(`api/v1/audit?limit=${limit}`);
  return page.items;
}

/// Where the rows of one server live. Names are anything a hub allows, so they are encoded.
export function serverPath(user: string, server: string): string {
  const base = `api/v1/users/${encodeURIComponent(user)}`;
  return server === '' ? `${base}/server` : `${base}/servers/${encodeURIComponent(server)}`;
}

export function history(user: string, server: string, from: string): Promise<History> {
  const fields = ['memory_used_bytes', 'memory_limit_bytes', 'cpu_cores', ...VITAL_COLUMNS].join(',');
  return ask<History>(`${serverPath(user, server)}/history?from=${from}&fields=${fields}`);
}

/// The word that only this page can read: no other makes a browser change anything.
export function wordOf(cookies: string): string {
  const pairs = cookies.split(';').map(pair => pair.trim());
  return pairs.find(pair => pair.startsWith('hubmeter-word='))?.slice('hubmeter-word='.length) ?? '';
}

function change<T>(path: string, method: string, body?: unknown): Promise<T> {
  const headers = { 'content-type': 'application/json', 'x-hubmeter-word': wordOf(document.cookie) };
  return ask<T>(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}

export function hold(user: string, server: string, until: Date): Promise<unknown> {
  return change(`${serverPath(user, server)}/hold`, 'PUT', { until: until.toISOString() });
}

export function release(user: string, server: string): Promise<unknown> {
  return change(`${serverPath(user, server)}/hold`, 'DELETE');
}

export function answers(): Promise<Answer[]> {
  return pages<Answer>('api/v1/answers?');
}

/// Somebody knows of an episode: it is not told again.
export function acknowledge(episode: string): Promise<unknown> {
  return change(`${noticePath(episode)}/ack`, 'POST');
}

export function takeBack(episode: string): Promise<unknown> {
  return change(`${noticePath(episode)}/ack`, 'DELETE');
}

/// No more of the episode's rule about its server until then; without a time again.
export function mute(episode: string, until: Date | null): Promise<unknown> {
  return change(`${noticePath(episode)}/mute`, 'POST', { until: until === null ? null : until.toISOString() });
}

function noticePath(episode: string): string {
  return `api/v1/notices/${encodeURIComponent(episode)}`;
}

/// What keeps the collector from its work, in words; nothing when all is well. That it does not
/// answer at all, the event stream tells.
export async function troubles(): Promise<string[]> {
  const answer = await fetch('readyz', { headers: { accept: 'application/json' }, cache: 'no-store' }).catch(() => null);
  return troubleWords(await answer?.json().catch(() => null));
}

/// The words of an answer of `/readyz`, one line each.
export function troubleWords(answer: unknown): string[] {
  const details = (answer as { details?: { text: string; cause: string | null }[] } | null)?.details ?? [];
  return details.map(({ text, cause }) => (cause === null ? text : `${text} The system says: ${cause}.`));
}
