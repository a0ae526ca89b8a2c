import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';

import type { Meter } from '../meter';
import { Person } from '../person';
import { IMeter } from '../tokens';

export const person: JupyterFrontEndPlugin<void> = {
  id: 'hubmeter:person',
  description: 'Tells the server that a person is there, at most once in five minutes.',
  autoStart: true,
  requires: [IMeter],
  activate: (app: JupyterFrontEnd, meter: Meter) => {
    const { baseUrl } = app.serviceManager.serverSettings;
    // Lives as long as the page.
    void new Person(() => meter.requests.input(), baseUrl);
  }
};
