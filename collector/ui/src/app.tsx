import { useEffect, useMemo, useState } from 'preact/hooks';
import { Muted, useAnswers } from './answer';
import { Audit } from './audit';
import { bytes } from './format';
import { policyWords } from './keep';
import { NoticeList } from './notices';
import { matches, sorted, type Order } from './order';
import { keyOf, Store, type Link, type Picture } from './store';
import { Table } from './table';
import { VerdictList } from './verdicts';

const LINK_WORDS: Record<Link, string> = {
  connecting: 'connecting',
  live: 'live',
  lost: 'no connection, trying again',
  denied: 'not allowed'
};

export function App() {
  const [picture, setPicture] = useState<Picture | null>(null);
  const [order, setOrder] = useState<Order>({ column: 'memory', descending: true });
  const [words, setWords] = useState('');
  const [stopped, setStopped] = useState(false);
  const [open, setOpen] = useState<string | null>(null);

  useEffect(() => {
    void new Store(setPicture).start();
  }, []);

  const said = useAnswers(picture?.noticed ?? 0);
  const rows = useMemo(() => {
    const all = [...(picture?.servers.values() ?? [])];
    return sorted(
      all.filter(row => (stopped || row.state !== 'gone') && matches(row, words)),
      order
    );
  }, [picture, order, words, stopped]);

  if (picture === null) {
    return <p class="hm-loading">Loading…</p>;
  }
  return (
    <>
      <Head picture={picture} />
      <main>
        {picture.problem !== null && (
          <p class="hm-problem" role="alert">
            {picture.problem}
          </p>
        )}
        {picture.troubles.map(words => (
          <p key={words} class="hm-problem" role="alert">
            {words}
          </p>
        ))}
        <Totals picture={picture} />
        {picture.me?.admin && picture.me.cull && <p class="hm-policy">{policyWords(picture.me.cull)}</p>}
        <div class="hm-tools">
          <input
            type="search"
            placeholder="Filter by user, group, host, verdict"
            aria-label="Filter servers"
            value={words}
            onInput={event => setWords(event.currentTarget.value)}
          />
          <label>
            <input type="checkbox" checked={stopped} onChange={event => setStopped(event.currentTarget.checked)} />
            stopped servers too
          </label>
        </div>
        <Table
          me={picture.me}
          rows={rows}
          order={order}
          onOrder={setOrder}
          open={open}
          onOpen={(user, server) => {
            const key = keyOf(user, server);
            setOpen(open === key ? null : key);
          }}
        />
        <VerdictList verdicts={[...picture.verdicts.values()]} me={picture.me} said={said} />
        <Muted me={picture.me} said={said} />
        <NoticeList noticed={picture.noticed} />
        {picture.me?.admin && <Audit noticed={picture.noticed} />}
      </main>
    </>
  );
}

function Head({ picture }: { picture: Picture }) {
  const who = picture.me;
  const others = [...picture.servers.values()].some(row => row.user !== who?.user);
  return (
    <header>
      <h1>hubmeter</h1>
      <span class={`hm-link hm-link-${picture.link}`} role="status">
        {LINK_WORDS[picture.link]}
      </span>
      <span class="hm-space" />
      {who !== null && (
        <nav>
          <span class="hm-who">
            {who.user}
            {who.admin ? ', sees all servers' : others ? ', sees own servers and some of others' : ', sees own servers'}
          </span>
          <a href="api/v1/reports/usage.csv" title="What was used in the last 30 days, by user and day" download>
            Usage (CSV)
          </a>
          {who.admin && who.hub_home && (
            <a href="api/v1/reports/hub-activity.csv" title="How many people were active on the hub" download>
              Hub activity (CSV)
            </a>
          )}
          {who.hub_home && <a href={who.hub_home}>Hub</a>}
        </nav>
      )}
    </header>
  );
}

function Totals({ picture }: { picture: Picture }) {
  const up = [...picture.servers.values()].filter(row => row.state !== 'gone');
  const used = up.reduce((sum, row) => sum + (row.memory_used_bytes ?? 0), 0);
  const cpu = up.reduce((sum, row) => sum + (row.cpu_cores ?? 0), 0);
  const idle = up.filter(row => row.idle_seconds !== null && row.idle_seconds > 0);
  const idleUsed = idle.reduce((sum, row) => sum + (row.memory_used_bytes ?? 0), 0);
  const loud = up.flatMap(row => row.verdicts).filter(verdict => verdict.severity !== 'info').length;
  return (
    <dl class="hm-totals">
      <div>
        <dt>servers up</dt>
        <dd>{up.length}</dd>
      </div>
      <div>
        <dt>memory in use</dt>
        <dd>{bytes(used)}</dd>
      </div>
      <div>
        <dt>CPU in use</dt>
        <dd>{cpu.toFixed(1)} cores</dd>
      </div>
      <div>
        <dt>held while idle</dt>
        <dd>{bytes(idleUsed)}</dd>
      </div>
      <div class={loud > 0 ? 'hm-loud' : undefined}>
        <dt>open warnings</dt>
        <dd>{loud}</dd>
      </div>
    </dl>
  );
}
