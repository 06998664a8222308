import { bytes, count, remaining } from "../../format";
import { draft } from "../../store/draft";
import { onlineWorkers } from "../../store/queue";
import type { FormCheck } from "./form_check";

/** What the job comes to, what to know before starting it, and the button that does. */
export function Estimate({ check, general, fileCount, isSending, jobCount, isWrong, isEdit }: {
  check: FormCheck;
  general: string | undefined;
  fileCount: number | undefined;
  isSending: boolean;
  jobCount: number;
  /** Something in the form has to be corrected first. */
  isWrong: boolean;
  isEdit: boolean;
}) {
  const trains = draft.value.kind === "train";
  const { view } = check;
  return (
    <aside class="card estimate" aria-label="Summary">
      <h2>What it comes to</h2>
      {isWrong && draft.value.dataset ? (
        <p class="muted">It waits for what is wrong in the form to be corrected.</p>
      ) : draft.value.dataset ? (
        <>
          {jobCount > 1 && (
            <dl class="estimate-facts number" data-fresh={check.isFresh}>
              <div><dt>Jobs</dt><dd>{count(jobCount)}</dd></div>
              {trains && <div><dt>Steps of all jobs</dt><dd>{count(view?.all_steps)}</dd></div>}
              {trains && <div><dt>Time of all jobs</dt><dd title="One after the other: several devices share it">{view?.all_seconds ? remaining(view.all_seconds) : "–"}</dd></div>}
            </dl>
          )}
          {jobCount > 1 && <p class="small muted">The first of them:</p>}
          <dl class="estimate-facts number" data-fresh={check.isFresh}>
            <div><dt>Clips</dt><dd>{count(view?.file_count ?? fileCount)}</dd></div>
            {trains && <div><dt>Chunks</dt><dd>{count(view?.chunks)}</dd></div>}
            {trains && <div><dt>Steps an epoch</dt><dd>{count(view?.steps_per_epoch)}</dd></div>}
            {trains && <div><dt>Steps in all</dt><dd>{count(view?.total_steps)}</dd></div>}
            {trains && <div><dt>Memory</dt><dd>{view?.memory_bytes ? `about ${bytes(view.memory_bytes)}` : "–"}</dd></div>}
            {trains && <div><dt>Time</dt><dd title="By how fast earlier trainings were here">{view?.seconds ? remaining(view.seconds) : "after a first training"}</dd></div>}
          </dl>
        </>
      ) : (
        <p class="muted">Choose a dataset to see it.</p>
      )}
      <div role="status" class="stack">
        {view?.warnings.map((warning) => <div key={warning} class="note note-warn"><p>{warning}</p></div>)}
        {!view && onlineWorkers.value.length === 0 && <div class="note note-warn"><p>No worker is online. The job waits until one is.</p></div>}
        {general && <div class="note note-bad"><p>{general}</p></div>}
      </div>
      <button type="submit" class="button button-primary" disabled={isSending}>{buttonText(isEdit, trains, jobCount)}</button>
    </aside>
  );
}

function buttonText(isEdit: boolean, trains: boolean, jobCount: number): string {
  if (isEdit) return "Save changes";
  if (jobCount > 1) return trains ? `Start ${count(jobCount)} trainings` : `Start ${count(jobCount)} preprocessings`;
  return trains ? "Start training" : "Start preprocessing";
}
