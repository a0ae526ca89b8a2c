// How to get into the hub that `cargo xtask e2e` started; it wrote the file named by HUBMETER_E2E.

import { readFileSync } from 'node:fs';

interface Access {
  readonly url: string;
  readonly password: string;
  readonly scriptToken: string;
  readonly testToken: string;
  readonly proxyApi: string;
  readonly dir: string;
  readonly hubLog: string;
  readonly mail: string;
  readonly screenshots: string;
  readonly chromium: string;
  /** Servers run in memory cgroups of their own, so that the limit really kills. */
  readonly enforced: boolean;
  readonly memoryLimitBytes: number;
}

function read(): Access {
  const file = process.env['HUBMETER_E2E'];
  if (file === undefined) {
    throw new Error('these tests need a hub: run them by `cargo xtask e2e`');
  }
  return JSON.parse(readFileSync(file, 'utf8')) as Access;
}

export const access = read();

/** What agents sample at when nobody says otherwise. */
export const INTERVAL_MS = 5_000;
