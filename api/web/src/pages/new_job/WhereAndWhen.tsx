import { Chips } from "../../components/Chips";
import { Field } from "../../components/Field";
import { Icon } from "../../components/Icon";
import { isActive, isWaiting, STATES } from "../../model/states";
import type { Priority } from "../../model/wire_types";
import { changeDraft, changePlacement, draft } from "../../store/draft";
import { jobs, orderedJobs, orderedWorkers } from "../../store/queue";
import { knownLabels, workerText } from "../../store/where";
import { fieldId } from "./field_groups";
import { Folded } from "./Folded";

type Errors = Readonly<Record<string, string>>;

/** Which workers may run it, before or after what, and at which times. */
export function WhereAndWhen({ errors, editing }: { errors: Errors; editing: number | null }) {
  const { placement, priority, held, after } = draft.value;
  const summary = [
    priority !== "normal" && `${priority} priority`,
    held && "held",
    after.length > 0 && `after ${after.map((id) => `job ${id}`).join(", ")}`,
    placement.worker && `by ${placement.worker}`,
    placement.labels.length > 0 && placement.labels.join(", "),
    placement.freeMemory && `${placement.freeMemory} GB free`,
    placement.onlyWhenIdle && "only when idle",
    placement.hoursStart && placement.hoursEnd && `${placement.hoursStart} to ${placement.hoursEnd}`,
    placement.timeLimit && `at most ${placement.timeLimit}`,
  ].filter(Boolean).join(" · ");
  const names = ["priority", "held", "after", ...Object.keys(errors).filter((name) => name.startsWith("placement"))];
  const errorOf = (name: string): string | undefined => errors[name] ?? Object.entries(errors).find(([one]) => one.startsWith(`${name}.`))?.[1];
  return (
    <Folded title="Where and when" summary={summary || "as soon as a device is free"} isUsed={summary !== ""} hasError={names.some((name) => errors[name])}>
      <div class="field-grid">
        <Field id={fieldId("priority")} label="Priority" help="Higher ones start first; among equals the order of the queue counts." error={errors["priority"]}>
          {(props) => (
            <select {...props} class="select" value={priority} onChange={(event) => changeDraft({ priority: event.currentTarget.value as Priority })}>
              <option value="high">High</option>
              <option value="normal">Normal</option>
              <option value="low">Low</option>
            </select>
          )}
        </Field>
        <AfterField error={errorOf("after")} self={editing} />
        <Field id={fieldId("placement.worker")} label="Worker" help="A named one is waited for, even while it is offline." error={errorOf("placement.worker")}>
          {(props) => (
            <select {...props} class="select" value={placement.worker} onChange={(event) => changePlacement({ worker: event.currentTarget.value })}>
              <option value="">Any that fits</option>
              {orderedWorkers.value.map((worker) => <option key={worker.name} value={worker.name}>{workerText(worker)}</option>)}
              {placement.worker && !orderedWorkers.value.some(({ name }) => name === placement.worker) && <option value={placement.worker}>{placement.worker} (not known here)</option>}
            </select>
          )}
        </Field>
        <Field id={fieldId("placement.labels")} label="Labels" help="The worker must have all of these; labels are given on the Workers page." error={errorOf("placement.labels")}>
          {(props) => (
            <Chips
              id={props.id}
              label="Labels"
              describedBy={props["aria-describedby"]}
              invalid={props["aria-invalid"]}
              values={placement.labels}
              suggestions={knownLabels()}
              placeholder={placement.labels.length > 0 ? "" : "any"}
              onChange={(labels) => changePlacement({ labels })}
            />
          )}
        </Field>
        <Field id={fieldId("placement.min_free_memory_bytes")} label="Free memory (GB)" help="Must be free on the device before it starts; empty for any." error={errorOf("placement.min_free_memory_bytes")}>
          {(props) => <input {...props} class="input number" inputMode="decimal" autoComplete="off" placeholder="any" value={placement.freeMemory} onInput={(event) => changePlacement({ freeMemory: event.currentTarget.value })} />}
        </Field>
        <Field id={fieldId("placement.time_limit_s")} label="Time limit" help="After so long it saves and pauses, such as 90 min or 2 h." error={errorOf("placement.time_limit_s")}>
          {(props) => <input {...props} class="input number" autoComplete="off" placeholder="none" value={placement.timeLimit} onInput={(event) => changePlacement({ timeLimit: event.currentTarget.value })} />}
        </Field>
        <HoursField error={errorOf("placement.hours")} />
      </div>
      <div class="checks">
        <label class="check">
          <input id={fieldId("placement.only_when_idle")} type="checkbox" checked={placement.onlyWhenIdle} onChange={(event) => changePlacement({ onlyWhenIdle: event.currentTarget.checked })} />
          <span>Only while nobody else uses the machine <span class="muted small">It makes way and goes on later.</span></span>
        </label>
        {editing === null && (
          <label class="check">
            <input id={fieldId("held")} type="checkbox" checked={held} onChange={(event) => changeDraft({ held: event.currentTarget.checked })} />
            <span>Hold it <span class="muted small">It waits in the queue until you release it.</span></span>
          </label>
        )}
      </div>
    </Folded>
  );
}

