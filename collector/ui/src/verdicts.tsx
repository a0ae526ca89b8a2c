import { Reply, type Said } from './answer';
import type { Me, Verdict } from './api';
import { cause, evidence, rule, time, worthShowing } from './format';

/// Rows shown; the API has the rest.
const SHOWN_MAX = 50;

interface ListProps {
  verdicts: Verdict[];
  me: Me | null;
  said: Said;
}

export function VerdictList({ verdicts, me, said }: ListProps) {
  const rows = [...verdicts]
    .sort((a, b) => (a.state === b.state ? b.since.localeCompare(a.since) : a.state === 'open' ? -1 : 1))
    .slice(0, SHOWN_MAX);
  return (
    <section class="hm-verdicts" aria-label="Verdicts">
      <h2>Verdicts</h2>
      {rows.length === 0 && <p class="hm-calm">None so far: nothing grew, nothing was killed.</p>}
      <ul>
        {rows.map(verdict => (
          <Item key={verdict.episode} verdict={verdict} me={me} said={said} />
        ))}
      </ul>
    </section>
  );
}

function Item({ verdict, me, said }: { verdict: Verdict; me: Me | null; said: Said }) {
  const by = cause(verdict);
  return (
    <li class={`hm-verdict hm-verdict-${verdict.state}`} data-rule={verdict.rule} data-user={verdict.user}>
      <div class="hm-verdict-head">
        <span class={`hm-badge hm-${verdict.severity}`}>{rule(verdict.rule)}</span>
        <strong>
          {verdict.user}
          {verdict.server !== '' && `/${verdict.server}`}
        </strong>
        {by !== null && <span>{by}</span>}
        <span class="hm-of">
          {verdict.state === 'open' ? `since ${time(verdict.since)}` : `${time(verdict.since)} to ${time(verdict.cleared)}`}
        </span>
      </div>
      <dl class="hm-evidence">
        {Object.entries(verdict.evidence)
          .filter(([name, value]) => worthShowing(name, value))
          .map(([name, value]) => {
            const shown = evidence(name, value);
            return (
              <div key={name}>
                <dt>{shown.label}</dt>
                <dd>{shown.text}</dd>
              </div>
            );
          })}
      </dl>
      {verdict.state === 'open' && <p class="hm-of">Clears when {verdict.clears_when}.</p>}
      {verdict.state === 'open' && <Reply verdict={verdict} me={me} said={said} />}
    </li>
  );
}
