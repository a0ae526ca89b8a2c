import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';
import type { Event } from '@jupyterlab/services';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Actions } from '../actions';
import { askedOnceOrTwice, newestDeath } from '../deaths';
import { Meter, whenVisible } from '../meter';
import { deathSentence, IAction, IDeeds, INotifier, Notices } from '../notice';
import type { PanelState } from '../panel/state';
import { Commands, DOMAIN, IMeter, IPanelState, NOTICE_SCHEMA } from '../tokens';
import { Told } from '../told';
import { IVerdict, parseVerdicts } from '../verdict';

export const notices: JupyterFrontEndPlugin<void> = {
  id: 'hubmeter:notices',
  description: 'Shows notices about this server as notifications.',
  autoStart: true,
  requires: [IMeter],
  optional: [IPanelState, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    meter: Meter,
    panel: PanelState | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const kernels = new Actions(app, trans);
    const deeds: IDeeds = {
      interrupt: id => void kernels.interrupt(id),
      isKernel: id => kernels.isKernel(id),
      nameOf: id => meter.feed.sample?.workloads.find(one => one.id === id)?.name || null,
      showPanel: () => void app.commands.execute(Commands.open),
      readAll: text => {
        const buttons = [Dialog.okButton()];
        void showDialog({ title: trans.__('Notice about this server'), body: text, buttons });
      },
      keepAlive: hours => void app.commands.execute(Commands.keepAlive, { hours }),
      // Whether it was taken changes nothing here.
      shown: episode => void meter.requests.shown(episode).catch(() => undefined),
      now: () => meter.feed.serverNow()
    };
    const { baseUrl } = app.serviceManager.serverSettings;
    const memory = {
      told: new Told(`hubmeter:told:${baseUrl}`),
      muted: new Told(`hubmeter:muted:${baseUrl}`)
    };
    const taken = new Notices(lab, deeds, trans, memory);
    const apply = () => {
      taken.quiet = meter.settings.quiet;
      taken.units = meter.settings.units;
    };
    meter.settingsChanged.connect(apply);
    apply();

    let news: Promise<void> | null = null;
    app.serviceManager.events.stream.connect((_: unknown, event: Event.Emission) => {
      if (event.schema_id === NOTICE_SCHEMA && taken.take(event)) {
        // In a hidden tab it is asked for when somebody looks, once for all that came.
        news ??= whenVisible().then(() => {
          news = null;
          return panel?.refresh();
        });
      }
    });
    void Promise.all([app.restored, whenVisible()]).then(async () => {
      const answer = await askedOnceOrTwice(() => meter.requests.verdicts(), meter.feed);
      const verdicts = parseVerdicts(answer);
      panel?.takeVerdicts(verdicts);
      const death = newestDeath(verdicts, meter.feed.serverNow());
      if (death) {
        taken.take(noticeOf(death));
      }
    });

    /** What the collector remembers of a death, as the notice that it was. */
    function noticeOf(death: IVerdict) {
      const held = death.workloadBytes ?? death.usedBytes;
      const text = deathSentence(death.title, held, death.limitBytes, meter.settings.units, trans);
      return { episode: death.episode, rule: death.rule, severity: 'critical', text };
    }
  }
};

/** JupyterLab's own notifications. */
const lab: INotifier = {
  show: (text, type, actions) =>
    Notification.emit(text, type, { autoClose: false, actions: buttons(actions) }),
  update: (id, message, type, actions) => {
    Notification.update({ id, message, type, actions: buttons(actions) });
  },
  dismiss: id => Notification.dismiss(id)
};

function buttons(actions: readonly IAction[]): Notification.IAction[] {
  return actions.map(({ label, caption, run }) => ({ label, caption, callback: run }));
}
