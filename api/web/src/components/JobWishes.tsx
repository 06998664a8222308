import { Fragment } from "preact";
import type { Job } from "../model/job";
import { placementWords } from "../model/placement";
import { isWaiting } from "../model/states";
import { jobs } from "../store/queue";

/** What was asked of the queue for a job, where it is anything but the usual. */
export function JobWishes({ job }: { job: Job }) {
  const words = placementWords(job.placement, job.wantedDevice);
  const hasPriority = isWaiting(job.state) && job.priority !== "normal";
  const after = isWaiting(job.state) ? job.after : [];
  if (words.length === 0 && !hasPriority && after.length === 0 && job.batch === null) return null;
  return (
    <ul class="wishes small">
      {hasPriority && <li data-priority={job.priority}>{job.priority === "high" ? "High priority" : "Low priority"}</li>}
      {words.map((word) => <li key={word}>{word}</li>)}
      {after.length > 0 && <li>after <JobLinks ids={after} /></li>}
      {job.batch !== null && <li><a class="link-plain" href={`/?batch=${job.batch}`}>batch {job.batch}</a></li>}
    </ul>
  );
}

/** Jobs by their names, as far as they are known here. */
export function JobLinks({ ids }: { ids: readonly number[] }) {
  return <>{ids.map((id, index) => <Fragment key={id}>{index > 0 && ", "}<a class="link-plain" href={`/jobs/${id}`}>{jobs.value.get(id)?.name ?? `job ${id}`}</a></Fragment>)}</>;
}
