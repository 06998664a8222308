import { type Signal, useSignal } from "@preact/signals";
import type uPlot from "uplot";
import { count, measure, moment } from "../../../format";
import type { Range } from "../../../store/close_up";
import type { JobSession } from "../../../store/job_session";
import { Icon } from "../../../components/Icon";
import type { XAxis } from "../../../store/preferences";
import { savePicture } from "./save_picture";
import { scaleOf } from "./x_axis";
import { chartData, type ChartData, isPositive, STEP_COLUMNS } from "./chart_data";
import type { ChartSpec } from "./chart_specs";
import { colourOf, epochSeries, faint, type Style } from "./draw_chart";
import { Plot } from "./Plot";

export interface ChartLook {
  readonly smoothing: number;
  readonly isLog: boolean;
  /** Changes when colours do. */
  readonly theme: string;
  readonly zoom: Signal<Range | null>;
  readonly xAxis: XAxis;
  readonly clips: boolean;
}

/** One chart of a job. */
export function Chart({ spec, session, look }: { spec: ChartSpec; session: JobSession; look: ChartLook }) {
  const latest = useSignal<ChartData | null>(null);
  const points = latest.value?.points ?? 0;
  const hovered = useSignal<number | null>(null);
  const isLog = look.isLog && !spec.exact;
  const smoothing = spec.exact ? 0 : look.smoothing;
  const isSmoothed = smoothing > 0;
  const progress = session.current()?.progress;
  const stepsPerEpoch = progress?.epochs ? progress.totalSteps / progress.epochs : 0;
  const read = (): uPlot.AlignedData => {
    const data = chartData(spec, session.metrics, session.closeUp.columns.peek(), session.epochs.peek(), smoothing);
    latest.value = data;
    return [data.x, ...data.columns];
  };

  return (
    <figure class={`card chart${spec.wide ? " chart-wide" : ""}`} data-chart={spec.name} data-points={points} aria-label={spec.title}>
      <figcaption>
        <h2 title={spec.help}>{spec.title}</h2>
        <button type="button" class="button button-icon chart-save" aria-label={`Save ${spec.title} as a picture`} title="Save as PNG" onClick={(event) => savePicture(event.currentTarget.closest("figure") as HTMLElement, spec.title)}><Icon name="save" /></button>
        <Readout spec={spec} data={latest.value} index={hovered.value} isSmoothed={isSmoothed} />
      </figcaption>
      <Plot
        data={read}
        axis={() => (!isLog ? "linear" : latest.peek() && isPositive(latest.peek() as ChartData) ? "log" : "asinh")}
        style={(box) => styleOf(box, spec, isSmoothed)}
        scale={() => scaleOf(look.xAxis, session.metrics, stepsPerEpoch)}
        clips={look.clips}
        makes={[spec, session, isLog, look.theme, isSmoothed, look.xAxis, look.clips]}
        draws={[session.metricsVersion.value, session.closeUp.columns.value, smoothing]}
        group="job-charts"
        zoom={look.zoom}
        onCursor={(index) => {
          hovered.value = index;
        }}
      >
        {points === 0 && <p class="chart-empty small muted">{spec.help} The first points are on their way.</p>}
      </Plot>
    </figure>
  );
}

/** A step metric as a line with the band of its rows' lowest and highest values, then the epochs. */
function styleOf(box: HTMLElement, spec: ChartSpec, isSmoothed: boolean): Style {
  const colours = { train: colourOf(box, "--accent"), validation: colourOf(box, "--validation") };
  const epochs = spec.epochs.map(({ tone }) => epochSeries(colours[tone]));
  if (!spec.metric) return { series: epochs };
  // A spike is one pixel wide: without a line at its edge the band alone would hardly show it.
  const edge: uPlot.Series = { stroke: faint(colours.train, 0.4), width: 1, points: { show: false } };
  return {
    series: [
      { stroke: isSmoothed ? faint(colours.train) : colours.train, width: isSmoothed ? 1 : 1.75, points: { show: false } },
      { stroke: colours.train, width: 2, points: { show: false }, show: isSmoothed },
      edge,
      edge,
      ...epochs,
    ],
    bands: [{ series: [3, 4], fill: faint(colours.train, 0.16) }],
  };
}

/** What the cursor stands on, or the newest point. */
function Readout({ spec, data, index, isSmoothed }: { spec: ChartSpec; data: ChartData | null; index: number | null; isSmoothed: boolean }) {
  if (!data || data.x.length === 0) return null;
  const row = index === null || index >= data.x.length ? data.x.length - 1 : index;
  const parts: { label: string; tone: string; text: string }[] = [];
  if (spec.metric) {
    parts.push({ label: isSmoothed ? "raw" : "training", tone: "train", text: measure(data.columns[0]?.[row]) });
    if (isSmoothed) parts.push({ label: "smoothed", tone: "train", text: measure(data.columns[1]?.[row]) });
  }
  const first = spec.metric ? STEP_COLUMNS : 0;
  spec.epochs.forEach((series, offset) => {
    parts.push({ label: series.label, tone: series.tone, text: measure(valueBefore(data.columns[first + offset], row)) });
  });
  const epoch = data.epoch[row];
  const at = data.at[row];
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
