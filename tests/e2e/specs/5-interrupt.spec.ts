import { expect, test } from '@playwright/test';

import { access, INTERVAL_MS } from '../support/access.ts';
import { film } from '../support/film.ts';
import { logIn, startServer, writeNotebook } from '../support/hub.ts';
import { meterBytes, openNotebook, runCell } from '../support/lab.ts';
import { openPanel, rowOf, toast } from '../support/panel.ts';

/** A growth that leaves some 40 s from start to limit. */
const GROWTH = `import time
hoard = []
while True:
    hoard.append(b"x" * (20 * 1000**2))
    time.sleep(0.5)`;

test('a warning names a growing notebook in time, and its button stops the cell', async ({ browser }) => {
  await startServer('bob');
  await writeNotebook('bob', 'swell.ipynb', [GROWTH]);
  const page = await (await browser.newContext()).newPage();
  await logIn(page, 'bob');
  await openNotebook(page, 'bob', 'swell.ipynb');
  const panel = await openPanel(page);
  const asked: string[] = [];
  page.on('request', request => asked.push(`${request.method()} ${new URL(request.url()).pathname}`));
  const cut = film(page);
  await runCell(page, 0, false);

  const warning = toast(page, /grows/);
  await expect(warning).toBeVisible({ timeout: 60_000 });
  await expect(warning).toContainText('swell.ipynb');
  await expect(warning).toContainText(/\d+ MiB\/s/);
  await expect(rowOf(panel, 'swell.ipynb')).toContainText('busy');
  await page.screenshot({ path: `${access.screenshots}/lab-warning.png` });
  await warning.getByRole('button', { name: 'Interrupt' }).click();

  await expect(page.locator('.jp-OutputArea-output', { hasText: 'KeyboardInterrupt' })).toBeVisible();
  await page.waitForTimeout(2 * INTERVAL_MS);
  const stopped = await meterBytes(page);
  await page.waitForTimeout(2 * INTERVAL_MS);
  await cut();
  expect(Math.abs((await meterBytes(page)) - stopped), 'it grows no more').toBeLessThan(0.15e9);
  expect(await page.locator('.Toastify__toast', { hasText: /grows/ }).count(), 'said once').toBeLessThanOrEqual(1);
  expect(asked.filter(one => /hubmeter\/v1\/shown\//.test(one)).length, 'that it was shown is told once').toBe(1);
});