function HoursField({ error }: { error: string | undefined }) {
  const { hoursStart, hoursEnd } = draft.value.placement;
  const id = fieldId("placement.hours");
  const described = [error && `${id}-error`, `${id}-help`].filter(Boolean).join(" ");
  return (
    <div class="field" role="group" aria-labelledby={`${id}-label`} aria-describedby={described}>
      <span class="label" id={`${id}-label`}>Hours of the day</span>
      <div class="hours">
        <input id={id} class="input" type="time" aria-label="From" aria-invalid={error ? true : undefined} value={hoursStart} onInput={(event) => changePlacement({ hoursStart: event.currentTarget.value })} />
        <span class="muted">to</span>
        <input class="input" type="time" aria-label="Until" aria-invalid={error ? true : undefined} value={hoursEnd} onInput={(event) => changePlacement({ hoursEnd: event.currentTarget.value })} />
      </div>
      {error && <p class="field-error" id={`${id}-error`} role="alert">{error}</p>}
      <p class="field-help" id={`${id}-help`}>By the server’s clock. Outside of them it saves and waits; both empty for any time.</p>
    </div>
  );
}

/** Jobs to wait for: a training usually follows the preprocessing of its dataset. */
function AfterField({ error, self }: { error: string | undefined; self: number | null }) {
  const { after, dataset } = draft.value;
  const candidates = orderedJobs.value
    .filter((job) => (isActive(job.state) || isWaiting(job.state) || job.state === "paused") && job.id !== self && !after.includes(job.id))
    .sort((a, b) => rank(a, dataset) - rank(b, dataset));
  return (
    <Field id={fieldId("after")} label="After" help="It waits until all of these are completed." error={error}>
      {(props) => (
        <div class="after-field">
          {after.length > 0 && (
            <div class="chips-plain">
              {after.map((id) => (
                <span key={id} class="chip">
                  {jobs.value.get(id)?.name ?? `Job ${id}`}
                  <button type="button" aria-label={`Do not wait for ${jobs.value.get(id)?.name ?? `job ${id}`}`} onClick={() => changeDraft({ after: after.filter((one) => one !== id) })}><Icon name="close" /></button>
                </span>
              ))}
            </div>
          )}
          <select {...props} class="select" value="" onChange={(event) => {
            const id = Number(event.currentTarget.value);
            event.currentTarget.value = "";
            if (id > 0) changeDraft({ after: [...after, id] });
          }}>
            <option value="">{after.length > 0 ? "And another job …" : "No other job"}</option>
            {candidates.slice(0, 200).map((job) => <option key={job.id} value={String(job.id)}>{job.id}: {job.name} ({STATES[job.state].word.toLowerCase()})</option>)}
          </select>
        </div>
      )}
    </Field>
  );
}

const rank = (job: { kind: string; dataset: { id: number } }, dataset: string): number =>
  (job.kind === "preprocess" ? 0 : 2) + (String(job.dataset.id) === dataset ? 0 : 1);
