// The reason after: what was killed for memory, when, how much it held, its last minute, what to do.

import * as React from 'react';

import { topOf } from '../chart';
import type { IPoint } from '../feed';
import { bytes, moment, Units } from '../format';
import { deathSentence } from '../notice';
import type { ITranslate } from '../translation';
import type { IVerdict } from '../verdict';
import { Chart } from './chart';
import type { PanelState } from './state';

interface IDeathsProps {
  readonly state: PanelState;
  readonly trans: ITranslate;
}

/** Older ones explain nothing that somebody still wonders about. */
const SHOWN_MAX = 5;
/** One that is this new is open: somebody wonders. */
const NEW_MS = 3_600_000;
const MINUTE_MS = 60_000;
const used = (point: IPoint) => point.usedBytes;

export function Deaths({ state, trans }: IDeathsProps): JSX.Element | null {
  const deaths = state.verdicts.filter(one => one.rule === 'killed').slice(0, SHOWN_MAX);
  if (deaths.length === 0) {
    return null;
  }
  return (
    <section className="hm-Deaths" aria-label={trans.__('What was killed')}>
      <h3>{trans.__('What was killed')}</h3>
      {deaths.map((one, i) => (
        <Death key={one.episode} verdict={one} first={i === 0 && isNew(one, state)} state={state} trans={trans} />
      ))}
    </section>
  );
}

function isNew(verdict: IVerdict, state: PanelState): boolean {
  return Date.now() + state.skewMs - verdict.sinceMs < NEW_MS;
}

function Death(props: IDeathsProps & { readonly verdict: IVerdict; readonly first: boolean }): JSX.Element {
  const { state, trans, verdict } = props;
  const { units } = state.settings;
  const [open, setOpen] = React.useState(props.first);
  const held = verdict.workloadBytes ?? verdict.usedBytes;
  return (
    <details
      className="hm-Death"
      open={open}
      onToggle={event => setOpen(event.currentTarget.open)}
    >
      <summary>
        {deathSentence(verdict.title, held, verdict.limitBytes, units, trans)}{' '}
        <time dateTime={new Date(verdict.sinceMs).toISOString()}>
          {moment(verdict.sinceMs - state.skewMs)}
        </time>
      </summary>
      {open && (
        <>
          <Minute state={state} verdict={verdict} trans={trans} />
          {(verdict.inferred || verdict.unsure) && (
            <p className="hm-hint">
              {verdict.inferred
                ? trans.__('It vanished without a word; memory is the likely reason.')
                : trans.__('Who ended it is not known; memory is the likely reason.')}
            </p>
          )}
          <p>{trans.__('What to do:')}</p>
          <ul>
            <li>{trans.__('Shut down kernels that you do not need; they share this memory.')}</li>
            <li>{trans.__('Read less at once: fewer columns, smaller pieces, a smaller type of number.')}</li>
            <li>{trans.__('Start a server with more memory, if your hub offers one.')}</li>
          </ul>
        </>
      )}
    </details>
  );
}

/** The last minute as a picture where history has it, else in words. */
function Minute({ state, verdict, trans }: IDeathsProps & { readonly verdict: IVerdict }): JSX.Element | null {
  const { units } = state.settings;
  const picture = state.pictureOf(verdict);
  const words = minuteWords(verdict, units, trans);
  if (picture.is !== 'there' || picture.value.points.length < 2) {
    return words === null ? null : <p>{words}</p>;
  }
  const { points } = picture.value;
  const toMs = points[points.length - 1].atMs;
  const max = topOf(Math.max(...points.map(point => point.usedBytes ?? 0)), verdict.limitBytes);
  const label = words ?? trans.__('Its last minute');
  return (
    <figure className="hm-figure">
      <Chart
        points={points}
        valueOf={used}
        fromMs={toMs - MINUTE_MS}
        toMs={toMs}
        max={max}
        maxText={verdict.limitBytes !== null && verdict.limitBytes <= max ? trans.__('limit') : ''}
        limit={verdict.limitBytes}
        marks={[]}
        label={label}
        readout={point => bytes(point.usedBytes ?? 0, units)}
      />
      <figcaption>{label}</figcaption>
    </figure>
  );
}

function minuteWords(verdict: IVerdict, units: Units, trans: ITranslate): string | null {
  const { minute } = verdict;
  return minute === null
    ? null
    : trans.__('In its last minute this server went from %1 to %2.', bytes(minute.first, units), bytes(minute.max, units));
}
