// The collector's API as a script uses it.

import { access } from './access.ts';

export interface Server {
  readonly user: string;
  readonly server: string;
  readonly state: string;
  readonly memory_used_bytes: number | null;
  readonly memory_source: string | null;
  readonly memory_limit_bytes: number | null;
  readonly memory_limit_enforced: boolean | null;
  readonly interval_ms: number | null;
  readonly last_seen: string | null;
  readonly workloads: readonly { kind: string; notebook: string | null; state: string | null }[];
  readonly verdicts: readonly Verdict[];
}

export interface Verdict {
  readonly rule: string;
  readonly episode: string;
  readonly user: string;
  readonly severity: string;
  readonly state: string;
  readonly evidence: Record<string, unknown>;
  readonly clears_when: string;
}

export interface Cull {
  readonly user: string;
  readonly server: string;
  readonly idle_seconds: number | null;
  readonly cull: boolean;
  readonly reason: string;
}

interface List<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** A request as it comes, status and all. */
export function ask(path: string, token?: string): Promise<Response> {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `token ${token}` };
  return fetch(`${access.url}/services/hubmeter${path}`, { headers, redirect: 'manual' });
}

/** The JSON answer; a refusal is an error. */
export async function get<T>(path: string, token: string): Promise<T> {
  const answer = await ask(path, token);
  if (!answer.ok) {
    throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  }
  return (await answer.json()) as T;
}

export async function servers(token: string): Promise<readonly Server[]> {
  return (await get<List<Server>>('/api/v1/servers', token)).items;
}

export async function server(user: string, token: string): Promise<Server> {
  return get<Server>(`/api/v1/users/${user}/server`, token);
}

export async function verdicts(user: string, token: string): Promise<readonly Verdict[]> {
  return (await get<List<Verdict>>(`/api/v1/verdicts?state=all&user=${user}`, token)).items;
}

export async function cull(query: string, token: string): Promise<readonly Cull[]> {
  return (await get<List<Cull>>(`/api/v1/cull?${query}`, token)).items;
}

/** Whether the collector hears this user's agent now. */
export async function isLive(user: string): Promise<boolean> {
  const rows = await servers(access.scriptToken);
  return rows.some(row => row.user === user && row.state === 'live' && row.memory_used_bytes !== null);
}
