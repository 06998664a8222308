// What each state means to a person, and what can be done in it. Mirrors the table of legal moves in shared/jobs.py.
import type { JobState } from "./wire_types";

export interface StateMeaning {
  readonly word: string;
  readonly tone: "idle" | "wait" | "work" | "good" | "bad";
  readonly meaning: string;
}

export const STATES: Readonly<Record<JobState, StateMeaning>> = {
  held: { word: "Held", tone: "idle", meaning: "Waits until somebody releases it." },
  queued: { word: "Queued", tone: "wait", meaning: "Waits for a free device." },
  starting: { word: "Starting", tone: "work", meaning: "A device has it and is getting ready." },
  running: { word: "Running", tone: "work", meaning: "At work." },
  pausing: { word: "Pausing", tone: "work", meaning: "Saving, then it frees the device." },
  paused: { word: "Paused", tone: "idle", meaning: "Saved; the device is free." },
  cancelling: { word: "Cancelling", tone: "work", meaning: "Saving, then it stops." },
  cancelled: { word: "Cancelled", tone: "idle", meaning: "Stopped by a person." },
  completed: { word: "Completed", tone: "good", meaning: "Did all its epochs." },
  failed: { word: "Failed", tone: "bad", meaning: "Stopped by a fault." },
};

const ACTIVE: ReadonlySet<JobState> = new Set<JobState>(["starting", "running", "pausing", "cancelling"]);
const WAITING: ReadonlySet<JobState> = new Set<JobState>(["queued", "held"]);
const CANCELLABLE: ReadonlySet<JobState> = new Set<JobState>([
  "held", "queued", "starting", "running", "pausing", "paused",
]);
const PAUSABLE: ReadonlySet<JobState> = new Set<JobState>(["starting", "running"]);
const RESUMABLE: ReadonlySet<JobState> = new Set<JobState>(["paused", "cancelled", "completed", "failed"]);

export const isActive = (state: JobState): boolean => ACTIVE.has(state);
export const isWaiting = (state: JobState): boolean => WAITING.has(state);
export const isEnded = (state: JobState): boolean => state === "completed" || state === "cancelled" || state === "failed";
export const canCancel = (state: JobState): boolean => CANCELLABLE.has(state);
export const canPause = (state: JobState): boolean => PAUSABLE.has(state);
export const canResume = (state: JobState): boolean => RESUMABLE.has(state);
/** Goes on at once, without questions; a completed one has to be told how much longer. */
export const canRetry = (state: JobState): boolean => RESUMABLE.has(state) && state !== "completed";
/** Save and preview are answered by the trainer, so it has to be at work. */
export const canCommand = (state: JobState): boolean => state === "running";
