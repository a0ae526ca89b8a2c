// Notices about this server, as JupyterLab notifications: once per episode, in better words when
// more is known, gone when it has passed. In a hidden tab they wait until somebody looks.

import { bytes, duration, speed, Units } from './format';
import { isRecord, number, size, text as str, time } from './json';
import type { Told } from './told';
import type { ITranslate } from './translation';
import { inSentence } from './workload';

export type Severity = 'info' | 'warning' | 'critical';

export interface INotice {
  readonly episode: string;
  readonly rule: string;
  readonly severity: Severity;
  readonly text: string;
  readonly workloadId: string | null;
  readonly workloadName: string | null;
  readonly trendBytesPerSecond: number | null;
  readonly secondsToLimit: number | null;
  /** By the server's clock. */
  readonly stopsAtMs: number | null;
  readonly cleared: boolean;
}

/** A button of a notification. */
export interface IAction {
  readonly label: string;
  readonly caption: string;
  readonly run: () => void;
}

/** What JupyterLab calls a notification of each gravity. */
export type Kind = 'info' | 'warning' | 'error';

/** Where notifications go: JupyterLab's manager, or a test's. */
export interface INotifier {
  show(text: string, type: Kind, actions: readonly IAction[]): string;
  /** Puts new words in a notification that is there; one that was closed stays closed. */
  update(id: string, text: string, type: Kind, actions: readonly IAction[]): void;
  dismiss(id: string): void;
}

/** What the buttons do. */
export interface IDeeds {
  interrupt(kernelId: string): void;
  /** Whether it is a kernel that can be interrupted. */
  isKernel(id: string): boolean;
  /** What people call a workload that runs now. */
  nameOf(id: string): string | null;
  showPanel(): void;
  readAll(text: string): void;
  keepAlive(hours: number): void;
  /** A person could see it. */
  shown(episode: string): void;
  /** The server's time now. */
  now(): number;
}

/** JupyterLab cuts a notification's text here. */
const TEXT_CHARS_MAX = 140;
/** Episodes remembered: a day of constant alarms. The oldest are forgotten first. */
const EPISODES_MAX = 500;
/** Episodes that wait in a hidden tab. */
const WAITING_MAX = 50;
/** A button has room for this much of a name. */
const NAME_CHARS_MAX = 32;
/** For how long a warned server can be kept at one click; the hub's policy has the last word. */
export const KEEP_HOURS = [1, 4, 8] as const;

const TYPES = { info: 'info', warning: 'warning', critical: 'error' } as const;
const ABOUT_MEMORY = ['runaway_memory', 'near_limit'];
/** Of a warning's words as much as tells it apart: "idle 45 min, stops in 15 min". */
const WORDS_CHARS_MAX = 80;
/** What happened does not pass: the reason stays until it is read. */
const STAYS = ['killed'];

export class Notices {
  constructor(
    notifier: INotifier,
    deeds: IDeeds,
    trans: ITranslate,
    memory: { readonly told: Told; readonly muted: Told }
  ) {
    this._deeds = deeds;
    this._memory = memory;
    this._notifier = notifier;
    this._trans = trans;
    document.addEventListener('visibilitychange', this._onVisibility);
  }

  /** Shows no notification while it is set. */
  quiet = false;
  units: Units = 'binary';

  dispose(): void {
    document.removeEventListener('visibilitychange', this._onVisibility);
  }

  /** Shows, or takes away, what an event says; whether it was a notice. */
  take(raw: unknown): boolean {
    const notice = parseNotice(raw);
    if (notice === null) {
      return false;
    }
    if (document.hidden && !this._keysOf(notice).some(key => this._shown.has(key))) {
      this._wait(notice);
    } else {
      this._put(notice);
    }
    return true;
  }

  /** Another tab may be looked at; this one asks again when it is. */
  private _wait(notice: INotice): void {
    const over = notice.cleared && STAYS.includes(notice.rule);
    // "Over" explains nothing: the reason that waits is to be read.
    if (!over || !this._waiting.has(notice.episode)) {
      this._waiting.set(notice.episode, notice);
    }
    if (this._waiting.size > WAITING_MAX) {
      this._waiting.delete(this._waiting.keys().next().value as string);
    }
  }

