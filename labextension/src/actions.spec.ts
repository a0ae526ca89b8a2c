// @vitest-environment jsdom
import { KernelAPI } from '@jupyterlab/services';
import { beforeEach, describe, expect, it, vi } from 'vitest';

const said = vi.hoisted(() => ({ sure: true, errors: [] as string[] }));
vi.mock('@jupyterlab/apputils', () => ({
  Dialog: { warnButton: (one: object) => one, cancelButton: () => ({}) },
  Notification: { info: () => undefined },
  showDialog: async () => ({ button: { accept: said.sure } }),
  showErrorMessage: async (_: string, text: string) => void said.errors.push(text)
}));

import { Actions } from './actions';
import { parseSample } from './sample';
import { kernel, LIVE, trans } from './spec/double';

let done: string[];
let actions: Actions;

const manager = (name: string) => ({ shutdown: async (id: string) => void done.push(`${name} ${id}`) });
const [one, loose, terminal] = parseSample({
  ...LIVE,
  workloads: [
    kernel('k1', 'deep/a.ipynb', 5),
    kernel('k2', 'gone.ipynb', 5),
    { kind: 'terminal', id: 'terminal-3', name: '3', memory_used_bytes: 1 }
  ]
})!.workloads;

beforeEach(() => {
  done = [];
  said.sure = true;
  said.errors = [];
  const connection = {
    id: 'k1',
    interrupt: async () => void done.push('interrupt k1'),
    restart: async () => void done.push('restart k1')
  };
  const session = { id: 's1', path: 'deep/a.ipynb', type: 'notebook', kernel: { id: 'k1' } };
  const host = {
    commands: { execute: async (id: string, args: object) => void done.push(`${id} ${JSON.stringify(args)}`) },
    serviceManager: {
      serverSettings: {},
      kernels: { ...manager('kernel'), running: () => [{ id: 'k1' }, { id: 'k2' }].values() },
      sessions: { ...manager('session'), running: () => [session].values() },
      terminals: manager('terminal')
    },
    shell: {
      widgets: () => [{}, { context: { sessionContext: { session: { kernel: connection } } } }].values()
    }
  };
  actions = new Actions(host as any, trans);
});

describe('Actions', () => {
  it('uses the connection that an open notebook has', async () => {
    await actions.interrupt('k1');
    await actions.restart(one);
    expect(done).toEqual(['interrupt k1', 'restart k1']);
  });

  it('reaches a kernel that no open notebook has', async () => {
    const interrupt = vi.spyOn(KernelAPI, 'interruptKernel').mockResolvedValue(undefined);
    await actions.interrupt('k2');
    expect(interrupt).toHaveBeenCalledWith('k2', {});
    interrupt.mockRestore();
  });

  it('asks before variables are lost', async () => {
    said.sure = false;
    await actions.restart(one);
    await actions.shutDown(one);
    await actions.shutDown(terminal);
    expect(done).toEqual([]);
  });

  it('shuts down by session where there is one, and by the managers that others look at', async () => {
    await actions.shutDown(one);
    await actions.shutDownAll([loose, terminal]);
    expect(done).toEqual(['session s1', 'kernel k2', 'terminal 3']);
  });

  it('goes to the notebook or terminal, and offers it only where there is one', async () => {
    expect([one, loose, terminal].map(row => actions.canOpen(row))).toEqual([true, false, true]);
    await actions.open(one);
    await actions.open(terminal);
    expect(done).toEqual(['docmanager:open {"path":"deep/a.ipynb"}', 'terminal:open {"name":"3"}']);
  });

  it('says what went wrong, and shuts down the rest', async () => {
    const fails = { ...one, id: 'k9' };
    const { kernels } = (actions as any)._host.serviceManager;
    kernels.shutdown = async (id: string) => {
      if (id === 'k9') {
        throw new Error('Kernel does not exist: k9');
      }
      done.push(`kernel ${id}`);
    };
    await actions.shutDownAll([fails, loose]);
    expect(done).toEqual(['kernel k2']);
    expect(said.errors).toEqual(['Kernel does not exist: k9']);
  });
});
