import { useEffect, useState } from 'preact/hooks';
import { history, type History, type Me, type Server, type Workload } from './api';
import { Chart } from './chart';
import { bytes, cores, seconds, UNKNOWN } from './format';
import { Keep } from './hold';
import { vitals } from './vitals';

/// How often an open chart is asked for anew.
const REFRESH_MS = 15_000;

export function Detail({ row, me }: { row: Server; me: Me | null }) {
  const [past, setPast] = useState<History | null>(null);
  const [problem, setProblem] = useState<string | null>(null);

  useEffect(() => {
    let alive = true;
    const load = () =>
      history(row.user, row.server, '-1h').then(
        answer => {
          if (alive) {
            setPast(answer);
            setProblem(null);
          }
        },
        (error: unknown) => alive && setProblem(error instanceof Error ? error.message : String(error))
      );
    void load();
    const timer = window.setInterval(() => void load(), REFRESH_MS);
    return () => {
      alive = false;
      window.clearInterval(timer);
    };
  }, [row.user, row.server]);

  return (
    <div class="hm-detail-grid">
      <section>
        <h3>Memory, last hour</h3>
        {problem !== null ? <p class="hm-problem">{problem}</p> : past === null ? <p class="hm-loading">Loading…</p> : <Chart past={past} />}
      </section>
      <section>
        <h3>What runs in it</h3>
        <Workloads rows={row.workloads} />
        <Facts row={row} past={past} />
        <Keep row={row} me={me} />
      </section>
    </div>
  );
}

function Workloads({ rows }: { rows: Workload[] }) {
  if (rows.length === 0) {
    return <p class="hm-calm">Nothing is told.</p>;
  }
  return (
    <table class="hm-workloads">
      <thead>
        <tr>
          <th scope="col">workload</th>
          <th scope="col" class="hm-figure">
            memory
          </th>
          <th scope="col" class="hm-figure">
            CPU
          </th>
          <th scope="col">state</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(row => (
          <tr key={`${row.kind}/${row.id}`}>
            <th scope="row">
              {title(row)} <span class="hm-of">{row.kind === 'server' || row.kind === 'other' ? '' : row.kind}</span>
            </th>
            <td class="hm-figure">{bytes(row.memory_used_bytes)}</td>
            <td class="hm-figure">{cores(row.cpu_cores)}</td>
            <td>
              {row.state}
              {row.idle_seconds !== null && row.state === 'idle' && <span class="hm-of"> for {seconds(row.idle_seconds)}</span>}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function title(row: Workload): string {
  if (row.kind === 'server') {
    return 'Jupyter itself';
  }
  if (row.kind === 'other') {
    return 'other processes';
  }
  return row.notebook ?? (row.name !== '' ? row.name : row.id);
}

function Facts({ row, past }: { row: Server; past: History | null }) {
  const facts: [string, string][] = [
    ['host', row.host ?? UNKNOWN],
    ['groups', row.groups.length === 0 ? 'none' : row.groups.join(', ')],
    ['counted by', row.memory_source ?? UNKNOWN],
    ['limit from', row.memory_limit_source ?? UNKNOWN],
    ['limit', row.memory_limit_enforced === null ? UNKNOWN : row.memory_limit_enforced ? 'enforced: passing it kills' : 'not enforced'],
    ['processes', row.processes === null ? UNKNOWN : `${row.processes} with ${row.threads ?? UNKNOWN} threads`],
    ['at work', row.busy_reason ?? (row.idle_seconds === null ? UNKNOWN : 'no')],
    ...(past === null ? [] : vitals(past))
  ];
  return (
    <dl class="hm-facts">
      {facts.map(([name, text]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{text}</dd>
        </div>
      ))}
    </dl>
  );
}
