// The hub as people and scripts use it: logging in, starting servers, files, tokens.

import type { Page } from '@playwright/test';

import { access } from './access.ts';

/** Starting a server on a busy machine: as long as the hub itself waits. */
const SPAWN_MS = 180_000;

type Json = any; // answers of the hub; each test says what it expects of them

/** A call to the hub's API with the tests' own token. */
export async function hub(method: string, path: string, body?: object): Promise<Json> {
  const answer = await fetch(`${access.url}/hub/api${path}`, {
    method,
    headers: { authorization: `token ${access.testToken}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) })
  });
  if (!answer.ok) {
    throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  }
  const text = await answer.text();
  return text === '' ? null : JSON.parse(text);
}

/** A token that may do what `user` may. */
export async function tokenOf(user: string): Promise<string> {
  return (await hub('POST', `/users/${user}/tokens`, { note: 'end to end' })).token as string;
}

/** Starts the user's default server, if it is not up, and waits until it is. */
export async function startServer(user: string): Promise<void> {
  const before = (await hub('GET', `/users/${user}`)).servers[''];
  if (before === undefined) {
    await hub('POST', `/users/${user}/server`);
  }
  await until(SPAWN_MS, async () => (await hub('GET', `/users/${user}`)).servers['']?.ready === true);
}

/** Stops the user's default server and waits until it is gone. */
export async function stopServer(user: string): Promise<void> {
  if ((await hub('GET', `/users/${user}`)).servers[''] !== undefined) {
    await hub('DELETE', `/users/${user}/server`);
  }
  await until(SPAWN_MS, async () => (await hub('GET', `/users/${user}`)).servers[''] === undefined);
}

/** Logs a browser in. */
export async function logIn(page: Page, user: string): Promise<void> {
  await page.goto('/hub/login');
  await page.fill('#username_input', user);
  await page.fill('#password_input', access.password);
  await page.click('#login_submit');
  await page.waitForURL(url => !url.pathname.endsWith('/hub/login'));
}

/** Writes a notebook of code cells into the user's home, by their running server. */
export async function writeNotebook(user: string, name: string, cells: readonly string[]): Promise<void> {
  const content = {
    cells: cells.map((source, index) => ({
      cell_type: 'code',
      id: `cell-${index}`,
      metadata: {},
      execution_count: null,
      outputs: [],
      source
    })),
    metadata: { kernelspec: { display_name: 'Python 3 (ipykernel)', language: 'python', name: 'python3' } },
    nbformat: 4,
    nbformat_minor: 5
  };
  await put(user, `api/contents/${name}`, { type: 'notebook', format: 'json', content });
}

/** Sets JupyterLab's theme, as its settings editor does. */
export async function chooseTheme(user: string, theme: string): Promise<void> {
  await put(user, 'lab/api/settings/@jupyterlab/apputils-extension:themes', { raw: JSON.stringify({ theme }) });
}

async function put(user: string, path: string, body: object): Promise<void> {
  const answer = await fetch(`${access.url}/user/${user}/${path}`, {
    method: 'PUT',
    headers: { authorization: `token ${access.testToken}` },
    body: JSON.stringify(body)
  });
  if (!answer.ok) {
    throw new Error(`PUT ${path}: ${answer.status} ${await answer.text()}`);
  }
}

/** Waits until `is` holds, asking twice a second. */
export async function until(patienceMs: number, is: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + patienceMs;
  while (!(await is())) {
    if (Date.now() > end) {
      throw new Error(`not within ${patienceMs / 1000} s: ${is.toString()}`);
    }
    await new Promise(done => setTimeout(done, 500));
  }
}
