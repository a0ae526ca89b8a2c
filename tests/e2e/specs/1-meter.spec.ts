import { expect, test } from '@playwright/test';
import { existsSync } from 'node:fs';

import { access, INTERVAL_MS } from '../support/access.ts';
import { isLive, server } from '../support/collector.ts';
import { logIn, startServer, until, writeNotebook } from '../support/hub.ts';
import { openPage, row, share } from '../support/hubpage.ts';
import { meter, meterBytes, openNotebook, runCell } from '../support/lab.ts';
import { openPanel, rowOf } from '../support/panel.ts';

const TAKEN_BYTES = 600e6;

test('600 MB taken in a kernel show in the meter and on the hub page within two intervals', async ({ browser }) => {
  await startServer('alice');
  await writeNotebook('alice', 'take.ipynb', [`block = b"x" * ${TAKEN_BYTES}`, 'del block']);
  const page = await (await browser.newContext()).newPage();
  await logIn(page, 'alice');
  await openNotebook(page, 'alice', 'take.ipynb');
  await until(60_000, () => isLive('alice'));
  await expect(meter(page)).toBeVisible();
  await expect.poll(() => meterBytes(page), { timeout: 30_000 }).toBeGreaterThan(0);

  const admin = await (await browser.newContext()).newPage();
  await logIn(admin, 'admin');
  await openPage(admin);
  await expect(row(admin, 'alice')).toBeVisible();
  let loads = 0;
  admin.on('framenavigated', () => (loads += 1));

  // A new kernel settles first: what it takes while it starts is not what is measured here.
  await page.waitForTimeout(INTERVAL_MS);
  const meterBefore = await meterBytes(page);
  const shareBefore = await share(admin, 'alice');
  await runCell(page, 0);
  const twoIntervals = { timeout: 2 * INTERVAL_MS, intervals: [200] };
  // The meter shows tenths of a GiB: two of them rounded may hide one.
  const grown = 0.85 * TAKEN_BYTES;
  await Promise.all([
    expect.poll(async () => (await meterBytes(page)) - meterBefore, twoIntervals).toBeGreaterThan(grown),
    expect
      .poll(async () => (await share(admin, 'alice')) - shareBefore, twoIntervals)
      .toBeGreaterThan((90 * TAKEN_BYTES) / access.memoryLimitBytes)
  ]);
  expect(loads, 'the hub page follows by events, without a reload').toBe(0);

  const now = await server('alice', access.scriptToken);
  expect(now.memory_limit_bytes).toBe(access.memoryLimitBytes);
  expect(now.memory_limit_enforced).toBe(access.enforced);
  if (access.enforced) {
    expect(now.memory_source).toMatch(/^cgroup[12]$/);
  }
  expect(now.workloads.some(work => work.kind === 'kernel' && work.notebook === 'take.ipynb')).toBe(true);

  const panel = await openPanel(page);
  await expect(rowOf(panel, 'take.ipynb'), 'the panel names the notebook').toContainText(/\d{3} MiB/);
  await expect(rowOf(panel, 'take.ipynb').getByRole('button', { name: /^Interrupt/ })).toBeVisible();
  await expect(panel.locator('.hm-Past .hm-Chart-line').first()).toBeVisible();
  await page.screenshot({ path: `${access.screenshots}/lab-in-use.png` });
  await runCell(page, 1);
  await expect.poll(async () => (await meterBytes(page)) - meterBefore, { timeout: 2 * INTERVAL_MS }).toBeLessThan(0.2 * TAKEN_BYTES);
});

test('users write into the demo\'s own folder and nowhere else', () => {
  expect(existsSync(`${access.dir}/home/alice/take.ipynb`)).toBe(true);
});

test('the meter asks for nothing after the page has loaded', async ({ browser }) => {
  const page = await (await browser.newContext()).newPage();
  await logIn(page, 'alice');
  const last = page.waitForResponse(/hubmeter\/v1\/verdicts/);
  await openNotebook(page, 'alice', 'take.ipynb');
  await last;
  await expect.poll(() => meterBytes(page), { timeout: 30_000 }).toBeGreaterThan(0);
  const asked: string[] = [];
  page.on('request', request => asked.push(request.url()));
  await page.waitForTimeout(4 * INTERVAL_MS);
  expect(asked.filter(url => /hubmeter|api\/metrics/.test(url))).toEqual([]);
});
