import { Fragment } from 'preact';
import type { Me, Server } from './api';
import { Detail } from './detail';
import { bytes, cores, percent, rate, rule, seconds, signedBytes, UNKNOWN } from './format';
import { End } from './hold';
import type { Column, Order } from './order';
import { keyOf } from './store';

interface Head {
  column: Column;
  title: string;
  hint: string;
  figures: boolean;
}

const HEADS: Head[] = [
  { column: 'user', title: 'User', hint: 'user and server name', figures: false },
  { column: 'memory', title: 'Memory', hint: 'what cannot be given back, against the limit', figures: false },
  { column: 'momentum', title: 'Momentum', hint: 'change of resident memory since the sample before', figures: true },
  { column: 'trend', title: 'Trend', hint: 'robust speed of growth, and when the limit is reached', figures: true },
  { column: 'cpu', title: 'CPU', hint: 'cores in use', figures: true },
  { column: 'idle', title: 'Idle', hint: 'time since the last work', figures: true },
  { column: 'verdicts', title: 'Verdicts', hint: 'open judgements', figures: false }
];

interface TableProps {
  me: Me | null;
  rows: Server[];
  order: Order;
  onOrder: (order: Order) => void;
  open: string | null;
  onOpen: (user: string, server: string) => void;
}

export function Table({ me, rows, order, onOrder, open, onOpen }: TableProps) {
  return (
    <table class="hm-table">
      <thead>
        <tr>
          {HEADS.map(head => (
            <HeadCell key={head.column} head={head} order={order} onOrder={onOrder} />
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.length === 0 && (
          <tr class="hm-none">
            <td colSpan={HEADS.length}>No server to show.</td>
          </tr>
        )}
        {rows.map(row => {
          const key = keyOf(row.user, row.server);
          return (
            <Fragment key={key}>
              <Row row={row} open={open === key} onOpen={() => onOpen(row.user, row.server)} />
              {open === key && (
                <tr class="hm-detail">
                  <td colSpan={HEADS.length}>
                    <Detail row={row} me={me} />
                  </td>
                </tr>
              )}
            </Fragment>
          );
        })}
      </tbody>
    </table>
  );
}

function HeadCell({ head, order, onOrder }: { head: Head; order: Order; onOrder: (order: Order) => void }) {
  const mine = order.column === head.column;
  const sort = mine ? (order.descending ? 'descending' : 'ascending') : 'none';
  const next = { column: head.column, descending: mine ? !order.descending : head.column !== 'user' };
  return (
    <th scope="col" aria-sort={sort} class={head.figures ? 'hm-figure' : undefined}>
      <button type="button" title={head.hint} onClick={() => onOrder(next)}>
        {head.title}
        <span aria-hidden="true" class="hm-arrow">
          {mine ? (order.descending ? '▾' : '▴') : ''}
        </span>
      </button>
    </th>
  );
}

function Row({ row, open, onOpen }: { row: Server; open: boolean; onOpen: () => void }) {
  return (
    <tr class={`hm-row hm-state-${row.state}`} data-user={row.user} data-server={row.server}>
      <th scope="row">
        <button type="button" class="hm-open" aria-expanded={open} onClick={onOpen}>
          <span aria-hidden="true" class="hm-chevron">
            {open ? '▾' : '▸'}
          </span>
          <span class="hm-user">{row.user}</span>
          {row.server !== '' && <span class="hm-server">{row.server}</span>}
          {row.state !== 'live' && <span class="hm-badge hm-info">{row.state === 'gone' ? 'stopped' : row.state}</span>}
        </button>
      </th>
      <td data-label="Memory">
        <Memory row={row} />
      </td>
      <td data-label="Momentum" class="hm-figure">
        {signedBytes(row.momentum_bytes)}
      </td>
      <td data-label="Trend" class="hm-figure">
        <Trend row={row} />
      </td>
      <td data-label="CPU" class="hm-figure">
        {cores(row.cpu_cores)}
        {row.cpu_limit_cores !== null && <span class="hm-of"> / {row.cpu_limit_cores}</span>}
      </td>
      <td data-label="Idle" class="hm-figure" title={row.busy_reason ?? row.idle_since ?? undefined}>
        {row.idle_seconds === null ? (row.busy_reason === null ? UNKNOWN : 'busy') : row.idle_seconds < 1 ? 'busy' : seconds(row.idle_seconds)}
        <End row={row} />
      </td>
      <td data-label="Verdicts">
        {row.verdicts.length === 0 ? (
          <span class="hm-calm">calm</span>
        ) : (
          row.verdicts.map(verdict => (
            <span key={verdict.episode} class={`hm-badge hm-${verdict.severity}`}>
              {rule(verdict.rule)}
            </span>
          ))
        )}
      </td>
    </tr>
  );
}

/// A time to the limit beyond this is not shown.
const SOON_SECONDS = 3600;
/// Below this share of the limit a forecast is shown only with a verdict.
const NEAR_PERCENT = 50;

function level(share: number | null): string {
  return share === null ? 'unknown' : share >= 90 ? 'critical' : share >= 75 ? 'warning' : 'calm';
}

function Memory({ row }: { row: Server }) {
  const share = percent(row.memory_used_bytes, row.memory_limit_bytes);
  if (row.memory_used_bytes === null) {
    return <span class="hm-of">not measured</span>;
  }
  const words = `${bytes(row.memory_used_bytes)} of ${bytes(row.memory_limit_bytes)}`;
  return (
    <div class="hm-memory" title={`${words}, counted by ${row.memory_source ?? 'nobody'}; limit from ${row.memory_limit_source ?? 'nowhere'}`}>
      <div class={`hm-bar hm-level-${level(share)}`} role="meter" aria-label={words} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(share ?? 0)}>
        <div class="hm-fill" style={{ width: `${Math.min(100, share ?? 0)}%` }} />
      </div>
      <span class="hm-used">{bytes(row.memory_used_bytes)}</span>
      <span class="hm-of"> / {bytes(row.memory_limit_bytes)}</span>
      {row.memory_limit_enforced === false && <span class="hm-soft" title="passing this limit kills nothing"> soft</span>}
    </div>
  );
}

function Trend({ row }: { row: Server }) {
  // A forecast of a server that is far from its limit is noise, unless it was judged to run away.
  const share = percent(row.memory_used_bytes, row.memory_limit_bytes) ?? 0;
  const judged = row.verdicts.some(verdict => verdict.rule === 'runaway_memory');
  const soon = row.seconds_to_limit !== null && row.seconds_to_limit < SOON_SECONDS && (judged || share >= NEAR_PERCENT);
  return (
    <>
      {rate(row.trend_bytes_per_second)}
      {soon && <div class="hm-soon">full in {seconds(row.seconds_to_limit)}</div>}
    </>
  );
}
