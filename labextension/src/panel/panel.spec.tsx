// @vitest-environment jsdom
import * as React from 'react';
import { act } from 'react';
import { createRoot, Root } from 'react-dom/client';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { Actions } from '../actions';
import { Refusal, Requests } from '../requests';
import { feedOf, GIB, kernel, LIVE, trans } from '../spec/double';
import { Body } from './body';
import { PanelState } from './state';

const HOUR = 3_600_000;
const NOW = Date.parse('2027-01-15T08:00:00.000Z');
const iso = (ms: number) => new Date(ms).toISOString();

let root: Root;
let node: HTMLElement;
let state: PanelState;
let done: string[];
let answers: { [Name in keyof Requests]?: any };

const actions = {
  isKernel: () => true,
  canOpen: (one: { kind: string }) => one.kind === 'kernel',
  interrupt: (id: string) => done.push(`interrupt ${id}`),
  restart: (one: { id: string }) => done.push(`restart ${one.id}`),
  shutDown: (one: { id: string }) => done.push(`shut down ${one.id}`),
  shutDownAll: (all: { id: string }[]) => done.push(`shut down ${all.map(one => one.id)}`),
  open: (one: { id: string }) => done.push(`open ${one.id}`)
} as unknown as Actions;

function draw() {
  act(() => root.render(<Body state={state} actions={actions} trans={trans} />));
}

async function show(over: object = {}) {
  state = new PanelState(feedOf(over), answers as unknown as Requests);
  state.changed.connect(draw);
  state.feed.changed.connect(draw);
  draw();
  await act(() => state.open());
}

const text = () => node.textContent ?? '';
const button = (name: RegExp) =>
  [...node.querySelectorAll('button')].find(one => name.test(one.getAttribute('aria-label') ?? one.textContent ?? ''))!;
const click = (element: Element) => act(async () => (element as HTMLElement).click());
const names = () => [...node.querySelectorAll('.hm-Row-name')].map(one => one.textContent);
const rows = (count: number) =>
  Array.from({ length: count }, (_, i) => kernel(`k${i}`, `n${i}.ipynb`, 1000 - i));
const refuse = (status: number, why: string) => async () => {
  throw new Refusal(status, why);
};

const death = (over: object = {}) => ({
  rule: 'killed',
  episode: 'd1',
  state: 'open',
  since: iso(NOW - 60_000),
  evidence: {
    workload_title: 'grow.ipynb',
    workload_memory_used_bytes: 3.4 * GIB,
    memory_limit_bytes: 4 * GIB,
    last_minute_first_bytes: GIB,
    last_minute_max_bytes: 3.9 * GIB,
    last_minute_last_bytes: 3.9 * GIB
  },
  ...over
});

function history(toMs = NOW) {
  const times = Array.from({ length: 20 }, (_, i) => toMs - 60_000 + i * 3000);
  return { to: iso(toMs), columns: { time: times.map(iso), memory_used_bytes: times.map(() => GIB) } };
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: NOW });
  done = [];
  answers = {
    server: async () => ({ available: true }),
    verdicts: async () => ({ items: [] }),
    history: async () => history()
  };
  node = document.body.appendChild(document.createElement('div'));
  root = createRoot(node);
});

afterEach(() => {
  act(() => root.unmount());
  node.remove();
  state.feed.dispose();
  state.dispose();
  vi.useRealTimers();
});

