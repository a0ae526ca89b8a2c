// Words for workloads: what it is called, what it does.

import { duration } from './format';
import type { IWorkload } from './sample';
import type { ITranslate } from './translation';

const NAME_CHARS_MAX = 40;

/** A name may hold anything: one line of it, of bearable length, without marks that turn text around. */
export function tidyName(name: string, charsMax = NAME_CHARS_MAX): string {
  const chars = [...name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ')];
  return chars.length > charsMax ? `${chars.slice(0, charsMax).join('')}…` : chars.join('');
}

/** Letters that are written from right to left. */
const RIGHT_TO_LEFT = /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

/** A name within a sentence: it turns none of the words around it. */
export function inSentence(name: string, charsMax = NAME_CHARS_MAX): string {
  const tidy = tidyName(name, charsMax);
  return RIGHT_TO_LEFT.test(tidy) ? `\u2068${tidy}\u2069` : tidy;
}

/** What a person knows it by. */
export function titleOf(one: IWorkload, trans: ITranslate, charsMax = NAME_CHARS_MAX): string {
  switch (one.kind) {
    case 'server':
      return trans.__('Jupyter itself');
    case 'other':
      return trans.__('Other processes');
    case 'terminal':
      return trans.__('Terminal %1', inSentence(one.name, charsMax));
    default:
      return tidyName(one.name, charsMax) || trans.__('Kernel without a name');
  }
}

/** What it is, in a word. */
export function kindOf(one: IWorkload, trans: ITranslate): string {
  switch (one.kind) {
    case 'kernel':
      return trans.__('kernel');
    case 'terminal':
      return trans.__('terminal');
    case 'app':
      return trans.__('application');
    case 'server':
      return trans.__('server');
    default:
      return trans.__('processes');
  }
}

/** What it does: "busy", "idle for 12 min". Null where nobody knows. */
export function stateOf(one: IWorkload, trans: ITranslate): string | null {
  switch (one.state) {
    case 'busy':
      return trans.__('busy');
    case 'starting':
      return trans.__('starting');
    case 'dead':
      return trans.__('dead');
    default:
      break;
  }
  if (one.idleSeconds !== null && one.idleSeconds >= 60) {
    return trans.__('idle for %1', duration(one.idleSeconds));
  }
  return one.state === 'idle' ? trans.__('idle') : null;
}

/** The largest first; what is not known last. */
export function ranked(rows: readonly IWorkload[]): readonly IWorkload[] {
  return [...rows].sort((a, b) => (b.memoryUsedBytes ?? -1) - (a.memoryUsedBytes ?? -1));
}
