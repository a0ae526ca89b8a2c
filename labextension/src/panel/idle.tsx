// Kernels that do nothing and hold memory, and one button for those that were chosen.

import * as React from 'react';

import type { Actions } from '../actions';
import { bytes, Units } from '../format';
import type { IWorkload } from '../sample';
import type { ITranslate } from '../translation';
import { stateOf, titleOf } from '../workload';

export interface IIdleProps {
  readonly rows: readonly IWorkload[];
  readonly units: Units;
  readonly actions: Actions;
  readonly trans: ITranslate;
}

/** A kernel that was used within ten minutes is somebody's pause. */
const IDLE_SECONDS_MIN = 10 * 60;
/** A list that long is chosen from as a whole. */
const SHOWN_MAX = 50;

export function idleOnes(rows: readonly IWorkload[]): readonly IWorkload[] {
  return rows.filter(
    one => one.kind === 'kernel' && one.state === 'idle' && (one.idleSeconds ?? 0) >= IDLE_SECONDS_MIN
  );
}

export function IdleKernels({ rows, units, actions, trans }: IIdleProps): JSX.Element | null {
  const [chosen, setChosen] = React.useState<ReadonlySet<string>>(new Set());
  const idle = idleOnes(rows);
  if (idle.length === 0) {
    return null;
  }
  const held = sum(idle);
  const picked = idle.filter(one => chosen.has(one.key));
  const choose = (keys: readonly string[], on: boolean) => {
    const next = new Set(chosen);
    keys.forEach(key => (on ? next.add(key) : next.delete(key)));
    setChosen(next);
  };
  const end = () => {
    setChosen(new Set());
    void actions.shutDownAll(picked);
  };
  return (
    <details className="hm-Idle">
      <summary>
        {trans._n('%1 idle kernel holds %2', '%1 idle kernels hold %2', idle.length, bytes(held, units))}
      </summary>
      <label className="hm-Idle-row">
        <input
          type="checkbox"
          checked={picked.length === idle.length}
          onChange={event => choose(idle.map(one => one.key), event.currentTarget.checked)}
        />
        <span>{trans.__('All')}</span>
      </label>
      {idle.slice(0, SHOWN_MAX).map(one => (
        <label className="hm-Idle-row" key={one.key}>
          <input
            type="checkbox"
            checked={chosen.has(one.key)}
            onChange={event => choose([one.key], event.currentTarget.checked)}
          />
          <bdi>{titleOf(one, trans)}</bdi>
          <span className="hm-Idle-words">
            {bytes(one.memoryUsedBytes ?? 0, units)} · {stateOf(one, trans)}
          </span>
        </label>
      ))}
      {idle.length > SHOWN_MAX && (
        <p className="hm-hint">{trans._n('and %1 more', 'and %1 more', idle.length - SHOWN_MAX)}</p>
      )}
      <p className="hm-hint">{trans.__('Variables are lost; notebooks and their outputs stay.')}</p>
      <button type="button" className="hm-button jp-mod-warn" disabled={picked.length === 0} onClick={end}>
        {picked.length === 0
          ? trans.__('Shut down what is chosen')
          : trans._n('Shut down %1 kernel, %2', 'Shut down %1 kernels, %2', picked.length, bytes(sum(picked), units))}
      </button>
    </details>
  );
}

function sum(rows: readonly IWorkload[]): number {
  return rows.reduce((all, one) => all + (one.memoryUsedBytes ?? 0), 0);
}
