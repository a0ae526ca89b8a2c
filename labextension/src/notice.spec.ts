import { beforeEach, describe, expect, it } from 'vitest';

import { IMore, Notices, parseNotice } from './notice';

const NOTICE = {
  episode: 'e1',
  rule: 'runaway_memory',
  severity: 'warning',
  text: 'train.ipynb grows by 52 MiB/s.',
  workload_id: null,
  cleared: false
};
const trans = { __: (id: string) => id, _n: (id: string) => id };

let shown: { text: string; type: string; more?: IMore }[];
let updated: { id: string; text: string }[];
let dismissed: string[];
let notices: Notices;

beforeEach(() => {
  shown = [];
  updated = [];
  dismissed = [];
  notices = new Notices(
    {
      show: (text, type, more) => `n${shown.push({ text, type, more })}`,
      update: (id, text) => void updated.push({ id, text }),
      dismiss: id => void dismissed.push(id)
    },
    trans
  );
});

describe('Notices', () => {
  it('shows an episode once, in the newest words', () => {
    notices.take(NOTICE);
    notices.take({ ...NOTICE, text: 'still growing' });
    expect(shown).toEqual([{ text: NOTICE.text, type: 'warning', more: undefined }]);
    expect(updated).toEqual([{ id: 'n1', text: 'still growing' }]);
  });

  it('takes it away when it is cleared, and stays quiet about a late copy', () => {
    notices.take(NOTICE);
    notices.take({ ...NOTICE, cleared: true });
    notices.take(NOTICE);
    expect(dismissed).toEqual(['n1']);
    expect(shown.length).toBe(1);
  });

  it('is quiet about an episode that it hears of when it is over', () => {
    notices.take({ ...NOTICE, cleared: true });
    expect(shown).toEqual([]);
    expect(dismissed).toEqual([]);
  });

  it('shows a critical one as an error', () => {
    notices.take({ ...NOTICE, severity: 'critical' });
    expect(shown[0].type).toBe('error');
  });

  it('offers the whole of a long text', () => {
    notices.take({ ...NOTICE, text: 'x'.repeat(300) });
    expect(shown[0].text.length).toBe(140);
    expect(shown[0].more?.full.length).toBe(300);
  });

  it('does not remember without end', () => {
    for (let i = 0; i < 2000; i += 1) {
      notices.take({ ...NOTICE, episode: `e${i}` });
    }
    expect((notices as any)._shown.size).toBe(500);
  });
});

describe('parseNotice', () => {
  it('takes nothing half-made', () => {
    for (const bad of [
      null,
      4,
      {},
      { ...NOTICE, episode: '' },
      { ...NOTICE, text: 5 },
      { ...NOTICE, severity: 'loud' }
    ]) {
      expect(parseNotice(bad)).toBeNull();
    }
  });
});
