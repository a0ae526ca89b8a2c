// hubmeter in JupyterLab: two plugins, both fed by the event socket that JupyterLab holds anyway.
// One request when the page loads, none after it.

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import { URLExt } from '@jupyterlab/coreutils';
import { Event, ServerConnection } from '@jupyterlab/services';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Badge } from './badge';
import type { Units } from './format';
import { parseSample } from './model';
import { IMore, INotifier, Notices } from './notice';

const SAMPLE_SCHEMA = 'https://hubmeter.dev/events/sample/v1';
const NOTICE_SCHEMA = 'https://hubmeter.dev/events/notice/v1';
const DOMAIN = 'hubmeter';
const METER_ID = 'hubmeter:meter';
/** Beside the kernel's state, where jupyter-resource-usage had its own. */
const RANK = 2;

const meter: JupyterFrontEndPlugin<void> = {
  id: METER_ID,
  description: 'Shows the memory of this server in the status bar.',
  autoStart: true,
  requires: [IStatusBar],
  optional: [ITranslator, ISettingRegistry],
  activate: (
    app: JupyterFrontEnd,
    statusBar: IStatusBar,
    translator: ITranslator | null,
    settings: ISettingRegistry | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const badge = new Badge(trans);
    const item = statusBar.registerStatusItem(METER_ID, { item: badge, align: 'left', rank: RANK });
    badge.disposed.connect(() => item.dispose());

    let told = false;
    app.serviceManager.events.stream.connect((_: unknown, event: Event.Emission) => {
      if (event.schema_id === SAMPLE_SCHEMA) {
        told = true;
        badge.take(parseSample(event));
      }
    });
    void whenVisible().then(async () => {
      const sample = told ? null : await firstSample(app.serviceManager.serverSettings);
      // An event that came meanwhile is newer.
      if (!told) {
        badge.take(sample);
      }
    });
    void settings?.load(METER_ID).then(
      loaded => {
        const apply = () => {
          badge.units = loaded.get('units').composite as Units;
          badge.setHidden(loaded.get('show').composite === false);
        };
        loaded.changed.connect(apply);
        apply();
      },
      // Without its settings the meter has its defaults.
      (reason: unknown) => console.warn('hubmeter: settings were not read', reason)
    );
  }
};

const notices: JupyterFrontEndPlugin<void> = {
  id: 'hubmeter:notices',
  description: 'Shows notices about this server as notifications.',
  autoStart: true,
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, translator: ITranslator | null) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const actions = (more?: IMore) =>
      more && [
        {
          label: more.label,
          callback: () => {
            void showDialog({
              title: trans.__('Notice about this server'),
              body: more.full,
              buttons: [Dialog.okButton()]
            });
          }
        }
      ];
    const notifier: INotifier = {
      show: (text, type, more) =>
        Notification.emit(text, type, { autoClose: false, actions: actions(more) }),
      update: (id, message, more) => {
        Notification.update({ id, message, actions: actions(more) });
      },
      dismiss: id => Notification.dismiss(id)
    };
    const taken = new Notices(notifier, trans);
    app.serviceManager.events.stream.connect((_: unknown, event: Event.Emission) => {
      if (event.schema_id === NOTICE_SCHEMA) {
        taken.take(event);
      }
    });
  }
};

/** Resolves at once in a visible tab, in a hidden one when it is first looked at. */
function whenVisible(): Promise<void> {
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

/** What the server knows when the page loads; the only request there is. */
async function firstSample(settings: ServerConnection.ISettings) {
  try {
    const url = `${URLExt.join(settings.baseUrl, 'api/metrics/v1')}?no_track_activity=1`;
    const response = await ServerConnection.makeRequest(url, {}, settings);
    return response.ok ? parseSample((await response.json()).meter) : null;
  } catch {
    return null;
  }
}

export default [meter, notices];
