import { useEffect, useState } from 'preact/hooks';
import { deeds, type Deed } from './api';
import { deedTime, deedWords } from './deeds';
import { useNow } from './hold';

/// Rows shown; the API has the rest.
const SHOWN_MAX = 50;
/// What others do is seen so long after, at the latest.
const REFRESH_MS = 60_000;
/// Events within this time are one reason to ask.
const GATHER_MS = 1000;

/// What was done to users, for who sees all of them.
export function Audit({ noticed }: { noticed: number }) {
  const now = useNow();
  const [rows, setRows] = useState<Deed[]>([]);
  const [turn, setTurn] = useState(0);
  const [problem, setProblem] = useState<string | null>(null);

  useEffect(() => {
    const timer = window.setInterval(() => (document.hidden ? undefined : setTurn(turn => turn + 1)), REFRESH_MS);
    return () => window.clearInterval(timer);
  }, []);

  useEffect(() => {
    let alive = true;
    const load = () =>
      deeds(SHOWN_MAX).then(
        answer => {
          if (alive) {
            setRows(answer);
            setProblem(null);
          }
        },
        (error: unknown) => alive && setProblem(error instanceof Error ? error.message : String(error))
      );
    const timer = window.setTimeout(() => void load(), noticed === 0 ? 0 : GATHER_MS);
    return () => {
      alive = false;
      window.clearTimeout(timer);
    };
  }, [noticed, turn]);

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
