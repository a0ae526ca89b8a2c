import { describe, expect, it } from 'vitest';
import { choices, endWords, policyWords } from './keep';

const at = (hour: number, minute = 0): Date => new Date(2026, 0, 14, hour, minute);

describe('keeping a server alive', () => {
  it('offers what policy lets a person, soonest first', () => {
    expect(choices(at(17), 86_400).map(choice => choice.label)).toEqual(['for 1 h', 'for 4 h', 'for 12 h', expect.stringMatching(/^until .*08:00$/), 'for 24 h']);
    expect(choices(at(17), 5 * 3600).map(choice => choice.label)).toEqual(['for 1 h', 'for 4 h']);
    expect(choices(at(17), 1800).map(choice => choice.label)).toEqual(['for 30 min']);
    expect(choices(at(17), 0)).toEqual([]);
  });
  it('never goes beyond what policy lets', () => {
    for (const max of [60, 1800, 3600, 7200, 50_000, 86_400, 2_678_400]) {
      const latest = at(3).getTime() + max * 1000;
      expect(choices(at(3), max).every(choice => choice.until.getTime() <= latest)).toBe(true);
    }
  });
  it('means this morning before it and the next one after', () => {
    const morning = (hour: number) => choices(at(hour), 86_400).find(choice => choice.label.startsWith('until'))?.until;
    expect(morning(3)?.getDate()).toBe(14);
    expect(morning(9)?.getDate()).toBe(15);
  });
});

describe('the end of a server', () => {
  it('is said in words, a hold before all else', () => {
    const row = (held: Date | null, stops: Date | null) => ({ held_until: held?.toISOString() ?? null, stops_at: stops?.toISOString() ?? null });
    expect(endWords(row(null, null), at(12))).toBeNull();
    expect(endWords(row(null, at(12, 13)), at(12))).toBe('stops in 13 min');
    expect(endWords(row(null, at(11)), at(12))).toBe('stops now');
    expect(endWords(row(at(18), at(18)), at(12))).toBe('held until 18:00');
  });
  it('is an admin told about, most of all where nobody is warned', () => {
    expect(policyWords({ mode: 'watch', warns_by: [] })).toContain('only watches');
    expect(policyWords({ mode: 'act', warns_by: [] })).toContain('without a warning');
    expect(policyWords({ mode: 'act', warns_by: ['jupyterlab'] })).toContain('alone');
  });
});
