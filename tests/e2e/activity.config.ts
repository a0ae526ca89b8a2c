import { defineConfig } from '@playwright/test';

import { access } from './support/access.ts';
import base from './playwright.config.ts';

export default defineConfig({ ...base, testDir: 'activity', outputDir: `${access.dir}/test-results`, timeout: 3_600_000 });
