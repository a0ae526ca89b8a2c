import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { say } from '../actions';
import { Badge } from '../badge';
import type { Meter } from '../meter';
import { viewOf } from '../model';
import { Commands, DOMAIN, IMeter, METER_ID } from '../tokens';

/** Beside the kernel's state, where jupyter-resource-usage had its own. */
const RANK = 2;
/** In Notebook, which has no status bar: at the end of the top bar. */
const TOP_RANK = 900;

export const status: JupyterFrontEndPlugin<void> = {
  id: METER_ID,
  description: 'Shows the memory of this server in the status bar.',
  autoStart: true,
  requires: [IMeter],
  optional: [IStatusBar, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    meter: Meter,
    statusBar: IStatusBar | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const badge = new Badge(meter.feed, trans, () => {
      if (app.commands.hasCommand(Commands.open)) {
        void app.commands.execute(Commands.open);
      }
    });
    badge.id = 'hubmeter-badge';
    if (statusBar) {
      const item = statusBar.registerStatusItem(METER_ID, { item: badge, align: 'left', rank: RANK });
      badge.disposed.connect(() => item.dispose());
    } else {
      app.shell.add(badge, 'top', { rank: TOP_RANK });
    }
    const apply = () => {
      badge.units = meter.settings.units;
      badge.setHidden(!meter.settings.show);
    };
    meter.settingsChanged.connect(apply);
    apply();

    app.commands.addCommand(Commands.say, {
      label: trans.__('Say How Much Memory Is Used'),
      caption: trans.__('A short notification with what the meter shows'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => say(viewOf(meter.feed.sample, meter.settings.units, trans).label)
    });
    palette?.addItem({ command: Commands.say, category: trans.__('Memory') });
  }
};
