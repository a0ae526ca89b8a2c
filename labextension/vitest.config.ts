import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.spec.{ts,tsx}'],
    setupFiles: ['src/spec/setup.ts'],
    // Nothing here waits; a busy machine does.
    testTimeout: 30_000
  }
});
