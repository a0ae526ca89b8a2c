// Whether this server is about to be stopped, and the wish to keep it.

import * as React from 'react';

import { clock, duration } from '../format';
import { KEEP_HOURS } from '../notice';
import type { ITranslate } from '../translation';
import type { PanelState } from './state';

interface IStoppingProps {
  readonly state: PanelState;
  readonly trans: ITranslate;
}

/** Below this nobody thinks of stopping it. */
const IDLE_SECONDS_MIN = 10 * 60;

export function Stopping({ state, trans }: IStoppingProps): JSX.Element | null {
  const { row } = state;
  if (row === null) {
    return null;
  }
  const stops = row.stopsAtMs;
  const idle = (row.idleSeconds ?? 0) >= IDLE_SECONDS_MIN;
  if (row.heldUntilMs === null && stops === null && !idle && state.holdSaid === null) {
    return null;
  }
  return (
    <section className="hm-Stopping" aria-label={trans.__('How long this server stays')}>
      <p>{wordsOf(state, trans)}</p>
      <div className="hm-Stopping-deeds">
        {row.heldUntilMs === null ? (
          KEEP_HOURS.map(hours => (
            <button key={hours} type="button" className="hm-button" onClick={() => void state.hold(hours)}>
              {trans._n('Keep for %1 hour', 'Keep for %1 hours', hours)}
            </button>
          ))
        ) : (
          <button type="button" className="hm-button" onClick={() => void state.release()}>
            {trans.__('No need to keep it')}
          </button>
        )}
      </div>
      {state.holdSaid !== null && (
        <p className="hm-hint" role="status">
          {trans.__('It cannot be kept: %1', state.holdSaid)}
        </p>
      )}
    </section>
  );
}

function wordsOf({ row, skewMs }: PanelState, trans: ITranslate): string {
  if (row === null) {
    return '';
  }
  if (row.heldUntilMs !== null) {
    return trans.__('This server is kept until %1.', clock(row.heldUntilMs - skewMs));
  }
  const idle = trans.__('Idle for %1', duration(row.idleSeconds ?? 0));
  if (row.stopsAtMs === null) {
    return trans.__('%1.', idle);
  }
  const left = (row.stopsAtMs - skewMs - Date.now()) / 1000;
  return trans.__('%1, stops in %2.', idle, duration(left));
}
