// What this browser's tabs have already told, so that none of them says it again, even after a reload.
// It is in the browser's own storage: no request.

/** A day of constant alarms; the oldest are forgotten first. */
const KEPT_MAX = 200;

export class Told {
  /** `key` is the name in the browser's storage; another server's tabs have another one. */
  constructor(key: string, storage: Storage | null = storageOf()) {
    this._key = key;
    this._storage = storage;
    this._own = new Set(this._read());
  }

  has(id: string): boolean {
    return this._own.has(id) || this._read().includes(id);
  }

  add(id: string): void {
    this._own.delete(id);
    this._own.add(id);
    const all = [...new Set([...this._read(), ...this._own])];
    // The newest last: what came now must stay.
    const kept = [...all.filter(one => one !== id), id].slice(-KEPT_MAX);
    this._own = new Set(kept);
    try {
      this._storage?.setItem(this._key, JSON.stringify(kept));
    } catch {
      // A full or forbidden storage: this tab remembers by itself.
    }
  }

  private _read(): readonly string[] {
    try {
      const raw: unknown = JSON.parse(this._storage?.getItem(this._key) ?? '[]');
      return Array.isArray(raw) ? raw.filter(one => typeof one === 'string').slice(-KEPT_MAX) : [];
    } catch {
      return [];
    }
  }

  private _key: string;
  private _own: Set<string>;
  private _storage: Storage | null;
}

function storageOf(): Storage | null {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}
