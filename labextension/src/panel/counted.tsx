// What is counted, where the limit comes from, and what measuring costs: one click away.

import * as React from 'react';

import { bytes, Units } from '../format';
import { countedText, limitText } from '../model';
import type { ISample } from '../sample';
import type { ITranslate } from '../translation';

export interface ICountedProps {
  readonly sample: ISample;
  readonly units: Units;
  readonly trans: ITranslate;
}

export function Counted({ sample, units, trans }: ICountedProps): JSX.Element {
  const rows: [string, number | null][] = [
    [trans.__('Used: cannot be given back'), sample.usedBytes],
    [trans.__('With the page cache in use (working set)'), sample.workingSetBytes],
    [trans.__('Sum of resident sizes (RSS)'), sample.rssBytes],
    [trans.__('Of it shared memory'), sample.shmBytes],
    [trans.__('Swapped out'), sample.swapBytes]
  ];
  const cost = costText(sample, units, trans);
  return (
    <details className="hm-Counted">
      <summary>{trans.__('What is counted')}</summary>
      <p>{countedText(sample.memorySource, trans)}</p>
      {sample.limitBytes !== null && <p>{limitText(sample, trans)}</p>}
      <table>
        <tbody>
          {rows
            .filter(([, value]) => value !== null)
            .map(([name, value]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td>{bytes(value ?? 0, units)}</td>
              </tr>
            ))}
          {sample.processes !== null && (
            <tr>
              <th scope="row">{trans.__('Processes')}</th>
              <td>{sample.processes}</td>
            </tr>
          )}
        </tbody>
      </table>
      {cost !== null && <p>{cost}</p>}
      {sample.linkState === 'off' && (
        <p>{trans.__('No collector is set: history ends with this server.')}</p>
      )}
      {sample.linkState === 'connecting' && (
        <p>{trans.__('The collector is not reached now; what it misses is sent later.')}</p>
      )}
    </details>
  );
}

function costText(sample: ISample, units: Units, trans: ITranslate): string | null {
  const { agentCpuMillis: cpu, agentRssBytes: rss, agentUpSeconds: up } = sample;
  if (rss === null) {
    return null;
  }
  if (cpu === null || up === null || up <= 0) {
    return trans.__('Measuring this takes %1 of memory.', bytes(rss, units));
  }
  const share = (cpu / 1000 / up) * 100;
  return trans.__('Measuring this takes %1 of memory and %2% of a core.', bytes(rss, units), share.toFixed(3));
}
