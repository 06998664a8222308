import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type uPlot from "uplot";
import { count, measure, moment } from "../../../format";
import type { JobSession } from "../../../store/job_session";
import { chartData, type ChartData, isPositive } from "./chart_data";
import type { ChartSpec } from "./chart_specs";
import { drawChart, type Range, stepsFor } from "./draw_chart";

const REDRAW_MS = 250;

export interface ChartLook {
  readonly smoothing: number;
  readonly isLog: boolean;
  /** Changes when colours do. */
  readonly theme: string;
  readonly zoom: Signal<Range | null>;
}

/** One chart, redrawn a few times a second at most while points arrive; its zoom stays where it is. */
export function Chart({ spec, session, look }: { spec: ChartSpec; session: JobSession; look: ChartLook }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef<ChartData | null>(null);
  const points = useSignal(0);
  const hovered = useSignal<number | null>(null);
  const { theme, zoom } = look;
  const isLog = look.isLog && !spec.exact;
  const smoothing = spec.exact ? 0 : look.smoothing;
  const isSmoothed = smoothing > 0;
  const version = session.metricsVersion.value;

  // The plot itself: made anew when its axis, its colours or its series change.
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const data = chartData(spec, session.metrics, session.epochs.peek(), smoothing);
    latest.current = data;
    points.value = data.points;
    plot.current = drawChart(element, toPlot(data), {
      spec,
      axis: !isLog ? "linear" : isPositive(data) ? "log" : "asinh",
      isSmoothed,
      width: Math.max(120, element.clientWidth),
      height: element.clientHeight,
      zoom: () => zoom.peek(),
      onZoom: (range) => {
        zoom.value = range;
      },
      onReset: () => {
        zoom.value = null;
      },
      onCursor: (index) => {
        hovered.value = index;
      },
    });
    const sizes = new ResizeObserver(() => plot.current?.setSize({ width: Math.max(120, element.clientWidth), height: element.clientHeight }));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [spec, session, isLog, theme, isSmoothed]);

  // Its content: a moment after something new came, however much of it.
  const due = useRef(0);
  useEffect(() => {
    if (due.current) return;
    due.current = window.setTimeout(() => {
      due.current = 0;
      const data = chartData(spec, session.metrics, session.epochs.peek(), smoothing);
      latest.current = data;
      points.value = data.points;
      plot.current?.setData(toPlot(data));
    }, REDRAW_MS);
  }, [version, smoothing]);
  useEffect(() => () => clearTimeout(due.current), []);

  // The zoom, which all charts share.
  const range = zoom.value;
  useEffect(() => {
    const x = latest.current?.x;
    if (!plot.current || !x || x.length === 0) return;
    const [min, max] = stepsFor(range, x[0] ?? null, x.at(-1) ?? null);
    plot.current.setScale("x", { min: min ?? 0, max: max ?? 1 });
  }, [range]);

  return (
    <figure class={`card chart${spec.wide ? " chart-wide" : ""}`} data-chart={spec.name} data-points={points.value} aria-label={spec.title}>
      <figcaption>
        <h2 title={spec.help}>{spec.title}</h2>
        <Readout spec={spec} session={session} data={latest.current} index={hovered.value} isSmoothed={isSmoothed} />
      </figcaption>
      <div class="chart-box" ref={box}>{points.value === 0 && <p class="chart-empty small muted">{spec.help} The first points are on their way.</p>}</div>
    </figure>
  );
}

function toPlot(data: ChartData): uPlot.AlignedData {
  return [data.x, ...data.columns];
}

/** What the cursor stands on, or the newest point. */
function Readout({ spec, session, data, index, isSmoothed }: { spec: ChartSpec; session: JobSession; data: ChartData | null; index: number | null; isSmoothed: boolean }) {
  if (!data || data.x.length === 0) return null;
  const row = index === null || index >= data.x.length ? data.x.length - 1 : index;
  const { metrics } = session;
  const parts: { label: string; tone: string; text: string }[] = [];
  if (spec.metric) {
    parts.push({ label: isSmoothed ? "raw" : "training", tone: "train", text: measure(data.columns[0]?.[row]) });
    if (isSmoothed) parts.push({ label: "smoothed", tone: "train", text: measure(data.columns[1]?.[row]) });
  }
  const first = spec.metric ? 2 : 0;
  spec.epochs.forEach((series, offset) => {
    parts.push({ label: series.label, tone: series.tone, text: measure(valueBefore(data.columns[first + offset], row)) });
  });
  const epoch = spec.metric ? metrics.epoch[row] : session.epochs.value[row]?.epoch;
  const at = spec.metric ? metrics.at[row] : undefined;
  return (
    <>
      <span class="chart-at small muted number">{index === null ? "" : `step ${count(data.x[row])}, epoch ${count(epoch)}${at ? `, ${moment(at)}` : ""}`}</span>
      <p class="readout small number">
        {parts.map(({ label, tone, text }) => <span key={label} data-tone={tone}><i aria-hidden="true" />{label} <b>{text}</b></span>)}
      </p>
    </>
  );
}

/** The newest value at or before a row: epochs have one where they end. */
function valueBefore(column: readonly (number | null)[] | undefined, row: number): number | null {
  for (let index = row; index >= 0; index -= 1) {
    const value = column?.[index];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}
