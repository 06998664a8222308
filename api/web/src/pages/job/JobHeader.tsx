import { Fragment } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Icon } from "../../components/Icon";
import { JobActions } from "../../components/JobActions";
import { JobWishes } from "../../components/JobWishes";
import { ProgressBar } from "../../components/ProgressBar";
import { ProgressText } from "../../components/ProgressText";
import { Said } from "../../components/Said";
import { StateBadge } from "../../components/StateBadge";
import { bytes, count, duration, measure, moment, plural } from "../../format";
import { getJobDisk } from "../../http/api";
import { hasBegun, type JobDetail } from "../../model/job";
import { isActive, isEnded, STATES } from "../../model/states";
import { busy, command } from "../../store/actions";
import { canTell, tellOf, told } from "../../store/notices";
import { jobs } from "../../store/queue";
import { kindText } from "../queue/JobRow";
import { QualityBar } from "./QualityBar";

/** Where a job stands, in numbers and in words, and what can be done about it. */
export function JobHeader({ job }: { job: JobDetail }) {
  return (
    <section class="card job-header" aria-label="State of the job">
      <div class="row job-header-top">
        <StateBadge state={job.state} />
        <p id="job-kind" class="muted">
          {kindText(job)} · <a href={`/datasets/${job.dataset.id}`}>{job.dataset.name}</a>, {plural(job.dataset.clips, "clip")}, version {job.dataset.version}
        </p>
        {canTell && !isEnded(job.state) && !told.value.includes(job.id) && (
          <button type="button" class="button button-small" onClick={() => tellOf(job.id)}>Tell me</button>
        )}
        <div class="push"><JobActions job={job} all labelledBy="job-kind" /></div>
      </div>
      <JobWishes job={job} />
      <Lineage job={job} />
      {job.state === "failed" ? <Failure job={job} /> : job.state === "held" ? <Held job={job} /> : job.reason && <p class="job-header-reason"><Said text={job.reason} /></p>}
      {hasBegun(job) && (
        <div>
          <ProgressBar job={job} />
          <ProgressText job={job} />
        </div>
      )}
      <Facts job={job} />
      {job.kind === "train" && job.progress.epoch > 0 && <QualityBar job={job} />}
      <Warnings job={job} />
    </section>
  );
}

/** What it started from, and what started from it. */
function Lineage({ job }: { job: JobDetail }) {
  const { start } = job;
  const offspring = [...jobs.value.values()].filter((other) => other.start?.jobId === job.id).sort((a, b) => a.id - b.id);
  return (
    <>
      {start && (
        <p class="small lineage">
          <Icon name="branch" />
          <span>
            Started from <a href={`/jobs/${start.jobId}?tab=checkpoints`}>job {start.jobId} ({start.jobName})</a>, checkpoint {start.checkpoint}, epoch {count(start.epoch)}
          </span>
        </p>
      )}
      {offspring.length > 0 && (
        <p class="small lineage">
          <Icon name="branch" />
          <span>
            Start of {offspring.map((other, index) => <Fragment key={other.id}>{index > 0 && ", "}<a href={`/jobs/${other.id}`}>job {other.id} ({other.name})</a></Fragment>)}
          </span>
        </p>
      )}
    </>
  );
}

/** Nothing happens to it by itself. */
function Held({ job }: { job: JobDetail }) {
  return (
    <div class="note note-warn row" role="status">
      <p><b>{job.can.release ? "Held: waits for you." : "Held."}</b> {job.can.release ? job.reason.replace(STATES.held.meaning, "") : job.reason}</p>
      {job.can.release && (
        <button type="button" class="button button-small button-primary push" aria-describedby="job-kind" disabled={busy.value.has(`${job.id} release`)} onClick={() => void command(job, "release")}><Icon name="play" />Release</button>
      )}
    </div>
  );
}

function Failure({ job }: { job: JobDetail }) {
  return (
    <div class="note note-bad" role="alert">
      <p><b><Said text={job.reason || "The job failed without saying why."} /></b></p>
      {job.detail && (
        <details class="advice">
          <summary>Details for a bug report</summary>
          <pre tabIndex={0}>{job.detail}</pre>
        </details>
      )}
    </div>
  );
}

function Facts({ job }: { job: JobDetail }) {
  const trains = job.kind === "train";
  const [disk, setDisk] = useState<number | null>(null);
  // A checkpoint that came, or the end, changes it.
  useEffect(() => {
    getJobDisk(job.id).then(setDisk, () => undefined);
  }, [job.id, job.lastCheckpoint, job.state]);
  const facts: (readonly [string, string])[] = [];
  if (trains && hasBegun(job)) facts.push(["Loss", measure(job.loss)], ["Validation error", measure(job.validationError)]);
  if (trains && isActive(job.state)) facts.push(["Steps per second", measure(job.stepsPerS)]);
  if (hasBegun(job)) facts.push(["Elapsed", duration(job.elapsedS)]);
  if (isActive(job.state)) facts.push(["To go", job.etaS === null ? "–" : duration(job.etaS)]);
  facts.push(["Device", job.worker || job.device || "–"]);
  if (job.deviceMemoryBytes !== null) facts.push(["Device memory", bytes(job.deviceMemoryBytes)]);
  if (job.activeUnits !== null && job.latentDim) facts.push(["Active units", `${count(job.activeUnits)} of ${count(job.latentDim)}`]);
  if (job.lastCheckpointStep !== null) facts.push(["Saved at step", count(job.lastCheckpointStep)]);
  if (disk) facts.push(["On disk", bytes(disk)]);
  facts.push(job.endedAt !== null && !isActive(job.state) ? ["Ended", moment(job.endedAt)] : ["Queued", moment(job.queuedAt)]);
  if (job.submittedBy) facts.push(["Submitted by", job.submittedBy]);
  if (job.attempt > 1) facts.push(["Started", plural(job.attempt, "time")]);
  return <dl class="facts">{facts.map(([label, value]) => <div key={label}><dt>{label}</dt><dd>{value}</dd></div>)}</dl>;
}

/** Warnings of which none is a fault: they only help to decide. */
const ADVICE: ReadonlySet<string> = new Set(["plateau", "latent_too_large"]);

function Warnings({ job }: { job: JobDetail }) {
  if (job.warnings.length === 0) return null;
  return (
    <ul class="stack warnings" aria-label="Warnings">
      {job.warnings.map((warning) => (
        <li key={warning.code} class={`note ${ADVICE.has(warning.code) ? "note-tip" : "note-warn"}`} data-warning={warning.code}>
          <p><b>{warning.message}</b>{warning.step !== null && <span class="small"> (step {count(warning.step)})</span>}</p>
          {warning.advice && <p class="advice">{warning.advice}</p>}
        </li>
      ))}
    </ul>
  );
}
