import { useEffect, useState } from 'preact/hooks';

/// Events within this time are one reason to ask.
const GATHER_MS = 1000;

/// What a list has: its rows as last answered, and why the last question failed.
export interface Rows<Row> {
  rows: Row[];
  problem: string | null;
}

/// Asks for a list at once, after each event that `noticed` counts, and every `refreshMs` while the page
/// is seen.
export function useRows<Row>(ask: () => Promise<Row[]>, noticed: number, refreshMs?: number): Rows<Row> {
  const [rows, setRows] = useState<Row[]>([]);
  const [problem, setProblem] = useState<string | null>(null);
  const [turn, setTurn] = useState(0);

  useEffect(() => {
    if (refreshMs === undefined) {
      return;
    }
    const timer = window.setInterval(() => (document.hidden ? undefined : setTurn(turn => turn + 1)), refreshMs);
    return () => window.clearInterval(timer);
  }, [refreshMs]);

  useEffect(() => {
    let alive = true;
    const load = () =>
      ask().then(
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

  return { rows, problem };
}
