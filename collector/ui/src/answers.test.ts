import { describe, expect, it } from 'vitest';
import { ackOf, answerWords, mayChange, MUTES, muteOf } from './answers';
import type { Answer, Me, Verdict } from './api';

const NOW = new Date('2026-11-28T14:02:00');
const VERDICT = { rule: 'near_limit', episode: 'e1', user: 'ann', server: '' } as Verdict;
const ACK: Answer = { what: 'ack', episode: 'e1', rule: 'near_limit', user: 'ann', server: '', by: 'root', time: NOW.toISOString(), until: null };
const MUTE: Answer = { ...ACK, what: 'mute', episode: 'e0', until: new Date('2026-11-28T15:02:00').toISOString() };
const ME: Me = { user: 'ann', admin: false, changes_all: false };

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
    expect(mayChange({ user: 'ann' }, ME)).toBe(true);
    expect(mayChange({ user: 'bob' }, ME)).toBe(false);
    expect(mayChange({ user: 'bob' }, { ...ME, changes_all: true })).toBe(true);
    expect(mayChange({ user: 'ann' }, null)).toBe(false);
  });

  it('is nobody who merely sees everything', () => {
    expect(mayChange({ user: 'bob' }, { ...ME, admin: true })).toBe(false);
    expect(mayChange({ user: 'ann' }, { ...ME, admin: true })).toBe(true);
  });

  it('never mutes for longer than the API takes', () => {
    expect(Math.max(...MUTES.map(mute => mute.ms))).toBeLessThanOrEqual(30 * 24 * 3_600_000);
  });
});
