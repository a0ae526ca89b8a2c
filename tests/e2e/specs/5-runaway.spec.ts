import { expect, test } from '@playwright/test';

import { access, INTERVAL_MS } from '../support/access.ts';
import { expectAccessible } from '../support/axe.ts';
import { server, verdicts } from '../support/collector.ts';
import { logIn, startServer, stopServer, until, writeNotebook } from '../support/hub.ts';
import { openPage, row, verdict } from '../support/hubpage.ts';
import { openNotebook, runCell } from '../support/lab.ts';
import { mails } from '../support/mail.ts';
import { openPanel, toast } from '../support/panel.ts';

/** A growth that leaves some 55 s from start to limit. */
const GROWTH = `import time
hoard = []
while True:
    hoard.append(b"x" * (20 * 1000**2))
    time.sleep(0.7)`;

// Runs last: the kernel really dies, and the verdicts stay on the page.
test('a growing kernel is flagged before its limit, an admin is told once, and its death is explained', async ({ browser }) => {
  test.setTimeout(300_000);
  await stopServer('alice');
  await startServer('alice');
  await writeNotebook('alice', 'grow.ipynb', [GROWTH]);
  const page = await (await browser.newContext()).newPage();
  await logIn(page, 'alice');
  await openNotebook(page, 'alice', 'grow.ipynb');
  const admin = await (await browser.newContext()).newPage();
  await logIn(admin, 'admin');
  await openPage(admin);
  await runCell(page, 0, false);

  let atFlag = NaN;
  await until(120_000, async () => {
    const now = await server('alice', access.scriptToken);
    const flagged = now.verdicts.some(open => open.rule === 'runaway_memory');
    atFlag = flagged ? (now.memory_used_bytes ?? NaN) : NaN;
    return flagged;
  });
  expect(atFlag, 'flagged before the limit').toBeLessThan(0.95 * access.memoryLimitBytes);
  const [flag] = (await verdicts('alice', access.scriptToken)).filter(one => one.rule === 'runaway_memory');
  expect(Object.keys(flag?.evidence ?? {}).length, 'with evidence').toBeGreaterThan(0);
  await expect(row(admin, 'alice').locator('.hm-badge', { hasText: /runaway/i })).toBeVisible();

  // Somebody knows: that is said with who and when, and can be taken back.
  const open = verdict(admin, 'alice', 'runaway_memory').filter({ has: admin.locator('.hm-reply') }).first();
  await open.getByRole('button', { name: 'Acknowledge' }).click();
  await expect(open).toContainText('acknowledged by admin');
  await expectAccessible(admin, ['.hm-verdicts']);
  await open.getByRole('button', { name: 'Take back' }).click();
  await expect(open.getByRole('button', { name: 'Acknowledge' })).toBeVisible();

  const about = () => mails().filter(mail => /runaway.*alice/.test(mail.subject));
  await expect.poll(() => about().length, { timeout: 30_000 }).toBe(1);
  const [mail] = about();
  expect(mail?.to).toContain('admin@example.org');
  expect(mail?.text).toContain('alice');
  expect(mail?.text, 'a sentence with figures').toMatch(/[a-z ]+\d[\d.,]* ?[KMG]i?B/);
  await page.screenshot({ path: `${access.screenshots}/lab-runaway.png` });
  await admin.screenshot({ path: `${access.screenshots}/page-runaway.png`, fullPage: true });

  test.skip(!access.enforced, 'no memory cgroup can be made here: nothing kills the kernel');
  const killed = async () => (await verdicts('alice', access.scriptToken)).filter(one => one.rule === 'killed');
  await until(120_000, async () => (await killed()).length > 0);
  await expect(verdict(admin, 'alice', 'killed')).toBeVisible();
  await expect(verdict(admin, 'alice', 'killed')).toContainText('grow.ipynb');
  const notice = page.locator('.Toastify__toast', { hasText: /killed/ });
  await expect(notice).toBeVisible({ timeout: 4 * INTERVAL_MS });
  await expect(notice).toContainText('grow.ipynb');
  await expect(notice, 'with what it held, not what was left of it').not.toContainText(/\b0 B/);
  await page.locator('.jp-Dialog').getByRole('button', { name: 'Ok' }).click(); // Lab's own "appears to have died"
  await page.screenshot({ path: `${access.screenshots}/lab-killed.png` });
  await admin.screenshot({ path: `${access.screenshots}/page-killed.png`, fullPage: true });

  const deaths = () => mails().filter(one => /killed/.test(one.subject));
  await expect.poll(() => deaths().length, { timeout: 60_000 }).toBe(1);
  expect(deaths()[0]?.text).toContain('grow.ipynb');
  expect(about().length, 'the runaway was told once').toBe(1);

  // The server goes; what happened in it does not.
  await stopServer('alice');
  await startServer('alice');
  const later = await (await browser.newContext()).newPage();
  await logIn(later, 'alice');
  await later.goto('/user/alice/lab?reset');
  await expect(toast(later, /grow\.ipynb was killed/)).toBeVisible({ timeout: 90_000 });
  const panel = await openPanel(later);
  await expect(panel.locator('.hm-Death').first()).toContainText('grow.ipynb was killed');
  await expect(panel.locator('.hm-Death svg .hm-Chart-line').first()).toBeVisible();
  await later.screenshot({ path: `${access.screenshots}/lab-killed-after-restart.png` });
  await stopServer('alice');
});