describe('the panel', () => {
  it('ranks what uses memory and says what it does', async () => {
    const workloads = [
      kernel('k1', 'small.ipynb', 10, { state: 'idle', idle_seconds: 720, cpu_cores: 0 }),
      kernel('k2', 'large.ipynb', 900, { cpu_cores: 1.25, trend_bytes_per_second: 20 * 1024 ** 2 }),
      { kind: 'terminal', id: 't', name: '1', memory_used_bytes: null }
    ];
    await show({ workloads });
    expect(names()).toEqual(['large.ipynb', 'small.ipynb', 'Terminal 1']);
    expect(text()).toContain('kernel · busy · 1.3 cores · +20 MiB/s');
    expect(text()).toContain('kernel · idle for 12 min');
    expect(text()).toContain('unknown');
  });

  it('has each action for the row it is in', async () => {
    await show({ workloads: [kernel('k1', 'a.ipynb', 10), kernel('k2', 'b.ipynb', 5)] });
    await click(button(/^Interrupt b\.ipynb/));
    await click(button(/^Restart the kernel of a\.ipynb/));
    await click(button(/^Shut down a\.ipynb/));
    await click([...node.querySelectorAll('.hm-Row-name')][1]);
    expect(done).toEqual(['interrupt k2', 'restart k1', 'shut down k1', 'open k2']);
  });

  it('stays usable with 500 kernels', async () => {
    await show({ workloads: rows(500), workloads_left_out: 12 });
    expect(names().length).toBe(20);
    await click(button(/^and 492 more/));
    expect(names().length).toBe(120);
  });

  it('moves no row away from under a pointer or the keyboard', async () => {
    await show({ workloads: [kernel('k1', 'a.ipynb', 10), kernel('k2', 'b.ipynb', 5)] });
    const list = node.querySelector('.hm-rows')!;
    act(() => button(/^Interrupt b/).focus());
    const grown = [kernel('k1', 'a.ipynb', 10), kernel('k2', 'b.ipynb', 500), kernel('k3', 'c.ipynb', 900)];
    act(() => state.feed.take({ ...LIVE, workloads: grown }));
    expect(names()).toEqual(['a.ipynb', 'b.ipynb', 'c.ipynb']);
    act(() => (document.activeElement as HTMLElement).blur());
    expect(list.isConnected).toBe(true);
    expect(names()).toEqual(['c.ipynb', 'b.ipynb', 'a.ipynb']);
  });

  it('makes no element of a name, isolates its direction, and keeps it to a bearable length', async () => {
    const evil = '<img src=x onerror=alert(1)>';
    const workloads = [kernel('k1', evil, 9), kernel('k2', 'ملف.ipynb', 8), kernel('k3', 'n'.repeat(4000), 7)];
    answers.verdicts = async () => ({
      items: [death({ evidence: { workload_title: `${evil}\u202E` } }), death({ episode: 'r', rule: evil })]
    });
    await show({ workloads });
    expect(node.querySelector('img')).toBeNull();
    expect(names()[0]).toBe(evil);
    const isolated = [...node.querySelectorAll('bdi')].map(one => one.textContent);
    expect(isolated).toContain('ملف.ipynb');
    expect(text()).not.toContain('\u202E');
    expect(Math.max(...names().map(name => name!.length))).toBeLessThanOrEqual(201);
  });

  it('says "no data", and no number, when the agent is away', async () => {
    await show();
    act(() => state.feed.take({ state: 'no_data' }));
    expect(node.querySelector('.hm-Now')!.textContent).toContain('no data');
    expect(node.querySelector('.hm-Now')!.textContent).not.toMatch(/\d/);
    expect(names()).toEqual([]);
  });

  it('bears a limit that is unknown, and one lower than use', async () => {
    await show({ memory_limit_bytes: null, workloads: rows(2) });
    expect(text()).toContain('no limit known');
    expect(node.querySelector('.hm-Row-bar')).toBeNull();
    act(() => state.feed.take({ ...LIVE, memory_used_bytes: 5 * GIB, workloads: [kernel('k', 'a.ipynb', 9000)] }));
    expect(text()).toContain('125% used');
    expect((node.querySelector('.hm-Row-bar') as HTMLElement).style.inlineSize).not.toContain('2');
  });

  it('says that history is not there, and goes on with what it sees itself', async () => {
    answers.history = refuse(503, 'the collector does not answer');
    answers.server = refuse(503, 'the collector does not answer');
    answers.verdicts = refuse(503, 'the collector does not answer');
    await show();
    expect(text()).toContain('History is not available: the collector does not answer');
    expect(text()).toContain('Memory between 1.2 GiB and 1.2 GiB, limit 4.0 GiB');
  });

  it('asks when it is opened and when a range is chosen, and never by itself', async () => {
    const asked: string[] = [];
    answers.history = async (span: { from: string }) => {
      asked.push(span.from);
      return history();
    };
    await show();
    await click(button(/^6 h/));
    for (let i = 0; i < 100; i += 1) {
      act(() => state.feed.take(LIVE));
    }
    expect(asked).toEqual(['-10m', '-6h']);
    expect(button(/^6 h/).getAttribute('aria-pressed')).toBe('true');
  });

  it('asks again after a notice only while it is on the screen', async () => {
    let asked = 0;
    answers.verdicts = async () => {
      asked += 1;
      return { items: [] };
    };
    await show();
    await state.refresh();
    state.watched = true;
    await act(() => state.refresh());
    expect(asked).toBe(2);
  });

  it('takes no answer for a range that is no longer chosen', async () => {
    await show();
    let late: (answer: unknown) => void = () => undefined;
    answers.history = () => new Promise(resolve => (late = resolve));
    const first = state.pick('hours');
    answers.history = async () => ({ ...history(), source: 'agent' });
    await act(() => state.pick('days'));
    late(history());
    await act(() => first);
    expect(state.range).toBe('days');
    expect(state.history).toMatchObject({ value: { source: 'agent' } });
  });

  it('names what was judged below the picture of it, and what is open above it', async () => {
    const grew = { rule: 'runaway_memory', since: iso(NOW - 30_000) };
    answers.verdicts = async () => ({
      items: [death({ ...grew, episode: 'r' }), death({ ...grew, episode: 's', state: 'cleared' })]
    });
    await show();
    expect(node.querySelectorAll('.hm-Past .hm-Chart-mark').length).toBe(2);
    expect(node.querySelectorAll('.hm-Past-marks li').length).toBe(1);
    expect(node.querySelector('.hm-Past-marks')!.textContent).toContain('grow.ipynb: memory grew fast');
    expect(node.querySelector('.hm-Open')!.textContent).toContain('grow.ipynb: memory grew fast, since');
  });

  it('explains a death: which, when, how much of what, its last minute, what to do', async () => {
    answers.verdicts = async () => ({ items: [death()] });
    answers.history = async (span: { to?: string }) => history(span.to ? Date.parse(span.to) : NOW);
    await show();
    await act(async () => undefined);
    const said = node.querySelector('.hm-Death')!;
    expect(said.textContent).toContain('grow.ipynb was killed: memory was used up. It held 3.4 GiB, the limit is 4.0 GiB.');
    expect(said.textContent).toContain('What to do');
    expect(said.querySelector('svg .hm-Chart-line')).not.toBeNull();
    expect(said.textContent).toContain('In its last minute this server went from 1.0 GiB to 3.9 GiB.');
  });

  it('explains a death in words where history has nothing', async () => {
    answers.verdicts = async () => ({ items: [death({ evidence: { ...death().evidence, inferred: true } })] });
    answers.history = refuse(503, 'no');
    await show();
    await act(async () => undefined);
    const said = node.querySelector('.hm-Death')!;
    expect(said.textContent).toContain('went from 1.0 GiB to 3.9 GiB');
    expect(said.textContent).toContain('likely reason');
    expect(said.querySelector('svg')).toBeNull();
  });

  it('shows times of a collector an hour ahead in this browser\'s time', async () => {
    answers.history = async () => history(NOW + HOUR);
    answers.server = async () => ({ idle_seconds: 2820, stops_at: iso(NOW + HOUR + 13 * 60_000) });
    await show();
    expect(text()).toContain('Idle for 47 min, stops in 13 min.');
  });

  it('keeps the server for as long as was chosen, by the server\'s clock, and can take it back', async () => {
    let row: object = { idle_seconds: 2820, stops_at: iso(NOW + 13 * 60_000) };
    const wishes: (string | null)[] = [];
    answers.server = async () => row;
    answers.hold = async (until: Date) => {
      wishes.push(until.toISOString());
      row = { idle_seconds: 2820, held_until: until.toISOString() };
    };
    answers.release = async () => {
      wishes.push(null);
      row = { idle_seconds: 2820 };
    };
    await show({ time: iso(NOW + HOUR) });
    await click(button(/^Keep for 4 hours/));
    expect(text()).toContain('This server is kept until');
    await click(button(/^No need to keep it/));
    expect(wishes).toEqual([iso(NOW + 5 * HOUR - 10_000), null]);
  });

  it('asks for no more than policy lets by a clock somewhat behind ours', async () => {
    const lets = refuse(422, 'no further than 8 hours');
    answers.server = async () => ({ idle_seconds: 2820, stops_at: iso(NOW + 13 * 60_000) });
    answers.hold = async (until: Date) => {
      if (until.getTime() > NOW - 5_000 + 8 * HOUR) {
        await lets();
      }
    };
    await show();
    await click(button(/^Keep for 8 hours/));
    expect(text()).not.toContain('It cannot be kept');
  });

  it('says in words why a server is not kept', async () => {
    answers.server = async () => ({ idle_seconds: 2820, stops_at: iso(NOW + 13 * 60_000) });
    answers.hold = refuse(422, 'a server may run for 12 hours at most');
    await show();
    await click(button(/^Keep for 8 hours/));
    expect(text()).toContain('It cannot be kept: a server may run for 12 hours at most');
  });

  it('shuts down the idle kernels that were chosen, and none by itself', async () => {
    const idle = { state: 'idle', idle_seconds: 3000 };
    await show({
      workloads: [
        kernel('k1', 'a.ipynb', 2048, idle),
        kernel('k2', 'b.ipynb', 1024, idle),
        kernel('k3', 'busy.ipynb', 4096),
        kernel('k4', 'pause.ipynb', 512, { state: 'idle', idle_seconds: 60 })
      ]
    });
    expect(node.querySelector('.hm-Idle summary')!.textContent).toBe('2 idle kernels hold 3.0 GiB');
    const [all, first] = [...node.querySelectorAll<HTMLInputElement>('.hm-Idle input')];
    expect(button(/^Shut down what is chosen/).disabled).toBe(true);
    await click(first);
    await click(button(/^Shut down 1 kernel, 2\.0 GiB/));
    await click(all);
    await click(button(/^Shut down 2 kernels/));
    expect(done).toEqual(['shut down k1', 'shut down k1,k2']);
  });

  it('says what is counted and what measuring costs', async () => {
    await show({ agent_cpu_millis: 960, agent_rss_bytes: 2 * 1024 ** 2, agent_up_seconds: 9600, rss_bytes: GIB });
    const said = node.querySelector('.hm-Counted')!.textContent!;
    expect(said).toContain('control group');
    expect(said).toContain('Limit: enforced by the system');
    expect(said).toContain('Measuring this takes 2 MiB of memory and 0.010% of a core.');
  });

  it('shows the parts that were chosen', async () => {
    await show({ cpu_cores: 1, workloads: [kernel('k1', 'a.ipynb', 9, { state: 'idle', idle_seconds: 900 })] });
    expect(node.querySelectorAll('.hm-Past .hm-Chart').length).toBe(2);
    act(() => state.choose({ ...state.settings, cpu: false, idle: false, units: 'decimal' }));
    expect(node.querySelectorAll('.hm-Past .hm-Chart').length).toBe(1);
    expect(node.querySelector('.hm-Idle')).toBeNull();
    expect(text()).toContain('1.3 / 4.3\u00a0GB');
    act(() => state.choose({ ...state.settings, chart: false }));
    expect(node.querySelector('.hm-Past')).toBeNull();
  });

  it('names every button and picture for a screen reader', async () => {
    answers.verdicts = async () => ({ items: [death()] });
    await show({ cpu_cores: 1, workloads: rows(3) });
    for (const one of node.querySelectorAll('button, svg[role=img], meter')) {
      expect(one.getAttribute('aria-label') || one.textContent, one.className.toString()).toBeTruthy();
    }
    for (const svg of node.querySelectorAll('svg')) {
      expect(svg.getAttribute('role') === 'img' || svg.getAttribute('aria-hidden') === 'true').toBe(true);
    }
  });
});
