import { percent } from "../format";
import { isActive } from "../model/states";
import type { Job } from "../model/job";

/** How far a job is, as a bar that says its share. */
export function ProgressBar({ job }: { job: Job }) {
  const { fraction } = job.progress;
  const share = fraction ?? 0;
  return (
    <div
      class="progress"
      role="progressbar"
      aria-label={`Progress of ${job.name}`}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={fraction === null ? undefined : Math.round(share * 100)}
      aria-valuetext={fraction === null ? "not started" : percent(share)}
      data-live={isActive(job.state)}
      data-state={job.state}
    >
      <i style={{ inlineSize: `${share * 100}%`, "--track": share > 0 ? `${100 / share}%` : "100%" }} />
    </div>
  );
}
