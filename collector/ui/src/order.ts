// Sorting and filtering of the table. Pure.

import type { Server } from './api';

export type Column = 'user' | 'memory' | 'momentum' | 'trend' | 'cpu' | 'idle' | 'verdicts';

export interface Order {
  column: Column;
  descending: boolean;
}

const SEVERITY = { info: 1, warning: 2, critical: 3 } as const;

/// How loud a row is: its gravest open verdict, then how many.
export function loudness(row: Server): number {
  return row.verdicts.reduce((most, verdict) => Math.max(most, SEVERITY[verdict.severity] * 100), 0) + row.verdicts.length;
}

function figure(row: Server, column: Column): number | string | null {
  switch (column) {
    case 'user':
      return `${row.user}/${row.server}`;
    case 'memory':
      return row.memory_used_bytes;
    case 'momentum':
      return row.momentum_bytes;
    case 'trend':
      return row.trend_bytes_per_second;
    case 'cpu':
      return row.cpu_cores;
    case 'idle':
      return row.idle_seconds;
    case 'verdicts':
      return loudness(row);
  }
}

/// Unknown figures come last in either direction; equal rows stay in order of their names.
export function sorted(rows: Server[], order: Order): Server[] {
  const name = (row: Server): string => `${row.user}/${row.server}`;
  return [...rows].sort((a, b) => {
    const left = figure(a, order.column);
    const right = figure(b, order.column);
    if (left === null || right === null) {
      return left === right ? name(a).localeCompare(name(b)) : left === null ? 1 : -1;
    }
    const by = typeof left === 'string' ? left.localeCompare(String(right)) : left - Number(right);
    return by === 0 ? name(a).localeCompare(name(b)) : order.descending ? -by : by;
  });
}

export function matches(row: Server, words: string): boolean {
  const wanted = words.trim().toLowerCase();
  if (wanted === '') {
    return true;
  }
  const told = [row.user, row.server, row.host ?? '', row.state, ...row.groups, ...row.verdicts.map(v => v.rule)];
  return wanted.split(/\s+/).every(word => told.some(text => text.toLowerCase().includes(word)));
}
