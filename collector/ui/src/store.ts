// What the page knows, kept in step with the collector by its event stream.

import { ApiError, me, servers, troubles, verdicts, type Me, type Server, type Verdict } from './api';

export type Link = 'connecting' | 'live' | 'lost' | 'denied';

export interface Picture {
  me: Me | null;
  link: Link;
  problem: string | null;
  /// What keeps the collector from its work, in words.
  troubles: string[];
  servers: Map<string, Server>;
  verdicts: Map<string, Verdict>;
  /// Counts up when something happened to a notice.
  noticed: number;
}

/// Cleared verdicts kept for the list below the table.
const VERDICTS_MAX = 200;
/// Pause before the stream is opened anew after it broke for good.
const RETRY_MS = 5000;
/// How often it is asked whether the collector can do its work.
const TROUBLES_MS = 10_000;
/// Events that arrive within this time are drawn together.
const DRAW_MS = 100;

export const keyOf = (user: string, server: string): string => JSON.stringify([user, server]);

export class Store {
  picture: Picture = { me: null, link: 'connecting', problem: null, troubles: [], servers: new Map(), verdicts: new Map(), noticed: 0 };
  private stream: EventSource | null = null;
  private drawing: number | null = null;

  constructor(private readonly draw: (picture: Picture) => void) {}

  /// Loads the whole picture once, then follows the stream. A hidden tab follows nothing.
  async start(): Promise<void> {
    document.addEventListener('visibilitychange', () => (document.hidden ? this.close() : void this.load()));
    window.setInterval(() => (document.hidden ? undefined : void this.ask()), TROUBLES_MS);
    await Promise.all([this.load(), this.ask()]);
  }

  private async ask(): Promise<void> {
    const words = await troubles();
    if (words.join() !== this.picture.troubles.join()) {
      this.picture.troubles = words;
      this.drawSoon();
    }
  }

  private async load(): Promise<void> {
    this.close();
    try {
      const [who, rows, judged] = await Promise.all([me(), servers(), verdicts()]);
      this.picture.me = who;
      this.picture.servers = new Map(rows.map(row => [keyOf(row.user, row.server), row]));
      this.picture.verdicts = new Map(judged.map(verdict => [verdict.episode, verdict]));
      this.picture.problem = null;
      this.follow();
    } catch (error) {
      const denied = error instanceof ApiError && (error.status === 401 || error.status === 403);
      this.picture.link = denied ? 'denied' : 'lost';
      this.picture.problem = error instanceof Error ? error.message : String(error);
      this.drawNow();
      if (!denied) {
        this.later();
      }
    }
  }

  private follow(): void {
    const stream = new EventSource('api/v1/events');
    this.stream = stream;
    stream.onopen = () => {
      this.picture.link = 'live';
      this.drawSoon();
    };
    stream.onerror = () => {
      this.picture.link = 'lost';
      this.drawSoon();
      if (stream.readyState === EventSource.CLOSED) {
        this.later();
      }
    };
    // Users were forgotten or renamed: what is shown may name them.
    stream.addEventListener('reset', () => void this.load());
    stream.addEventListener('server', event => {
      const row = JSON.parse((event as MessageEvent<string>).data) as Server;
      this.picture.servers.set(keyOf(row.user, row.server), row);
      this.drawSoon();
    });
    stream.addEventListener('verdict', event => {
      const verdict = JSON.parse((event as MessageEvent<string>).data) as Verdict;
      this.picture.verdicts.set(verdict.episode, verdict);
      while (this.picture.verdicts.size > VERDICTS_MAX) {
        const oldest = this.picture.verdicts.keys().next().value;
        if (oldest === undefined) {
          break;
        }
        this.picture.verdicts.delete(oldest);
      }
      this.drawSoon();
    });
    stream.addEventListener('notice', () => {
      this.picture.noticed += 1;
      this.drawSoon();
    });
  }

  private close(): void {
    this.stream?.close();
    this.stream = null;
  }

  private later(): void {
    this.close();
    window.setTimeout(() => (document.hidden ? undefined : void this.load()), RETRY_MS);
  }

  private drawSoon(): void {
    this.drawing ??= window.setTimeout(() => this.drawNow(), DRAW_MS);
  }

  private drawNow(): void {
    if (this.drawing !== null) {
      window.clearTimeout(this.drawing);
      this.drawing = null;
    }
    this.draw({ ...this.picture });
  }
}
