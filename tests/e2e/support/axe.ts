// What axe finds against people who use a keyboard, a screen reader or their own colours.

import { expect, type Page } from '@playwright/test';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const SOURCE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface Found {
  readonly violations: readonly { id: string; impact: string; help: string; nodes: readonly { html: string }[] }[];
}

/** Expects nothing serious in these parts of the page. */
export async function expectAccessible(page: Page, parts: readonly string[]): Promise<void> {
  if (!(await page.evaluate(() => 'axe' in window))) {
    await page.evaluate(SOURCE);
  }
  const found = await page.evaluate(
    include => (window as unknown as { axe: { run(context: object): Promise<Found> } }).axe.run({ include }),
    parts.map(part => [part])
  );
  const serious = found.violations.filter(one => one.impact === 'serious' || one.impact === 'critical');
  expect(serious.map(one => `${one.id}: ${one.help}: ${one.nodes.map(node => node.html).join(' ')}`)).toEqual([]);
}
