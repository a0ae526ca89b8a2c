import { expect, test } from '@playwright/test';

import { access } from '../support/access.ts';
import { isLive } from '../support/collector.ts';
import { logIn, startServer, until } from '../support/hub.ts';
import { openPage, row } from '../support/hubpage.ts';

const NARROW = { width: 390, height: 844 };

test.beforeAll(async () => {
  await startServer('alice');
  await until(60_000, () => isLive('alice'));
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`the hub page in ${colorScheme}`, async ({ browser }) => {
    const page = await (await browser.newContext({ colorScheme })).newPage();
    await logIn(page, 'admin');
    await openPage(page);
    await row(page, 'alice').locator('.hm-open').click();
    await expect(page.locator('.hm-chart')).toBeVisible();
    await page.waitForTimeout(1_000); // the chart draws itself
    await page.screenshot({ path: `${access.screenshots}/page-${colorScheme}.png`, fullPage: true });
    await page.setViewportSize(NARROW);
    await page.screenshot({ path: `${access.screenshots}/page-${colorScheme}-narrow.png`, fullPage: true });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    expect(overflow, 'nothing sticks out of a narrow window').toBeLessThanOrEqual(0);
  });
}