  private _onVisibility = (): void => {
    if (document.hidden) {
      return;
    }
    const waiting = [...this._waiting.values()];
    this._waiting.clear();
    waiting.forEach(notice => this._put(notice));
  };

  private _put(notice: INotice): void {
    const keys = this._keysOf(notice);
    if (notice.cleared) {
      keys.forEach(key => this._end(key, STAYS.includes(notice.rule)));
      return;
    }
    const [key] = keys;
    const shown = this._shown.get(key);
    if (key !== notice.episode && this._shown.has(notice.episode)) {
      return; // a late copy: the stop is off
    }
    if (shown === undefined) {
      this._begin(notice, key);
    } else if (shown !== '') {
      const { text, actions } = this._words(notice);
      if (this._said.get(shown) !== `${notice.severity} ${text}`) {
        this._say(shown, notice.severity, text);
        this._notifier.update(shown, text, TYPES[notice.severity], actions);
      }
    }
  }

  private _begin(notice: INotice, key: string): void {
    const { told } = this._memory;
    if (key !== notice.episode) {
      // A later warning takes the place of an earlier one, in whichever tab it is.
      this._warningsOf(notice.episode).forEach(earlier => this._end(earlier, false));
    }
    if (this.quiet || this._isMuted(notice) || told.has(key)) {
      this._remember(key, '');
      return;
    }
    const { text, actions } = this._words(notice);
    const id = this._notifier.show(text, TYPES[notice.severity], actions);
    this._say(id, notice.severity, text);
    this._remember(key, id);
    told.add(key);
    this._deeds.shown(notice.episode);
  }

  private _end(key: string, stays: boolean): void {
    const shown = this._shown.get(key);
    if (shown && !stays) {
      this._notifier.dismiss(shown);
    }
    // Remembered without a notification: a late copy of the same episode stays quiet.
    this._remember(key, stays ? (shown ?? '') : '');
  }

  /**
   * What a notice is remembered as. All warnings of a stop are one episode, but who closed the first, or loaded
   * the page anew, is to see the next one. They are told apart by the collector's words, which say how long is
   * left: a copy has the same. What is over is over for all of them, and for what comes late.
   */
  private _keysOf({ episode, rule, stopsAtMs, text, cleared }: INotice): readonly string[] {
    if (cleared) {
      return rule === 'idle' ? [episode, ...this._warningsOf(episode)] : [episode];
    }
    return rule === 'idle' && stopsAtMs !== null ? [`${episode}:${text.slice(0, WORDS_CHARS_MAX)}`] : [episode];
  }

  private _warningsOf(episode: string): readonly string[] {
    return [...this._shown.keys()].filter(key => key.startsWith(`${episode}:`));
  }

  private _isMuted(notice: INotice): boolean {
    const { rule, workloadId } = notice;
    return workloadId !== null && ABOUT_MEMORY.includes(rule) && this._memory.muted.has(workloadId);
  }

  private _words(notice: INotice): { text: string; actions: readonly IAction[] } {
    const id = notice.workloadId;
    const workloadName = notice.workloadName ?? (id === null ? null : this._deeds.nameOf(id));
    const text = sentenceOf({ ...notice, workloadName }, this.units, this._trans, this._deeds.now());
    const actions = this._actions(notice);
    const chars = [...text];
    if (chars.length <= TEXT_CHARS_MAX) {
      return { text, actions };
    }
    const readAll = {
      label: this._trans.__('Read all'),
      caption: this._trans.__('Show the whole text'),
      run: () => this._deeds.readAll(text)
    };
    return { text: `${chars.slice(0, TEXT_CHARS_MAX - 1).join('')}…`, actions: [...actions, readAll] };
  }

