import { expect, test } from '@playwright/test';

import { access } from '../support/access.ts';
import { ask, isLive, servers } from '../support/collector.ts';
import { logIn, startServer, tokenOf, until } from '../support/hub.ts';
import { openPage, row } from '../support/hubpage.ts';

test.beforeAll(async () => {
  await Promise.all([startServer('alice'), startServer('bob')]);
  await until(60_000, async () => (await isLive('alice')) && (await isLive('bob')));
});

test("a user's token reads their own rows and finds nobody else's", async () => {
  const bob = await tokenOf('bob');
  expect(new Set((await servers(bob)).map(row => row.user))).toEqual(new Set(['bob']));
  expect((await ask('/api/v1/users/bob/server', bob)).status).toBe(200);
  for (const path of ['/api/v1/users/alice/server', '/api/v1/users/alice/server/history?from=-1h', '/api/v1/users/nobody/server']) {
    expect((await ask(path, bob)).status, path).toBe(404);
  }
});

test('a script with the scope reads all rows, and without a credential nobody reads any', async () => {
  const all = new Set((await servers(access.scriptToken)).map(row => row.user));
  expect(all.has('alice') && all.has('bob')).toBe(true);
  for (const path of ['/api/v1/servers', '/api/v1/users/alice/server', '/api/v1/verdicts', '/api/v1/cull', '/api/v1/events']) {
    expect((await ask(path)).status, path).toBe(401);
    expect((await ask(path, 'not-a-token')).status, path).toBe(401);
  }
  for (const path of ['/healthz', '/readyz']) {
    expect((await ask(path)).status, path).toBe(200);
  }
});

test('the hub page shows a user their own row and the admin every row', async ({ browser }) => {
  const bob = await (await browser.newContext()).newPage();
  await logIn(bob, 'bob');
  await openPage(bob);
  await expect(row(bob, 'bob')).toBeVisible();
  await expect(row(bob, 'alice')).toHaveCount(0);

  const admin = await (await browser.newContext()).newPage();
  await logIn(admin, 'admin');
  await openPage(admin);
  await expect(row(admin, 'alice')).toBeVisible();
  await expect(row(admin, 'bob')).toBeVisible();
});

test('a stranger is sent to the hub to log in', async ({ page }) => {
  await page.goto('/services/hubmeter/');
  await expect(page).toHaveURL(/\/hub\/login/);
});
