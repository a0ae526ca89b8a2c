import { describe, expect, it } from 'vitest';
import type { Server } from './api';
import { matches, sorted } from './order';

function row(user: string, memory: number | null, extra: Partial<Server> = {}): Server {
  return { user, server: '', host: null, groups: [], state: 'live', verdicts: [], memory_used_bytes: memory, ...extra } as Server;
}

describe('the table', () => {
  it('puts unknown figures last in either direction', () => {
    const rows = [row('a', null), row('b', 1), row('c', 2)];
    const names = (descending: boolean) => sorted(rows, { column: 'memory', descending }).map(r => r.user);
    expect(names(true)).toEqual(['c', 'b', 'a']);
    expect(names(false)).toEqual(['b', 'c', 'a']);
  });
  it('keeps equal rows in order of their names', () => {
    const rows = [row('b', 1), row('a', 1)];
    expect(sorted(rows, { column: 'memory', descending: true }).map(r => r.user)).toEqual(['a', 'b']);
  });
  it('filters by every word, in user, group, host, state and verdict', () => {
    const one = row('alice', 1, { groups: ['class-a'], state: 'silent' });
    expect(matches(one, 'ALI class')).toBe(true);
    expect(matches(one, 'alice bob')).toBe(false);
    expect(matches(one, '')).toBe(true);
  });
});
