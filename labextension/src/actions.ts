// What can be done about a workload, by JupyterLab's own managers: its panels see it as they see
// what a person did in them.

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Dialog, Notification, showDialog, showErrorMessage } from '@jupyterlab/apputils';
import { Kernel, KernelAPI, Session } from '@jupyterlab/services';

import type { IWorkload } from './sample';
import type { ITranslate } from './translation';
import { titleOf } from './workload';

/** The parts of JupyterLab that this needs. */
export type IHost = Pick<JupyterFrontEnd, 'commands' | 'serviceManager' | 'shell'>;

export class Actions {
  constructor(host: IHost, trans: ITranslate) {
    this._host = host;
    this._trans = trans;
  }

  /** Whether it is there to be interrupted and restarted. */
  isKernel(id: string): boolean {
    return [...this._host.serviceManager.kernels.running()].some(kernel => kernel.id === id);
  }

  /** Whether there is somewhere to go. */
  canOpen(one: IWorkload): boolean {
    return one.kind === 'terminal' || (one.kind === 'kernel' && this._session(one.id) !== undefined);
  }

  async interrupt(id: string): Promise<void> {
    const settings = this._host.serviceManager.serverSettings;
    await this._try(this._trans.__('The kernel was not interrupted'), () => {
      const kernel = this._connected(id);
      return kernel ? kernel.interrupt() : KernelAPI.interruptKernel(id, settings);
    });
  }

  async restart(one: IWorkload): Promise<void> {
    const trans = this._trans;
    const sure = await this._confirm(
      trans.__('Restart the kernel of %1?', titleOf(one, trans)),
      trans.__('All its variables are lost. Outputs in the notebook stay.'),
      trans.__('Restart')
    );
    if (!sure) {
      return;
    }
    const settings = this._host.serviceManager.serverSettings;
    await this._try(trans.__('The kernel was not restarted'), () => {
      const kernel = this._connected(one.id);
      return kernel ? kernel.restart() : KernelAPI.restartKernel(one.id, settings);
    });
  }

  async shutDown(one: IWorkload): Promise<void> {
    const trans = this._trans;
    const sure = await this._confirm(
      trans.__('Shut down %1?', titleOf(one, trans)),
      one.kind === 'terminal'
        ? trans.__('What runs in it is ended.')
        : trans.__('All its variables are lost. Outputs in the notebook stay.'),
      trans.__('Shut Down')
    );
    if (sure) {
      await this.shutDownAll([one]);
    }
  }

  /** Shuts down what was chosen, without asking again. */
  async shutDownAll(chosen: readonly IWorkload[]): Promise<void> {
    await this._try(this._trans.__('Not everything was shut down'), async () => {
      const ends = await Promise.allSettled(chosen.map(one => this._end(one)));
      const failed = ends.find(end => end.status === 'rejected');
      if (failed) {
        throw failed.reason;
      }
    });
  }

  async open(one: IWorkload): Promise<void> {
    const { commands } = this._host;
    await this._try(this._trans.__('It cannot be shown'), async () => {
      if (one.kind === 'terminal') {
        await commands.execute('terminal:open', { name: one.name });
        return;
      }
      const session = this._session(one.id);
      if (session) {
        const command = session.type === 'console' ? 'console:open' : 'docmanager:open';
        await commands.execute(command, { path: session.path });
      }
    });
  }

  private async _end(one: IWorkload): Promise<void> {
    const { kernels, sessions, terminals } = this._host.serviceManager;
    if (one.kind === 'terminal') {
      await terminals.shutdown(one.name);
      return;
    }
    const session = this._session(one.id);
    await (session ? sessions.shutdown(session.id) : kernels.shutdown(one.id));
  }

  private _session(kernelId: string): Session.IModel | undefined {
    const { sessions } = this._host.serviceManager;
    return [...sessions.running()].find(session => session.kernel?.id === kernelId);
  }

  /** The connection that an open notebook or console has: it then knows of a restart at once. */
  private _connected(id: string): Kernel.IKernelConnection | undefined {
    for (const widget of this._host.shell.widgets('main')) {
      const { context, sessionContext } = widget as unknown as IWithSession;
      const kernel = (sessionContext ?? context?.sessionContext)?.session?.kernel;
      if (kernel?.id === id) {
        return kernel;
      }
    }
    return undefined;
  }

  private async _confirm(title: string, body: string, label: string): Promise<boolean> {
    const accept = Dialog.warnButton({ label });
    const { button } = await showDialog({ title, body, buttons: [Dialog.cancelButton(), accept] });
    return button.accept;
  }

  private async _try(title: string, deed: () => Promise<unknown>): Promise<void> {
    try {
      await deed();
    } catch (reason) {
      await showErrorMessage(title, reason instanceof Error ? reason.message : String(reason));
    }
  }

  private _host: IHost;
  private _trans: ITranslate;
}

/** What a notebook or a console panel has. */
interface IWithSession {
  readonly context?: { readonly sessionContext?: IWithSession['sessionContext'] };
  readonly sessionContext?: { readonly session?: Session.ISessionConnection | null };
}

/** A short word that goes by itself. */
export function say(text: string): void {
  Notification.info(text, { autoClose: 8000 });
}
