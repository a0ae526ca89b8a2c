// One chart: a line with the area under it, the limit, and marks of what was judged. What it shows is
// also there in words below it.

import * as React from 'react';

import { IFrame, pathOf, runsOf, xOf } from '../chart';
import type { IPoint } from '../feed';

export interface IMark {
  readonly id: string;
  readonly atMs: number;
  readonly text: string;
}

export interface IChartProps {
  readonly points: readonly IPoint[];
  readonly valueOf: (point: IPoint) => number | null;
  readonly fromMs: number;
  readonly toMs: number;
  readonly max: number;
  /** The upper end in words. */
  readonly maxText: string;
  /** A line across, if it is within the picture. */
  readonly limit: number | null;
  readonly marks: readonly IMark[];
  /** The whole picture in a sentence. */
  readonly label: string;
  /** What is at a point, for whoever points there. */
  readonly readout: (point: IPoint) => string;
  readonly low?: boolean;
}

const WIDTH = 300;
const HEIGHT = 80;

export function Chart(props: IChartProps): JSX.Element {
  const { points, valueOf, fromMs, toMs, max, limit, marks } = props;
  const [at, setAt] = React.useState<IPoint | null>(null);
  const frame: IFrame = { width: WIDTH, height: HEIGHT, fromMs, toMs, max };
  const runs = runsOf(points, valueOf, fromMs);
  const y = (value: number) => HEIGHT * (1 - value / max);
  const point = (event: React.PointerEvent<SVGSVGElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    const share = (event.clientX - box.left) / Math.max(box.width, 1);
    setAt(nearest(points, fromMs + share * (toMs - fromMs)));
  };
  return (
    <div className={props.low ? 'hm-Chart jp-mod-low' : 'hm-Chart'}>
      <span className="hm-Chart-max">{at === null ? props.maxText : props.readout(at)}</span>
      <svg
        role="img"
        aria-label={props.label}
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        onPointerMove={point}
        onPointerLeave={() => setAt(null)}
      >
        {runs.map(run => (
          <React.Fragment key={run[0][0]}>
            <path className="hm-Chart-area" d={pathOf(run, frame, true)} />
            <path className="hm-Chart-line" d={pathOf(run, frame, false)} />
          </React.Fragment>
        ))}
        {limit !== null && limit <= max && (
          <line className="hm-Chart-limit" x1={0} x2={WIDTH} y1={y(limit)} y2={y(limit)} />
        )}
        {marks.map(mark => (
          <line
            key={mark.id}
            className="hm-Chart-mark"
            x1={xOf(mark.atMs, frame)}
            x2={xOf(mark.atMs, frame)}
            y1={0}
            y2={HEIGHT}
          />
        ))}
        {at !== null && (
          <line
            className="hm-Chart-at"
            x1={xOf(at.atMs, frame)}
            x2={xOf(at.atMs, frame)}
            y1={0}
            y2={HEIGHT}
          />
        )}
      </svg>
    </div>
  );
}

function nearest(points: readonly IPoint[], atMs: number): IPoint | null {
  let best: IPoint | null = null;
  for (const point of points) {
    if (best === null || Math.abs(point.atMs - atMs) < Math.abs(best.atMs - atMs)) {
      best = point;
    }
  }
  return best;
}
