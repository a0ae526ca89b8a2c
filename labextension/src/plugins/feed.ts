import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import type { Event } from '@jupyterlab/services';
import { ISettingRegistry } from '@jupyterlab/settingregistry';

import { Meter, whenVisible } from '../meter';
import { Requests } from '../requests';
import { readSettings } from '../settings';
import { IMeter, METER_ID, SAMPLE_SCHEMA } from '../tokens';

export const feed: JupyterFrontEndPlugin<Meter> = {
  id: 'hubmeter:feed',
  description: 'Follows what this server uses.',
  autoStart: true,
  provides: IMeter,
  optional: [ISettingRegistry],
  activate: (app: JupyterFrontEnd, settings: ISettingRegistry | null) => {
    const meter = new Meter(new Requests(app.serviceManager.serverSettings));
    app.serviceManager.events.stream.connect((_: unknown, event: Event.Emission) => {
      if (event.schema_id === SAMPLE_SCHEMA) {
        meter.feed.take(event);
      }
    });
    // JupyterLab found its server gone before our events could be missed.
    app.serviceManager.connectionFailure.connect(() => meter.feed.lose());
    void whenVisible().then(async () => {
      if (!meter.feed.told) {
        // Without an answer it is "no data" until an event comes.
        meter.feed.seed(await meter.requests.first().catch(() => null));
      }
    });
    void settings?.load(METER_ID).then(
      loaded => {
        const apply = () => meter.choose(readSettings(loaded.composite));
        loaded.changed.connect(apply);
        apply();
      },
      // Without its settings the meter has its defaults.
      (reason: unknown) => console.warn('hubmeter: settings were not read', reason)
    );
    return meter;
  }
};
