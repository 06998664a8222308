// Changing the order of the queue: shown at once, confirmed by the api, taken back when it refuses.
import { computed, signal } from "@preact/signals";
import { moveJob } from "../http/api";
import type { Job } from "../model/job";
import { jobs, type Place, placeJob, putJob, waitingJobs } from "./queue";
import { tell, tellError } from "./toasts";

/** The last change in words, for screen readers. */
export const orderNews = signal("");
let last: Promise<unknown> = Promise.resolve();
/** An answer that takes longer than this is not waited for. */
const PATIENCE_MS = 10_000;

/** Changes of the order go out one after the other: each is meant for the order that the one before it makes. */
export function inTurn(change: () => Promise<void>): Promise<void> {
  const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  const done = Promise.race([last, patience]).then(change);
  last = done.catch(() => undefined);
  return done;
}

/** The place right before the job at `index` among `others`, or behind them all: it comes with a priority. */
export function placeAt(others: readonly Job[], index: number): Place {
  const next = others[index];
  const before = others[index - 1];
  if (!next) return before ? { position: before.position + 1, priority: before.priority } : { position: 0, priority: "normal" };
  const isPeer = before?.priority === next.priority;
  return { position: isPeer ? (before.position + next.position) / 2 : next.position - 1, priority: next.priority };
}

/** Puts a waiting job at `index` among all that wait. */
export function moveTo(job: Job, index: number): Promise<void> {
  const from = placeOf(job);
  const others = waitingJobs.value.filter(({ id }) => id !== job.id);
  const target = Math.max(0, Math.min(others.length, index));
  if (from < 0 || target === from) return Promise.resolve();
  const place = placeAt(others, target);
  placeJob(job.id, place);
  orderNews.value = `${job.name} is number ${target + 1} of ${others.length + 1}.`;
  return inTurn(() => confirm(job, others[target]?.id ?? null, place));
}

/** One place earlier (-1) or later (1). */
export function moveBy(job: Job, step: -1 | 1): Promise<void> {
  return moveTo(job, placeOf(job) + step);
}

/** Index of a job among all that wait; -1 for one that does not. */
export function placeOf(job: Job): number {
  return places.value.get(job.id) ?? -1;
}

const places = computed(() => new Map(waitingJobs.value.map(({ id }, index) => [id, index])));

/** What a new place did to a job's priority, in words behind others; nothing where it stayed. */
export const priorityNews = (before: Job, after: Job): string => (before.priority === after.priority ? "" : ` Its priority is now ${after.priority}.`);

async function confirm(job: Job, before: number | null, shown: Place): Promise<void> {
  try {
    const moved = await moveJob(job.id, before);
    // A later move of the same job is already shown: its own answer is the one that counts.
    if (jobs.value.get(job.id)?.position !== shown.position) return;
    placeJob(job.id, null);
    putJob(moved);
    // News that overtook the answer is kept, but for the place that was only guessed.
    const newest = jobs.value.get(job.id);
    if (newest && newest.lastEvent > moved.lastEvent) putJob({ ...newest, position: moved.position, priority: moved.priority });
    const news = priorityNews(job, moved);
    if (news) tell(`${job.name} is moved.${news}`);
  } catch (error) {
    placeJob(job.id, null);
    const now = jobs.value.get(job.id);
    if (now) putJob({ ...now, position: job.position, priority: job.priority });
    orderNews.value = `${job.name} is back where it was.`;
    tellError(error);
  }
}
