// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { IAction, IDeeds, Notices, parseNotice, sentenceOf } from './notice';
import { MIB, storage, tab, told, trans } from './spec/double';
import { Told } from './told';

const NOTICE = {
  episode: 'e1',
  rule: 'runaway_memory',
  severity: 'warning',
  text: 'train.ipynb grows by 52 MiB/s.',
  workload_id: null as string | null,
  cleared: false
};
const IDLE = {
  ...NOTICE,
  rule: 'idle',
  severity: 'info',
  text: 'idle 47 min, stops in 13 min',
  stops_at: '2027-01-15T08:13:00.000Z'
};
const NOW = Date.parse('2027-01-15T08:00:00.000Z');

let look: (away: boolean) => void;
let shown: { text: string; type: string; actions: readonly IAction[] }[];
let updated: { id: string; text: string; type: string }[];
let dismissed: string[];
let done: string[];
let shared: Storage;
let notices: Notices;

const notifier = {
  show: (text: string, type: string, actions: readonly IAction[]) => `n${shown.push({ text, type, actions })}`,
  update: (id: string, text: string, type: string) => void updated.push({ id, text, type }),
  dismiss: (id: string) => void dismissed.push(id)
};
const deeds: IDeeds = {
  interrupt: id => done.push(`interrupt ${id}`),
  isKernel: id => id.startsWith('k'),
  nameOf: id => (id === 'k1' ? 'swell.ipynb' : null),
  showPanel: () => done.push('panel'),
  readAll: text => done.push(`read ${text.length}`),
  keepAlive: hours => done.push(`keep ${hours}`),
  shown: episode => done.push(`shown ${episode}`),
  now: () => NOW
};
const make = () =>
  new Notices(notifier, deeds, trans, { told: told(shared), muted: new Told('muted', shared) });
const press = (label: string) => shown[0].actions.find(one => one.label === label)?.run();

beforeEach(() => {
  [shown, updated, dismissed, done] = [[], [], [], []];
  look = tab();
  shared = storage();
  notices = make();
});

afterEach(() => {
  notices.dispose();
  vi.restoreAllMocks();
});

