// One run: the same tab visible, hidden and closed for the same time each. Counted are requests by
// route at the proxy, and steps of last_activity at the proxy, the server and its kernel.

import { expect, test } from '@playwright/test';
import { readFileSync, writeFileSync } from 'node:fs';

import { access } from '../support/access.ts';
import { hub, logIn, startServer, writeNotebook } from '../support/hub.ts';
import { openNotebook } from '../support/lab.ts';

const PHASE_MS = 1000 * Number(process.env['HUBMETER_ACTIVITY_SECONDS'] ?? '120');

/** Lab's own start is over: no loading, no first polls. */
const SETTLE_MS = 20_000;

interface Phase {
  routes: Record<string, number>;
  proxy_steps: number;
  server_steps: number;
  kernel_steps: number;
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

  const visible = await phase(direct);
  // Headless browsers hide nothing by themselves; this is what pages see when a tab is hidden.
  await page.evaluate(() => {
    Object.defineProperty(document, 'visibilityState', { get: () => 'hidden' });
    Object.defineProperty(document, 'hidden', { get: () => true });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await page.waitForTimeout(SETTLE_MS);
  const hidden = await phase(direct);
  await page.close();
  await new Promise(done => setTimeout(done, SETTLE_MS));
  const closed = await phase(direct);
  writeFileSync(`${access.dir}/counts.json`, JSON.stringify({ visible, hidden, closed }, null, 1));
  expect(Object.keys(visible.routes).length, 'the proxy logs requests').toBeGreaterThan(0);
});

async function phase(direct: string): Promise<Phase> {
  const counted: Phase = { routes: {}, proxy_steps: 0, server_steps: 0, kernel_steps: 0 };
  const from = log().length;
  let before = await activity(direct);
  for (const end = Date.now() + PHASE_MS; Date.now() < end; ) {
    await new Promise(done => setTimeout(done, 500));
    const now = await activity(direct);
    counted.proxy_steps += Number(now.proxy !== before.proxy);
    counted.server_steps += Number(now.server !== before.server);
    counted.kernel_steps += Number(now.kernel !== before.kernel);
    before = now;
  }
  for (const [, kind, url] of log().slice(from).matchAll(/PROXY (WEB|WS) (\S+) to /g)) {
    const path = (url ?? '').split('?')[0] ?? '';
    // Services are no activity of a server: the proxy keeps none for them.
    if (path.startsWith('/user/alice/')) {
      const route = `${kind} ${path.slice('/user/alice/'.length).replaceAll(/[0-9a-f-]{36}/g, '<id>')}`;
      counted.routes[route] = (counted.routes[route] ?? 0) + 1;
    }
  }
  return counted;
}

function log(): string {
  return readFileSync(access.hubLog, 'utf8');
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
