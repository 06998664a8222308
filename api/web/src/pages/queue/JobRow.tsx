import { JobActions } from "../../components/JobActions";
import { JobWishes } from "../../components/JobWishes";
import { ProgressBar } from "../../components/ProgressBar";
import { ProgressText } from "../../components/ProgressText";
import { Said } from "../../components/Said";
import { Sparkline } from "../../components/Sparkline";
import { StateBadge } from "../../components/StateBadge";
import { ago, duration, measure, plural, REPRESENTATIONS } from "../../format";
import { hasBegun, type Job } from "../../model/job";
import { isActive, isWaiting, STATES } from "../../model/states";
import { nowMs } from "../../store/clock";
import { queue } from "../../store/queue";
import { selected, toggle } from "../../store/selection";
import { Grip } from "./Grip";

/** It has the job as its only property, so that of a long list only the rows whose jobs changed are drawn again. */
export function JobRow({ job }: { job: Job }) {
  const nameId = `job-${job.id}-name`;
  const isSelected = selected.value.has(job.id);
  const why = reasonOf(job);
  return (
    <li class="job-row" data-job={job.id} data-selected={isSelected || undefined}>
      {job.can.reorder && <Grip job={job} />}
      <label class="job-check">
        <input
          type="checkbox"
          aria-label={`Select ${job.name}`}
          checked={isSelected}
          onClick={(event) => toggle(job.id, event.currentTarget.checked, event.shiftKey, rowsAround(event.currentTarget))}
        />
      </label>
      <div class="job-what">
        <p class="job-title">
          <StateBadge state={job.state} />
          <a id={nameId} class="job-name" href={`/jobs/${job.id}`}>{job.name}</a>
        </p>
        <p class="small muted">{kindText(job)} · <a class="link-plain" href={`/datasets/${job.dataset.id}`}>{job.dataset.name}</a>, {plural(job.dataset.clips, "clip")}{job.submittedBy && `, by ${job.submittedBy}`}</p>
        <JobWishes job={job} />
        {why && <p class={`small job-reason${job.state === "failed" ? " job-reason-bad" : ""}`}><Said text={why} /></p>}
      </div>
      <div class="job-progress">
        {hasBegun(job) && <ProgressBar job={job} />}
        {hasBegun(job) && <ProgressText job={job} />}
      </div>
      <div class="job-loss">
        <Sparkline job={job} />
        {job.loss !== null && <p class="small number"><span class="muted">Loss</span> {measure(job.loss)}</p>}
      </div>
      <WhereAndWhen job={job} />
      <JobActions job={job} labelledBy={nameId} />
    </li>
  );
}

/** The jobs of its group in the order shown, for a selection from one row to another. */
function rowsAround(element: HTMLElement): readonly number[] {
  return [...(element.closest(".job-list")?.querySelectorAll<HTMLElement>(":scope > .job-row") ?? [])].map((row) => Number(row.dataset["job"]));
}

/** Why it is in its state; of a job that waits there is always something to say. */
function reasonOf(job: Job): string {
  if (job.reason || !isWaiting(job.state)) return job.reason;
  return job.state === "queued" && queue.value.paused ? "The queue is paused." : STATES[job.state].meaning;
}

export function kindText(job: Job): string {
  const representation = REPRESENTATIONS[job.representation];
  const what = job.kind === "train" ? `training, ${representation}${job.preset ? `, ${job.preset}` : ""}` : `features, ${representation}`;
  return `Job ${job.id}: ${what}`;
}

function WhereAndWhen({ job }: { job: Job }) {
  const now = nowMs.value / 1000;
  const when = isWaiting(job.state)
    ? `queued ${ago(now - job.queuedAt)}`
    : isActive(job.state)
      ? `${duration(job.elapsedS)} so far`
      : `${job.endedAt ? ago(now - job.endedAt) : "stopped"}${job.elapsedS > 0 ? `, ran ${duration(job.elapsedS)}` : ""}`;
  const where = isWaiting(job.state) ? "" : job.worker || (job.device === "auto" ? "" : job.device);
  return (
    <div class="job-where small">
      <p>{where}</p>
      <p class="muted number">{when}</p>
    </div>
  );
}
