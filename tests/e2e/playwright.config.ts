import { defineConfig } from '@playwright/test';

import { access } from './support/access.ts';

// One hub, one collector, real memory: the specs follow each other.
export default defineConfig({
  testDir: 'specs',
  outputDir: `${access.dir}/test-results`,
  workers: 1,
  fullyParallel: false,
  forbidOnly: true,
  // One more attempt on a busy machine; who needed it is named at the end.
  retries: 1,
  timeout: 180_000,
  expect: { timeout: 15_000 },
  reporter: [['list']],
  globalSetup: './support/setup.ts',
  use: {
    baseURL: access.url,
    viewport: { width: 1280, height: 800 },
    trace: 'retain-on-failure',
    screenshot: 'only-on-failure',
    launchOptions: {
      executablePath: access.chromium,
      // Chromium's sandbox refuses root, and containers give it no namespaces of its own.
      args: ['--no-sandbox', '--disable-dev-shm-usage']
    }
  }
});
