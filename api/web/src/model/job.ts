// A job as the page knows it, and the converter from the wire.
import { may } from "../session";
import { type Placement, toPlacement } from "./placement";
import { canCancel, canCommand, canPause, canResume, canRetry, isActive, isEnded, isWaiting } from "./states";
import type { FeatureConfig, JobState, PresetName, Priority, Representation, TrainConfig, Wire } from "./wire_types";

export interface JobWarning {
  readonly code: string;
  readonly message: string;
  readonly advice: string;
  readonly step: number | null;
  readonly at: number;
}

/** The checkpoint of another job that a training started from. */
export interface StartPoint {
  readonly jobId: number;
  readonly jobName: string;
  readonly checkpoint: string;
  readonly epoch: number;
  readonly step: number;
}

export interface JobProgress {
  readonly phase: string;
  readonly message: string;
  readonly done: number;
  readonly total: number;
  readonly epoch: number;
  readonly epochs: number;
  readonly step: number;
  readonly totalSteps: number;
  /** 0 … 1 of the whole job; null while nothing is known. */
  readonly fraction: number | null;
}

export interface Job {
  readonly id: number;
  readonly kind: "preprocess" | "train";
  readonly name: string;
  readonly state: JobState;
  readonly reason: string;
  readonly detail: string;
  readonly dataset: { readonly id: number; readonly name: string; readonly version: number; readonly clips: number };
  readonly representation: Representation;
  readonly preset: PresetName | null;
  readonly start: StartPoint | null;
  readonly attempt: number;
  readonly device: string;
  readonly worker: string;
  /** The device that was asked for. */
  readonly wantedDevice: string;
  readonly placement: Placement;
  readonly priority: Priority;
  /** Place among the jobs of its priority: lower starts earlier. */
  readonly position: number;
  /** The first job of the batch that it came in. */
  readonly batch: number | null;
  /** Jobs that must have completed before it starts. */
  readonly after: readonly number[];
  readonly progress: JobProgress;
  readonly loss: number | null;
  readonly validationError: number | null;
  readonly quality: number | null;
  readonly overfittingGap: number | null;
  readonly activeUnits: number | null;
  readonly latentDim: number | null;
  readonly stepsPerS: number | null;
  readonly etaS: number | null;
  readonly elapsedS: number;
  readonly deviceMemoryBytes: number | null;
  readonly warnings: readonly JobWarning[];
  readonly lastCheckpoint: string;
  readonly lastCheckpointStep: number | null;
  readonly lastEvent: number;
  readonly queuedAt: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
  /** Who submitted it; empty where nobody has to log in. */
  readonly submittedBy: string;
  /** What its state allows, and the role of who is logged in. */
  readonly can: Readonly<Record<JobAction, boolean>>;
}

export type JobAction =
  | "cancel" | "pause" | "resume" | "retry" | "save" | "preview" | "hold" | "release" | "next" | "reorder" | "prioritise" | "edit" | "place" | "delete";

export interface JobDetail extends Job {
  readonly train: TrainConfig | null;
  readonly features: FeatureConfig | null;
  readonly presetDifferences: Readonly<Record<string, unknown>>;
  readonly versions: Readonly<Record<string, string>>;
  /** What was asked for; null for jobs of old versions. */
  readonly request: Wire<"JobDetailView">["request"];
}

