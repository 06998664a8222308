// A model that stays: the best, a final or a pinned checkpoint of a job.
import type { Representation, Wire } from "./wire_types";

export interface Model {
  readonly jobId: number;
  readonly jobName: string;
  readonly datasetId: number;
  readonly datasetName: string;
  readonly representation: Representation;
  readonly checkpoint: string;
  readonly epoch: number;
  readonly step: number;
  readonly best: boolean;
  readonly final: boolean;
  readonly pinned: boolean;
  readonly validationError: number | null;
  readonly sizeBytes: number;
  readonly at: number;
}

/** Which models are asked for; empty for all. */
export interface ModelQuery {
  readonly q: string;
  readonly representation: string;
  readonly kept: string;
}

export function toModel(wire: Wire<"ModelView">): Model {
  return {
    jobId: wire.job,
    jobName: wire.job_name || `Job ${wire.job}`,
    datasetId: wire.dataset,
    datasetName: wire.dataset_name,
    representation: wire.representation,
    checkpoint: wire.checkpoint,
    epoch: wire.epoch,
    step: wire.step,
    best: wire.best,
    final: wire.final,
    pinned: wire.pinned,
    validationError: wire.val_reconstruction,
    sizeBytes: wire.size_bytes,
    at: wire.at,
  };
}
