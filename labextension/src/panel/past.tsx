// What this server used: ten minutes, hours or days.

import * as React from 'react';

import { spreadOf, topOf } from '../chart';
import type { IPoint } from '../feed';
import { bytes, clock, cores, moment } from '../format';
import { Range, RANGES } from '../history';
import type { ITranslate } from '../translation';
import { ruleWords, subjectOf } from '../verdict';
import { Chart, IMark } from './chart';
import type { PanelState } from './state';

interface IPastProps {
  readonly state: PanelState;
  readonly trans: ITranslate;
}

/** Verdicts named below the chart; more make no picture. */
const MARKS_MAX = 5;
const memory = (point: IPoint) => point.usedBytes;
const processor = (point: IPoint) => point.cores;

export function Past({ state, trans }: IPastProps): JSX.Element {
  const { range, history } = state;
  const toMs = Date.now();
  const fromMs = toMs - RANGES[range].widthMs;
  const at = range === 'days' ? moment : clock;
  const marks = marksOf(state, fromMs, at, trans);
  // What is open stands above the picture.
  const named = marks.filter(mark => !mark.open);
  return (
    <section className="hm-Past" aria-label={trans.__('What this server used before')}>
      <Ranges state={state} trans={trans} />
      <Memory state={state} trans={trans} span={[fromMs, toMs]} marks={marks} at={at} />
      {state.settings.cpu && <Processor state={state} trans={trans} span={[fromMs, toMs]} at={at} />}
      <p className="hm-Past-ends" aria-hidden="true">
        <span>{at(fromMs)}</span>
        <span>{trans.__('now')}</span>
      </p>
      {named.length > 0 && (
        <ul className="hm-Past-marks" aria-label={trans.__('Marks in the picture')}>
          {named.slice(0, MARKS_MAX).map(mark => (
            <li key={mark.id}>{mark.text}</li>
          ))}
        </ul>
      )}
      {history.is === 'refused' && (
        <p className="hm-hint" role="status">
          {trans.__('History is not available: %1', history.why)}
        </p>
      )}
      {history.is === 'there' && history.value.source === 'agent' && range !== 'minutes' && (
        <p className="hm-hint">{trans.__('Without a collector only the last ten minutes are known.')}</p>
      )}
    </section>
  );
}

function Ranges({ state, trans }: IPastProps): JSX.Element {
  const names: Record<Range, string> = {
    minutes: trans.__('10 min'),
    hours: trans.__('6 h'),
    days: trans.__('7 days')
  };
  return (
    <div className="hm-Ranges" role="group" aria-label={trans.__('How far back')}>
      {(Object.keys(RANGES) as Range[]).map(range => (
        <button
          key={range}
          type="button"
          className="hm-button"
          aria-pressed={range === state.range}
          onClick={() => void state.pick(range)}
        >
          {names[range]}
        </button>
      ))}
    </div>
  );
}

interface IPartProps extends IPastProps {
  readonly span: readonly [number, number];
  readonly at: (atMs: number) => string;
}

function Memory(props: IPartProps & { readonly marks: readonly IMark[] }): JSX.Element {
  const { state, trans, span, at } = props;
  const { units } = state.settings;
  const { points } = state;
  const spread = spreadOf(points, memory, span[0]);
  if (spread === null) {
    return <Nothing state={state} trans={trans} />;
  }
  const limit = state.feed.sample?.limitBytes ?? lastLimit(points);
  const max = topOf(spread.high, limit);
  const range = trans.__('Memory between %1 and %2', bytes(spread.low, units), bytes(spread.high, units));
  const words = limit === null ? range : trans.__('%1, limit %2', range, bytes(limit, units));
  return (
    <figure className="hm-figure">
      <Chart
        points={points}
        valueOf={memory}
        fromMs={span[0]}
        toMs={span[1]}
        max={max}
        maxText={limit !== null && limit <= max ? trans.__('limit') : ''}
        limit={limit}
        marks={props.marks}
        label={words}
        readout={point =>
          trans.__('%1: %2', at(point.atMs), point.usedBytes === null ? '–' : bytes(point.usedBytes, units))
        }
      />
      <figcaption>{words}</figcaption>
    </figure>
  );
}

function Processor({ state, trans, span, at }: IPartProps): JSX.Element | null {
  const { points } = state;
  const spread = spreadOf(points, processor, span[0]);
  if (spread === null) {
    return null;
  }
  const limit = state.row?.cpuLimitCores ?? null;
  const most = trans.__('Processor: at most %1 cores', cores(spread.high));
  const words = limit === null ? most : trans.__('%1 of %2', most, cores(limit));
  return (
    <figure className="hm-figure">
      <Chart
        low
        points={points}
        valueOf={processor}
        fromMs={span[0]}
        toMs={span[1]}
        max={Math.max(topOf(spread.high, limit), 0.1)}
        maxText=""
        limit={limit}
        marks={[]}
        label={words}
        readout={point =>
          trans.__('%1: %2 cores', at(point.atMs), point.cores === null ? '–' : cores(point.cores))
        }
      />
      <figcaption>{words}</figcaption>
    </figure>
  );
}

function Nothing({ state, trans }: IPastProps): JSX.Element {
  return (
    <p className="hm-hint">
      {state.history.is === 'asked' ? trans.__('Asking for history…') : trans.__('Nothing was measured.')}
    </p>
  );
}

function marksOf(
  state: PanelState,
  fromMs: number,
  at: (atMs: number) => string,
  trans: ITranslate
): readonly (IMark & { readonly open: boolean })[] {
  return state.verdicts
    .map(one => ({ one, atMs: one.sinceMs - state.skewMs }))
    .filter(({ atMs }) => atMs >= fromMs)
    .map(({ one, atMs }) => ({
      id: one.episode,
      open: one.open && one.rule !== 'killed',
      atMs,
      text: trans.__('%1 %2: %3', at(atMs), subjectOf(one, trans), ruleWords(one.rule, trans))
    }));
}

function lastLimit(points: readonly IPoint[]): number | null {
  for (let i = points.length - 1; i >= 0; i -= 1) {
    if (points[i].limitBytes !== null) {
      return points[i].limitBytes;
    }
  }
  return null;
}
