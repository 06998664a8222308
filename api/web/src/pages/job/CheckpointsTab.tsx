import { Icon } from "../../components/Icon";
import { Empty, Loading } from "../../components/Notices";
import { bytes, count, measure, moment } from "../../format";
import { weightsUrl } from "../../http/api";
import type { Checkpoint } from "../../model/artifacts";
import type { JobDetail } from "../../model/job";
import { resuming } from "../../store/actions";
import type { JobSession } from "../../store/job_session";

const REASONS: Readonly<Record<string, string>> = {
  interval: "regular", best: "new best", epoch: "end of epoch", save: "asked for", cancel: "on cancelling",
  pause: "on pausing", shutdown: "worker stopped", final: "end of training",
};

/** What can be gone back to: the newest checkpoints and the best one. */
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
      <table class="table">
        <caption class="unseen">Checkpoints, newest first</caption>
        <thead>
          <tr><th scope="col">Checkpoint</th><th scope="col" class="right">Loss</th><th scope="col" class="right">Validation error</th><th scope="col" class="right">Size</th><th scope="col">Saved</th><th scope="col"><span class="unseen">Actions</span></th></tr>
        </thead>
        <tbody>{checkpoints.map((checkpoint) => <CheckpointRow key={checkpoint.name} job={job} checkpoint={checkpoint} />)}</tbody>
      </table>
    </div>
  );
}

/** The New job form with this checkpoint as the start, on the same dataset until another one is chosen. */
function trainFrom(job: JobDetail, checkpoint: Checkpoint): string {
  const query = { start: String(job.id), checkpoint: checkpoint.name, dataset: String(job.dataset.id), representation: job.representation };
  return `/new?${new URLSearchParams(query).toString()}`;
}

function CheckpointRow({ job, checkpoint }: { job: JobDetail; checkpoint: Checkpoint }) {
  const titleId = `checkpoint-${checkpoint.name}`;
  return (
    <tr data-checkpoint={checkpoint.name}>
      <td data-label="">
        <span id={titleId}>Epoch {count(checkpoint.epoch)}, step {count(checkpoint.step)}</span>{" "}
        {checkpoint.best && <span class="badge tone-good">Best</span>} {checkpoint.newest && <span class="badge tone-work">Newest</span>}
      </td>
      <td class="right" data-label="Loss">{measure(checkpoint.loss)}</td>
      <td class="right" data-label="Validation error">{measure(checkpoint.validationError)}</td>
      <td class="right" data-label="Size">{bytes(checkpoint.sizeBytes)}</td>
      <td data-label="Saved">{moment(checkpoint.at)} <span class="muted small">{REASONS[checkpoint.reason] ?? checkpoint.reason}</span></td>
      <td data-label="">
        <div class="row checkpoint-actions">
          <a class="button button-small" href={trainFrom(job, checkpoint)} aria-describedby={titleId}><Icon name="branch" />Train from this</a>
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
