// Every state of the meter and the panel, with numbers that the test decides, on a real JupyterLab.

import { expect, test, type Locator, type Page } from '@playwright/test';

import { access } from '../support/access.ts';
import { expectAccessible } from '../support/axe.ts';
import { death, Double, history, row } from '../support/double.ts';
import { chooseTheme, logIn, startServer } from '../support/hub.ts';
import { openPanel, rowOf, toast } from '../support/panel.ts';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;
const LAB_MS = 90_000;
/** What a key does shows by then; and a JupyterLab that begins leaves the focus alone by then. */
const SOON_MS = 2000;
const SETTLED_MS = 30_000;
const PARTS = ['.hm-Panel', '.hm-Badge'];
const RISING = {
  memory_used_bytes: 2.6 * GIB,
  trend_bytes_per_second: 6 * MIB,
  seconds_to_limit: 240,
  seconds_to_limit_low: 180,
  seconds_to_limit_high: 320
};
const CRITICAL = { ...RISING, memory_used_bytes: 3.5 * GIB, trend_bytes_per_second: 52 * MIB, seconds_to_limit: 10 };

test.beforeAll(() => startServer('alice'));

for (const theme of ['light', 'dark'] as const) {
  test(`calm, rising, critical and killed in ${theme}`, async ({ browser }) => {
    await chooseTheme('alice', theme === 'light' ? 'JupyterLab Light' : 'JupyterLab Dark');
    const page = await (await browser.newContext()).newPage();
    const double = await openLab(page);
    await expect(page.locator('body')).toHaveAttribute('data-jp-theme-light', String(theme === 'light'));
    const panel = await openPanel(page);
    const shot = async (state: string) => {
      await expectAccessible(page, PARTS);
      await panel.evaluate(node => node.scrollTo(0, 0));
      await page.screenshot({ path: `${access.screenshots}/lab-${state}-${theme}.png` });
    };

    double.sample({});
    await expect(rowOf(panel, 'train.ipynb')).toContainText('640 MiB');
    await expect(page.locator('.hm-Badge')).toHaveClass(/jp-mod-calm/);
    await panel.locator('.hm-Counted summary').click();
    await shot('calm');
    await panel.locator('.hm-Counted summary').click();

    double.answers.history = query => history(query, share => (share < 0.6 ? 0.3 : 0.3 + (share - 0.6)));
    await panel.getByRole('button', { name: '6 h' }).click();
    double.sample(RISING);
    await expect(page.locator('.hm-Badge-text')).toHaveText('2.6 / 4.0 GiB, rising, +6 MiB/s, full in 4 min');
    await shot('rising');

    double.notice({ episode: 'grow', workload_id: 'k1', workload_name: 'analysis/train.ipynb', ...CRITICAL });
    double.sample(CRITICAL);
    await expect(toast(page, /train\.ipynb grows by 52 MiB\/s: memory is full in about 10 s/)).toBeVisible();
    // It counts down by itself.
    await expect(page.locator('.hm-Badge-text')).toHaveText(/^3\.5 \/ 4\.0 GiB, critical, \+52 MiB\/s, full in (10|[5-9]) s$/);
    await expect.poll(() => double.asked).toContain('POST shown/grow');
    await shot('critical');
    double.notice({ episode: 'grow', cleared: true });
    await expect(toast(page, /train\.ipynb/), 'gone by itself').toHaveCount(0);

    double.answers.verdicts = [death(Date.now() - 30_000)];
    double.answers.history = query => history(query, share => 0.3 + 0.68 * share ** 3);
    double.notice({ episode: 'd', rule: 'killed', severity: 'critical', text: 'grow.ipynb ran out of memory and was killed.' });
    double.sample({});
    await expect(panel.locator('.hm-Death')).toContainText('grow.ipynb was killed');
    await expect(panel.locator('.hm-Death svg .hm-Chart-line')).toHaveCount(1);
    await expect(toast(page, /ran out of memory/)).toBeVisible();
    await shot('killed');

    // As wide as a laptop's screen at 400 %.
    await page.keyboard.press('Control+b');
    await page.setViewportSize({ width: 360, height: 640 });
    await expect(panel).toBeInViewport();
    const overflow = await panel.evaluate(node => node.scrollWidth - node.clientWidth);
    expect(overflow, 'nothing sticks out of a narrow panel').toBeLessThanOrEqual(0);
    await page.screenshot({ path: `${access.screenshots}/lab-killed-narrow-${theme}.png` });
    await page.close();
  });
}

