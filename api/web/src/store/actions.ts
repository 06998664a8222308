// What a person can tell a job, or the queue; every outcome is said in a toast.
import { signal } from "@preact/signals";
import { commandJob, commandQueue, editJob, type EditRequest, type JobCommand, pinCheckpoint } from "../http/api";
import type { Checkpoint } from "../model/artifacts";
import type { Deletable } from "../model/disk";
import type { Job } from "../model/job";
import type { Priority } from "../model/wire_types";
import type { JobSession } from "./job_session";
import { inTurn, priorityNews } from "./order";
import { putJob, queue } from "./queue";
import { tell, tellError } from "./toasts";

/** The job whose resume dialog is open, and the checkpoint chosen for it. */
export const resuming = signal<{ readonly job: Job; readonly checkpoint?: string } | null>(null);
export interface Doomed {
  readonly kind: Deletable;
  readonly id: number;
  readonly name: string;
}

/** The job or dataset whose deletion is being decided. */
export const deleting = signal<Doomed | null>(null);
/** The checkpoint that only its pin keeps and that is to be unpinned. */
export const unpinning = signal<{ readonly job: Job; readonly checkpoint: Checkpoint; readonly session: JobSession } | null>(null);
/** The job whose dialog for another device is open. */
export const placing = signal<Job | null>(null);
/** Commands under way, as "12 cancel". */
export const busy = signal<ReadonlySet<string>>(new Set());

const SAID: Readonly<Record<JobCommand, (job: Job) => string>> = {
  cancel: (job) => (job.state === "running" ? `${job.name} saves a checkpoint, then stops.` : `${job.name} is cancelled.`),
  pause: (job) => `${job.name} saves a checkpoint, then frees its device.`,
  save: (job) => `${job.name} saves a checkpoint now.`,
  preview: (job) => `${job.name} makes a preview now.`,
  hold: (job) => `${job.name} waits until it is released.`,
  release: (job) => `${job.name} waits for its turn.`,
  next: (job) => `${job.name} runs next.`,
  retry: (job) => `${job.name} is in the queue again.`,
};

export function command(job: Job, what: JobCommand): Promise<void> {
  const deed = async () => {
    const done = await commandJob(job.id, what);
    putJob(done);
    tell(SAID[what](job) + priorityNews(job, done));
  };
  return once(`${job.id} ${what}`, what === "next" ? () => inTurn(deed) : deed);
}

export function prioritise(job: Job, priority: Priority): Promise<void> {
  return once(`${job.id} priority`, async () => {
    await inTurn(async () => putJob(await editJob(job.id, { priority })));
    tell(`${job.name} has ${priority} priority.`);
  });
}

/** Has a job run elsewhere; throws what the api says against it. */
export async function place(job: Job, where: Pick<EditRequest, "device" | "placement">): Promise<void> {
  const moved = await editJob(job.id, where);
  putJob(moved);
  tell(job.can.reorder ? `${job.name} waits for its new place.` : `${job.name} saves, and goes on in its new place.`);
}

/** Pins a checkpoint, or unpins one that is pinned. */
export function pin(job: Job, checkpoint: Checkpoint, session: JobSession): Promise<void> {
  return once(`${job.id} pin ${checkpoint.name}`, async () => {
    session.putCheckpoints(await pinCheckpoint(job.id, checkpoint.name, !checkpoint.pinned));
    tell(checkpoint.pinned ? "The checkpoint is not pinned any more." : "The checkpoint is kept until it is unpinned.");
  });
}

export function pauseQueue(pause: boolean): Promise<void> {
  return once("queue", async () => {
    queue.value = await commandQueue(pause ? "pause" : "resume");
    tell(pause ? "The queue is paused: nothing new starts." : "The queue goes on.");
  });
}

/** Does `deed` unless it is under way already; what goes wrong is told. */
async function once(key: string, deed: () => Promise<void>): Promise<void> {
  if (busy.value.has(key)) return;
  busy.value = new Set(busy.value).add(key);
  try {
    await deed();
  } catch (error) {
    tellError(error);
  } finally {
    const rest = new Set(busy.value);
    rest.delete(key);
    busy.value = rest;
  }
}
