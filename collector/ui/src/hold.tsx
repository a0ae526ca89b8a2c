import { useEffect, useState } from 'preact/hooks';
import { mayHold } from './answers';
import { hold, release, type Me, type Server } from './api';
import { choices, clock, endWords } from './keep';

/// How often words that speak of time are written anew.
const AGAIN_MS = 10_000;

/// Now, again and again.
export function useNow(): Date {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = window.setInterval(() => setNow(new Date()), AGAIN_MS);
    return () => window.clearInterval(timer);
  }, []);
  return now;
}

/// An end nearer than this is worth a colour: its user has been warned of it.
const SOON_MS = 15 * 60_000;

/// When it stops, in the table.
export function End({ row }: { row: Server }) {
  // Most rows have no end, and need no clock.
  return row.held_until === null && row.stops_at === null ? null : <EndWords row={row} />;
}

function EndWords({ row }: { row: Server }) {
  const now = useNow();
  const soon = row.stops_at !== null && new Date(row.stops_at).getTime() - now.getTime() <= SOON_MS;
  return <div class={row.held_until !== null ? 'hm-held' : soon ? 'hm-soon' : 'hm-later'}>{endWords(row, now)}</div>;
}

/// What its user can do about its end.
export function Keep({ row, me }: { row: Server; me: Me | null }) {
  const now = useNow();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const max = me?.cull?.hold_max_seconds ?? 0;
  const may = mayHold(row, me);
  if (row.state === 'gone' || (row.held_until === null && (!may || max === 0))) {
    return null;
  }
  const ask = (what: Promise<unknown>) => {
    setBusy(true);
    what
      .then(
        () => setProblem(null),
        (error: unknown) => setProblem(error instanceof Error ? error.message : String(error))
      )
      .finally(() => setBusy(false));
  };
  return (
    <div class="hm-keep" role="group" aria-label="Keep this server alive">
      {row.held_until !== null ? (
        <span>Kept alive until {clock(new Date(row.held_until), now)}. </span>
      ) : (
        <span>Keep it alive, whatever it does: </span>
      )}
      {may &&
        choices(now, max).map(choice => (
          <button key={choice.label} type="button" class="hm-button" disabled={busy} onClick={() => ask(hold(row.user, row.server, choice.until))}>
            {choice.label}
          </button>
        ))}
      {may && row.held_until !== null && (
        <button type="button" class="hm-button" disabled={busy} onClick={() => ask(release(row.user, row.server))}>
          no longer
        </button>
      )}
      {problem !== null && (
        <p class="hm-problem" role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}
