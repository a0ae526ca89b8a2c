import { describe, expect, it } from 'vitest';

import { bytes, duration, percent, rate, unbroken, usedOfLimit } from './format';

const GIB = 1024 ** 3;

describe('format', () => {
  it('shows used and limit in the limit\'s unit', () => {
    expect(usedOfLimit(1.2 * GIB, 4 * GIB, 'binary')).toBe('1.2 / 4.0 GiB');
    expect(usedOfLimit(0.3 * GIB, 128 * GIB, 'binary')).toBe('0.3 / 128 GiB');
    expect(usedOfLimit(1.2e9, 4e9, 'decimal')).toBe('1.2 / 4.0 GB');
    expect(usedOfLimit(100 * 1024 ** 2, 512 * 1024 ** 2, 'binary')).toBe('100 / 512 MiB');
  });

  it('changes the unit before four digits are needed', () => {
    expect(bytes(999 * 1024 ** 2, 'binary')).toBe('999 MiB');
    expect(bytes(1000 * 1024 ** 2, 'binary')).toBe('1.0 GiB');
    expect(bytes(999.7 * 1024, 'binary')).toBe('1 MiB');
    expect(bytes(0, 'binary')).toBe('0 B');
    expect(bytes(2 ** 70, 'binary')).toBe('1048576 PiB');
  });

  it('signs a rate', () => {
    expect(rate(52 * 1024 ** 2, 'binary')).toBe('+52 MiB/s');
    expect(rate(-2e6, 'decimal')).toBe('−2 MB/s');
  });

  it('gives one figure for a time', () => {
    expect(duration(18.4)).toBe('18 s');
    expect(duration(99.4)).toBe('99 s');
    expect(duration(180)).toBe('3 min');
    expect(duration(7300)).toBe('2 h');
    expect(duration(-3)).toBe('0 s');
  });

  it('keeps a figure and its unit on one line', () => {
    const line = unbroken('3.5 / 4.0 GiB, critical, +52 MiB/s, full in 10 s');
    expect(line.split(' ')).toEqual(['3.5', '/', '4.0\u00a0GiB,', 'critical,', '+52\u00a0MiB/s,', 'full', 'in', '10\u00a0s']);
  });

  it('never says full before it is', () => {
    expect(percent(0.999)).toBe('99%');
    expect(percent(1)).toBe('100%');
    expect(percent(1.27)).toBe('127%');
  });
});
