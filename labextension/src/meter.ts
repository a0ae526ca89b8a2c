// What the plugins share: one feed, one set of settings, one way to ask.

import { ISignal, Signal } from '@lumino/signaling';

import { Feed } from './feed';
import { Requests } from './requests';
import { DEFAULTS, ISettings } from './settings';

export class Meter {
  constructor(requests: Requests) {
    this.requests = requests;
  }

  readonly feed = new Feed();
  readonly requests: Requests;

  get settings(): ISettings {
    return this._settings;
  }

  get settingsChanged(): ISignal<this, ISettings> {
    return this._settingsChanged;
  }

  choose(settings: ISettings): void {
    this._settings = settings;
    this._settingsChanged.emit(settings);
  }

  private _settings = DEFAULTS;
  private _settingsChanged = new Signal<this, ISettings>(this);
}

/** Resolves at once in a visible tab, in a hidden one when it is first looked at. */
export function whenVisible(): Promise<void> {
  return new Promise(resolve => {
    const look = () => {
      if (!document.hidden) {
        document.removeEventListener('visibilitychange', look);
        resolve();
      }
    };
    document.addEventListener('visibilitychange', look);
    look();
  });
}
