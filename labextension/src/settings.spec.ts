import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

import { DEFAULTS, readSettings } from './settings';

describe('readSettings', () => {
  it('has the defaults that the schema shows', () => {
    const schema = JSON.parse(readFileSync('schema/meter.json', 'utf8'));
    const shown = Object.entries<any>(schema.properties).map(([name, one]) => [name, one.default]);
    expect(Object.fromEntries(shown)).toEqual(DEFAULTS);
  });

  it('takes choices, and the default for what is none', () => {
    expect(readSettings({ show: false, quiet: true, units: 'decimal' })).toEqual({
      ...DEFAULTS,
      show: false,
      quiet: true,
      units: 'decimal'
    });
    for (const garbage of [null, 5, 'x', { show: 'no', units: 'bits', quiet: 1 }]) {
      expect(readSettings(garbage)).toEqual(DEFAULTS);
    }
  });
});
