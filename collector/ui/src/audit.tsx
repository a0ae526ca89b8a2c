import { deeds } from './api';
import { deedTime, deedWords } from './deeds';
import { useNow } from './hold';
import { useRows } from './rows';

/// Rows shown; the API has the rest.
const SHOWN_MAX = 50;
/// What others do is seen so long after, at the latest.
const REFRESH_MS = 60_000;

/// What was done to users, for who sees all of them.
export function Audit({ noticed }: { noticed: number }) {
  const now = useNow();
  const { rows, problem } = useRows(() => deeds(SHOWN_MAX), noticed, REFRESH_MS);

  if (rows.length === 0 && problem === null) {
    return null;
  }
  return (
    <section class="hm-verdicts hm-audit" aria-label="Done to users">
      <h2>Done to users</h2>
      {problem !== null && <p class="hm-problem">{problem}</p>}
      <ul>
        {rows.map((row, at) => (
          <li key={`${row.time} ${row.what} ${row.user} ${row.server} ${at}`} class="hm-verdict hm-verdict-head" data-what={row.what}>
            {row.user !== null && (
              <strong>
                {row.user}
                {row.server !== null && row.server !== '' && `/${row.server}`}
              </strong>
            )}
            <span>{deedWords(row, now)}</span>
            <span class="hm-of">{deedTime(row, now)}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}
