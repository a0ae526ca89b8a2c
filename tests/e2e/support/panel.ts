// The memory panel in JupyterLab's side bar.

import { expect, type Locator, type Page } from '@playwright/test';

/** Opens it as people do: by the meter. */
export async function openPanel(page: Page): Promise<Locator> {
  await page.locator('.hm-Badge-text').click();
  const panel = page.locator('.hm-Panel');
  await expect(panel).toBeVisible();
  return panel;
}

/** The row of a workload, by its name. */
export function rowOf(panel: Locator, name: string): Locator {
  return panel.locator('.hm-Row', { has: panel.page().locator('.hm-Row-name', { hasText: name }) });
}

/** A notification with these words. */
export function toast(page: Page, words: RegExp): Locator {
  return page.locator('.Toastify__toast', { hasText: words });
}

/** Notifications of JupyterLab's own would lie over what is looked at. */
export async function closeToasts(page: Page): Promise<void> {
  const close = page.locator('.Toastify__toast .jp-toast-button, .Toastify__close-button, .Toastify__toast button[title="Hide notification"]');
  for (let left = await page.locator('.Toastify__toast').count(); left > 0; left -= 1) {
    await close.last().click();
  }
}
