import { Dialog } from "../../components/Dialog";
import { Icon } from "../../components/Icon";
import { Empty, Loading } from "../../components/Notices";
import { bytes, count, measure, moment } from "../../format";
import { weightsUrl } from "../../http/api";
import type { Checkpoint } from "../../model/artifacts";
import type { JobDetail } from "../../model/job";
import { busy, pin, resuming, unpinning } from "../../store/actions";
import { may } from "../../session";
import type { JobSession } from "../../store/job_session";

/** Why it was saved. */
export const SAVED: Readonly<Record<string, string>> = {
  interval: "regular", best: "new best", epoch: "end of epoch", save: "asked for", cancel: "on cancelling",
  pause: "on pausing", shutdown: "worker stopped", final: "end of training",
};

/** What can be gone back to: the newest checkpoints, the best one, and those that somebody pinned. */
export function CheckpointsTab({ job, session }: { job: JobDetail; session: JobSession }) {
  const checkpoints = session.checkpoints.value;
  if (!checkpoints) return <Loading what="the checkpoints" />;
  if (checkpoints.length === 0) {
    return (
      <Empty title="No checkpoint yet">
        <p>One is saved every {job.train ? Math.round(job.train.checkpoint_every_s) : 60} seconds, on a new best, and whenever you pause, cancel or press “Save now”.</p>
      </Empty>
    );
  }
  return (
    <div class="card checkpoints">
      <UnpinDialog />
      <table class="table">
        <caption class="unseen">Checkpoints, newest first</caption>
        <thead>
          <tr><th scope="col">Checkpoint</th><th scope="col" class="right">Loss</th><th scope="col" class="right">Validation error</th><th scope="col" class="right">Size</th><th scope="col">Saved</th><th scope="col"><span class="unseen">Actions</span></th></tr>
        </thead>
        <tbody>{checkpoints.map((checkpoint) => <CheckpointRow key={checkpoint.name} job={job} checkpoint={checkpoint} session={session} />)}</tbody>
      </table>
    </div>
  );
}

/** Asks before the last copy of a checkpoint goes. */
function UnpinDialog() {
  const asked = unpinning.value;
  if (!asked) return null;
  const close = (): void => { unpinning.value = null; };
  return (
    <Dialog title="Delete this checkpoint?" onClose={close} onSubmit={() => { close(); void pin(asked.job, asked.checkpoint, asked.session); }}>
      <p>Nothing but its pin keeps epoch {count(asked.checkpoint.epoch)}, step {count(asked.checkpoint.step)}: the training has removed its own. Unpinned, it is gone.</p>
      <div class="dialog-foot">
        <button type="button" class="button" onClick={close}>Keep it</button>
        <button type="submit" class="button button-danger">Unpin and delete</button>
      </div>
    </Dialog>
  );
}

/** The New job form with this checkpoint as the start, on the same dataset until another one is chosen. */
function trainFrom(job: JobDetail, checkpoint: Checkpoint): string {
  const query = { start: String(job.id), checkpoint: checkpoint.name, dataset: String(job.dataset.id), representation: job.representation };
  return `/new?${new URLSearchParams(query).toString()}`;
}

function CheckpointRow({ job, checkpoint, session }: { job: JobDetail; checkpoint: Checkpoint; session: JobSession }) {
  const titleId = `checkpoint-${checkpoint.name}`;
  return (
    <tr data-checkpoint={checkpoint.name}>
      <td data-label="">
        <span id={titleId}>Epoch {count(checkpoint.epoch)}, step {count(checkpoint.step)}</span>{" "}
        {checkpoint.best && <span class="badge tone-good">Best</span>} {checkpoint.newest && <span class="badge tone-work">Newest</span>}{" "}
        {checkpoint.pinned && <span class="badge tone-idle"><Icon name="pin" />Pinned</span>}
      </td>
      <td class="right" data-label="Loss">{measure(checkpoint.loss)}</td>
      <td class="right" data-label="Validation error">{measure(checkpoint.validationError)}</td>
      <td class="right" data-label="Size">{bytes(checkpoint.sizeBytes)}</td>
      <td data-label="Saved">{moment(checkpoint.at)} <span class="muted small">{SAVED[checkpoint.reason] ?? checkpoint.reason}</span></td>
      <td data-label="">
        <div class="row checkpoint-actions">
          {may("artifacts.pin_checkpoint") && <button
            type="button"
            class="button button-small"
            aria-describedby={titleId}
            disabled={busy.value.has(`${job.id} pin ${checkpoint.name}`)}
            title={checkpoint.pinned ? "Keep it no longer than the training does" : "Keep it, whatever the training goes on to do"}
            onClick={() => {
              if (checkpoint.onlyPinned) unpinning.value = { job, checkpoint, session };
              else void pin(job, checkpoint, session);
            }}
          >
            <Icon name="pin" />{checkpoint.pinned ? "Unpin" : "Pin"}
          </button>}
          {may("jobs.submit_job") && <a class="button button-small" href={trainFrom(job, checkpoint)} aria-describedby={titleId}><Icon name="branch" />Train from this</a>}
          <a class="button button-small" href={weightsUrl(job.id, checkpoint.name)} download aria-describedby={titleId}><Icon name="save" />Download</a>
          {job.can.resume && (
            <button type="button" class="button button-small" aria-describedby={titleId} onClick={() => { resuming.value = { job, checkpoint: checkpoint.name }; }}>
              <Icon name="again" />{job.state === "completed" ? "Extend from here" : "Resume from here"}
            </button>
          )}
        </div>
      </td>
    </tr>
  );
}
