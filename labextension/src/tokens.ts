import { Token } from '@lumino/coreutils';

import type { Meter } from './meter';
import type { PanelState } from './panel/state';

export const DOMAIN = 'hubmeter';
/** The plugin whose settings these are; the schema has its name. */
export const METER_ID = 'hubmeter:meter';
export const SAMPLE_SCHEMA = 'https://hubmeter.dev/events/sample/v1';
export const NOTICE_SCHEMA = 'https://hubmeter.dev/events/notice/v1';

/** Commands, for palettes, menus and other extensions. */
export const Commands = {
  open: 'hubmeter:open',
  say: 'hubmeter:say',
  interruptLargest: 'hubmeter:interrupt-largest',
  keepAlive: 'hubmeter:keep-alive'
} as const;

export const IMeter = new Token<Meter>('hubmeter:IMeter', 'What this server uses, as it is told.');
export const IPanelState = new Token<PanelState>('hubmeter:IPanelState', 'What the memory panel knows.');
