// Before any spec: the hub and the collector answer, and the folder for screenshots is there.

import { mkdirSync } from 'node:fs';

import { access } from './access.ts';

export default async function setup(): Promise<void> {
  mkdirSync(access.screenshots, { recursive: true });
  for (const path of ['/hub/api/', '/services/hubmeter/readyz']) {
    const answer = await fetch(access.url + path);
    if (!answer.ok) {
      throw new Error(`${path} answers ${answer.status}`);
    }
  }
}
