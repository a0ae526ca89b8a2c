// The wheel as a user gets it, in real front ends: JupyterLab, Notebook 7, the classic notebook; and
// jupyter-resource-usage's own front ends, unchanged, on our answers.

import { expect, test } from '@playwright/test';
import { writeFileSync } from 'node:fs';

import { Server, until } from './place.ts';

const NOTEBOOK = JSON.stringify({
  cells: [{ cell_type: 'code', source: 'x = 1', metadata: {}, outputs: [], execution_count: null, id: 'a' }],
  metadata: { kernelspec: { name: 'python3', display_name: 'Python 3', language: 'python' } },
  nbformat: 4,
  nbformat_minor: 5
});
const PEER = '@jupyter-server/resource-usage';
/** How the peer shows bytes, in all its front ends. */
const SHOWN = /Mem(?:ory)?:\s+[\d.]+\s*(?:MB)?\s*\/\s*4(?:096)?(?:\.00)?\s*[MG]B/;

let server: Server;

test.afterEach(async () => {
  await server.stop();
});

async function begin(name: string, disabled: Record<string, boolean>): Promise<void> {
  server = await Server.start(name, disabled);
  writeFileSync(`${server.home}/root/a.ipynb`, NOTEBOOK);
  // The agent's first sample; 503 until then.
  await until(60_000, async () => (await server.get('api/metrics/v1')).ok);
}

test('an installed wheel shows one meter, ours, with the other package installed too', async ({ page }) => {
  await begin('ours', {});
  const asked: string[] = [];
  page.on('request', request => asked.push(request.url()));
  await page.goto(`${server.url}lab/tree/a.ipynb?reset&${server.token}`);
  await expect(page.locator('#jp-main-statusbar')).toContainText(/[\d.]+ \/ 4/);
  await expect(page.locator('#jp-main-statusbar')).not.toContainText('Mem:');
  await page.waitForTimeout(6_000); // the other one asks every five
  const polls = asked.filter(url => url.includes('api/metrics/v1'));
  expect(polls.length, 'asked once, when the page loads').toBeLessThanOrEqual(1);

  // Notebook 7 takes the same extension.
  const errors: string[] = [];
  page.on('console', message => message.type() === 'error' && errors.push(message.text()));
  await page.goto(`${server.url}notebooks/a.ipynb?${server.token}`);
  await expect(page.locator('.jp-NotebookPanel')).toBeVisible();
  const config = JSON.parse((await page.locator('#jupyter-config-data').textContent()) ?? '{}');
  expect(config.federated_extensions.map((one: { name: string }) => one.name)).toContain('hubmeter');
  await expect(page.locator('.hm-Badge-text'), 'in the top bar, since there is no status bar').toContainText(/[\d.]+ \/ 4/);
  await page.locator('.hm-Badge-text').click();
  await expect(page.locator('.hm-Panel')).toContainText('a.ipynb');
  expect(errors.filter(text => /hubmeter/i.test(text))).toEqual([]);
});

test("jupyter-resource-usage's front ends show our figures, unchanged", async ({ page }) => {
  await begin('peer', { hubmeter: true, [PEER]: false });
  await page.goto(`${server.url}lab/tree/a.ipynb?reset&${server.token}`);
  await expect(page.locator('#jp-main-statusbar')).toContainText(SHOWN);
  const body = await (await server.get('api/metrics/v1')).json();
  expect(body.meter, 'ours answers').toBeDefined();

  // Its panel of one kernel.
  await expect(page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')).toBeVisible();
  await page.locator('.jp-Notebook .cm-content').first().click();
  await page.locator('[data-id="kernelusage-panel-id"]').click();
  const panel = page.locator('#kernelusage-panel-id');
  await expect(panel).toContainText(/Memory:\s*[\d.]+ [kKMG]i?B/);
  await expect(panel).toContainText(/Process ID:\s*\d+/);

  // The classic notebook.
  await page.goto(`${server.url}nbclassic/notebooks/a.ipynb?${server.token}`);
  await expect(page.locator('#jupyter-resource-usage-display')).toContainText(SHOWN);
});
