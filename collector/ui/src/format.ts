// Numbers as people read them. Pure; unknown is "–", never 0.

export const UNKNOWN = '–';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return UNKNOWN;
  }
  const sign = value < 0 ? '−' : '';
  let size = Math.abs(value);
  let unit = 0;
  while (size >= 1000 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const digits = unit < 2 || size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return `${sign}${size.toFixed(digits)} ${UNITS[unit]}`;
}

export function signedBytes(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return UNKNOWN;
  }
  return value > 0 ? `+${bytes(value)}` : bytes(value);
}

/// Below this a trend is noise to a reader.
const RATE_BYTES_PER_SECOND_MIN = 64 * 1024;

export function rate(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return UNKNOWN;
  }
  return Math.abs(value) < RATE_BYTES_PER_SECOND_MIN ? 'steady' : `${signedBytes(value)}/s`;
}

export function cores(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return UNKNOWN;
  }
  return value.toFixed(2);
}

export function seconds(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return UNKNOWN;
  }
  const whole = Math.max(0, Math.round(value));
  if (whole < 60) {
    return `${whole} s`;
  }
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) {
    return minutes < 5 && whole % 60 !== 0 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  }
  const hours = Math.floor(minutes / 60);
  if (hours < 48) {
    return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  }
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function percent(part: number | null, whole: number | null): number | null {
  return part === null || whole === null || whole <= 0 ? null : (100 * part) / whole;
}

export function time(iso: string | null): string {
  if (iso === null) {
    return UNKNOWN;
  }
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? UNKNOWN : at.toLocaleTimeString([], { hour12: false });
}

const RULE_WORDS: Record<string, string> = {
  runaway_memory: 'runaway memory',
  near_limit: 'near limit',
  killed: 'killed',
  runaway_cpu: 'runaway CPU',
  process_storm: 'process storm',
  thread_storm: 'thread storm',
  idle_hog: 'idle, holds much',
  idle: 'idle',
  overuse: 'overuse',
  disk_near_limit: 'disk near limit',
  silent: 'silent',
  start_failures: 'start failures'
};

export function rule(name: string): string {
  return RULE_WORDS[name] ?? name;
}

/// Names of evidence that read badly as they are.
const EVIDENCE_WORDS: Record<string, string> = {
  trend_bytes_per_second: 'grows',
  workload_bytes_per_second: 'its own growth',
  workload_share: 'its share of the growth',
  workload_memory_used_bytes: 'its memory',
  seconds_to_limit: 'full in',
  seconds_to_limit_low: 'at the earliest',
  seconds_to_limit_high: 'at the latest',
  memory_used_bytes: 'memory',
  memory_used_share: 'of the limit',
  memory_limit_bytes: 'limit',
  memory_limit_kind: 'limit by',
  risen_bytes: 'risen by',
  cpu_cores: 'uses',
  cpu_since: 'since',
  habit_cores: 'usually at most',
  far_cores: 'far from',
  cpu_mean_cores: 'mean',
  cpu_from_cores: 'too much from',
  cpu_over_seconds: 'for',
  memory_mean_bytes: 'mean memory',
  memory_from_bytes: 'too much from',
  memory_over_seconds: 'for',
  quota_cores: 'its share of the cores',
  quota_bytes: 'its share of the memory',
  processes_before: 'a minute before',
  processes_habit: 'usually',
  workload_processes: 'its own',
  threads_before: 'a minute before',
  threads_habit: 'usually',
  workload_threads: 'its own',
  disk_used_bytes: 'used',
  disk_limit_bytes: 'of',
  disk_used_share: 'full',
  disk_quota: 'by a quota',
  disk_age_ms: 'read before',
  last_minute_first_bytes: 'a minute before',
  last_minute_max_bytes: 'most in that minute',
  last_minute_last_bytes: 'at its end'
};

/// What is so in the usual case, or shown elsewhere in the line, is not worth a word.
export function worthShowing(name: string, value: number | string | boolean | null): boolean {
  const usual =
    name === 'workload_title' ||
    (name === 'memory_limit_enforced' && value === true) ||
    (name === 'memory_limit_shared' && value === false) ||
    (name === 'inferred' && value === false);
  return !usual;
}

/// A verdict's evidence entry by the unit at the end of its name.
export function evidence(name: string, value: number | string | boolean | null): { label: string; text: string } {
  const shown = byUnit(name, value);
  return { label: EVIDENCE_WORDS[name] ?? shown.label, text: shown.text };
}

function byUnit(name: string, value: number | string | boolean | null): { label: string; text: string } {
  const suffixes: [string, (v: number) => string][] = [
    ['_bytes_per_second', v => `${signedBytes(v)}/s`],
    ['_bytes', v => bytes(v)],
    ['_seconds', v => seconds(v)],
    ['_millis', v => seconds(v / 1000)],
    ['_ms', v => seconds(v / 1000)],
    ['_cores', v => `${cores(v)} cores`],
    ['_share', v => `${Math.round(v * 100)} %`],
    ['_ratio', v => `${Math.round(v * 100)} %`]
  ];
  if (typeof value === 'number') {
    if (name.startsWith('seconds_to_')) {
      return { label: name.replaceAll('_', ' '), text: seconds(value) };
    }
    for (const [suffix, show] of suffixes) {
      if (name.endsWith(suffix)) {
        const kept = suffix === '_share' ? 0 : suffix.length;
        return { label: name.slice(0, name.length - kept).replaceAll('_', ' '), text: show(value) };
      }
    }
    return { label: name.replaceAll('_', ' '), text: Number.isInteger(value) ? String(value) : value.toFixed(2) };
  }
  if (typeof value === 'string') {
    // Of what others wrote nothing is changed; a cause is a word of ours.
    return { label: name.replaceAll('_', ' '), text: name === 'cause' ? value.replaceAll('_', ' ') : value };
  }
  const text = value === null ? UNKNOWN : value ? 'yes' : 'no';
  return { label: name.replaceAll('_', ' '), text };
}

/// What people call the workload a verdict speaks of; its id where nobody told a name.
export function cause(verdict: { workload: string | null; evidence: Record<string, unknown> }): string | null {
  const title = verdict.evidence['workload_title'];
  return typeof title === 'string' && title !== '' ? title : verdict.workload;
}
