import { expect, test } from 'vitest';
import type { History } from './api';
import { vitals } from './vitals';

function past(columns: Record<string, (number | null)[]>): History {
  const time = ['2026-11-22T04:00:00.000Z', '2026-11-22T04:09:00.000Z', '2026-11-22T04:09:30.000Z', '2026-11-22T04:10:00.000Z'];
  return { from: time[0]!, to: time[3]!, step_ms: 0, columns: { time, ...columns } };
}

function text(columns: Record<string, (number | null)[]>): Record<string, string> {
  return Object.fromEntries(vitals(past(columns)));
}

test('what nobody told is unknown, not 0', () => {
  for (const shown of [text({}), text({ read_bytes: [0, null, 5, null], shm_bytes: [1, 1, 1, null] })]) {
    expect(shown['shared memory']).toBe('–');
    expect(shown['waits for memory']).toBe('–');
    expect(shown['reads']).toBe('–');
    expect(shown['disk of the home']).toBe('–');
  }
  expect(vitals({ from: '', to: '', step_ms: 0, columns: {} })[3]).toEqual(['reads', '–']);
});

test('rates are of the last minute, and of a counter that began anew unknown', () => {
  const mib = 1024 * 1024;
  const shown = text({ read_bytes: [0, 900 * mib, 901 * mib, 960 * mib], written_bytes: [0, 9, 0, 5], agent_cpu_millis: [0, 0, 1, 6] });
  expect(shown['reads']).toBe('1.00 MiB/s');
  expect(shown['writes']).toBe('–');
  expect(shown['its agent']).toBe('–, 0.010 % of a core');
});

test('the newest row counts', () => {
  const shown = text({
    memory_pressure_some_bp: [0, 0, 0, 124],
    disk_used_bytes: [1, 1, 1, 2 * 1024 ** 3],
    disk_limit_bytes: [1, 1, 1, 8 * 1024 ** 3],
    swap_bytes: [9, 9, 9, 0]
  });
  expect(shown['waits for memory']).toBe('1.2 % of the time');
  expect(shown['disk of the home']).toBe('2.00 GiB of 8.00 GiB');
  expect(shown['swapped out']).toBe('0 B');
});
