// The uPlot behind a chart: one is made per axis kind and theme; data, zoom and size are set on it.
import uPlot from "uplot";
import type { Range } from "../../../store/close_up";
import type { Scale } from "./x_axis";

export type Axis = "linear" | "log" | "asinh";

export interface Style {
  /** Those of the curves. */
  readonly series: readonly uPlot.Series[];
  readonly bands?: readonly uPlot.Band[];
}

export interface DrawOptions extends Style {
  readonly axis: Axis;
  /** Charts of one group share their cursor. */
  readonly group: string;
  readonly width: number;
  readonly height: number;
  readonly scale: Scale;
  /** Leaves the highest and lowest few values outside. */
  readonly clips: boolean;
  /** In the units of the horizontal axis, as what `onZoom` is called with. */
  readonly zoom: () => Range | null;
  readonly onZoom: (range: Range) => void;
  readonly onReset: () => void;
  /** Sideways by a share of what is shown. */
  readonly onPan: (share: number) => void;
  readonly onCursor: (index: number | null) => void;
}

const DISTRIBUTION = { linear: 1, log: 3, asinh: 4 } as const;

export function drawChart(box: HTMLElement, data: uPlot.AlignedData, options: DrawOptions): uPlot {
  const ink = colourOf(box, "--muted");
  const grid = { stroke: colourOf(box, "--line"), width: 1 };
  const axis = { stroke: ink, grid, ticks: { ...grid, size: 4 }, font: "11px system-ui, sans-serif", gap: 4 };
  return new uPlot(
    {
      width: options.width,
      height: options.height,
      legend: { show: false },
      padding: [8, 20, 0, 0],
      cursor: {
        y: false,
        sync: { key: options.group, setSeries: false },
        drag: { x: true, y: false, setScale: false, dist: 4 },
        points: { size: 6 },
        bind: {
          dblclick: () => () => {
            options.onReset();
            return null;
          },
        },
      },
      scales: {
        x: {
          time: false,
          range: (_, low, high) => stepsFor(options.zoom(), low, high),
        },
        y: {
          distr: DISTRIBUTION[options.axis],
          ...(options.axis === "asinh" && { asinh: 0.1 }),
          ...((options.axis === "linear" || options.clips) && {
            range: (plot: uPlot, low: number | null, high: number | null) => rangeOf(options.axis, ...(options.clips ? clipped(plot, low, high) : [low, high] as const)),
          }),
        },
      },
      axes: [
        { ...axis, size: 28, space: 70, values: (_, splits) => splits.map(options.scale.text ?? shortStep), ...(options.scale.increments && { incrs: options.scale.increments }) },
        { ...axis, size: 52, space: 34, values: (_, splits) => splits.map((value) => (value === null ? "" : shortValue(value))) },
      ],
      series: [{}, ...options.series],
      bands: [...(options.bands ?? [])],
      hooks: {
        ready: [(plot) => plot.over.addEventListener("wheel", (event) => pan(plot, event, options), { passive: false })],
        setSelect: [
          (plot) => {
            if (plot.select.width > 4) {
              options.onZoom([plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x")]);
            }
            plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          },
        ],
        setCursor: [(plot) => options.onCursor((plot.cursor.left ?? -1) < 0 ? null : (plot.cursor.idx ?? null))],
      },
    },
    data,
    box,
  );
}

/** A curve of one value per epoch. */
export function epochSeries(stroke: string): uPlot.Series {
  return { stroke, width: 2, spanGaps: true, points: { show: hasRoom, size: 4, stroke, fill: stroke } };
}

/** The wheel moves the page as everywhere; sideways, or with Shift, it moves what is zoomed in on. */
function pan(plot: uPlot, event: WheelEvent, options: DrawOptions): void {
  const sideways = event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX;
  if (!options.zoom() || Math.abs(sideways) <= (event.shiftKey ? 0 : Math.abs(event.deltaY))) return;
  event.preventDefault();
  options.onPan(sideways / plot.over.clientWidth);
}

/** A range moved sideways by a share of its width, as far as there is something. */
export function panned([from, to]: Range, share: number, [first, last]: Range): Range {
  const width = to - from;
  const start = Math.max(first, Math.min(last - width, from + share * width));
  return width >= last - first ? [from, to] : [start, start + width];
}

/** What the horizontal axis shows. A single point has room around it: uPlot would look for ticks without end. */
export function stepsFor(zoom: Range | null, low: number | null, high: number | null): uPlot.Range.MinMax {
  const [from, to] = zoom ?? [low ?? 0, high ?? 1];
  return to > from ? [from, to] : [from - 1, from + 1];
}

/** A range with some air; a line that is as good as flat, such as an early learning rate, lies in the middle. */
export function roomFor(low: number | null, high: number | null): uPlot.Range.MinMax {
  if (low === null || high === null) return [0, 1];
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (size === 0) return [0, 1];
  return high - low < size * 1e-3 ? [low - size / 10, high + size / 10] : uPlot.rangeNum(low, high, 0.1, true);
}

/** What the vertical axis shows. */
export function rangeOf(axis: Axis, low: number | null, high: number | null): uPlot.Range.MinMax {
  // Where there is nothing yet, a logarithmic axis must not begin at zero: it would look for ticks without end.
  if (axis === "log" && (low === null || high === null)) return [1, 10];
  if (axis === "linear" || low === null || high === null) return roomFor(low, high);
  return axis === "log" ? uPlot.rangeLog(low, high, 10, false) : uPlot.rangeAsinh(low, high, 10, false);
}

/** Shares of the values on either side that clipping leaves outside. */
const OUTSIDE = 0.02;

/** The range of what is shown, less its outliers. */
function clipped(plot: uPlot, low: number | null, high: number | null): [number | null, number | null] {
  const [first, last] = plot.series[0]?.idxs ?? [0, -1];
  const values = plot.data.slice(1).flatMap((column) => Array.from(column).slice(first, last + 1)).filter((value): value is number => typeof value === "number");
  if (values.length === 0) return [low, high];
  values.sort((a, b) => a - b);
  return [values[Math.floor(OUTSIDE * values.length)] ?? low, values[Math.ceil((1 - OUTSIDE) * values.length) - 1] ?? high];
}

/** Dots are for telling epochs apart: none once they would touch. */
function hasRoom(plot: uPlot, series: number, first: number, last: number): boolean {
  let dots = 0;
  for (let index = first; index <= last; index += 1) if (plot.data[series]?.[index] != null) dots += 1;
  return dots * 9 < plot.over.clientWidth;
}

/** What a custom property comes to in the theme that is on. */
export function colourOf(box: HTMLElement, property: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${property})`;
  box.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

export function faint(colour: string, share = 0.28): string {
  return colour.replace(/^rgb\((.*)\)$/, `rgba($1, ${share})`);
}

function shortStep(step: number): string {
  if (step >= 1e6) return `${Number((step / 1e6).toFixed(2))}M`;
  return step >= 10_000 ? `${Number((step / 1000).toFixed(1))}k` : `${Number(step.toFixed(2))}`;
}

function shortValue(value: number): string {
  const size = Math.abs(value);
  if (size === 0 || (size >= 1e-3 && size < 1e5)) return String(Number(value.toPrecision(4)));
  const [mantissa, exponent] = value.toExponential(3).split("e");
  return `${Number(mantissa)}e${exponent?.replace("+", "")}`;
}
