// Where the installed wheel is, and a server from it: `cargo xtask test wheel` says the one, this starts
// the other. Nothing of the machine's own Jupyter is read or written.

import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';

interface Place {
  /** The programs of the environment with the wheel. */
  readonly bin: string;
  /** Where to write. */
  readonly dir: string;
  readonly chromium: string;
  /** jupyter-resource-usage for the classic notebook, unpacked. */
  readonly classic: string;
}

export const place = JSON.parse(process.env['HUBMETER_FRONTS'] ?? '{}') as Place;

const TOKEN = 'fronts';
const START_MS = 90_000;
const STOP_MS = 20_000;

/** A server that runs; `url` ends with a slash, `token` goes behind any address once. */
export class Server {
  readonly token = `token=${TOKEN}`;

  private constructor(
    readonly url: string,
    readonly home: string,
    private readonly process: ChildProcess
  ) {}

  /** Starts one; `disabled` are front ends that are switched off or on against their packages' wish. */
  static async start(name: string, disabled: Record<string, boolean>): Promise<Server> {
    const home = `${place.dir}/${name}`;
    rmSync(home, { recursive: true, force: true });
    for (const folder of ['config/labconfig', 'first/nbextensions/jupyter_resource_usage', 'runtime', 'root']) {
      mkdirSync(`${home}/${folder}`, { recursive: true });
    }
    writeFileSync(`${home}/config/labconfig/page_config.json`, JSON.stringify({ disabledExtensions: disabled }));
    cpSync(
      `${place.classic}/jupyter_resource_usage/static/main.js`,
      `${home}/first/nbextensions/jupyter_resource_usage/main.js`
    );
    const log = openSync(`${home}/log`, 'w');
    const child = spawn(
      `${place.bin}/jupyter-lab`,
      ['--allow-root', '--no-browser', '--ip=127.0.0.1', '--port=0', `--IdentityProvider.token=${TOKEN}`],
      { cwd: `${home}/root`, env: environment(home), stdio: ['ignore', log, log] }
    );
    const file = await until(START_MS, () => readdirSync(`${home}/runtime`).find(one => /^jpserver.*json$/.test(one)));
    const url = await until(START_MS, () => urlIn(`${home}/runtime/${file}`));
    return new Server(url, home, child);
  }

  async get(path: string): Promise<Response> {
    return fetch(`${this.url}${path}`, { headers: { authorization: `token ${TOKEN}` } });
  }

  async stop(): Promise<void> {
    this.process.kill('SIGTERM');
    await until(STOP_MS, () => this.process.exitCode !== null || this.process.signalCode !== null);
  }
}

/** Its own folders, and no program but the environment's: no Node, no agent but the wheel's. */
function environment(home: string): Record<string, string> {
  return {
    HOME: home,
    PATH: place.bin,
    JUPYTER_CONFIG_DIR: `${home}/config`,
    JUPYTER_DATA_DIR: `${home}/data`,
    JUPYTER_PATH: `${home}/first`,
    JUPYTER_RUNTIME_DIR: `${home}/runtime`,
    JUPYTER_PLATFORM_DIRS: '1',
    MEM_LIMIT: String(4 * 1024 ** 3),
    HUBMETER_INTERVAL: '1',
    LC_ALL: 'C.UTF-8',
    PYTHONNOUSERSITE: '1'
  };
}

function urlIn(file: string): string | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).url as string;
  } catch {
    return undefined; // not written to its end
  }
}

/** Waits for `found` to find something. */
export async function until<T>(ms: number, found: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const value = await found();
    if (value !== undefined && value !== false) {
      return value;
    }
    if (Date.now() > end) {
      throw new Error(`waited in vain for ${ms} ms: ${found}`);
    }
    await new Promise(done => setTimeout(done, 200));
  }
}
