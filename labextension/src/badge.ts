// The meter in the status bar: a native <meter> and one line of text.
// It shows what it was given last, and nothing once that is too old.

import { Widget } from '@lumino/widgets';

import type { Units } from './format';
import { ISample, ITranslate, IView, viewOf } from './model';

/** A sample may be this late before the meter says "no data". */
const STALE_MS_MIN = 30_000;
const STALE_INTERVALS = 4;

export class Badge extends Widget {
  constructor(trans: ITranslate) {
    super();
    this._trans = trans;
    this.addClass('hm-Badge');
    this._meter.className = 'hm-Badge-meter';
    this._meter.min = 0;
    this._meter.max = 1;
    this._line.className = 'hm-Badge-text';
    this.node.append(this._meter, this._line);
    document.addEventListener('visibilitychange', this._onVisibility);
    this._paint();
  }

  /** A new sample, or the news that there is none. */
  take(sample: ISample | null): void {
    this._sample = sample;
    this._at = Date.now();
    // In a hidden tab nothing is drawn and no timer runs; it catches up when it is looked at.
    if (!document.hidden) {
      this._paint();
    }
  }

  set units(units: Units) {
    this._units = units;
    this._paint();
  }

  override dispose(): void {
    if (this.isDisposed) {
      return;
    }
    document.removeEventListener('visibilitychange', this._onVisibility);
    window.clearTimeout(this._timer);
    super.dispose();
  }

  private _onVisibility = (): void => {
    window.clearTimeout(this._timer);
    if (!document.hidden) {
      this._paint();
    }
  };

  private _paint(): void {
    window.clearTimeout(this._timer);
    if (this._sample !== null) {
      const left = staleMs(this._sample) - (Date.now() - this._at);
      if (left <= 0) {
        this._sample = null;
      } else {
        this._timer = window.setTimeout(() => this._paint(), left);
      }
    }
    this._draw(viewOf(this._sample, this._units, this._trans));
  }

  private _draw(view: IView): void {
    for (const level of ['no-data', 'calm', 'rising', 'critical']) {
      this.toggleClass(`jp-mod-${level}`, level === view.level);
    }
    this._meter.hidden = view.share === null;
    this._meter.value = view.share ?? 0;
    // Only what changed is written: each write is a repaint, most ticks change nothing.
    if (this._line.textContent !== view.text) {
      this._line.textContent = view.text;
    }
    if (this.node.title !== view.title) {
      this.node.title = view.title;
    }
    // A screen reader gets the whole sentence from the meter and not its figures a second time.
    this._meter.setAttribute('aria-label', view.label);
    this._line.setAttribute('aria-hidden', String(view.share !== null));
  }

  private _at = 0;
  private _line = document.createElement('span');
  private _meter = document.createElement('meter');
  private _sample: ISample | null = null;
  private _timer = 0;
  private _trans: ITranslate;
  private _units: Units = 'binary';
}

function staleMs(sample: ISample): number {
  return Math.max(STALE_MS_MIN, STALE_INTERVALS * sample.intervalMs);
}
