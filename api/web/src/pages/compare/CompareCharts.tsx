import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type uPlot from "uplot";
import { count, measure } from "../../format";
import type { Range } from "../../store/close_up";
import { logAxis, smoothing } from "../../store/preferences";
import { CHARTS, type ChartSpec } from "../job/charts/chart_specs";
import { useShownTheme } from "../job/charts/ChartsTab";
import { colourOf, epochSeries, type Style } from "../job/charts/draw_chart";
import { Plot } from "../job/charts/Plot";
import type { Compared } from "./compared";
import { compareData, valueAt } from "./compare_data";
import { Swatch } from "./Swatch";

const SHOWN: readonly string[] = ["loss", "epoch_error", "reconstruction", "kl"];

/** The curves of all jobs over each other; the zoom is that of every chart. */
export function CompareCharts({ compared }: { compared: readonly Compared[] }) {
  const zoom = useSignal<Range | null>(null);
  const range = zoom.value;
  const theme = useShownTheme();
  useEffect(() => {
    for (const { session } of compared) session.closeUp.show(range);
  }, [range, compared.map(({ job }) => job.id).join()]);
  return (
    <section class="stack" aria-label="Charts">
      <div class="row chart-tools">
        <h2>Charts</h2>
        <span class="small muted">By step. {range ? "Shift and the wheel move what is shown." : "Drag over a chart to zoom all of them."}</span>
        {range && <button type="button" class="button button-small" onClick={() => { zoom.value = null; }}>Show all</button>}
      </div>
      <div class="charts">
        {CHARTS.filter(({ name }) => SHOWN.includes(name)).map((spec) => <CompareChart key={spec.name} spec={spec} compared={compared} zoom={zoom} theme={theme} />)}
      </div>
    </section>
  );
}

function CompareChart({ spec, compared, zoom, theme }: { spec: ChartSpec; compared: readonly Compared[]; zoom: Signal<Range | null>; theme: string }) {
  const latest = useRef<uPlot.AlignedData>([[]]);
  const hovered = useSignal<number | null>(null);
  const sessions = compared.map(({ session }) => session);
  const slots = compared.map(({ slot }) => slot);
  const drawings = useSignal(0);
  const read = (): uPlot.AlignedData => {
    latest.current = compareData(spec, sessions, smoothing.peek());
    drawings.value += 1;
    return latest.current;
  };
  const x = latest.current[0];
  const row = hovered.value ?? x.length - 1;
  return (
    <figure class="card chart chart-wide" data-chart={spec.name} data-drawings={drawings.value} aria-label={spec.title}>
      <figcaption>
        <h2 title={spec.help}>{spec.title}</h2>
        <span class="chart-at small muted number">{hovered.value === null ? "" : `step ${count(x[row])}`}</span>
        <p class="readout small number">
          {compared.map(({ job, slot }, index) => (
            <span key={job.id}><Swatch slot={slot} />#{job.id} <b>{measure(valueAt(latest.current[index + 1], row))}</b></span>
          ))}
        </p>
      </figcaption>
      <Plot
        data={read}
        axis={() => (logAxis.peek() ? "asinh" : "linear")}
        style={(box) => styleOf(box, spec, slots)}
        makes={[spec, theme, slots.join(), sessions.map(({ id }) => id).join(), logAxis.value]}
        draws={[smoothing.value, ...sessions.flatMap(({ metricsVersion, closeUp }) => [metricsVersion.value, closeUp.columns.value])]}
        group="compare-charts"
        zoom={zoom}
        onCursor={(index) => {
          hovered.value = index;
        }}
      />
    </figure>
  );
}

function styleOf(box: HTMLElement, spec: ChartSpec, slots: readonly number[]): Style {
  return {
    series: slots.map((slot) => {
      const stroke = colourOf(box, `--job-${slot}`);
      // Beyond four, lines differ in more than their colour.
      const dash = slot >= 4 ? { dash: [7, 4] } : {};
      return spec.metric ? { stroke, width: 1.75, points: { show: false }, ...dash } : { ...epochSeries(stroke), ...dash };
    }),
  };
}
