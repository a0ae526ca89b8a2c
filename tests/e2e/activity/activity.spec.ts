// One run: the same tab visible, hidden and closed for the same time each. Counted are requests by
// route at the proxy, and steps of last_activity at the proxy, the server and its kernel. How many
// steps a number of requests makes is chance (two close ones make one), so what is counted beside is
// steps without a request: those somebody else made. Beside that: the CPU time of the thread that the
// server's event loop runs in, and how long a trivial request past the proxy waits for that loop.

import { expect, test } from '@playwright/test';
import { readFileSync, writeFileSync } from 'node:fs';

import { access } from '../support/access.ts';
import { hub, logIn, startServer, writeNotebook } from '../support/hub.ts';
import { openNotebook } from '../support/lab.ts';

const VISIBLE_MS = 1000 * Number(process.env['HUBMETER_ACTIVITY_SECONDS'] ?? '120');
const QUIET_MS = 1000 * Number(process.env['HUBMETER_ACTIVITY_QUIET_SECONDS'] ?? '120');

/** Lab's own start is over: no loading, no first polls. */
const SETTLE_MS = 20_000;

/** Of each phase so much is looked at; in the rest the server is left alone, so that what its loop spends is
 * its own and its tab's doing, and not ours. */
const LOOKED_AT = 2 / 3;

/** From a request's start, which the proxy logs, to its end, which is the activity. */
const REQUEST_MS = 2_000;

interface Phase {
  readonly routes: Record<string, number>;
  readonly proxy_steps: number;
  readonly proxy_steps_alone: number;
  readonly server_steps: number;
  readonly server_steps_alone: number;
  readonly kernel_steps: number;
  readonly loop_ms_per_minute: number | null;
  readonly latency_ms_p50: number | null;
  readonly latency_ms_p90: number | null;
}

interface Request {
  readonly at: number;
  readonly route: string;
}

interface Activity {
  readonly proxy: string;
  readonly server: string;
  readonly kernel: string;
}

test('requests and activity with this meter', async ({ browser }) => {
  await startServer('alice');
  await writeNotebook('alice', 'quiet.ipynb', ['x = 1']);
  const page = await (await browser.newContext()).newPage();
  await logIn(page, 'alice');
  await openNotebook(page, 'alice', 'quiet.ipynb');
  const direct = await directUrl();
  await page.waitForTimeout(SETTLE_MS);

  const visible = await phase(direct, VISIBLE_MS);
  // Headless browsers hide nothing by themselves; this is what pages see when a tab is hidden.
  await page.evaluate(() => {
    Object.defineProperty(document, 'visibilityState', { get: () => 'hidden' });
    Object.defineProperty(document, 'hidden', { get: () => true });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await page.waitForTimeout(SETTLE_MS);
  const hidden = await phase(direct, QUIET_MS);
  await page.close();
  await new Promise(done => setTimeout(done, SETTLE_MS));
  const closed = await phase(direct, QUIET_MS);
  writeFileSync(`${access.dir}/counts.json`, JSON.stringify({ visible, hidden, closed }, null, 1));
  expect(Object.keys(visible.routes).length, 'the proxy logs requests').toBeGreaterThan(0);
});

async function phase(direct: string, lengthMs: number): Promise<Phase> {
  const steps = { proxy: [] as string[], server: [] as string[], kernel: [] as string[] };
  const waits: number[] = [];
  const pid = await serverPid();
  const from = Date.now();
  let before = await activity(direct);
  while (Date.now() < from + lengthMs * LOOKED_AT) {
    await new Promise(done => setTimeout(done, 500));
    waits.push(await latency(direct));
    const now = await activity(direct);
    for (const who of ['proxy', 'server', 'kernel'] as const) {
      if (now[who] !== before[who]) {
        steps[who].push(now[who]);
      }
    }
    before = now;
  }
  waits.sort((one, other) => one - other);
  const all = requests();
  const routes: Record<string, number> = {};
  for (const { route } of all.filter(request => request.at >= from)) {
    routes[route] = (routes[route] ?? 0) + 1;
  }
  const alone = (times: string[]) =>
    times.map(Date.parse).filter(step => !all.some(({ at }) => step - REQUEST_MS <= at && at <= step + 500)).length;
  return {
    routes,
    proxy_steps: steps.proxy.length,
    proxy_steps_alone: alone(steps.proxy),
    server_steps: steps.server.length,
    server_steps_alone: alone(steps.server),
    kernel_steps: steps.kernel.length,
    loop_ms_per_minute: await spentPerMinute(pid, lengthMs * (1 - LOOKED_AT)),
    latency_ms_p50: waits[Math.floor(waits.length * 0.5)] ?? null,
    latency_ms_p90: waits[Math.floor(waits.length * 0.9)] ?? null
  };
}

/** How long the smallest request there is takes; nobody's activity. */
async function latency(direct: string): Promise<number> {
  const begun = performance.now();
  await (await fetch(direct)).arrayBuffer();
  return performance.now() - begun;
}

async function spentPerMinute(pid: number, lengthMs: number): Promise<number | null> {
  const [from, spent] = [Date.now(), loopMs(pid)];
  await new Promise(done => setTimeout(done, lengthMs));
  const now = loopMs(pid);
  return spent === null || now === null ? null : (now - spent) / ((Date.now() - from) / 60_000);
}

/** CPU time of the server's first thread, which its event loop runs in. Null where the kernel does not say. */
function loopMs(pid: number): number | null {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
  } catch {
    return null;
  }
}

async function serverPid(): Promise<number> {
  const user = await hub('GET', '/users/alice');
  return user.servers[''].state.pid;
}

/** Requests to the user's server, as the proxy logged them. Those to services are nobody's activity. */
function requests(): Request[] {
  const line = /^(\S+) \[ConfigProxy\].*PROXY (WEB|WS) \/user\/alice\/([^\s?]*)/gm;
  return [...readFileSync(access.hubLog, 'utf8').matchAll(line)].map(([, at, kind, path]) => ({
    at: Date.parse(at ?? ''),
    route: `${kind} ${(path ?? '').replaceAll(/[0-9a-f-]{36}/g, '<id>')}`
  }));
}

/** The server's own address: asking it there, past the proxy, is no activity anywhere. */
async function directUrl(): Promise<string> {
  const route = (await routes())['/user/alice'];
  if (route === undefined) {
    throw new Error('the proxy has no route to the server');
  }
  return `${route.target}/user/alice/api`;
}

async function activity(direct: string): Promise<Activity> {
  const headers = { authorization: `token ${access.testToken}` };
  const read = async (path: string) => (await fetch(`${direct}${path}?no_track_activity=1`, { headers })).json();
  const [status, kernels, all] = await Promise.all([read('/status'), read('/kernels'), routes()]);
  return {
    proxy: all['/user/alice']?.last_activity ?? '',
    server: status.last_activity,
    kernel: kernels[0]?.last_activity ?? ''
  };
}

/** What the proxy knows, asked by the hub's own road: the hub holds the proxy's secret. */
async function routes(): Promise<Record<string, { target: string; last_activity: string }>> {
  const answer = await hub('GET', '/proxy');
  return Object.fromEntries(
    Object.entries<any>(answer).map(([path, route]) => [path.replace(/\/$/, ''), { target: route.target, last_activity: route.data.last_activity }])
  );
}
