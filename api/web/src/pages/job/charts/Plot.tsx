import "uplot/dist/uPlot.min.css";
import type { Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type uPlot from "uplot";
import type { Range } from "../../../store/close_up";
import { type Scale, STEPS } from "./x_axis";
import { type Axis, drawChart, panned, type Style, stepsFor } from "./draw_chart";

/** Points that come in quick succession are drawn together. */
const REDRAW_MS = 150;

export interface PlotProps {
  /** What is to be drawn now. */
  readonly data: () => uPlot.AlignedData;
  readonly axis: (data: uPlot.AlignedData) => Axis;
  /** How the curves look in the theme that is on. */
  readonly style: (box: HTMLElement) => Style;
  /** The plot is made anew when one of these changes, and drawn again when one of `draws` does. */
  readonly makes: readonly unknown[];
  readonly draws: readonly unknown[];
  /** Plots of a group share their cursor. */
  readonly group: string;
  /** In steps. */
  readonly zoom: Signal<Range | null>;
  /** What the horizontal axis counts, of which `data` says the steps. */
  readonly scale?: () => Scale;
  readonly clips?: boolean;
  readonly onCursor: (index: number | null) => void;
  readonly children?: ComponentChildren;
}

/** A uPlot that keeps up with its data, a few times a second at most; its zoom stays where it is. */
export function Plot(props: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const now = useRef(props);
  now.current = props;
  const { zoom } = props;
  const steps = useRef<ArrayLike<number>>([]);
  const scaleNow = (): Scale => now.current.scale?.() ?? STEPS;
  const shownRange = (range: Range | null): Range | null => range && [scaleNow().toX(range[0]), scaleNow().toX(range[1])];
  const inUnits = (data: uPlot.AlignedData): uPlot.AlignedData => {
    const [x, ...columns] = data;
    steps.current = x;
    const { toX } = scaleNow();
    return toX === STEPS.toX ? data : [Float64Array.from(x, toX), ...columns];
  };

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const data = now.current.data();
    plot.current = drawChart(element, inUnits(data), {
      ...now.current.style(element),
      scale: scaleNow(),
      clips: now.current.clips ?? false,
      axis: now.current.axis(data),
      group: props.group,
      width: Math.max(120, element.clientWidth),
      height: element.clientHeight,
      zoom: () => shownRange(zoom.peek()),
      onZoom: ([from, to]) => {
        const { toStep } = scaleNow();
        zoom.value = [toStep(from), toStep(to)];
      },
      onReset: () => {
        zoom.value = null;
      },
      onPan: (share) => {
        const x = steps.current;
        if (zoom.peek()) zoom.value = panned(zoom.peek() as Range, share, [x[0] ?? 0, x[x.length - 1] ?? 1]);
      },
      onCursor: (index) => now.current.onCursor(index),
    });
    const sizes = new ResizeObserver(() => plot.current?.setSize({ width: Math.max(120, element.clientWidth), height: element.clientHeight }));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, props.makes as unknown[]);

  const due = useRef(0);
  const drawnAt = useRef(0);
  useEffect(() => {
    if (due.current) return;
    due.current = window.setTimeout(() => {
      due.current = 0;
      drawnAt.current = performance.now();
      const data = now.current.data();
      // Another number of curves has another plot, which is about to be made.
      if (data.length === plot.current?.series.length) plot.current.setData(inUnits(data));
    }, Math.max(0, drawnAt.current + REDRAW_MS - performance.now()));
  }, props.draws as unknown[]);
  useEffect(() => () => clearTimeout(due.current), []);

  const range = zoom.value;
  useEffect(() => {
    const x = plot.current?.data[0];
    if (!x || x.length === 0) return;
    const [min, max] = stepsFor(shownRange(range), x[0] ?? null, x.at(-1) ?? null);
    plot.current?.setScale("x", { min: min ?? 0, max: max ?? 1 });
  }, [range]);

  return <div class="chart-box" ref={box}>{props.children}</div>;
}
