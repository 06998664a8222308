// What a person can tell a job; every outcome is said in a toast.
import { signal } from "@preact/signals";
import { commandJob } from "../http/api";
import type { Job } from "../model/job";
import { putJob } from "./queue";
import { tell, tellError } from "./toasts";

/** The job whose resume dialog is open, and the checkpoint chosen for it. */
export const resuming = signal<{ readonly job: Job; readonly checkpoint?: string } | null>(null);
/** Commands under way, as "12 cancel". */
export const busy = signal<ReadonlySet<string>>(new Set());

const SAID = {
  cancel: (job: Job) => (job.state === "running" ? `${job.name} saves a checkpoint, then stops.` : `${job.name} is cancelled.`),
  pause: (job: Job) => `${job.name} saves a checkpoint, then frees its device.`,
  save: (job: Job) => `${job.name} saves a checkpoint now.`,
  preview: (job: Job) => `${job.name} makes a preview now.`,
} as const;

export async function command(job: Job, what: keyof typeof SAID): Promise<void> {
  const key = `${job.id} ${what}`;
  if (busy.value.has(key)) return;
  busy.value = new Set(busy.value).add(key);
  try {
    putJob(await commandJob(job.id, what));
    tell(SAID[what](job));
  } catch (error) {
    tellError(error);
  } finally {
    const rest = new Set(busy.value);
    rest.delete(key);
    busy.value = rest;
  }
}
