import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { History } from './api';
import { bytes } from './format';

const HEIGHT_PX = 200;

/// Ticks of the memory axis fall on whole binary figures: 1, 2 or 4 of a power of 1024.
const INCREMENTS_BYTES = Array.from({ length: 25 }, (_, power) => 2 ** (20 + power));

type Column = (number | null)[];

function figures(past: History, name: string): Column {
  return (past.columns[name] ?? []).map(value => (typeof value === 'number' ? value : null));
}

/// Time as uPlot wants it: seconds since the epoch.
function times(past: History): number[] {
  return (past.columns['time'] ?? []).map(value => (typeof value === 'number' ? value / 1000 : Date.parse(String(value)) / 1000));
}

function clock(seconds: number): string {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hour12: false });
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function Chart({ past }: { past: History }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const span = useRef<[number, number]>([0, 1]);
  span.current = [Date.parse(past.from) / 1000, Date.parse(past.to) / 1000];

  useEffect(() => {
    const node = place.current;
    if (node === null) {
      return;
    }
    const line = colour('--hm-accent');
    const text = colour('--hm-muted');
    const grid = { stroke: colour('--hm-grid'), width: 1 };
    const made = new uPlot(
      {
        width: node.clientWidth,
        height: HEIGHT_PX,
        legend: { show: false },
        cursor: { y: false },
        axes: [
          { stroke: text, grid, ticks: grid, space: 70, values: (_, splits) => splits.map(clock) },
          { stroke: text, grid, ticks: grid, size: 74, incrs: INCREMENTS_BYTES, values: (_, splits) => splits.map(split => bytes(split)) }
        ],
        scales: { x: { range: () => span.current }, y: { range: (_, __, max) => [0, max * 1.05 || 1] } },
        series: [
          {},
          { label: 'memory', points: { show: false }, stroke: line, width: 2, fill: `${line}22`, spanGaps: false },
          { label: 'limit', points: { show: false }, stroke: colour('--hm-critical'), width: 1, dash: [6, 4], spanGaps: true }
        ]
      },
      [[], [], []],
      node
    );
    plot.current = made;
    const watcher = new ResizeObserver(() => made.setSize({ width: node.clientWidth, height: HEIGHT_PX }));
    watcher.observe(node);
    return () => {
      watcher.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, []);

  useEffect(() => {
    plot.current?.setData([times(past), figures(past, 'memory_used_bytes'), figures(past, 'memory_limit_bytes')]);
  }, [past]);

  const empty = (past.columns['time'] ?? []).length === 0;
  return (
    <div class="hm-chart" role="img" aria-label="memory in use over the last hour, with the limit as a dashed line">
      {empty && <p class="hm-calm">Nobody measured this server in the last hour.</p>}
      <div ref={place} hidden={empty} />
    </div>
  );
}
