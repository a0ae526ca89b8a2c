import { describe, expect, it } from 'vitest';
import { bytes, cause, evidence, percent, rate, seconds, signedBytes } from './format';

describe('numbers as people read them', () => {
  it('shows unknown as a dash, never as zero', () => {
    expect(bytes(null)).toBe('–');
    expect(seconds(null)).toBe('–');
    expect(percent(5, null)).toBeNull();
  });
  it('keeps three significant figures and the binary unit', () => {
    expect(bytes(0)).toBe('0 B');
    expect(bytes(1536 * 1024)).toBe('1.50 MiB');
    expect(bytes(2 * 1024 ** 3)).toBe('2.00 GiB');
    expect(bytes(1023 * 1024 ** 2)).toBe('1.00 GiB');
  });
  it('shows the sign of a change', () => {
    expect(signedBytes(50 * 1024 ** 2)).toBe('+50.0 MiB');
    expect(signedBytes(-50 * 1024 ** 2)).toBe('−50.0 MiB');
  });
  it('calls noise steady', () => {
    expect(rate(1000)).toBe('steady');
    expect(rate(20 * 1024 ** 2)).toBe('+20.0 MiB/s');
  });
  it('words durations', () => {
    expect(seconds(18.4)).toBe('18 s');
    expect(seconds(61)).toBe('1 min 1 s');
    expect(seconds(47 * 60)).toBe('47 min');
    expect(seconds(3 * 3600 + 120)).toBe('3 h 2 min');
  });
  it('reads the unit of evidence from its name', () => {
    expect(evidence('trend_bytes_per_second', 1024 ** 2)).toEqual({ label: 'grows', text: '+1.00 MiB/s' });
    expect(evidence('seconds_to_limit', 30)).toEqual({ label: 'full in', text: '30 s' });
    expect(evidence('page_cache_bytes', 1024 ** 2)).toEqual({ label: 'page cache', text: '1.00 MiB' });
    expect(evidence('cause', 'out_of_memory')).toEqual({ label: 'cause', text: 'out of memory' });
    expect(evidence('victim', 'a_b')).toEqual({ label: 'victim', text: 'a_b' });
    expect(evidence('inferred', true)).toEqual({ label: 'inferred', text: 'yes' });
  });
  it('names a workload by its title, else by its id', () => {
    expect(cause({ workload: null, evidence: {} })).toBeNull();
    expect(cause({ workload: 'x', evidence: {} })).toBe('x');
    expect(cause({ workload: 'x', evidence: { workload_title: 'a.ipynb' } })).toBe('a.ipynb');
  });
});
