// Notices about this server, as JupyterLab notifications: once per episode, in better words when
// more is known, gone when it has passed.

import type { ITranslate } from './model';

export type Severity = 'info' | 'warning' | 'critical';

export interface INotice {
  readonly episode: string;
  readonly severity: Severity;
  readonly text: string;
  readonly cleared: boolean;
}

/** Where notifications go: JupyterLab's manager, or a test's. */
export interface INotifier {
  show(text: string, type: 'info' | 'warning' | 'error', more?: IMore): string;
  /** Puts new words in a notification that is there; one that was closed stays closed. */
  update(id: string, text: string, more?: IMore): void;
  dismiss(id: string): void;
}

/** What a notification offers when its text does not fit in it. */
export interface IMore {
  readonly label: string;
  readonly full: string;
}

/** JupyterLab cuts a notification's text here. */
const TEXT_CHARS_MAX = 140;
/** Episodes remembered: a day of constant alarms. The oldest are forgotten first. */
const EPISODES_MAX = 500;

const TYPES = { info: 'info', warning: 'warning', critical: 'error' } as const;

export class Notices {
  constructor(notifier: INotifier, trans: ITranslate) {
    this._notifier = notifier;
    this._trans = trans;
  }

  /** Shows, or takes away, what an event says. */
  take(raw: unknown): void {
    const notice = parseNotice(raw);
    if (notice === null) {
      return;
    }
    const shown = this._shown.get(notice.episode);
    if (notice.cleared) {
      if (shown) {
        this._notifier.dismiss(shown);
      }
      // Remembered without a notification: a late copy of the same episode stays quiet.
      this._remember(notice.episode, '');
    } else if (shown === undefined) {
      this._remember(notice.episode, this._show(notice));
    } else if (shown !== '') {
      const { text, more } = this._words(notice);
      this._notifier.update(shown, text, more);
    }
  }

  private _show(notice: INotice): string {
    const { text, more } = this._words(notice);
    return this._notifier.show(text, TYPES[notice.severity], more);
  }

  private _words(notice: INotice): { text: string; more?: IMore } {
    const chars = [...notice.text];
    if (chars.length <= TEXT_CHARS_MAX) {
      return { text: notice.text };
    }
    const text = `${chars.slice(0, TEXT_CHARS_MAX - 1).join('')}…`;
    return { text, more: { label: this._trans.__('Read all'), full: notice.text } };
  }

  private _remember(episode: string, id: string): void {
    this._shown.delete(episode);
    this._shown.set(episode, id);
    if (this._shown.size > EPISODES_MAX) {
      this._shown.delete(this._shown.keys().next().value as string);
    }
  }

  private _notifier: INotifier;
  private _shown = new Map<string, string>();
  private _trans: ITranslate;
}

/** Reads a notice event; null when it is none. */
export function parseNotice(raw: unknown): INotice | null {
  if (typeof raw !== 'object' || raw === null) {
    return null;
  }
  const { episode, severity, text, cleared } = raw as Record<string, unknown>;
  if (typeof episode !== 'string' || episode === '' || typeof text !== 'string') {
    return null;
  }
  if (severity !== 'info' && severity !== 'warning' && severity !== 'critical') {
    return null;
  }
  return { episode, severity, text, cleared: cleared === true };
}
