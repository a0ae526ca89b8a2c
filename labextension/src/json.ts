// Reading JSON that somebody else wrote: what is not as it should be is unknown, never an error.

export type Fields = Record<string, unknown>;

export function isRecord(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function number(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** A number that cannot be negative. */
export function size(value: unknown): number | null {
  const found = number(value);
  return found !== null && found >= 0 ? found : null;
}

export function text(value: unknown, charsMax = Infinity): string | null {
  return typeof value === 'string' && value !== '' ? value.slice(0, charsMax) : null;
}

export function flag(value: unknown): boolean | null {
  return typeof value === 'boolean' ? value : null;
}

/** An RFC 3339 time in milliseconds. */
export function time(value: unknown): number | null {
  return typeof value === 'string' ? number(Date.parse(value)) : null;
}

export function list(value: unknown, max: number): readonly unknown[] {
  return Array.isArray(value) ? value.slice(0, max) : [];
}
