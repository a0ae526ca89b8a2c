import { expect, test } from '@playwright/test';

import { access, INTERVAL_MS } from '../support/access.ts';
import { cull, isLive } from '../support/collector.ts';
import { logIn, startServer, stopServer, until, writeNotebook } from '../support/hub.ts';
import { openNotebook, runCell } from '../support/lab.ts';

/** Without work for this long a server may be stopped, says the script. */
const TIMEOUT_S = 20;

test('a culling script is told who is idle and who computes, whatever the browser does', async ({ browser }) => {
  // Whoever has typed somewhere in the last minutes is at work; in the admin's server nobody was.
  await Promise.all([startServer('admin'), startServer('bob')]);
  await until(60_000, async () => (await isLive('admin')) && (await isLive('bob')));
  await writeNotebook('bob', 'compute.ipynb', ['while True:\n    pass']);
  const page = await (await browser.newContext()).newPage();
  await logIn(page, 'bob');
  await openNotebook(page, 'bob', 'compute.ipynb');
  await runCell(page, 0, false);
  // A silent computation with no browser: the hub's own last_activity would call it idle.
  await page.waitForTimeout(2 * INTERVAL_MS);
  await page.close();

  const of = async (user: string) =>
    (await cull(`timeout=${TIMEOUT_S}`, access.scriptToken)).find(row => row.user === user && row.server === '');
  await expect.poll(async () => (await of('admin'))?.cull, { timeout: 120_000 }).toBe(true);
  const idle = await of('admin');
  expect(idle?.idle_seconds).toBeGreaterThanOrEqual(TIMEOUT_S);
  expect(idle?.reason).not.toBe('');
  const busy = await of('bob');
  expect(busy?.cull).toBe(false);
  expect(busy?.idle_seconds ?? 0).toBeLessThan(TIMEOUT_S);
  expect(busy?.reason).not.toBe('');
  await stopServer('admin');
});
