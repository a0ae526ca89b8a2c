import { notices, type Notice } from './api';
import { rule, time } from './format';
import { useRows } from './rows';

/// Rows asked for; the API has the rest.
const SHOWN_MAX = 50;

/// What became of a notice, in words.
export function fate(notice: Notice): string {
  switch (notice.outcome) {
    case 'sent':
      return `sent ${time(notice.sent)}`;
    case 'waiting':
      return `goes out ${time(notice.next)}`;
    case 'failing': {
      const why = notice.reason === null ? '' : `: ${notice.reason}`;
      return `failed ${notice.attempts} times, tried again ${time(notice.next)}${why}`;
    }
    case 'dropped':
      return `not sent: ${notice.reason ?? 'no reason is told'}`;
  }
}

/// What a notice is about. A rule may be unknown: verdicts are kept for a while only.
export function subject(notice: Notice): string {
  switch (notice.channel) {
    case 'message-mail':
      return 'message';
    case 'warning-mail':
      return 'warning of a stop';
    default:
      return notice.rule === null ? 'verdict' : rule(notice.rule);
  }
}

export function NoticeList({ noticed }: { noticed: number }) {
  const { rows, problem } = useRows(() => notices(SHOWN_MAX), noticed);

  if (rows.length === 0 && problem === null) {
    return null;
  }
  const failing = rows.filter(row => row.outcome === 'failing').length;
  return (
    <section class="hm-verdicts hm-notices" aria-label="Notices">
      <h2>Notices</h2>
      {problem !== null && <p class="hm-problem">{problem}</p>}
      {failing > 0 && (
        <p class="hm-problem" role="alert">
          {failing === 1 ? 'One notice is' : `${failing} notices are`} not delivered yet: the other side does not take it.
        </p>
      )}
      <ul>
        {rows.map(row => (
          <li key={row.id} class="hm-verdict" data-outcome={row.outcome}>
            <div class="hm-verdict-head">
              <span class={`hm-badge hm-${row.severity}`}>{subject(row)}</span>
              <strong>
                {row.user}
                {row.server !== '' && `/${row.server}`}
              </strong>
              <span>
                {row.channel}, {row.phase}
              </span>
              <span class="hm-of">
                {fate(row)}
                {row.acknowledged !== null && `; acknowledged ${time(row.acknowledged)}`}
              </span>
            </div>
          </li>
        ))}
      </ul>
    </section>
  );
}
