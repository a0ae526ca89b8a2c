// The newest sample, and the last minutes of what there was. It is never stale: what is too old is
// gone. What grows evenly is counted on, so that the server need not tell each second of it. In a hidden
// tab it only remembers; it catches up when somebody looks.

import { Signal } from '@lumino/signaling';

import { countedOn, isMoving, ISample, parseSample } from './sample';

/** What a chart is drawn from; times are this browser's. */
export interface IPoint {
  readonly atMs: number;
  readonly usedBytes: number | null;
  readonly limitBytes: number | null;
  readonly cores: number | null;
  /** For how long such a figure speaks: the next one comes within this. */
  readonly holdsMs: number;
}

/** An event comes at least once a minute, and "no data" at once; two that are missing are an open socket
 * with nobody at its other end. */
const STALE_MS_MIN = 150_000;
const STALE_INTERVALS = 4;
/** How often what is counted on is shown. */
const TICK_MS = 1000;
/** Every sample of the last ten minutes, a sample a second at most. */
const RECENT_MS = 10 * 60_000;
const RECENT_MAX = 700;
/** One sample a minute of the last hours, for a panel that stays open. */
const MINUTE_MS = 60_000;
const MINUTES_MAX = 6 * 60;
/** What a sparkline of a workload has. */
const SPARK_MAX = 60;
/** Workloads with a sparkline; more are never drawn. */
const SPARKS_MAX = 500;
/** Clocks that differ by less are the same clock. */
const SKEW_MS_MIN = 5_000;

export class Feed {
  constructor() {
    document.addEventListener('visibilitychange', this._onVisibility);
  }

  /** Somebody looks and something is new. Never in a hidden tab. */
  readonly changed = new Signal<this, void>(this);

  /** The newest sample, counted on to now; null when there is none of now. */
  get sample(): ISample | null {
    return this._sample === null ? null : countedOn(this._sample, this._ageSeconds());
  }

  /** Whether anything was ever heard. */
  get told(): boolean {
    return this._told;
  }

  /** What was in use, oldest first: a sample a minute, then every sample of the last ten minutes. */
  get points(): readonly IPoint[] {
    const from = this._recent[0]?.atMs ?? Infinity;
    return [...this._minutes.filter(point => point.atMs < from), ...this._recent];
  }

  /** A workload's memory, oldest first. */
  sparkOf(key: string): readonly number[] {
    return this._sparks.get(key) ?? [];
  }

  /** The server's time now, as far as its samples told: clocks may be an hour apart. */
  serverNow(): number {
    return Date.now() + this._skewMs;
  }

  /** The same instant by this browser's clock. */
  toLocal(serverMs: number): number {
    return serverMs - this._skewMs;
  }

  /** Takes an event: a sample, or the news that there is none. */
  take(raw: unknown): void {
    this._told = true;
    this._set(parseSample(raw));
  }

  /** Nobody answers: what was known last is of no use. */
  lose(): void {
    if (this._sample !== null) {
      this._set(null);
    }
  }

  /** What was known when the page loaded; an event that came meanwhile is newer. */
  seed(raw: unknown): void {
    if (!this._told) {
      this._set(parseSample(raw));
    }
  }

  dispose(): void {
    document.removeEventListener('visibilitychange', this._onVisibility);
    window.clearTimeout(this._timer);
    Signal.clearData(this);
  }

  private _set(sample: ISample | null): void {
    const now = Date.now();
    const gone = sample === null && this._sample === null;
    this._sample = sample;
    this._atMs = now;
    if (!gone) {
      this._remember(sample, now);
    }
    if (sample !== null && sample.atMs !== null) {
      const skewMs = sample.atMs - now;
      this._skewMs = Math.abs(skewMs) < SKEW_MS_MIN ? 0 : skewMs;
    }
    if (!document.hidden) {
      this._look();
    }
  }

  private _remember(sample: ISample | null, now: number): void {
    const point = {
      atMs: now,
      usedBytes: sample?.usedBytes ?? null,
      limitBytes: sample?.limitBytes ?? null,
      cores: sample?.cpuCores ?? null,
      // What stays as it is comes once a minute.
      holdsMs: Math.max(MINUTE_MS, sample?.intervalMs ?? 0)
    };
    this._recent.push(point);
    while (this._recent.length > RECENT_MAX || this._recent[0].atMs < now - RECENT_MS) {
      this._recent.shift();
    }
    const last = this._minutes[this._minutes.length - 1];
    if (last === undefined || now - last.atMs >= MINUTE_MS || sample === null) {
      this._minutes.push(point);
      if (this._minutes.length > MINUTES_MAX) {
        this._minutes.shift();
      }
    }
    if (sample !== null) {
      this._sparks = this._sparksOf(sample);
    }
  }

  /** The sparks with one figure more; those of workloads that are gone are forgotten. */
  private _sparksOf(sample: ISample): Map<string, readonly number[]> {
    const sparks = new Map<string, readonly number[]>();
    for (const one of sample.workloads.slice(0, SPARKS_MAX)) {
      const before = this.sparkOf(one.key);
      if (one.memoryUsedBytes !== null) {
        sparks.set(one.key, [...before, one.memoryUsedBytes].slice(-SPARK_MAX));
      }
    }
    return sparks;
  }

  private _onVisibility = (): void => {
    window.clearTimeout(this._timer);
    if (!document.hidden) {
      this._look();
    }
  };

  /** Forgets what is too old, waits for it to become so or to move on, tells. */
  private _look(): void {
    window.clearTimeout(this._timer);
    if (this._sample !== null) {
      const left = staleMs(this._sample) - (Date.now() - this._atMs);
      if (left <= 0) {
        this._sample = null;
        this._remember(null, Date.now());
      } else {
        const moves = isMoving(this._sample, this._ageSeconds());
        this._timer = window.setTimeout(() => this._look(), moves ? Math.min(TICK_MS, left) : left);
      }
    }
    this.changed.emit();
  }

  /** How long ago it was told; a clock that is set back makes it no younger. */
  private _ageSeconds(): number {
    return Math.max(0, Date.now() - this._atMs) / 1000;
  }

  private _atMs = 0;
  private _minutes: IPoint[] = [];
  private _recent: IPoint[] = [];
  private _sample: ISample | null = null;
  private _skewMs = 0;
  private _sparks = new Map<string, readonly number[]>();
  private _timer = 0;
  private _told = false;
}

function staleMs(sample: ISample): number {
  return Math.max(STALE_MS_MIN, STALE_INTERVALS * sample.intervalMs);
}
