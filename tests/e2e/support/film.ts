// A film of a page, for the README: with HUBMETER_FILM set, a picture a second into screenshots/film.
// `python docs/images/film.py` makes a GIF of them.

import type { Page } from '@playwright/test';
import { mkdirSync } from 'node:fs';

import { access } from './access.ts';

const EVERY_MS = 1_000;

/** Begins to film; the answer ends it. */
export function film(page: Page): () => Promise<void> {
  if (process.env['HUBMETER_FILM'] === undefined) {
    return async () => undefined;
  }
  const folder = `${access.screenshots}/film`;
  mkdirSync(folder, { recursive: true });
  let on = true;
  const run = async () => {
    for (let i = 0; on; i += 1) {
      await page.screenshot({ path: `${folder}/${String(i).padStart(3, '0')}.png` });
      await new Promise(done => setTimeout(done, EVERY_MS));
    }
  };
  const running = run();
  return async () => {
    on = false;
    await running;
  };
}
