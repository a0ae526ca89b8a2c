// What else slows a server or ends it, from the newest rows of its history. Pure.

import type { History } from './api';
import { bytes, UNKNOWN } from './format';

/// Columns that are asked for beside the chart's.
export const VITAL_COLUMNS = [
  'swap_bytes',
  'shm_bytes',
  'memory_pressure_some_bp',
  'read_bytes',
  'written_bytes',
  'disk_used_bytes',
  'disk_limit_bytes',
  'agent_cpu_millis',
  'agent_rss_bytes'
];

/// Rates are over the last rows that reach back so far.
const RATE_MS = 60_000;

/// Name and text of each.
export function vitals(past: History): [string, string][] {
  const pressure = newest(past, 'memory_pressure_some_bp');
  const used = newest(past, 'disk_used_bytes');
  const limit = newest(past, 'disk_limit_bytes');
  const millis = perSecond(past, 'agent_cpu_millis');
  return [
    ['swapped out', bytes(newest(past, 'swap_bytes'))],
    ['shared memory', bytes(newest(past, 'shm_bytes'))],
    ['waits for memory', pressure === null ? UNKNOWN : `${(pressure / 100).toFixed(1)} % of the time`],
    ['reads', flow(perSecond(past, 'read_bytes'))],
    ['writes', flow(perSecond(past, 'written_bytes'))],
    ['disk of the home', used === null || limit === null ? UNKNOWN : `${bytes(used)} of ${bytes(limit)}`],
    ['its agent', `${bytes(newest(past, 'agent_rss_bytes'))}, ${millis === null ? UNKNOWN : (millis / 10).toFixed(3)} % of a core`]
  ];
}

function flow(rate: number | null): string {
  return rate === null ? UNKNOWN : `${bytes(rate)}/s`;
}

function newest(past: History, name: string): number | null {
  const value = past.columns[name]?.at(-1);
  return typeof value === 'number' ? value : null;
}

/// How fast a counter goes up; unknown where it began anew in between, with another agent.
function perSecond(past: History, name: string): number | null {
  const times = (past.columns['time'] ?? []).map(at => (typeof at === 'number' ? at : Date.parse(String(at))));
  const last = times.length - 1;
  const first = Math.max(
    0,
    times.findIndex(at => at >= (times[last] ?? 0) - RATE_MS)
  );
  const cells = (past.columns[name] ?? []).slice(first, last + 1);
  const passed = (times[last] ?? 0) - (times[first] ?? 0);
  const [from, to] = [cells[0], cells.at(-1)];
  if (typeof from !== 'number' || typeof to !== 'number' || to < from || !(passed > 0)) {
    return null;
  }
  return ((to - from) * 1000) / passed;
}
