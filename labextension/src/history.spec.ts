import { describe, expect, it } from 'vitest';

import { joined, parseHistory } from './history';

const HOUR = 3_600_000;
const AT = Date.parse('2027-01-15T08:00:00.000Z');
const iso = (ms: number) => new Date(ms).toISOString();
const answer = (over: object = {}) => ({
  from: iso(AT - 10_000),
  to: iso(AT),
  step_ms: null,
  columns: {
    time: [iso(AT - 10_000), iso(AT - 5_000)],
    memory_used_bytes: [5, null],
    memory_limit_bytes: [9, 0],
    cpu_cores: [0.5, 'x'],
    interval_ms: [5_000, 5_010]
  },
  ...over
});

describe('parseHistory', () => {
  it('reads columns; what is not known stays so', () => {
    const history = parseHistory(answer(), AT)!;
    expect(history.source).toBe('collector');
    expect(history.points).toEqual([
      { atMs: AT - 10_000, usedBytes: 5, limitBytes: 9, cores: 0.5, holdsMs: 5_000 },
      { atMs: AT - 5_000, usedBytes: null, limitBytes: null, cores: null, holdsMs: 5_010 }
    ]);
  });

  it('puts what a clock an hour ahead tells into this browser\'s time', () => {
    const history = parseHistory(answer(), AT - HOUR)!;
    expect(history.skewMs).toBe(HOUR);
    expect(history.points[0].atMs).toBe(AT - HOUR - 10_000);
  });

  it('takes the agent\'s ten minutes, with fewer columns', () => {
    const columns = { time: [iso(AT)], memory_used_bytes: [7] };
    const history = parseHistory({ to: iso(AT), columns, source: 'agent' }, AT)!;
    expect(history.source).toBe('agent');
    expect(history.points).toEqual([{ atMs: AT, usedBytes: 7, limitBytes: null, cores: null, holdsMs: 60_000 }]);
  });

  it('knows how long a figure speaks: a step, or an interval, and never the hole before it', () => {
    const holds = (over: object, interval_ms: unknown[]) =>
      parseHistory({ ...over, columns: { time: [5, 65, 70, 71].map(s => iso(AT + s * 1000)), interval_ms } }, AT)!.points.map(
        one => one.holdsMs
      );
    expect(holds({}, [5_000, 60_000, 5_000, 1_000])).toEqual([5_000, 5_000, 1_000, 1_000]);
    expect(holds({}, ['x', 600_000, null, -1])).toEqual([60_000, 60_000, 60_000, 60_000]);
    expect(holds({ step_ms: 60_000 }, [])).toEqual([60_000, 60_000, 60_000, 60_000]);
  });

  it('makes nothing of garbage', () => {
    for (const bad of [null, 3, [], {}, { columns: 5 }, { columns: [] }]) {
      expect(parseHistory(bad, AT)).toBeNull();
    }
    expect(parseHistory({ columns: { time: ['never', 4, null] } }, AT)?.points).toEqual([]);
  });

  it('takes no more points than a picture has', () => {
    const time = Array.from({ length: 50_000 }, (_, i) => iso(AT + i));
    expect(parseHistory({ columns: { time } }, AT)?.points.length).toBe(2000);
  });
});

describe('joined', () => {
  const point = (atMs: number, usedBytes = 1) => ({ atMs, usedBytes, limitBytes: null, cores: null, holdsMs: 5_000 });

  it('goes on with what was seen since', () => {
    expect(joined([point(1), point(5)], [point(4), point(5), point(9)]).map(one => one.atMs)).toEqual([1, 5, 9]);
    expect(joined([], [point(4)]).length).toBe(1);
  });
});
