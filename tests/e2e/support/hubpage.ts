// The hub page as people use it.

import { expect, type Locator, type Page } from '@playwright/test';

export async function openPage(page: Page): Promise<void> {
  await page.goto('/services/hubmeter/');
  await expect(page.locator('.hm-link-live')).toBeVisible();
}

/** The row of a user's default server. */
export function row(page: Page, user: string): Locator {
  return page.locator(`tr.hm-row[data-user="${user}"][data-server=""]`);
}

/** The share of the limit that a row's bar shows, in percent. */
export async function share(page: Page, user: string): Promise<number> {
  return Number(await row(page, user).locator('[role="meter"]').getAttribute('aria-valuenow'));
}

/** A verdict of a user in the list below the table. */
export function verdict(page: Page, user: string, rule: string): Locator {
  return page.locator(`li.hm-verdict[data-user="${user}"][data-rule="${rule}"]`);
}
