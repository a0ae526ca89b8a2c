import { expect, test } from 'vitest';
import type { Notice } from './api';
import { fate, subject } from './notices';

const NOTICE: Notice = {
  id: 1,
  episode: 'e',
  rule: 'killed',
  user: 'ann',
  server: '',
  severity: 'critical',
  channel: 'mail',
  phase: 'opened',
  outcome: 'sent',
  reason: null,
  attempts: 0,
  queued: '2026-01-31T08:00:00.000Z',
  next: null,
  sent: '2026-01-31T08:00:01.000Z',
  acknowledged: null
};

test('only what an admin wrote is called a message', () => {
  expect(subject(NOTICE)).toBe('killed');
  expect(subject({ ...NOTICE, rule: null, channel: 'message-mail' })).toBe('message');
  for (const rule of [null, 'idle']) {
    expect(subject({ ...NOTICE, rule, channel: 'warning-mail', phase: 'last' })).toBe('warning of a stop');
  }
  expect(subject({ ...NOTICE, rule: null })).toBe('verdict');
});

test('what became of a notice is said in words, and why where it was not sent', () => {
  expect(fate(NOTICE)).toMatch(/^sent /);
  const next = '2026-01-31T08:05:00.000Z';
  expect(fate({ ...NOTICE, outcome: 'failing', attempts: 3, next, reason: 'connection refused' })).toMatch(
    /^failed 3 times, tried again .*: connection refused$/
  );
  expect(fate({ ...NOTICE, outcome: 'dropped', reason: 'muted' })).toBe('not sent: muted');
});
