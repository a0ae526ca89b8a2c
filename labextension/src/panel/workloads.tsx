// Every kernel, terminal and application, the largest first, with what can be done about it.

import * as React from 'react';

import type { Actions } from '../actions';
import { sparkPath } from '../chart';
import { bytes, cores, rate, Units } from '../format';
import type { IWorkload } from '../sample';
import type { ITranslate } from '../translation';
import { inSentence, kindOf, stateOf, titleOf } from '../workload';

export interface IWorkloadsProps {
  readonly rows: readonly IWorkload[];
  /** Rows that were not told. */
  readonly leftOut: number;
  readonly limitBytes: number | null;
  readonly sparkOf: (key: string) => readonly number[];
  readonly units: Units;
  readonly actions: Actions;
  readonly trans: ITranslate;
}

/** Rows at first, and with every "more": a list of hundreds stays quick and readable. */
const ROWS_STEP = 20;
/** A name is cut by the place there is; the whole of it is one line at most. */
const NAME_CHARS_MAX = 200;
/** Slower than this is noise to a reader. */
const TREND_MIN = 64 * 1024;
const SPARK = { width: 48, height: 16 };

export function Workloads(props: IWorkloadsProps): JSX.Element {
  const { trans } = props;
  const [most, setMost] = React.useState(ROWS_STEP);
  const [order, hold] = useHeldOrder(props.rows);
  const shown = order.slice(0, most);
  const hidden = order.length - shown.length;
  return (
    <section className="hm-Workloads" aria-label={trans.__('What uses memory')}>
      <h3>{trans.__('What uses memory')}</h3>
      <ul className="hm-rows" {...hold}>
        {shown.map(one => (
          <Row key={one.key} one={one} {...props} />
        ))}
      </ul>
      {hidden > 0 && (
        <button type="button" className="hm-button" onClick={() => setMost(most + 5 * ROWS_STEP)}>
          {trans._n('and %1 more', 'and %1 more', hidden + props.leftOut)}
        </button>
      )}
      {hidden === 0 && props.leftOut > 0 && (
        <p className="hm-hint">
          {trans._n('and %1 smaller one', 'and %1 smaller ones', props.leftOut)}
        </p>
      )}
    </section>
  );
}

function Row(props: IWorkloadsProps & { readonly one: IWorkload }): JSX.Element {
  const { one, trans, units, actions } = props;
  const title = titleOf(one, trans, NAME_CHARS_MAX);
  const name = <bdi>{title}</bdi>;
  const share = props.limitBytes ? Math.min((one.memoryUsedBytes ?? 0) / props.limitBytes, 1) : null;
  return (
    <li className="hm-Row" data-kind={one.kind} data-id={one.id}>
      <div className="hm-Row-head">
        {actions.canOpen(one) ? (
          <button
            type="button"
            className="hm-Row-name hm-link"
            title={trans.__('Go to %1', inSentence(one.notebook ?? title, NAME_CHARS_MAX))}
            onClick={() => void actions.open(one)}
          >
            {name}
          </button>
        ) : (
          <span className="hm-Row-name" title={title}>
            {name}
          </span>
        )}
        <Spark values={props.sparkOf(one.key)} />
        <span className="hm-Row-bytes">
          {one.memoryUsedBytes === null ? trans.__('unknown') : bytes(one.memoryUsedBytes, units)}
        </span>
      </div>
      {share !== null && <span className="hm-Row-bar" style={{ inlineSize: `${100 * share}%` }} />}
      <div className="hm-Row-foot">
        <span className="hm-Row-words">{wordsOf(one, units, trans)}</span>
        <Deeds one={one} title={title} actions={actions} trans={trans} />
      </div>
    </li>
  );
}

/** "kernel, busy, 1.2 cores, +20 MiB/s": what is known, in words. */
function wordsOf(one: IWorkload, units: Units, trans: ITranslate): string {
  const trend = one.trendBytesPerSecond;
  const parts = [
    kindOf(one, trans),
    stateOf(one, trans),
    one.cpuCores !== null && one.cpuCores >= 0.01 ? trans.__('%1 cores', cores(one.cpuCores)) : null,
    trend !== null && Math.abs(trend) >= TREND_MIN ? rate(trend, units) : null
  ];
  return parts.filter(part => part !== null).join(' · ');
}

interface IDeedsProps {
  readonly one: IWorkload;
  readonly title: string;
  readonly actions: Actions;
  readonly trans: ITranslate;
}

function Deeds({ one, title, actions, trans }: IDeedsProps): JSX.Element | null {
  const kernel = one.kind === 'kernel' && actions.isKernel(one.id);
  if (!kernel && one.kind !== 'terminal') {
    return null;
  }
  return (
    <span className="hm-Row-deeds" role="group" aria-label={trans.__('What can be done about %1', title)}>
      {kernel && (
        <>
          <Deed
            glyph="■"
            label={trans.__('Interrupt')}
            title={trans.__('Interrupt %1: stop the cell that runs', title)}
            run={() => void actions.interrupt(one.id)}
          />
          <Deed
            glyph="↻"
            label={trans.__('Restart')}
            title={trans.__('Restart the kernel of %1', title)}
            run={() => void actions.restart(one)}
          />
        </>
      )}
      <Deed
        glyph="✕"
        label={trans.__('Shut down')}
        title={trans.__('Shut down %1', title)}
        run={() => void actions.shutDown(one)}
      />
    </span>
  );
}

interface IDeedProps {
  readonly glyph: string;
  readonly label: string;
  readonly title: string;
  readonly run: () => void;
}

function Deed({ glyph, title, run }: IDeedProps): JSX.Element {
  return (
    <button type="button" className="hm-deed" title={title} aria-label={title} onClick={run}>
      <span aria-hidden="true">{glyph}</span>
    </button>
  );
}

function Spark({ values }: { readonly values: readonly number[] }): JSX.Element {
  const { width, height } = SPARK;
  return (
    <svg className="hm-Spark" viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
      {values.length > 2 && <path d={sparkPath(values, width, height)} />}
    </svg>
  );
}

type Hold = Pick<
  React.HTMLAttributes<HTMLElement>,
  'onPointerEnter' | 'onPointerLeave' | 'onFocus' | 'onBlur'
>;

/** Rows keep their places while a pointer or the keyboard is on them: no button moves away from under it. */
function useHeldOrder(rows: readonly IWorkload[]): [readonly IWorkload[], Hold] {
  const [pointed, setPointed] = React.useState(false);
  const [focused, setFocused] = React.useState(false);
  const keys = React.useRef<readonly string[]>([]);
  const order = pointed || focused ? inOrder(rows, keys.current) : rows;
  keys.current = order.map(one => one.key);
  return [
    order,
    {
      onPointerEnter: () => setPointed(true),
      onPointerLeave: () => setPointed(false),
      onFocus: () => setFocused(true),
      onBlur: () => setFocused(false)
    }
  ];
}

/** `rows` in the order of `keys`; new ones last. */
export function inOrder(rows: readonly IWorkload[], keys: readonly string[]): readonly IWorkload[] {
  const place = new Map(keys.map((key, i) => [key, i]));
  const at = (one: IWorkload) => place.get(one.key) ?? keys.length;
  return [...rows].sort((a, b) => at(a) - at(b));
}