describe('Notices', () => {
  it('shows an episode once, in the newest words and gravity', () => {
    notices.take(NOTICE);
    notices.take({ ...NOTICE, text: 'still growing', severity: 'critical' });
    expect(shown.map(({ text, type }) => ({ text, type }))).toEqual([{ text: NOTICE.text, type: 'warning' }]);
    expect(updated).toEqual([{ id: 'n1', text: 'still growing', type: 'error' }]);
  });

  it('names the victim of a death in the notification that is there', () => {
    const killed = { ...NOTICE, rule: 'killed', severity: 'critical', text: 'A process was killed.' };
    notices.take(killed);
    notices.take({ ...killed, text: 'train.ipynb was killed.' });
    notices.take({ ...killed, text: 'train.ipynb was killed.' });
    expect(shown.length).toBe(1);
    expect(updated).toEqual([{ id: 'n1', text: 'train.ipynb was killed.', type: 'error' }]);
  });

  it('does not bring back what was hidden for words that it has', () => {
    notices.take(NOTICE);
    notices.take(NOTICE);
    expect(updated).toEqual([]);
  });

  it('takes it away when it is cleared, and stays quiet about a late copy', () => {
    notices.take(NOTICE);
    notices.take({ ...NOTICE, cleared: true });
    notices.take(NOTICE);
    expect(dismissed).toEqual(['n1']);
    expect(shown.length).toBe(1);
  });

  it('leaves the reason of a death until it is read', () => {
    notices.take({ ...NOTICE, rule: 'killed' });
    notices.take({ ...NOTICE, rule: 'killed', cleared: true });
    expect(shown.length).toBe(1);
    expect(dismissed).toEqual([]);
  });

  it('is quiet about an episode that it hears of when it is over', () => {
    notices.take({ ...NOTICE, cleared: true });
    expect(shown).toEqual([]);
    expect(dismissed).toEqual([]);
  });

  it('does not say again after a reload what was said before it', () => {
    notices.take(NOTICE);
    notices.dispose();
    notices = make();
    notices.take(NOTICE);
    expect(shown.length).toBe(1);
  });

  it('says it in one of two tabs', () => {
    const other = make();
    notices.take(NOTICE);
    other.take(NOTICE);
    other.dispose();
    expect(shown.length).toBe(1);
    expect(done).toEqual(['shown e1']);
  });

  it('waits in a hidden tab, and tells of it only when somebody could see it', () => {
    look(true);
    notices.take(NOTICE);
    notices.take({ ...NOTICE, text: 'newer' });
    expect(shown).toEqual([]);
    expect(done).toEqual([]);
    look(false);
    expect(shown.map(({ text }) => text)).toEqual(['newer']);
    expect(done).toEqual(['shown e1']);
  });

  it('says nothing of a danger that came and went while nobody looked', () => {
    look(true);
    notices.take(NOTICE);
    notices.take({ ...NOTICE, cleared: true });
    look(false);
    expect(shown).toEqual([]);
  });

  it('keeps the reason of a death for who looks later', () => {
    look(true);
    notices.take({ ...NOTICE, rule: 'killed', text: 'why' });
    notices.take({ ...NOTICE, rule: 'killed', text: 'Over', cleared: true });
    look(false);
    expect(shown.map(({ text }) => text)).toEqual(['why']);
  });

  it('says and reports nothing while it is quiet', () => {
    notices.quiet = true;
    notices.take(NOTICE);
    expect(shown).toEqual([]);
    expect(done).toEqual([]);
  });

  it('interrupts the kernel it names, shows the panel, and is silent about that kernel from then on', () => {
    notices.take({ ...NOTICE, workload_id: 'k1' });
    expect(shown[0].actions.map(one => one.label)).toEqual(['Interrupt', 'Show', 'Not again for this kernel']);
    press('Interrupt');
    press('Show');
    press('Not again for this kernel');
    notices.take({ ...NOTICE, episode: 'e2', workload_id: 'k1' });
    notices.take({ ...NOTICE, episode: 'e3', workload_id: 'k2' });
    notices.take({ ...NOTICE, episode: 'e4', rule: 'killed', workload_id: 'k1' });
    expect(done).toEqual(['shown e1', 'interrupt k1', 'panel', 'shown e3', 'shown e4']);
  });

  it('finds the name of a kernel that it is not told', () => {
    const fast = { trend_bytes_per_second: 52 * MIB, seconds_to_limit: 18 };
    notices.take({ ...NOTICE, ...fast, workload_id: 'k1' });
    notices.take({ ...NOTICE, ...fast, episode: 'e2', workload_id: 'k2' });
    expect(shown.map(({ text }) => text)).toEqual([
      'swell.ipynb grows by 52 MiB/s: memory is full in about 18 s.',
      'Memory grows by 52 MiB/s and is full in about 18 s.'
    ]);
  });

  it('offers no interrupt for what is no kernel', () => {
    notices.take({ ...NOTICE, workload_id: 'terminal-1' });
    expect(shown[0].actions.map(one => one.label)).toEqual(['Show']);
  });

  it('offers to keep a server that is about to be stopped', () => {
    notices.take(IDLE);
    expect(shown[0].text).toBe('This server is idle and stops in 13 min. Is somebody still here?');
    expect(shown[0].actions.map(one => one.label)).toEqual(['Keep 1 h', 'Keep 4 h', 'Keep 8 h']);
    press('Keep 4 h');
    expect(done).toContain('keep 4');
  });

  describe('the last warning of a stop', () => {
    const LAST = { ...IDLE, text: 'idle 55 min, stops in 5 min', stops_at: '2027-01-15T08:05:00.000Z' };
    const said = () => shown.map(({ text }) => /stops in (.*)\. Is/.exec(text)![1]);

    it('comes though the first was shown, in its place, once', () => {
      notices.take(IDLE);
      notices.take(LAST);
      notices.take(LAST);
      expect(said()).toEqual(['13 min', '5 min']);
      expect(dismissed).toEqual(['n1']);
      expect(done).toEqual(['shown e1', 'shown e1']);
    });

    it('leaves no older one behind in the tab where it is not said', () => {
      notices.take(IDLE);
      const other = make();
      other.take(LAST);
      notices.take(LAST);
      other.dispose();
      expect(said()).toEqual(['13 min', '5 min']);
      expect(dismissed).toEqual(['n1']);
    });

    it('comes after the page was loaded anew, and then not again', () => {
      for (const one of [IDLE, LAST, LAST]) {
        notices.take(one);
        notices.dispose();
        notices = make();
      }
      expect(said()).toEqual(['13 min', '5 min']);
    });

    it('comes however long before the end the hub has it told, and however near to the first', () => {
      notices.take({ ...IDLE, text: 'idle 1 h, stops in 60 min', stops_at: '2027-01-15T09:00:00.000Z' });
      notices.take({ ...IDLE, text: 'idle 1 h, stops in 50 min', stops_at: '2027-01-15T08:50:00.000Z' });
      expect(said()).toEqual(['60 min', '50 min']);
    });

    it('is not the copy of an earlier one that comes late, by a clock that is somewhat behind', () => {
      notices.take(IDLE);
      notices.take({ ...IDLE, stops_at: '2027-01-15T08:04:00.000Z' });
      expect(said()).toEqual(['13 min']);
    });

    it('goes when the stop is off, and no late copy of either comes back', () => {
      notices.take(IDLE);
      notices.take(LAST);
      notices.take({ ...IDLE, stops_at: null, cleared: true });
      notices.take(IDLE);
      notices.take(LAST);
      expect(dismissed).toEqual(['n1', 'n2']);
      expect(shown.length).toBe(2);
    });

    it('waits in a hidden tab, and is not said when it is off by then', () => {
      notices.take(IDLE);
      look(true);
      notices.take(LAST);
      notices.take({ ...IDLE, cleared: true });
      look(false);
      expect(said()).toEqual(['13 min']);
      expect(dismissed).toEqual(['n1']);
    });

    it('is the only one for who first looks then', () => {
      look(true);
      notices.take(IDLE);
      notices.take(LAST);
      look(false);
      notices.take(LAST);
      expect(said()).toEqual(['5 min']);
    });
  });

  it('shows a critical one as an error', () => {
    notices.take({ ...NOTICE, severity: 'critical' });
    expect(shown[0].type).toBe('error');
  });

  it('offers the whole of a long text', () => {
    notices.take({ ...NOTICE, text: 'x'.repeat(300) });
    expect(shown[0].text.length).toBe(140);
    press('Read all');
    expect(done).toContain('read 300');
  });

  it('does not remember without end', () => {
    for (let i = 0; i < 2000; i += 1) {
      notices.take({ ...NOTICE, episode: `e${i}` });
    }
    expect((notices as any)._shown.size).toBe(500);
    expect(JSON.parse(shared.getItem('told')!).length).toBe(200);
  });
});

