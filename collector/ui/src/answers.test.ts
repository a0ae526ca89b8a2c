import { describe, expect, it } from 'vitest';
import { ackOf, answerWords, mayAnswer, mayHold, mayMute, MUTES, muteOf } from './answers';
import type { Answer, Me, Verdict } from './api';

const NOW = new Date('2026-11-28T14:02:00');
const VERDICT = { rule: 'near_limit', episode: 'e1', user: 'ann', server: '' } as Verdict;
const ACK: Answer = { what: 'ack', episode: 'e1', rule: 'near_limit', user: 'ann', server: '', by: 'root', time: NOW.toISOString(), until: null };
const MUTE: Answer = { ...ACK, what: 'mute', episode: 'e0', until: new Date('2026-11-28T15:02:00').toISOString() };
const ME: Me = { user: 'ann', admin: false, changes_all: false, holds_for: { users: [], groups: [], servers: [] } };

describe('what was said about a verdict', () => {
  it('is an acknowledgement of the episode, and a mute of the rule about the server', () => {
    const said = [MUTE, ACK];
    expect(ackOf(said, VERDICT)).toBe(ACK);
    expect(ackOf(said, { ...VERDICT, episode: 'e2' })).toBeNull();
    expect(muteOf(said, { ...VERDICT, episode: 'e2' })).toBe(MUTE);
    for (const other of [{ rule: 'idle' }, { user: 'bob' }, { server: 'gpu' }]) {
      expect(muteOf(said, { ...VERDICT, ...other })).toBeNull();
    }
  });

  it('is told with who said it and when', () => {
    expect(answerWords(ACK, NOW)).toBe('acknowledged by root, 14:02');
    expect(answerWords({ ...ACK, by: null }, NOW)).toBe('acknowledged, 14:02');
    expect(answerWords({ ...ACK, by: 'service:ops' }, NOW)).toBe('acknowledged by the service ops, 14:02');
    expect(answerWords(MUTE, NOW)).toBe('muted until 15:02 by root, 14:02');
  });

  it('names the date of what is a week away: a weekday would be the wrong one', () => {
    const far = { ...MUTE, until: new Date('2026-12-05T14:02:00').toISOString() };
    expect(answerWords(far, NOW)).toMatch(/Dec/);
  });
});

describe('who may answer', () => {
  it('is who may change everything, and a user for themselves', () => {
    expect(mayAnswer({ user: 'ann' }, ME)).toBe(true);
    expect(mayAnswer({ user: 'bob' }, ME)).toBe(false);
    expect(mayAnswer({ user: 'bob' }, { ...ME, changes_all: true })).toBe(true);
    expect(mayAnswer({ user: 'ann' }, null)).toBe(false);
  });

  it('is nobody who merely sees everything', () => {
    expect(mayAnswer({ user: 'bob' }, { ...ME, admin: true })).toBe(false);
    expect(mayAnswer({ user: 'ann' }, { ...ME, admin: true })).toBe(true);
  });

  it('is nobody who may hold the servers of a group', () => {
    const teacher = { ...ME, holds_for: { ...ME.holds_for, groups: ['physics'] } };
    expect(mayAnswer({ user: 'bob' }, teacher)).toBe(false);
  });

  it('never mutes that they were killed, for themselves', () => {
    expect(mayMute({ rule: 'killed', user: 'ann' }, ME)).toBe(false);
    expect(mayMute({ rule: 'near_limit', user: 'ann' }, ME)).toBe(true);
    expect(mayMute({ rule: 'killed', user: 'ann' }, { ...ME, changes_all: true })).toBe(true);
    expect(mayMute({ rule: 'near_limit', user: 'bob' }, ME)).toBe(false);
  });

  it('never mutes for longer than the API takes', () => {
    expect(Math.max(...MUTES.map(mute => mute.ms))).toBeLessThanOrEqual(30 * 24 * 3_600_000);
  });
});

describe('who may keep a server alive', () => {
  const BOBS = { user: 'bob', server: 'gpu', groups: ['physics', 'staff'] };
  const may = (holds: Partial<Me['holds_for']>) => mayHold(BOBS, { ...ME, holds_for: { ...ME.holds_for, ...holds } });

  it('is who may change everything, and a user for themselves', () => {
    expect(mayHold(BOBS, { ...ME, changes_all: true })).toBe(true);
    expect(mayHold(BOBS, { ...ME, user: 'bob' })).toBe(true);
    expect(mayHold(BOBS, { ...ME, admin: true })).toBe(false);
    expect(mayHold(BOBS, null)).toBe(false);
  });

  it('is whom a scope lets for a user, a group or a server, and for no other', () => {
    expect(may({ groups: ['physics'] })).toBe(true);
    expect(may({ groups: ['chemistry'] })).toBe(false);
    expect(may({ users: ['bob'] })).toBe(true);
    expect(may({ users: ['bo'] })).toBe(false);
    expect(may({ servers: ['bob/gpu'] })).toBe(true);
    expect(may({ servers: ['bob/'] })).toBe(false);
  });
});
