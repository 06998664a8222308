// The queue as a whole, batches, and what came of an action on many jobs.
export interface QueueState {
  readonly paused: boolean;
  /** Seconds since 1970. */
  readonly pausedAt: number | null;
}

export const BULK_ACTIONS = ["cancel", "pause", "resume", "hold", "release", "retry"] as const;
export type BulkAction = (typeof BULK_ACTIONS)[number];

export interface BulkResult {
  readonly job: number;
  readonly ok: boolean;
  /** Why not, in one sentence. */
  readonly error: string;
}

export interface Batch {
  /** The first job's number, which is the batch's too. */
  readonly batch: number;
  readonly jobs: readonly number[];
}
