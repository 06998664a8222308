import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { Empty } from "../../../components/Notices";
import { count } from "../../../format";
import { epochsTableUrl, stepsTableUrl } from "../../../http/api";
import { hasBegun, type Job } from "../../../model/job";
import { isActive, isEnded } from "../../../model/states";
import type { Range } from "../../../store/close_up";
import type { JobSession } from "../../../store/job_session";
import { clipsOutliers, logAxis, smoothing, theme, type XAxis, xAxis } from "../../../store/preferences";
import { BestSoFar } from "./BestSoFar";
import { Chart } from "./Chart";
import { CHARTS } from "./chart_specs";

/** Why a training that nothing is told of has no curves; null for one that is about to have some. */
export function whyEmpty(job: Job): string | null {
  if (job.progress.step > 0) return null;
  if (!hasBegun(job)) return isEnded(job.state) ? "It never started" : "It has not started yet";
  return isEnded(job.state) ? "It ended before its first step" : null;
}

export function ChartsTab({ session }: { session: JobSession }) {
  const zoom = useSignal<Range | null>(null);
  const follows = useSignal(false);
  const range = zoom.value;
  const version = session.metricsVersion.value;
  const isLive = isActive(session.current()?.state ?? "queued");
  useEffect(() => session.closeUp.show(range), [range]);
  useEffect(() => () => session.closeUp.show(null), [session]);
  // The newest point stays at the right edge.
  useEffect(() => {
    const { newest } = session.metrics;
    if (range && follows.value && newest > range[1]) zoom.value = [newest - (range[1] - range[0]), newest];
  }, [version, follows.value]);
  const look = { smoothing: smoothing.value, isLog: logAxis.value, theme: useShownTheme(), zoom, xAxis: xAxis.value, clips: clipsOutliers.value };
  const job = session.current();
  const why = job && session.metrics.newest === 0 ? whyEmpty(job) : null;
  if (job && why) return <Empty title={why}><p>{isEnded(job.state) ? "So there are no curves." : "Its curves appear here as soon as it trains."}</p></Empty>;
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
        <Check label="Log axis" state={logAxis} />
        <Check label="Clip outliers" state={clipsOutliers} />
        <label class="row small">
          By
          <select class="select select-small" value={xAxis.value} onChange={(event) => { xAxis.value = event.currentTarget.value as XAxis; }}>
            <option value="step">step</option>
            <option value="epoch">epoch</option>
            <option value="time">time</option>
          </select>
        </label>
        {zoom.value ? (
          <>
            <button type="button" class="button button-small" onClick={() => { zoom.value = null; }}>Show all</button>
            {isLive && <Check label="Follow live" state={follows} />}
          </>
        ) : (
          <span class="small muted">Drag over a chart to zoom all of them; then Shift and the wheel move it.</span>
        )}
        <span class="small muted push">
          {strideText(session)} As a table: <a href={stepsTableUrl(session.id)} download>steps</a>, <a href={epochsTableUrl(session.id)} download>epochs</a>
        </span>
      </div>
      <div class="charts" data-zoom={range ? `${Math.round(range[0])}-${Math.round(range[1])}` : ""}>{CHARTS.map((spec) => <Chart key={spec.name} spec={spec} session={session} look={look} />)}</div>
    </div>
  );
}

function Check({ label, state }: { label: string; state: Signal<boolean> }) {
  return (
    <label class="row small">
      <input type="checkbox" checked={state.value} onChange={(event) => { state.value = event.currentTarget.checked; }} />
      {label}
    </label>
  );
}

/** What a point of the curves stands for. */
function strideText(session: JobSession): string {
  const stride = (session.closeUp.columns.value ?? session.metrics).stride;
  return stride > 1 ? `Each point is the last of ${count(stride)} steps, the band all of them.` : "";
}

/** The theme that is really on, the system's wish included. */
export function useShownTheme(): string {
  const [isDark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const wish = matchMedia("(prefers-color-scheme: dark)");
    const follow = (): void => setDark(wish.matches);
    wish.addEventListener("change", follow);
    return () => wish.removeEventListener("change", follow);
  }, []);
  return theme.value === "auto" ? (isDark ? "dark" : "light") : theme.value;
}
