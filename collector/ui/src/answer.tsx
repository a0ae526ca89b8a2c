import { useEffect, useRef, useState } from 'preact/hooks';
import { acknowledge, answers, mute, takeBack, type Answer, type Me, type Verdict } from './api';
import { ackOf, answerWords, mayAnswer, mayMute, MUTES, muteOf } from './answers';
import { rule } from './format';
import { useNow } from './hold';

/// What another admin says is seen so long after, at the latest.
const REFRESH_MS = 60_000;
/// Events within this time are one reason to ask.
const GATHER_MS = 1000;

export interface Said {
  answers: Answer[];
  /// Asks anew.
  again: () => Promise<void>;
}

/// What was said about notices and holds; asked for anew when something happened to a notice.
export function useAnswers(noticed: number): Said {
  const [said, setSaid] = useState<Answer[]>([]);
  const alive = useRef(true);
  const again = async (): Promise<void> => {
    // Who cannot be asked has said nothing new; the page tells elsewhere that it has no connection.
    const newest = await answers().catch(() => null);
    if (newest !== null && alive.current) {
      setSaid(newest);
    }
  };
  useEffect(() => {
    alive.current = true;
    const timer = window.setInterval(() => (document.hidden ? undefined : void again()), REFRESH_MS);
    return () => {
      alive.current = false;
      window.clearInterval(timer);
    };
  }, []);
  useEffect(() => {
    const timer = window.setTimeout(() => void again(), noticed === 0 ? 0 : GATHER_MS);
    return () => window.clearTimeout(timer);
  }, [noticed]);
  return { answers: said, again };
}

/// Sends a change, and says what came of it.
function useChange(again: () => Promise<void>) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const send = async (what: () => Promise<unknown>): Promise<void> => {
    setBusy(true);
    try {
      await what();
      setProblem(null);
      await again();
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  return { busy, problem, send };
}

/// What there is to say about an open verdict, and what was said.
export function Reply({ verdict, me, said }: { verdict: Verdict; me: Me | null; said: Said }) {
  const now = useNow();
  const place = useRef<HTMLDivElement>(null);
  const [muting, setMuting] = useState(false);
  const { busy, problem, send } = useChange(said.again);
  const ack = ackOf(said.answers, verdict);
  const muted = muteOf(said.answers, verdict);
  const may = mayAnswer(verdict, me);
  const muteable = mayMute(verdict, me);
  const about = `${rule(verdict.rule)} of ${verdict.user}${verdict.server === '' ? '' : `/${verdict.server}`}`;

  useEffect(() => {
    if (muting) {
      place.current?.querySelector<HTMLButtonElement>('.hm-choices button')?.focus();
    }
  }, [muting]);

  if (!may && ack === null && muted === null) {
    return null;
  }
  // The button that was pressed goes: whoever goes by keyboard stays here.
  const act = (what: () => Promise<unknown>) =>
    void send(what).then(() => {
      setMuting(false);
      place.current?.focus();
    });
  const button = (label: string, what: () => void) => (
    <button key={label} type="button" class="hm-button" disabled={busy} aria-label={`${label} (${about})`} onClick={what}>
      {label}
    </button>
  );
  return (
    <div
      ref={place}
      class="hm-reply"
      role="group"
      aria-label={`Answer: ${about}`}
      tabIndex={-1}
      onKeyDown={event => {
        if (muting && event.key === 'Escape') {
          setMuting(false);
          place.current?.focus();
        }
      }}
    >
      {ack !== null && <span class="hm-said">{answerWords(ack, now)}</span>}
      {may && (ack === null ? button('Acknowledge', () => act(() => acknowledge(verdict.episode))) : button('Take back', () => act(() => takeBack(verdict.episode))))}
      {muted !== null && <span class="hm-said">{answerWords(muted, now)}</span>}
      {may && muted !== null && button('Unmute', () => act(() => mute(verdict.episode, null)))}
      {muteable && muted === null && !muting && button('Mute…', () => setMuting(true))}
      {muteable && muted === null && muting && (
        <span class="hm-choices">
          <span>No notices of this to {me?.changes_all ? 'admins' : 'you'}: </span>
          {MUTES.map(choice => button(choice.label, () => act(() => mute(verdict.episode, new Date(Date.now() + choice.ms)))))}
          {button('Cancel', () => {
            setMuting(false);
            place.current?.focus();
          })}
        </span>
      )}
      {problem !== null && (
        <p class="hm-problem" role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}

/// What is muted, with or without a verdict that shows it.
export function Muted({ me, said }: { me: Me | null; said: Said }) {
  const now = useNow();
  const { busy, problem, send } = useChange(said.again);
  const rows = said.answers.filter(answer => answer.what === 'mute');
  if (rows.length === 0 && problem === null) {
    return null;
  }
  return (
    <section class="hm-verdicts hm-muted" aria-label="Muted">
      <h2>Muted</h2>
      {problem !== null && (
        <p class="hm-problem" role="alert">
          {problem}
        </p>
      )}
      <ul>
        {rows.map(row => {
          const whose = `${row.user}${row.server === '' ? '' : `/${row.server}`}`;
          return (
            <li key={`${row.rule} ${whose}`} class="hm-verdict hm-verdict-head">
              <span class="hm-badge hm-info">{rule(row.rule)}</span>
              <strong>{whose}</strong>
              <span class="hm-of">{answerWords(row, now)}</span>
              {mayAnswer(row, me) && row.episode !== '' && (
                <button
                  type="button"
                  class="hm-button"
                  disabled={busy}
                  aria-label={`Unmute (${rule(row.rule)} of ${whose})`}
                  onClick={() => void send(() => mute(row.episode, null))}
                >
                  Unmute
                </button>
              )}
            </li>
          );
        })}
      </ul>
    </section>
  );
}
