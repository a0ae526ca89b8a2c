// Numbers as people read them. Pure; nothing here is translated, only digits and unit signs.
// Binary units are the default: a hub's "4G" is 4 GiB, and the hub's page shows the same.

export type Units = 'binary' | 'decimal';

interface IScale {
  readonly step: number;
  readonly names: readonly string[];
}

const SCALES: Record<Units, IScale> = {
  binary: { step: 1024, names: ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] },
  decimal: { step: 1000, names: ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] }
};

/** "1.2 GiB". */
export function bytes(value: number, units: Units): string {
  const power = powerOf(value, units);
  return `${scaled(value, power, units)} ${SCALES[units].names[power]}`;
}

/** "1.2 / 4.0 GiB": both in the unit of the limit, so that they can be compared at a glance. */
export function usedOfLimit(used: number, limit: number, units: Units): string {
  const power = powerOf(limit, units);
  const name = SCALES[units].names[power];
  return `${scaled(used, power, units)} / ${scaled(limit, power, units)} ${name}`;
}

/** "+52 MiB/s". */
export function rate(bytesPerSecond: number, units: Units): string {
  const sign = bytesPerSecond < 0 ? '−' : '+';
  return `${sign}${bytes(Math.abs(bytesPerSecond), units)}/s`;
}

/** "52 MiB/s", where a sentence says which way. */
export function speed(bytesPerSecond: number, units: Units): string {
  return `${bytes(Math.abs(bytesPerSecond), units)}/s`;
}

/** "18 s", "3 min", "2 h": one figure, since a forecast is never exact. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 100) {
    return `${whole} s`;
  }
  const minutes = Math.round(whole / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

/** "41%". Below the limit it never says 100. */
export function percent(share: number): string {
  const whole = Math.round(100 * share);
  return `${share < 1 ? Math.min(whole, 99) : whole}%`;
}

/** A line that is broken between its words, never between a figure and its unit. */
export function unbroken(line: string): string {
  return line.replace(/(\d) (?=\p{L})/gu, '$1\u00a0');
}

/** "14:05", as the page's language writes it. */
export function clock(atMs: number, language?: string): string {
  return new Date(atMs).toLocaleTimeString(language, { hour: '2-digit', minute: '2-digit' });
}

/** "Nov 28, 14:05". */
export function moment(atMs: number, language?: string): string {
  return new Date(atMs).toLocaleString(language, {
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit'
  });
}

/** "1.2", "0.05": cores; below a hundredth it is nothing. */
export function cores(value: number): string {
  return value >= 9.95 ? value.toFixed(0) : value >= 0.095 ? value.toFixed(1) : value.toFixed(2);
}

function powerOf(value: number, units: Units): number {
  const { step, names } = SCALES[units];
  let power = 0;
  // 999.5 would be shown as "1000": the next unit begins where three digits end.
  for (let rest = Math.abs(value); rest >= 999.5 && power < names.length - 1; rest /= step) {
    power += 1;
  }
  return power;
}

function scaled(value: number, power: number, units: Units): string {
  const number = value / SCALES[units].step ** power;
  // MiB and below are whole numbers; from GiB on one decimal matters.
  const digits = power < 3 || Math.abs(number) >= 99.95 ? 0 : 1;
  return number.toFixed(digits);
}
