// The meter in the status bar: a native <meter> and one line of text that opens the panel.

import { Widget } from '@lumino/widgets';

import type { Feed } from './feed';
import type { Units } from './format';
import { IView, viewOf } from './model';
import type { ITranslate } from './translation';

const LEVELS = ['no-data', 'calm', 'rising', 'critical'] as const;

export class Badge extends Widget {
  constructor(feed: Feed, trans: ITranslate, open: () => void) {
    super();
    this._feed = feed;
    this._trans = trans;
    this.addClass('hm-Badge');
    this._meter.className = 'hm-Badge-meter';
    this._meter.min = 0;
    this._meter.max = 1;
    this._line.className = 'hm-Badge-text';
    this._line.type = 'button';
    this.node.append(this._meter, this._line);
    // The button is for the keyboard; a pointer may hit the meter as well.
    this.node.addEventListener('click', open);
    feed.changed.connect(this._paint, this);
    this._paint();
  }

  set units(units: Units) {
    this._units = units;
    this._paint();
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._feed.changed.disconnect(this._paint, this);
    }
    super.dispose();
  }

  private _paint(): void {
    this._draw(viewOf(this._feed.sample, this._units, this._trans));
  }

  private _draw(view: IView): void {
    for (const level of LEVELS) {
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
      this._meter.setAttribute('aria-label', view.label);
      this._line.setAttribute('aria-label', this._trans.__('%1: show details', view.text));
    }
  }

  private _feed: Feed;
  private _line = document.createElement('button');
  private _meter = document.createElement('meter');
  private _trans: ITranslate;
  private _units: Units = 'binary';
}
