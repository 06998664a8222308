import "uplot/dist/uPlot.min.css";
import { useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import type { JobSession } from "../../../store/job_session";
import { logAxis, smoothing, theme } from "../../../store/preferences";
import { BestSoFar } from "./BestSoFar";
import { Chart } from "./Chart";
import { CHARTS } from "./chart_specs";
import type { Range } from "./draw_chart";

export function ChartsTab({ session }: { session: JobSession }) {
  const zoom = useSignal<Range | null>(null);
  const look = { smoothing: smoothing.value, isLog: logAxis.value, theme: useShownTheme(), zoom };
  return (
    <div class="stack">
      <BestSoFar session={session} />
      <div class="row chart-tools">
        <label class="row small">
          Smoothing
          <input
            type="range"
            min={0}
            max={1}
            step={0.05}
            value={smoothing.value}
            onInput={(event) => {
              smoothing.value = event.currentTarget.valueAsNumber;
            }}
          />
        </label>
        <label class="row small">
          <input
            type="checkbox"
            checked={logAxis.value}
            onChange={(event) => {
              logAxis.value = event.currentTarget.checked;
            }}
          />
          Log axis
        </label>
        {zoom.value ? (
          <button type="button" class="button button-small" onClick={() => { zoom.value = null; }}>Show all</button>
        ) : (
          <span class="small muted">Drag over a chart to zoom all of them.</span>
        )}
        {session.metrics.stride > 1 && <span class="small muted push">Each point is the mean of {session.metrics.stride} steps.</span>}
      </div>
      <div class="charts">{CHARTS.map((spec) => <Chart key={spec.name} spec={spec} session={session} look={look} />)}</div>
    </div>
  );
}

/** The theme that is really on, the system's wish included. */
function useShownTheme(): string {
  const [isDark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const wish = matchMedia("(prefers-color-scheme: dark)");
    const follow = (): void => setDark(wish.matches);
    wish.addEventListener("change", follow);
    return () => wish.removeEventListener("change", follow);
  }, []);
  return theme.value === "auto" ? (isDark ? "dark" : "light") : theme.value;
}
