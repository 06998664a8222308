import { useEffect, useState } from "preact/hooks";
import { count, duration, fieldLabel, measure, moment, plural, setting } from "../format";
import { getResumeSummary, type ResumeChanges, resumeJob } from "../http/api";
import { ApiError, messageOf } from "../http/request";
import type { ResumeSummary } from "../model/artifacts";
import type { Job } from "../model/job";
import { resuming } from "../store/actions";
import { putJob } from "../store/queue";
import { tell } from "../store/toasts";
import { Dialog } from "./Dialog";
import { Said } from "./Said";
import { Field } from "./Field";

/** Shows what a resume would go on from, and waits for "Continue training"; a finished run is extended. */
export function ResumeDialog() {
  const chosen = resuming.value;
  return chosen && <ResumeForm key={chosen.job.id} job={chosen.job} checkpoint={chosen.checkpoint} />;
}

const CHECK_AFTER_MS = 250;

function ResumeForm({ job, checkpoint }: { job: Job; checkpoint: string | undefined }) {
  const trains = job.kind === "train";
  const isExtension = trains && job.state === "completed";
  const [epochs, setEpochs] = useState(isExtension ? String(longer(job.progress.epochs)) : "");
  const [summary, setSummary] = useState<ResumeSummary | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [isSending, setSending] = useState(false);
  const wanted = epochs.trim() === "" ? undefined : Number(epochs);
  const isValid = wanted === undefined || (Number.isInteger(wanted) && wanted > 0);
  const changes: ResumeChanges = { ...(isValid && wanted !== undefined && { epochs: wanted }), ...(checkpoint && { checkpoint }) };
  const close = (): void => {
    resuming.value = null;
  };

  useEffect(() => {
    if (!isValid) return;
    const abort = new AbortController();
    const timer = setTimeout(() => {
      getResumeSummary(job.id, changes, abort.signal).then(
        (value) => {
          setSummary(value);
          setError(null);
        },
        (reason: unknown) => {
          if (!abort.signal.aborted) setError(reason);
        },
      );
    }, summary ? CHECK_AFTER_MS : 0);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [epochs, job.id, checkpoint]);

  const submit = async (): Promise<void> => {
    if (!isValid || !summary?.possible || isSending) return;
    setSending(true);
    try {
      putJob(await resumeJob(job.id, changes));
      tell(isExtension ? `${job.name} goes on to epoch ${count(wanted)}.` : `${job.name} is in the queue again.`);
      close();
    } catch (reason) {
      setError(reason);
      setSending(false);
    }
  };

  const epochsError = !isValid ? "Write a whole number of epochs." : error instanceof ApiError && error.field === "epochs" ? error.message.replace(/^epochs: /, "") : "";
  const title = isExtension ? `Extend ${job.name}` : trains ? `Resume ${job.name}` : `Run ${job.name} again`;
  return (
    <Dialog title={title} onClose={close} onSubmit={() => void submit()}>
      {summary?.possible && <Summary summary={summary} />}
      {isExtension && summary?.possible && !epochsError && (
        <p>
          It learns {plural(summary.epochs - summary.epoch, "more epoch", "more epochs")}. The learning rate rises to where a run of {count(summary.epochs)} epochs
          has it by then, and falls to zero again.
        </p>
      )}
      {summary && !summary.possible && <div class="note note-warn" role="status"><p>{summary.reason || "This job cannot be resumed."}</p></div>}
      {error !== null && !epochsError && <div class="note note-bad" role="alert"><p><Said text={messageOf(error)} /></p></div>}
      {!summary && error === null && <p class="muted" role="status">Looking for the newest checkpoint …</p>}
      {trains && summary && (
        <Field id="resume-epochs" label="Epochs in all" help={isExtension ? `More than the ${count(job.progress.epochs)} that are done.` : "Leave it empty to keep the number. More than before extends the run."} error={epochsError}>
          {(props) => (
            <input {...props} class="input" inputMode="numeric" placeholder={summary.epochs > 0 ? String(summary.epochs) : ""} value={epochs} onInput={(event) => setEpochs(event.currentTarget.value)} />
          )}
        </Field>
      )}
      {summary && !epochsError && summary.changes.length > 0 && (
        <div>
          <h3>What changes</h3>
          <ul class="small">{summary.changes.map(({ field, before, after }) => <li key={field}>{fieldLabel(field)}: {setting(before)} → <b>{setting(after)}</b></li>)}</ul>
        </div>
      )}
      <div class="dialog-foot">
        <button type="button" class="button" onClick={close}>Not now</button>
        <button type="submit" class="button button-primary" disabled={!summary?.possible || epochsError !== "" || isSending}>
          {isExtension ? "Extend training" : trains ? "Continue training" : "Run again"}
        </button>
      </div>
    </Dialog>
  );
}

/** Half as many epochs again, as a round number. */
export function longer(epochs: number): number {
  const wanted = epochs * 1.5;
  const round = wanted >= 100 ? 10 : wanted >= 20 ? 5 : 1;
  return Math.max(epochs + 1, Math.ceil(wanted / round) * round);
}

function Summary({ summary }: { summary: ResumeSummary }) {
  return (
    <>
      <p class="muted">{summary.checkpoint ? `Goes on from the checkpoint of ${summary.savedAt ? moment(summary.savedAt) : summary.checkpoint}.` : summary.reason || "Starts from the beginning: nothing was saved yet."}</p>
      <dl class="facts">
        <div><dt>Epoch</dt><dd>{count(summary.epoch)} of {count(summary.epochs)}</dd></div>
        <div><dt>Step</dt><dd>{count(summary.step)} of {count(summary.totalSteps)}</dd></div>
        <div><dt>Loss</dt><dd>{measure(summary.loss)}</dd></div>
        <div><dt>Validation error</dt><dd>{measure(summary.validationError)}</dd></div>
        <div><dt>Trained for</dt><dd>{duration(summary.elapsedS)}</dd></div>
      </dl>
    </>
  );
}
