// A server whose numbers a test decides: the event bus and the addresses of the meter, as this page
// sees them. Everything else is the real server.

import type { Page, Route, WebSocketRoute } from '@playwright/test';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;
const SAMPLE_SCHEMA = 'https://hubmeter.dev/events/sample/v1';
const NOTICE_SCHEMA = 'https://hubmeter.dev/events/notice/v1';

type Json = Record<string, unknown>;

/** What the double's addresses answer; a test may change it at any time. */
export interface Answers {
  server: Json;
  verdicts: readonly Json[];
  history: (query: URLSearchParams) => Json;
  /** Held until then, or refused in words. */
  hold: string | null;
}

export class Double {
  readonly asked: string[] = [];
  readonly answers: Answers = {
    server: { available: true, idle_seconds: 0, held_until: null, stops_at: null },
    verdicts: [],
    history: query => history(query, climb),
    hold: null
  };

  private sockets: WebSocketRoute[] = [];

  /** Whether the page listens to events by now. */
  get heard(): boolean {
    return this.sockets.length > 0;
  }

  /** Must come before the page is opened. */
  async into(page: Page): Promise<void> {
    await page.routeWebSocket(/\/api\/events\/subscribe/, socket => {
      this.sockets.push(socket);
    });
    await page.route(/\/hubmeter\/v1\//, route => this.answer(route));
    await page.route(/\/api\/metrics\/v1\?/, route => route.fulfill({ json: { meter: sample({}) } }));
  }

  sample(over: Json): void {
    this.emit({ schema_id: SAMPLE_SCHEMA, ...sample(over) });
  }

  notice(over: Json): void {
    const notice = { episode: 'e1', rule: 'runaway_memory', severity: 'warning', text: 'Memory grows.', workload_id: null };
    this.emit({ schema_id: NOTICE_SCHEMA, ...notice, cleared: false, ...over });
  }

  private emit(event: Json): void {
    const whole = { schema_version: '1', emission_time: new Date().toISOString(), ...event };
    this.sockets.forEach(socket => socket.send(JSON.stringify(whole)));
  }

  private async answer(route: Route): Promise<void> {
    const request = route.request();
    const url = new URL(request.url());
    const path = url.pathname.slice(url.pathname.indexOf('/hubmeter/v1/') + '/hubmeter/v1/'.length);
    this.asked.push(`${request.method()} ${path}`);
    if (path === 'server') {
      await route.fulfill({ json: this.answers.server });
    } else if (path === 'verdicts') {
      await route.fulfill({ json: { items: this.answers.verdicts } });
    } else if (path === 'history') {
      await route.fulfill({ json: this.answers.history(url.searchParams) });
    } else if (path === 'hold' && this.answers.hold !== null) {
      const problem = { title: 'Past policy', status: 422, detail: this.answers.hold };
      await route.fulfill({ status: 422, contentType: 'application/problem+json', json: problem });
    } else if (path === 'hold') {
      const until = request.method() === 'PUT' ? request.postDataJSON().until : null;
      this.answers.server = { ...this.answers.server, held_until: until, stops_at: null };
      await route.fulfill({ json: { held_until: until } });
    } else {
      await route.fulfill({ status: 304 });
    }
  }
}

/** A sample as the server extension sends it. */
export function sample(over: Json): Json {
  return {
    state: 'live',
    time: new Date().toISOString(),
    interval_ms: 5000,
    memory_used_bytes: 1.2 * GIB,
    memory_working_set_bytes: 1.5 * GIB,
    memory_source: 'cgroup2',
    memory_limit_bytes: 4 * GIB,
    memory_limit_source: 'cgroup2:/user',
    memory_limit_enforced: true,
    memory_limit_shared: false,
    rss_bytes: 1.4 * GIB,
    swap_bytes: 0,
    shm_bytes: 12 * MIB,
    trend_bytes_per_second: null,
    seconds_to_limit: null,
    seconds_to_limit_low: null,
    seconds_to_limit_high: null,
    job_ends_in_seconds: null,
    cpu_cores: 0.3,
    processes: 14,
    link_state: 'streaming',
    agent_cpu_millis: 960,
    agent_rss_bytes: 2.1 * MIB,
    agent_up_seconds: 9000,
    workloads: KERNELS,
    workloads_left_out: 0,
    ...over
  };
}

export const KERNELS: readonly Json[] = [
  row('kernel', 'k1', 'analysis/train.ipynb', 640, { state: 'busy', cpu_cores: 1.3, idle_seconds: 0 }),
  row('kernel', 'k2', 'explore.ipynb', 310, { state: 'idle', idle_seconds: 2900 }),
  row('server', 'server', null, 120, { name: 'server', cpu_cores: 0.02 }),
  row('app', 'app-1', null, 90, { name: 'code-server' }),
  row('kernel', 'k3', 'plots.ipynb', 70, { state: 'idle', idle_seconds: 7300 }),
  row('terminal', '1', null, 8, { name: '1', idle_seconds: 400 }),
  row('other', 'other', null, 2, { name: 'other' })
];

export function row(kind: string, id: string, notebook: string | null, mib: number, over: Json = {}): Json {
  return {
    kind,
    id,
    name: 'python3',
    notebook,
    state: null,
    memory_used_bytes: mib * MIB,
    cpu_cores: 0,
    idle_seconds: null,
    ...over
  };
}

/** A verdict as the collector tells of a death. */
export function death(sinceMs: number): Json {
  return {
    rule: 'killed',
    episode: `d${sinceMs}`,
    user: 'alice',
    server: '',
    workload: 'k9',
    severity: 'critical',
    state: 'open',
    since: new Date(sinceMs).toISOString(),
    updated: new Date(sinceMs).toISOString(),
    cleared: null,
    evidence: {
      workload_title: 'grow.ipynb',
      inferred: false,
      cause: 'out_of_memory',
      kills: 1,
      workload_memory_used_bytes: 3.4 * GIB,
      memory_used_bytes: 3.9 * GIB,
      memory_limit_bytes: 4 * GIB,
      last_minute_first_bytes: 1.1 * GIB,
      last_minute_max_bytes: 3.9 * GIB,
      last_minute_last_bytes: 3.9 * GIB
    },
    clears_when: 'the kernel is back, or after 15 minutes'
  };
}

/** Two hundred steps of a span, used by `shape` of 0 to 1. */
export function history(query: URLSearchParams, shape: (share: number) => number): Json {
  const now = Date.now();
  const to = Date.parse(query.get('to') ?? '') || now;
  const from = Date.parse(query.get('from') ?? '') || now - spanMs(query.get('from') ?? '');
  const steps = Array.from({ length: 200 }, (_, i) => i / 199);
  return {
    from: new Date(from).toISOString(),
    to: new Date(to).toISOString(),
    step_ms: null,
    columns: {
      time: steps.map(share => new Date(from + share * (to - from)).toISOString()),
      memory_used_bytes: steps.map(share => Math.round(4 * GIB * shape(share))),
      memory_limit_bytes: steps.map(() => 4 * GIB),
      cpu_cores: steps.map(share => 0.2 + 0.9 * Math.abs(Math.sin(9 * share)) ** 8)
    }
  };
}

/** Up to thirty percent, with some life in it. */
export function climb(share: number): number {
  return 0.14 + 0.16 * share + 0.02 * Math.sin(40 * share);
}

function spanMs(from: string): number {
  const units: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };
  const [, count, unit] = /^-(\d+)([mhd])$/.exec(from) ?? [];
  return Number(count ?? '10') * (units[unit ?? 'm'] ?? 60_000);
}
