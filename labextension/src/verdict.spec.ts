import { describe, expect, it } from 'vitest';

import { trans } from './spec/double';
import { parseServerRow, parseVerdicts, ruleWords, subjectOf } from './verdict';

const killed = (since: string, over: object = {}) => ({
  rule: 'killed',
  episode: `e${since}`,
  severity: 'critical',
  state: 'open',
  since,
  workload: 'k1',
  evidence: {
    workload_title: 'grow.ipynb',
    workload_memory_used_bytes: 5,
    memory_limit_bytes: 9,
    last_minute_first_bytes: 1,
    last_minute_max_bytes: 8,
    last_minute_last_bytes: 7
  },
  ...over
});

describe('parseVerdicts', () => {
  it('reads the newest first and leaves out what is none', () => {
    const items = [
      killed('2027-01-15T08:00:00.000Z'),
      null,
      4,
      { rule: 'killed' },
      killed('never'),
      killed('2027-01-15T09:00:00.000Z', { evidence: 'x' })
    ];
    const found = parseVerdicts({ items });
    expect(found.map(one => one.episode)).toEqual(['e2027-01-15T09:00:00.000Z', 'e2027-01-15T08:00:00.000Z']);
    expect(found[0]).toMatchObject({ title: null, limitBytes: null, minute: null });
    expect(found[1]).toMatchObject({ title: 'grow.ipynb', workloadBytes: 5, minute: { first: 1, max: 8, last: 7 } });
    expect(parseVerdicts('garbage')).toEqual([]);
  });

  it('calls a death of the server one of the server, and a name by one line of it', () => {
    const of = (title: unknown) =>
      subjectOf(
        parseVerdicts({ items: [killed('2027-01-15T08:00:00Z', { evidence: { workload_title: title } })] })[0],
        trans
      );
    expect(of(null)).toBe('This server');
    expect(of('a\u202E\nb')).toBe('a  b');
  });

  it('has words for every rule, those it does not know too', () => {
    const rules = 'runaway_memory near_limit killed runaway_cpu process_storm thread_storm idle_hog idle overuse disk_near_limit silent';
    for (const rule of rules.split(' ')) {
      expect(ruleWords(rule, trans)).not.toContain('_');
    }
    expect(ruleWords('new_rule', trans)).toBe('new rule');
  });
});

describe('parseServerRow', () => {
  it('is null without a collector', () => {
    expect(parseServerRow({ available: false, reason: 'no collector' })).toBeNull();
    expect(parseServerRow([])).toBeNull();
  });

  it('reads times, and garbage as unknown', () => {
    const row = parseServerRow({ held_until: '2027-01-15T08:00:00.000Z', stops_at: 5, idle_seconds: -1 });
    expect(row).toMatchObject({ heldUntilMs: Date.parse('2027-01-15T08:00:00Z'), stopsAtMs: null, idleSeconds: null });
  });
});