  private _actions(notice: INotice): readonly IAction[] {
    const trans = this._trans;
    const show = {
      label: trans.__('Show'),
      caption: trans.__('Show what uses memory'),
      run: () => this._deeds.showPanel()
    };
    if (notice.rule === 'idle' && notice.stopsAtMs !== null) {
      return KEEP_HOURS.map(hours => ({
        label: trans._n('Keep %1 h', 'Keep %1 h', hours),
        caption: trans._n('Keep this server for %1 hour', 'Keep this server for %1 hours', hours),
        run: () => this._deeds.keepAlive(hours)
      }));
    }
    const id = notice.workloadId;
    if (!ABOUT_MEMORY.includes(notice.rule) || id === null || !this._deeds.isKernel(id)) {
      return [show];
    }
    return [
      {
        label: trans.__('Interrupt'),
        caption: trans.__('Stop the cell that runs; variables stay'),
        run: () => this._deeds.interrupt(id)
      },
      show,
      {
        label: trans.__('Not again for this kernel'),
        caption: trans.__('No more memory warnings about this kernel'),
        run: () => this._memory.muted.add(id)
      }
    ];
  }

  /** JupyterLab shows a notification that was hidden anew when it is updated: not for the words that it has. */
  private _say(id: string, severity: Severity, text: string): void {
    this._said.delete(id);
    this._said.set(id, `${severity} ${text}`);
    if (this._said.size > EPISODES_MAX) {
      this._said.delete(this._said.keys().next().value as string);
    }
  }

  private _remember(episode: string, id: string): void {
    this._shown.delete(episode);
    this._shown.set(episode, id);
    if (this._shown.size > EPISODES_MAX) {
      this._shown.delete(this._shown.keys().next().value as string);
    }
  }

  private _deeds: IDeeds;
  private _memory: { readonly told: Told; readonly muted: Told };
  private _notifier: INotifier;
  private _said = new Map<string, string>();
  private _shown = new Map<string, string>();
  private _trans: ITranslate;
  private _waiting = new Map<string, INotice>();
}

/** Our own words where all is known that they need, else those of the collector. */
export function sentenceOf(notice: INotice, units: Units, trans: ITranslate, nowMs: number): string {
  const { rule, secondsToLimit: left, trendBytesPerSecond: trend, stopsAtMs } = notice;
  const path = notice.workloadName;
  const name = path === null ? null : inSentence(path.slice(path.lastIndexOf('/') + 1), NAME_CHARS_MAX);
  if (rule === 'runaway_memory' && trend !== null && trend > 0 && left !== null) {
    const pace = speed(trend, units);
    return name === null
      ? trans.__('Memory grows by %1 and is full in about %2.', pace, duration(left))
      : trans.__('%1 grows by %2: memory is full in about %3.', name, pace, duration(left));
  }
  if (rule === 'idle' && stopsAtMs !== null) {
    const seconds = (stopsAtMs - nowMs) / 1000;
    return seconds > 0
      ? trans.__('This server is idle and stops in %1. Is somebody still here?', duration(seconds))
      : trans.__('This server is idle and is about to stop.');
  }
  return notice.text;
}

/** What a kernel's death says in one sentence. */
export function deathSentence(
  name: string | null,
  held: number | null,
  limit: number | null,
  units: Units,
  trans: ITranslate
): string {
  const who = name === null ? trans.__('This server') : inSentence(name, NAME_CHARS_MAX);
  if (held === null) {
    return trans.__('%1 was killed: memory was used up.', who);
  }
  return limit === null
    ? trans.__('%1 was killed: memory was used up. It held %2.', who, bytes(held, units))
    : trans.__(
        '%1 was killed: memory was used up. It held %2, the limit is %3.',
        who,
        bytes(held, units),
        bytes(limit, units)
      );
}

/** Reads a notice event; null when it is none. */
export function parseNotice(raw: unknown): INotice | null {
  if (!isRecord(raw)) {
    return null;
  }
  const { severity } = raw;
  const episode = str(raw.episode);
  if (episode === null || typeof raw.text !== 'string') {
    return null;
  }
  if (severity !== 'info' && severity !== 'warning' && severity !== 'critical') {
    return null;
  }
  return {
    episode,
    rule: str(raw.rule) ?? '',
    severity,
    text: raw.text,
    workloadId: str(raw.workload_id),
    workloadName: str(raw.workload_name),
    trendBytesPerSecond: number(raw.trend_bytes_per_second),
    secondsToLimit: size(raw.seconds_to_limit),
    stopsAtMs: time(raw.stops_at),
    cleared: raw.cleared === true
  };
}
