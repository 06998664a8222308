import { Icon } from "../../components/Icon";
import { StateBadge } from "../../components/StateBadge";
import { measure } from "../../format";
import { messageOf } from "../../http/request";
import type { JobSession } from "../../store/job_session";
import { orderedJobs } from "../../store/queue";
import { gapText } from "../job/QualityBar";
import { kindText } from "../queue/JobRow";
import { MOST_JOBS, idsOf, type Slots, withJob, withoutJob } from "./slots";
import { Swatch } from "./Swatch";

/** The jobs that are compared, with the way to add one and to take one out. */
export function ChosenJobs({ slots, sessions, choose }: { slots: Slots; sessions: ReadonlyMap<number, JobSession>; choose: (slots: Slots) => void }) {
  const ids = idsOf(slots);
  const others = orderedJobs.value.filter((job) => job.kind === "train" && !ids.includes(job.id));
  return (
    <section class="stack" aria-label="Jobs">
      {ids.length > 0 && (
        <ul class="chosen-jobs" aria-label="Compared jobs">
          {slots.map((id, slot) => id !== null && <ChosenJob key={id} id={id} slot={slot} session={sessions.get(id)} drop={() => choose(withoutJob(slots, id))} />)}
        </ul>
      )}
      <label class="field compare-add">
        <span class="label">Add a training</span>
        <select
          class="select"
          value=""
          disabled={ids.length >= MOST_JOBS || others.length === 0}
          onChange={(event) => {
            const id = Number(event.currentTarget.value);
            event.currentTarget.value = "";
            if (id) choose(withJob(slots, id));
          }}
        >
          <option value="">{ids.length >= MOST_JOBS ? "Eight are the most" : others.length === 0 ? "There is no other" : "Choose …"}</option>
          {others.map((job) => <option key={job.id} value={job.id}>#{job.id} {job.name} – {job.dataset.name}</option>)}
        </select>
      </label>
    </section>
  );
}

function ChosenJob({ id, slot, session, drop }: { id: number; slot: number; session: JobSession | undefined; drop: () => void }) {
  const job = session?.current();
  const error = session?.error.value;
  const name = job?.name ?? `Job ${id}`;
  return (
    <li class="card chosen-job" data-job={id} data-slot={slot}>
      <Swatch slot={slot} />
      <div>
        <p><a class="job-name" href={`/jobs/${id}`}>{name}</a></p>
        {job && <p class="small muted">{kindText(job)} · {job.dataset.name}{job.validationError !== null && ` · error ${measure(job.validationError)}`}{job.overfittingGap !== null && ` · gap ${gapText(job.overfittingGap)}`}</p>}
        {!job && error ? <p class="small field-error">{messageOf(error)}</p> : null}
      </div>
      {job && <StateBadge state={job.state} />}
      <button type="button" class="button button-small button-icon" aria-label={`Take ${name} out`} title="Take out" onClick={drop}><Icon name="close" /></button>
    </li>
  );
}
