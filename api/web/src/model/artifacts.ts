// What a training leaves behind: checkpoints, previews, and the summary before a resume.
import type { Wire } from "./wire_types";

export interface Checkpoint {
  readonly name: string;
  readonly epoch: number;
  readonly step: number;
  readonly reason: string;
  readonly best: boolean;
  readonly newest: boolean;
  readonly pinned: boolean;
  /** Nothing but the pin keeps it. */
  readonly onlyPinned: boolean;
  readonly loss: number | null;
  readonly validationError: number | null;
  readonly sizeBytes: number;
  readonly seconds: number;
  readonly at: number;
}

export interface PreviewSound {
  readonly kind: "reconstruction" | "sample";
  readonly title: string;
  readonly audioUrl: string;
  readonly originalUrl: string | null;
  readonly durationS: number;
}

export interface Preview {
  readonly name: string;
  readonly epoch: number;
  readonly step: number;
  readonly at: number;
  readonly clips: readonly PreviewSound[];
}

export interface ResumeSummary {
  readonly possible: boolean;
  readonly reason: string;
  readonly checkpoint: string;
  readonly epoch: number;
  readonly epochs: number;
  readonly step: number;
  readonly totalSteps: number;
  readonly loss: number | null;
  readonly validationError: number | null;
  readonly elapsedS: number;
  readonly savedAt: number | null;
  readonly changes: readonly { readonly field: string; readonly before: unknown; readonly after: unknown }[];
}

export function toCheckpoint(wire: Wire<"CheckpointView">): Checkpoint {
  return {
    name: wire.name,
    epoch: wire.epoch,
    step: wire.step,
    reason: wire.reason,
    best: wire.best,
    newest: wire.newest,
    pinned: wire.pinned,
    onlyPinned: wire.only_pinned,
    loss: wire.loss,
    validationError: wire.val_reconstruction,
    sizeBytes: wire.size_bytes,
    seconds: wire.seconds,
    at: wire.at,
  };
}

export function toPreview(jobId: number, wire: Wire<"PreviewView">): Preview {
  const url = (file: string): string =>
    `/api/v1/jobs/${jobId}/previews/${encodeURIComponent(wire.name)}/${encodeURIComponent(file)}`;
  return {
    name: wire.name,
    epoch: wire.epoch,
    step: wire.step,
    at: wire.at,
    clips: wire.clips.map((clip) => ({
      kind: clip.kind,
      title: clip.title,
      audioUrl: url(clip.audio),
      originalUrl: clip.original ? url(clip.original) : null,
      durationS: clip.duration_s,
    })),
  };
}

export function toResumeSummary(wire: Wire<"ResumeSummaryView">): ResumeSummary {
  return {
    possible: wire.possible,
    reason: wire.reason,
    checkpoint: wire.checkpoint,
    epoch: wire.epoch,
    epochs: wire.epochs,
    step: wire.step,
    totalSteps: wire.total_steps,
    loss: wire.loss,
    validationError: wire.val_reconstruction,
    elapsedS: wire.elapsed_s,
    savedAt: wire.saved_at,
    changes: wire.changes,
  };
}
