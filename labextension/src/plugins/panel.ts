import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Actions, say } from '../actions';
import { moment } from '../format';
import { meterIcon } from '../icon';
import type { Meter } from '../meter';
import { KEEP_HOURS } from '../notice';
import { Panel, PANEL_ID } from '../panel/panel';
import { PanelState } from '../panel/state';
import { Commands, DOMAIN, IMeter, IPanelState } from '../tokens';
import { ranked, titleOf } from '../workload';

/** Below JupyterLab's own panels of that side. */
const RANK = 700;

export const panel: JupyterFrontEndPlugin<PanelState> = {
  id: 'hubmeter:panel',
  description: 'Shows what uses memory, now and before, in the side bar.',
  autoStart: true,
  requires: [IMeter],
  optional: [ITranslator, ICommandPalette, ILayoutRestorer],
  provides: IPanelState,
  activate: (
    app: JupyterFrontEnd,
    meter: Meter,
    translator: ITranslator | null,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const state = new PanelState(meter.feed, meter.requests);
    const actions = new Actions(app, trans);
    const place = new Place(app, () => new Panel(state, actions, trans));
    const apply = () => {
      state.choose(meter.settings);
      place.show(meter.settings.panel);
    };
    meter.settingsChanged.connect(apply);
    apply();
    if (place.panel) {
      restorer?.add(place.panel, PANEL_ID);
    }

    app.commands.addCommand(Commands.open, {
      label: trans.__('Show What Uses Memory'),
      caption: trans.__('Open the memory panel in the side bar'),
      icon: meterIcon,
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => {
        place.show(true);
        app.shell.activateById(PANEL_ID);
      }
    });
    app.commands.addCommand(Commands.interruptLargest, {
      label: trans.__('Interrupt the Kernel That Uses Most Memory'),
      caption: trans.__('Stop the cell that runs in it; variables stay'),
      describedBy: { args: { type: 'object', properties: {} } },
      isEnabled: () => largest() !== undefined,
      execute: async () => {
        const one = largest();
        if (one) {
          await actions.interrupt(one.id);
          say(trans.__('%1 was interrupted.', titleOf(one, trans)));
        }
      }
    });
    app.commands.addCommand(Commands.keepAlive, {
      label: args =>
        trans._n('Keep This Server for %1 Hour', 'Keep This Server for %1 Hours', hoursOf(args)),
      caption: trans.__('It is not stopped for being idle until then'),
      describedBy: {
        args: {
          type: 'object',
          properties: {
            hours: {
              type: 'integer',
              minimum: KEEP_HOURS[0],
              maximum: KEEP_HOURS[KEEP_HOURS.length - 1],
              description: trans.__('For how many hours from now')
            }
          }
        }
      },
      execute: async args => {
        await state.hold(hoursOf(args));
        const until = state.row?.heldUntilMs ?? null;
        if (state.holdSaid !== null) {
          say(trans.__('This server cannot be kept: %1', state.holdSaid));
        } else if (until !== null) {
          say(trans.__('This server is kept until %1.', moment(until - state.skewMs)));
        }
      }
    });
    const largest = () =>
      ranked(meter.feed.sample?.workloads ?? []).find(
        one => one.kind === 'kernel' && actions.isKernel(one.id)
      );
    const category = trans.__('Memory');
    palette?.addItem({ command: Commands.open, category });
    palette?.addItem({ command: Commands.interruptLargest, category });
    for (const hours of KEEP_HOURS) {
      palette?.addItem({ command: Commands.keepAlive, category, args: { hours } });
    }
    return state;
  }
};

/** The panel's place in the side bar: there, or taken away by a setting. */
class Place {
  constructor(
    private _app: JupyterFrontEnd,
    private _make: () => Panel
  ) {}

  panel: Panel | null = null;

  show(on: boolean): void {
    if (on && this.panel === null) {
      this.panel = this._make();
      this._app.shell.add(this.panel, 'right', { rank: RANK, type: 'Memory' });
    } else if (!on) {
      this.panel?.dispose();
      this.panel = null;
    }
  }
}

/** What was asked for, within the bounds that are offered. */
function hoursOf(args: { readonly hours?: unknown }): number {
  const hours = typeof args.hours === 'number' ? Math.round(args.hours) : KEEP_HOURS[0];
  return Math.min(Math.max(hours, KEEP_HOURS[0]), KEEP_HOURS[KEEP_HOURS.length - 1]);
}
