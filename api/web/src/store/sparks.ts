// The short loss curves of the queue: one value per epoch from the history, then live ones as the record changes.
import { signal } from "@preact/signals";
import { listEvents } from "../http/api";
import type { Job } from "../model/job";

const KEPT = 120;
const fetched = new Set<number>();

export const sparks = signal<ReadonlyMap<number, readonly number[]>>(new Map());

/** Notes the loss of a job whose record changed. */
export function noteLoss(job: Job): void {
  if (job.kind !== "train" || job.loss === null || !fetched.has(job.id)) return;
  const old = sparks.value.get(job.id) ?? [];
  if (old.at(-1) !== job.loss) put(job.id, [...old, job.loss]);
}

/** Fetches the curve of a job, once; a row asks for it when it comes into view. */
export async function loadSpark(job: Job): Promise<void> {
  if (job.kind !== "train" || fetched.has(job.id) || job.progress.step === 0) return;
  fetched.add(job.id);
  try {
    const page = await listEvents(job.id, { after: 0, limit: 1000, types: "epoch" });
    const losses = page.events.flatMap(({ body }) => (body.type === "epoch" && body.train_loss !== null ? [body.train_loss] : []));
    put(job.id, [...losses, ...(sparks.value.get(job.id) ?? [])]);
  } catch {
    fetched.delete(job.id);
  }
}

function put(id: number, values: readonly number[]): void {
  // When there are too many, every second old one goes: the shape stays, the list does not grow.
  const kept = values.length > KEPT ? values.filter((_, index) => index % 2 === 1 || index === values.length - 1) : values;
  sparks.value = new Map(sparks.value).set(id, kept);
}