test('with the keyboard alone: the panel, a range, an idle kernel, the server kept', async ({ browser }) => {
  const page = await (await browser.newContext()).newPage();
  const double = await openLab(page);
  double.answers.server = { idle_seconds: 2820, held_until: null, stops_at: new Date(Date.now() + 780_000).toISOString() };
  double.sample({});
  const panel = page.locator('.hm-Panel');
  await enter(page.locator('.hm-Badge-text'), () => expect(panel).toBeVisible({ timeout: SOON_MS }));
  await expect(panel).toContainText('Idle for 47 min, stops in 13 min.');
  const keep = panel.getByRole('button', { name: 'Keep for 1 hour' });
  await expect(async () => {
    await keep.focus();
    await expect(keep, 'where the keyboard is can be seen').toHaveCSS('outline-style', 'solid', { timeout: SOON_MS });
  }).toPass({ timeout: SETTLED_MS });
  await enter(keep, () => expect(panel).toContainText('This server is kept until', { timeout: SOON_MS }));
  expect(double.asked).toContain('PUT hold');

  await tab(page, panel.getByRole('button', { name: '10 min' }), panel.getByRole('button', { name: '6 h' }));
  const sixHours = panel.getByRole('button', { name: '6 h' });
  await enter(sixHours, () => expect(sixHours).toHaveAttribute('aria-pressed', 'true', { timeout: SOON_MS }));

  const firstIdle = panel.locator('.hm-Idle input').first();
  await enter(panel.locator('.hm-Idle summary'), () => expect(firstIdle).toBeVisible({ timeout: SOON_MS }));
  await tab(page, panel.locator('.hm-Idle summary'), firstIdle);
  await firstIdle.press('Space');
  await expect(panel.getByRole('button', { name: /^Shut down 2 kernels, 380 MiB/ })).toBeEnabled();
  await expectAccessible(page, PARTS);

  const names = ['<img src=x onerror=alert(1)>', 'ملف البيانات.ipynb', 'n'.repeat(4000)];
  const many = Array.from({ length: 100 }, (_, i) => row('kernel', `m${i}`, names[i] ?? `n${i}.ipynb`, 900 - i));
  double.sample({ workloads: many, workloads_left_out: 400 });
  await expect(panel.getByRole('button', { name: 'and 480 more' })).toBeVisible();
  await expect(panel.locator('img')).toHaveCount(0);
  const overflow = await panel.evaluate(node => node.scrollWidth - node.clientWidth);
  expect(overflow).toBeLessThanOrEqual(0);
  await page.screenshot({ path: `${access.screenshots}/lab-many.png` });

  const asked = double.asked.length;
  for (let i = 0; i < 20; i += 1) {
    double.sample({ memory_used_bytes: GIB + i * MIB });
  }
  await expect(page.locator('.hm-Badge-text')).toHaveText('1.0 / 4.0 GiB');
  expect(double.asked.slice(asked), 'an open panel asks for nothing by itself').toEqual([]);
});

/**
 * Enter where the keyboard is, until it has shown; again where a JupyterLab that has just begun takes the focus for
 * its launcher between one and the other.
 */
async function enter(at: Locator, shown: () => Promise<void>): Promise<void> {
  await expect(async () => {
    await at.press('Enter');
    await shown();
  }).toPass({ timeout: SETTLED_MS });
}

/** From one to the next by the keyboard; again for the same reason. */
async function tab(page: Page, from: Locator, to: Locator): Promise<void> {
  await expect(async () => {
    await from.focus();
    await page.keyboard.press('Tab');
    await expect(to).toBeFocused({ timeout: SOON_MS });
  }).toPass({ timeout: SETTLED_MS });
}

async function openLab(page: Page): Promise<Double> {
  const double = new Double();
  await double.into(page);
  await logIn(page, 'alice');
  await page.goto('/user/alice/lab?reset');
  await expect(page.locator('.hm-Badge')).toBeVisible({ timeout: LAB_MS });
  await expect.poll(() => double.heard && double.asked.includes('GET verdicts'), { timeout: LAB_MS }).toBe(true);
  return double;
}
