// What a person chose in the settings editor. What is not a choice of ours is the default.

import type { Units } from './format';
import { Fields, isRecord } from './json';

export interface ISettings {
  readonly show: boolean;
  readonly panel: boolean;
  readonly chart: boolean;
  readonly cpu: boolean;
  readonly idle: boolean;
  readonly quiet: boolean;
  readonly units: Units;
}

export const DEFAULTS: ISettings = {
  show: true,
  panel: true,
  chart: true,
  cpu: true,
  idle: true,
  quiet: false,
  units: 'binary'
};

export function readSettings(composite: unknown): ISettings {
  const raw: Fields = isRecord(composite) ? composite : {};
  const choice = (name: keyof ISettings) =>
    typeof raw[name] === 'boolean' ? raw[name] : (DEFAULTS[name] as boolean);
  return {
    show: choice('show'),
    panel: choice('panel'),
    chart: choice('chart'),
    cpu: choice('cpu'),
    idle: choice('idle'),
    quiet: choice('quiet'),
    units: raw.units === 'decimal' ? 'decimal' : 'binary'
  };
}
