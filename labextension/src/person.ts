// Whether a person is there: real input in a visible tab, told at most once in five minutes.

/** The collector counts idle time in minutes; more often says nothing more. */
const EVERY_MS = 5 * 60_000;
const KINDS = ['keydown', 'pointerdown', 'wheel', 'touchstart'] as const;
/** Where this browser's tabs share when they told last. */
const KEY = 'hubmeter:input';

export class Person {
  constructor(tell: () => Promise<void>, server: string) {
    this._key = `${KEY}:${server}`;
    this._tell = tell;
    for (const kind of KINDS) {
      document.addEventListener(kind, this._onInput, { capture: true, passive: true });
    }
  }

  dispose(): void {
    for (const kind of KINDS) {
      document.removeEventListener(kind, this._onInput, { capture: true });
    }
  }

  private _onInput = (event: globalThis.Event): void => {
    const now = Date.now();
    // The cheap question first: this runs at every key. A clock that was set back does not silence it.
    if (Math.abs(now - this._lastMs) < EVERY_MS || !event.isTrusted || document.hidden) {
      return;
    }
    this._lastMs = Math.max(this._sharedMs(), 0);
    if (Math.abs(now - this._lastMs) < EVERY_MS) {
      return;
    }
    this._lastMs = now;
    try {
      window.localStorage.setItem(this._key, String(now));
    } catch {
      // Each tab tells for itself then.
    }
    // Whether it was taken changes nothing here: the next input after five minutes tells again.
    this._tell().catch(() => undefined);
  };

  private _sharedMs(): number {
    try {
      return Number(window.localStorage.getItem(this._key)) || 0;
    } catch {
      return 0;
    }
  }

  private _key: string;
  private _lastMs = 0;
  private _tell: () => Promise<void>;
}
