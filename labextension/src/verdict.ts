// Judgements of the collector, and what it says of this server.

import { Fields, flag, isRecord, list, number, size, text, time } from './json';
import type { ITranslate } from './translation';
import { inSentence, tidyName } from './workload';

export interface IVerdict {
  readonly rule: string;
  readonly episode: string;
  readonly open: boolean;
  /** By the collector's clock. */
  readonly sinceMs: number;
  /** What people call the workload; null when it is about the server. */
  readonly title: string | null;
  readonly workloadBytes: number | null;
  readonly usedBytes: number | null;
  readonly limitBytes: number | null;
  readonly inferred: boolean;
  /** A SIGKILL near the limit, which nobody counted as the system's. */
  readonly unsure: boolean;
  readonly minute: { readonly first: number; readonly max: number; readonly last: number } | null;
}

/** What the panel needs of the collector's row. */
export interface IServerRow {
  readonly idleSeconds: number | null;
  readonly busyReason: string | null;
  readonly heldUntilMs: number | null;
  readonly stopsAtMs: number | null;
  readonly cpuLimitCores: number | null;
}

const VERDICTS_MAX = 100;
const TEXT_CHARS_MAX = 300;

/** Reads `{"items":[…]}`, the newest first. */
export function parseVerdicts(raw: unknown): readonly IVerdict[] {
  const items = isRecord(raw) ? list(raw.items, VERDICTS_MAX) : [];
  const found = items.filter(isRecord).map(verdict).filter(one => one !== null);
  return found.sort((a, b) => b.sinceMs - a.sinceMs);
}

/** Reads the row; null where there is no collector. */
export function parseServerRow(raw: unknown): IServerRow | null {
  if (!isRecord(raw) || raw.available === false) {
    return null;
  }
  return {
    idleSeconds: size(raw.idle_seconds),
    busyReason: text(raw.busy_reason, TEXT_CHARS_MAX),
    heldUntilMs: time(raw.held_until),
    stopsAtMs: time(raw.stops_at),
    cpuLimitCores: size(raw.cpu_limit_cores) || null
  };
}

/** What a rule says, in a few words. */
export function ruleWords(rule: string, trans: ITranslate): string {
  switch (rule) {
    case 'runaway_memory':
      return trans.__('memory grew fast');
    case 'near_limit':
      return trans.__('near the memory limit');
    case 'killed':
      return trans.__('killed for memory');
    case 'runaway_cpu':
      return trans.__('unusual use of the processor');
    case 'process_storm':
      return trans.__('very many processes');
    case 'thread_storm':
      return trans.__('very many threads');
    case 'idle_hog':
      return trans.__('idle kernel with much memory');
    case 'idle':
      return trans.__('server idle');
    case 'overuse':
      return trans.__('more than its share');
    case 'disk_near_limit':
      return trans.__('home nearly full');
    case 'silent':
      return trans.__('nothing was heard of it');
    default:
      return tidyName(rule.replace(/_/g, ' '));
  }
}

/** What it is about: a workload's name, or the server. */
export function subjectOf(verdict: IVerdict, trans: ITranslate): string {
  return verdict.title === null ? trans.__('This server') : inSentence(verdict.title);
}

function verdict(raw: Fields): IVerdict | null {
  const rule = text(raw.rule, TEXT_CHARS_MAX);
  const episode = text(raw.episode, TEXT_CHARS_MAX);
  const sinceMs = time(raw.since);
  if (rule === null || episode === null || sinceMs === null) {
    return null;
  }
  const evidence = isRecord(raw.evidence) ? raw.evidence : {};
  const first = number(evidence.last_minute_first_bytes);
  const max = number(evidence.last_minute_max_bytes);
  const last = number(evidence.last_minute_last_bytes);
  return {
    rule,
    episode,
    open: raw.state === 'open',
    sinceMs,
    title: text(evidence.workload_title, TEXT_CHARS_MAX),
    workloadBytes: size(evidence.workload_memory_used_bytes),
    usedBytes: size(evidence.memory_used_bytes),
    limitBytes: size(evidence.memory_limit_bytes) || null,
    inferred: flag(evidence.inferred) === true,
    unsure: evidence.cause === 'killed_near_limit',
    minute: first === null || max === null || last === null ? null : { first, max, last }
  };
}