export function toJob(wire: Wire<"JobView">): Job {
  const trains = wire.kind === "train";
  const mayEdit = may("jobs.edit_job");
  return {
    id: wire.id,
    kind: wire.kind,
    name: wire.name || `Job ${wire.id}`,
    state: wire.state,
    reason: wire.reason,
    detail: wire.detail,
    dataset: wire.dataset,
    representation: wire.representation,
    preset: wire.preset,
    start: wire.start && toStartPoint(wire.start),
    attempt: wire.attempt,
    device: wire.device,
    worker: wire.worker,
    wantedDevice: wire.wanted_device,
    placement: toPlacement(wire.placement),
    priority: wire.priority,
    position: wire.position,
    batch: wire.batch,
    after: wire.after,
    progress: toProgress(wire),
    loss: wire.loss,
    validationError: wire.val_reconstruction,
    quality: wire.quality,
    overfittingGap: wire.overfitting_gap,
    activeUnits: wire.active_units,
    latentDim: wire.latent_dim,
    stepsPerS: wire.steps_per_s,
    etaS: wire.eta_s,
    elapsedS: wire.elapsed_s,
    deviceMemoryBytes: wire.device_memory_bytes,
    warnings: wire.warnings,
    lastCheckpoint: wire.last_checkpoint,
    lastCheckpointStep: wire.last_checkpoint_step,
    lastEvent: wire.last_event,
    queuedAt: wire.queued_at,
    startedAt: wire.started_at,
    endedAt: wire.ended_at,
    submittedBy: wire.submitted_by,
    can: {
      cancel: canCancel(wire.state) && may("jobs.cancel_job"),
      pause: trains && canPause(wire.state) && may("jobs.pause_job"),
      resume: canResume(wire.state) && (trains || wire.state !== "completed") && may("jobs.resume_job"),
      retry: canRetry(wire.state) && may("jobs.retry_job"),
      hold: wire.state === "queued" && may("jobs.hold_job"),
      release: wire.state === "held" && may("jobs.release_job"),
      next: isWaiting(wire.state) && may("jobs.run_job_next"),
      reorder: isWaiting(wire.state) && may("jobs.move_job"),
      prioritise: isWaiting(wire.state) && mayEdit,
      edit: isWaiting(wire.state) && mayEdit,
      place: (isWaiting(wire.state) || canPause(wire.state)) && mayEdit,
      delete: isEnded(wire.state) && may("jobs.delete_job"),
      save: trains && canCommand(wire.state) && may("jobs.save_job"),
      preview: trains && canCommand(wire.state) && may("jobs.preview_job"),
    },
  };
}

/** Whether there is anything to show of its work. */
export const hasBegun = (job: Job): boolean => job.progress.fraction !== null || isActive(job.state) || job.startedAt !== null;

export function toStartPoint(wire: Wire<"StartPoint">): StartPoint {
  return { jobId: wire.job_id, jobName: wire.job_name, checkpoint: wire.checkpoint, epoch: wire.epoch, step: wire.step };
}

export function toJobDetail(wire: Wire<"JobDetailView">): JobDetail {
  return {
    ...toJob(wire),
    train: wire.train,
    features: wire.features,
    presetDifferences: wire.preset_differences,
    versions: wire.versions,
    request: wire.request,
  };
}

function toProgress(wire: Wire<"JobView">): JobProgress {
  const { phase, message, done, total, epoch, epochs, step } = wire.progress;
  const totalSteps = wire.progress.total_steps;
  let fraction: number | null = null;
  if (wire.state === "completed") fraction = 1;
  else if (totalSteps > 0) fraction = Math.min(1, step / totalSteps);
  // The phases around a training have counts of their own, which say nothing of the whole.
  else if (wire.kind === "preprocess" && total > 0) fraction = Math.min(1, done / total);
  return { phase, message, done, total, epoch, epochs, step, totalSteps, fraction };
}

const PRIORITY_RANK: Readonly<Record<Priority, number>> = { high: 0, normal: 1, low: 2 };

/** The order in which waiting jobs are taken: by priority, then by place. */
export function compareWaiting(a: Job, b: Job): number {
  return PRIORITY_RANK[a.priority] - PRIORITY_RANK[b.priority] || a.position - b.position || a.id - b.id;
}

/** Active ones first, then waiting ones in their order, then paused and ended ones, newest first. */
export function compareJobs(a: Job, b: Job): number {
  const rank = ({ state }: Job): number => (isActive(state) ? 0 : isWaiting(state) ? 1 : state === "paused" ? 2 : 3);
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  if (rank(a) === 0) return (a.startedAt ?? 0) - (b.startedAt ?? 0) || a.id - b.id;
  if (rank(a) === 1) return compareWaiting(a, b);
  return (b.endedAt ?? b.queuedAt) - (a.endedAt ?? a.queuedAt) || b.id - a.id;
}
