// What the browser asks its own server, and when it is allowed to: never by itself, only because a
// person opened, chose or saw something. No address here counts as activity.

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { isRecord, text } from './json';

/** Which part of history: times are RFC 3339, or relative to the server's now ("-10m"). */
export interface ISpan {
  readonly from: string;
  readonly to?: string;
  readonly step?: string;
}

/** Columns that are drawn. */
const FIELDS = 'memory_used_bytes,memory_limit_bytes,cpu_cores';
/** Without a step each row says for how long it speaks. */
const FIELDS_OF_SAMPLES = `${FIELDS},interval_ms`;
const DETAIL_CHARS_MAX = 300;

/** A refusal, in words for the person who asked. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    detail: string
  ) {
    super(detail);
  }
}

export class Requests {
  constructor(settings: ServerConnection.ISettings) {
    this._settings = settings;
  }

  /** What the server knows of the newest sample. */
  async first(): Promise<unknown> {
    const answer = await this._ask('api/metrics/v1?no_track_activity=1');
    return isRecord(answer) ? answer.meter : null;
  }

  /** The collector's row of this server, or why there is none. */
  server(): Promise<unknown> {
    return this._ask('hubmeter/v1/server');
  }

  history(span: ISpan): Promise<unknown> {
    const fields = span.step === undefined ? FIELDS_OF_SAMPLES : FIELDS;
    const query = new URLSearchParams({ ...span, fields });
    return this._ask(`hubmeter/v1/history?${query}`);
  }

  verdicts(): Promise<unknown> {
    return this._ask('hubmeter/v1/verdicts');
  }

  /** Keeps the server alive; `until` is a time of the server's clock. */
  hold(until: Date): Promise<unknown> {
    const body = JSON.stringify({ until: until.toISOString() });
    return this._ask('hubmeter/v1/hold', { method: 'PUT', body });
  }

  release(): Promise<unknown> {
    return this._ask('hubmeter/v1/hold', { method: 'DELETE' });
  }

  /** A person did something in a visible tab. */
  async input(): Promise<void> {
    await this._ask('hubmeter/v1/input', { method: 'POST' });
  }

  /** A person could see the notice of this episode. */
  async shown(episode: string): Promise<void> {
    await this._ask(`hubmeter/v1/shown/${encodeURIComponent(episode)}`, { method: 'POST' });
  }

  private async _ask(path: string, init: RequestInit = {}): Promise<unknown> {
    const url = URLExt.join(this._settings.baseUrl, path);
    const response = await ServerConnection.makeRequest(url, init, this._settings);
    // 304: taken, nothing to say. Jupyter counts no activity for it.
    if (response.status === 204 || response.status === 304) {
      return null;
    }
    if (!response.ok) {
      throw new Refusal(response.status, await detailOf(response));
    }
    return response.json();
  }

  private _settings: ServerConnection.ISettings;
}

/** The words of a problem (RFC 9457), or of Jupyter's own errors. */
async function detailOf(response: Response): Promise<string> {
  const other = `${response.status} ${response.statusText}`.trim();
  try {
    const problem: unknown = await response.json();
    const words = isRecord(problem)
      ? (text(problem.detail) ?? text(problem.title) ?? text(problem.message))
      : null;
    return (words ?? other).slice(0, DETAIL_CHARS_MAX);
  } catch {
    return other;
  }
}
