// The panel from top to bottom: what is now, what was, why something died, who uses it, what is counted.

import * as React from 'react';

import type { Actions } from '../actions';
import { clock, unbroken } from '../format';
import { levelOf, stateText, viewOf } from '../model';
import { ISample, shareOf } from '../sample';
import { ranked } from '../workload';
import type { ITranslate } from '../translation';
import { ruleWords, subjectOf } from '../verdict';
import { Counted } from './counted';
import { Deaths } from './deaths';
import { IdleKernels } from './idle';
import { Past } from './past';
import type { PanelState } from './state';
import { Stopping } from './stopping';
import { Workloads } from './workloads';

export interface IBodyProps {
  readonly state: PanelState;
  readonly actions: Actions;
  readonly trans: ITranslate;
}

export function Body({ state, actions, trans }: IBodyProps): JSX.Element {
  const { sample } = state.feed;
  const { settings } = state;
  const rows = ranked(sample?.workloads ?? []);
  return (
    <div className="hm-Panel-body">
      <Now state={state} trans={trans} />
      <Stopping state={state} trans={trans} />
      <Open state={state} trans={trans} />
      {settings.chart && <Past state={state} trans={trans} />}
      <Deaths state={state} trans={trans} />
      {settings.idle && <IdleKernels rows={rows} units={settings.units} actions={actions} trans={trans} />}
      {sample !== null && (
        <Workloads
          rows={rows}
          leftOut={sample.workloadsLeftOut}
          limitBytes={sample.limitBytes}
          sparkOf={key => state.feed.sparkOf(key)}
          units={settings.units}
          actions={actions}
          trans={trans}
        />
      )}
      {sample !== null && <Counted sample={sample} units={settings.units} trans={trans} />}
    </div>
  );
}

function Now({ state, trans }: Omit<IBodyProps, 'actions'>): JSX.Element {
  const { sample } = state.feed;
  const view = viewOf(sample, state.settings.units, trans);
  const words = sample === null ? null : stateOfMemory(sample, trans);
  return (
    <header className={`hm-Now jp-mod-${view.level}`}>
      <h2>{trans.__('Memory of this server')}</h2>
      <p className="hm-Now-line">{unbroken(view.text)}</p>
      {view.share !== null && (
        <meter className="hm-Now-meter" min={0} max={1} value={view.share} aria-label={view.label} />
      )}
      {words !== null && !view.text.includes(words) && <p className="hm-hint">{words}</p>}
      {view.level === 'no-data' && <p className="hm-hint">{view.title}</p>}
    </header>
  );
}

function stateOfMemory(sample: ISample, trans: ITranslate): string {
  return stateText(levelOf(sample), shareOf(sample), sample.trendBytesPerSecond, trans);
}

/** What the collector judges now, in words; a death has a place of its own. */
function Open({ state, trans }: Omit<IBodyProps, 'actions'>): JSX.Element | null {
  const open = state.verdicts.filter(one => one.open && one.rule !== 'killed');
  if (open.length === 0) {
    return null;
  }
  return (
    <ul className="hm-Open" aria-label={trans.__('What needs attention')}>
      {open.map(one => (
        <li key={one.episode}>
          {trans.__(
            '%1: %2, since %3',
            subjectOf(one, trans),
            ruleWords(one.rule, trans),
            clock(one.sinceMs - state.skewMs)
          )}
        </li>
      ))}
    </ul>
  );
}
