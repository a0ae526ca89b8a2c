// JupyterLab as people use it: open a notebook, run a cell, read the meter.

import { expect, type Locator, type Page } from '@playwright/test';

/** Lab with a cold cache on a busy machine. */
const LAB_MS = 90_000;

const KIB = 1024;
const UNITS: Record<string, number> = { B: 1, KiB: KIB, MiB: KIB ** 2, GiB: KIB ** 3 };

/** Opens a notebook and waits for its kernel. */
export async function openNotebook(page: Page, user: string, name: string): Promise<void> {
  await page.goto(`/user/${user}/lab/tree/${name}?reset`);
  await expect(page.locator('.jp-NotebookPanel')).toBeVisible({ timeout: LAB_MS });
  await expect(page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')).toBeVisible({ timeout: LAB_MS });
}

/** Runs the cell with this index; waits for its end unless told otherwise. */
export async function runCell(page: Page, index: number, wait = true): Promise<void> {
  const cell = page.locator('.jp-Notebook .jp-Cell').nth(index);
  await cell.locator('.cm-content').click();
  await page.keyboard.press('Control+Enter');
  if (wait) {
    await expect(cell.locator('.jp-InputPrompt')).toHaveText(/\[\d+\]:/, { timeout: 60_000 });
  }
}

/** The meter in the status bar. */
export function meter(page: Page): Locator {
  return page.locator('.hm-Badge');
}

/** What the meter says is in use; NaN while it says nothing. */
export async function meterBytes(page: Page): Promise<number> {
  const text = (await meter(page).locator('.hm-Badge-text').textContent()) ?? '';
  const shown = /([\d.]+) \/ [\d.]+ (\w+)/.exec(text);
  return shown === null ? NaN : Number(shown[1]) * (UNITS[shown[2] ?? ''] ?? NaN);
}
