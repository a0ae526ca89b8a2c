import { describe, expect, it } from 'vitest';
import { troubleWords } from './api';

describe('what keeps the collector from its work', () => {
  it('is nothing when it is ready, or does not answer', () => {
    expect(troubleWords({ ready: true, reasons: [], details: [] })).toEqual([]);
    expect(troubleWords(null)).toEqual([]);
  });
  it('is told with what the system said, where it was asked', () => {
    const details = [
      { reason: 'journal', text: 'No report gets a receipt.', cause: 'database or disk is full' },
      { reason: 'hub', text: 'Nobody new is let in.', cause: null }
    ];
    expect(troubleWords({ ready: false, reasons: ['journal', 'hub'], details })).toEqual([
      'No report gets a receipt. The system says: database or disk is full.',
      'Nobody new is let in.'
    ]);
  });
});