describe('sentenceOf', () => {
  const words = (over: object) => sentenceOf(parseNotice({ ...NOTICE, ...over })!, 'binary', trans, NOW);
  const fast = { trend_bytes_per_second: 52 * MIB, seconds_to_limit: 18 };

  it('names notebook, speed and time left', () => {
    expect(words({ ...fast, workload_name: 'deep/train.ipynb' })).toBe(
      'train.ipynb grows by 52 MiB/s: memory is full in about 18 s.'
    );
    expect(words(fast)).toBe('Memory grows by 52 MiB/s and is full in about 18 s.');
  });

  it('is the collector\'s own sentence where something is not known', () => {
    expect(words({})).toBe(NOTICE.text);
    expect(words({ ...fast, seconds_to_limit: null })).toBe(NOTICE.text);
    expect(words({ rule: 'near_limit', ...fast })).toBe(NOTICE.text);
  });

  it('lets a name from right to left turn no word around it', () => {
    expect(words({ ...fast, workload_name: 'ملف.ipynb' })).toMatch(/^\u2068ملف\.ipynb\u2069 grows by/);
  });

  it('has names on one line and of bearable length', () => {
    const said = words({ ...fast, workload_name: `${'n'.repeat(4000)}\n\u202E` });
    expect(said.length).toBeLessThan(120);
    expect(said).not.toMatch(/[\n\u202E]/);
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
