import { useEffect, useRef, useState } from "preact/hooks";
import { count } from "../../format";
import type { Job } from "../../model/job";
import { hasMore, loadMoreJobs } from "../../store/queue";
import { select, selected, toggle } from "../../store/selection";
import { tellError } from "../../store/toasts";
import type { Group } from "./filter";
import { JobRow } from "./JobRow";

const FIRST_ROWS = 60;
/** So few that they are drawn without a noticeable pause. */
const MORE_ROWS = 120;

/** Jobs under one heading; long lists are shown a part at a time. */
export function JobGroup({ title, jobs }: Group) {
  const [limit, setLimit] = useState(FIRST_ROWS);
  const [isLoading, setLoading] = useState(false);
  const id = `group-${title}`;
  const which = title === "Finished" ? "ended" : "open";
  // Running jobs come first and all of them; what was not fetched waits, is paused or has ended.
  const isMoreThere = title !== "Running" && hasMore.value[which];
  const showMore = async (): Promise<void> => {
    const next = limit + MORE_ROWS;
    if (next >= jobs.length && isMoreThere) {
      setLoading(true);
      await loadMoreJobs(which).catch(tellError);
      setLoading(false);
    }
    setLimit(next);
  };
  return (
    <section class="queue-group" aria-labelledby={id}>
      <div class="queue-group-head">
        <GroupCheck title={title} jobs={jobs} />
        <h2 id={id}>{title} <small class="muted number">{count(jobs.length)}{isMoreThere && " and more"}</small></h2>
      </div>
      <ul class="card job-list">{jobs.slice(0, limit).map((job) => <JobRow key={job.id} job={job} />)}</ul>
      {(jobs.length > limit || isMoreThere) && (
        <p class="more">
          <button type="button" class="button" disabled={isLoading} onClick={() => void showMore()}>
            {isLoading ? "Loading …" : jobs.length > limit ? `Show ${count(Math.min(MORE_ROWS, jobs.length - limit))} more` : "Show more"}
          </button>
        </p>
      )}
    </section>
  );
}

/** Selects the whole group, also what is not shown yet. */
function GroupCheck({ title, jobs }: { title: string; jobs: readonly Job[] }) {
  const box = useRef<HTMLInputElement>(null);
  const chosen = jobs.filter(({ id }) => selected.value.has(id)).length;
  const isSome = chosen > 0 && chosen < jobs.length;
  useEffect(() => {
    if (box.current) box.current.indeterminate = isSome;
  }, [isSome]);
  const change = (isOn: boolean): void => {
    if (isOn) select(jobs.map(({ id }) => id));
    else for (const { id } of jobs) toggle(id, false);
  };
  return (
    <label class="job-check">
      <input ref={box} type="checkbox" aria-label={`Select all: ${title.toLowerCase()}`} checked={chosen === jobs.length} onChange={(event) => change(event.currentTarget.checked)} />
    </label>
  );
}
