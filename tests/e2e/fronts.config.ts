import { defineConfig } from '@playwright/test';

import { place } from './fronts/place.ts';

// A plain server without a hub, from the installed wheel.
export default defineConfig({
  testDir: 'fronts',
  outputDir: `${place.dir}/test-results`,
  workers: 1,
  fullyParallel: false,
  forbidOnly: true,
  retries: 0,
  timeout: 180_000,
  expect: { timeout: 60_000 },
  reporter: [['list']],
  use: {
    viewport: { width: 1280, height: 800 },
    trace: 'retain-on-failure',
    screenshot: 'only-on-failure',
    launchOptions: {
      executablePath: place.chromium,
      // Chromium's sandbox refuses root, and containers give it no namespaces of its own.
      args: ['--no-sandbox', '--disable-dev-shm-usage']
    }
  }
});
