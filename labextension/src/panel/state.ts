// What the panel knows: the feed, and what it asked for because a person opened it or chose something.

import { Signal } from '@lumino/signaling';

import type { Feed, IPoint } from '../feed';
import { IHistory, joined, parseHistory, Range, RANGES } from '../history';
import { Refusal, Requests } from '../requests';
import { DEFAULTS, ISettings } from '../settings';
import { IServerRow, IVerdict, parseServerRow, parseVerdicts } from '../verdict';

/** What was asked for: on its way, there, or refused in words. */
export type Answer<T> =
  | { readonly is: 'asked' }
  | { readonly is: 'there'; readonly value: T }
  | { readonly is: 'refused'; readonly why: string };

/** The last minute before a death. */
const LAST_MS = 60_000;
/** The hub takes nothing beyond its `hold_max`, by its own clock: ours may be a little ahead. */
const SLACK_MS = 10_000;
/** Pictures of deaths that are kept. */
const PICTURES_MAX = 20;

export class PanelState {
  constructor(feed: Feed, requests: Requests) {
    this.feed = feed;
    this._requests = requests;
  }

  readonly changed = new Signal<this, void>(this);
  readonly feed: Feed;

  /** Whether the panel is on the screen. */
  watched = false;
  range: Range = 'minutes';
  history: Answer<IHistory> = { is: 'asked' };
  row: IServerRow | null = null;
  verdicts: readonly IVerdict[] = [];
  settings: ISettings = DEFAULTS;
  /** What the last wish to keep the server alive came to, in words. */
  holdSaid: string | null = null;

  /** How far the collector's clock is before this browser's. */
  get skewMs(): number {
    return this.history.is === 'there' ? this.history.value.skewMs : this.feed.serverNow() - Date.now();
  }

  /** What the chart shows. */
  get points(): readonly IPoint[] {
    const told = this.history.is === 'there' ? this.history.value.points : [];
    return joined(told, this.feed.points);
  }

  /** Somebody opened the panel: the only time it asks by itself. */
  async open(): Promise<void> {
    await Promise.all([this._askServer(), this._askHistory()]);
  }

  /** A notice came: what the collector says of this server is new. A closed panel asks when it is opened. */
  async refresh(): Promise<void> {
    if (this.watched) {
      await this._askServer();
    }
  }

  async pick(range: Range): Promise<void> {
    this.range = range;
    this.history = { is: 'asked' };
    this.changed.emit();
    await this._askHistory();
  }

  choose(settings: ISettings): void {
    this.settings = settings;
    this.changed.emit();
  }

  /** Takes verdicts that somebody else asked for. */
  takeVerdicts(verdicts: readonly IVerdict[]): void {
    this.verdicts = verdicts;
    this.changed.emit();
  }

  /** Keeps the server for so long from now, by the server's clock. */
  async hold(hours: number): Promise<void> {
    const until = new Date(this.feed.serverNow() + hours * 3_600_000 - SLACK_MS);
    await this._hold(() => this._requests.hold(until));
  }

  async release(): Promise<void> {
    await this._hold(() => this._requests.release());
  }

  /** The minute before a death, asked for once. */
  pictureOf(verdict: IVerdict): Answer<IHistory> {
    const known = this._pictures.get(verdict.episode);
    if (known !== undefined) {
      return known;
    }
    const asked: Answer<IHistory> = { is: 'asked' };
    this._pictures.set(verdict.episode, asked);
    if (this._pictures.size > PICTURES_MAX) {
      this._pictures.delete(this._pictures.keys().next().value as string);
    }
    void this._askPicture(verdict);
    return asked;
  }

  dispose(): void {
    this._disposed = true;
    Signal.clearData(this);
  }

  private async _askServer(): Promise<void> {
    const [row, verdicts] = await Promise.allSettled([this._requests.server(), this._requests.verdicts()]);
    this.row = row.status === 'fulfilled' ? parseServerRow(row.value) : null;
    if (verdicts.status === 'fulfilled') {
      this.verdicts = parseVerdicts(verdicts.value);
    }
    this._tell();
  }

  private async _askHistory(): Promise<void> {
    const { range } = this;
    const answer = await this._history(RANGES[range].span);
    // Another range was chosen meanwhile.
    if (range === this.range) {
      this.history = answer;
      this._tell();
    }
  }

  private async _askPicture(verdict: IVerdict): Promise<void> {
    const iso = (ms: number) => new Date(ms).toISOString();
    const { sinceMs } = verdict;
    const answer = await this._history({ from: iso(sinceMs - LAST_MS), to: iso(sinceMs) });
    // Its end is the death, not now: times stay those of the collector.
    this._pictures.set(verdict.episode, answer);
    this._tell();
  }

  private async _history(span: (typeof RANGES)[Range]['span']): Promise<Answer<IHistory>> {
    try {
      const value = parseHistory(await this._requests.history(span), Date.now());
      return value === null
        ? { is: 'refused', why: 'the answer makes no sense' }
        : { is: 'there', value };
    } catch (reason) {
      return { is: 'refused', why: wordsOf(reason) };
    }
  }

  private async _hold(wish: () => Promise<unknown>): Promise<void> {
    this.holdSaid = null;
    try {
      await wish();
    } catch (reason) {
      this.holdSaid = wordsOf(reason);
    }
    await this._askServer();
  }

  private _tell(): void {
    if (!this._disposed) {
      this.changed.emit();
    }
  }

  private _disposed = false;
  private _pictures = new Map<string, Answer<IHistory>>();
  private _requests: Requests;
}

/** Why it did not go, in words. */
export function wordsOf(reason: unknown): string {
  if (reason instanceof Refusal) {
    return reason.message;
  }
  return reason instanceof Error ? reason.message : String(reason);
}
