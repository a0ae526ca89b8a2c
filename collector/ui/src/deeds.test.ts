import { expect, test } from 'vitest';
import type { Deed } from './api';
import { deedTime, deedWords } from './deeds';

const NOW = new Date('2026-11-28T14:02:00');
const UNTIL = new Date('2026-11-28T15:02:00').toISOString();
const DEED: Deed = {
  time: NOW.toISOString(),
  what: 'hold',
  by: 'root',
  by_policy: false,
  user: 'ann',
  server: '',
  about: null,
  until: UNTIL,
  users: 1
};

test('what was done is said with who did it', () => {
  expect(deedWords(DEED, NOW)).toBe('kept alive until 15:02 by root');
  expect(deedWords({ ...DEED, what: 'release', by: 'service:ops', until: null }, NOW)).toBe('no longer kept alive by the service ops');
  expect(deedWords({ ...DEED, what: 'mute', about: 'near_limit' }, NOW)).toBe('near limit muted for admins until 15:02 by root');
  const kernel = { ...DEED, what: 'end_kernel', about: '0123456789abcdef', by: null, by_policy: true };
  expect(deedWords(kernel, NOW)).toBe('idle kernel 01234567 to be shut down at 15:02 by policy');
  expect(deedWords({ ...DEED, what: 'warn', about: 'last', by: null, by_policy: true }, NOW)).toBe('warned by policy that it stops at 15:02');
  expect(deedTime(DEED, NOW)).toBe('14:02');
});

test('a message is to as many as its filter selected, and who did something may be unknown', () => {
  const message = { ...DEED, what: 'message', about: 'everybody', user: null, server: null, until: null, users: 7 };
  expect(deedWords(message, NOW)).toBe('message by root to 7 users (everybody)');
  expect(deedWords({ ...DEED, by: null, what: 'release' }, NOW)).toBe('no longer kept alive');
});

test('what a later collector does is called by its own word', () => {
  expect(deedWords({ ...DEED, what: 'pace', about: 'slow' }, NOW)).toBe('pace slow by root');
});
