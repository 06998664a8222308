// All jobs, workers and datasets as the lists show them, and the queue's own state, kept current by the socket.
import { batch, computed, type Signal, signal } from "@preact/signals";
import { getQueue, isJobAddress, listDatasets, listJobs, listWorkers, toQueueState } from "../http/api";
import { compareJobs, compareWaiting, type Job, toJob } from "../model/job";
import { type Dataset, toDataset } from "../model/dataset";
import type { QueueState } from "../model/queue";
import { isActive, isWaiting } from "../model/states";
import type { JobState } from "../model/wire_types";
import { toWorker, type Worker } from "../model/worker";
import { nowMs } from "./clock";
import { onConnection, socket } from "./live";
import { tell } from "./notices";
import { noteLoss } from "./sparks";
import { noteWorker } from "./worker_history";

type Loading = "loading" | "ready" | { readonly error: unknown };

/** Jobs that are not over; of 10,000 queued ones the page asks for the first, and for more when somebody looks. */
const OPEN: readonly JobState[] = ["starting", "running", "pausing", "cancelling", "queued", "held", "paused"];
const ENDED: readonly JobState[] = ["completed", "cancelled", "failed"];
const FIRST_JOBS = 100;
const MOST_JOBS = 10_000;
const RETRY_MS = 2_000;
/** A bulk action changes many jobs within moments: they enter the list together. */
const GATHER_MS = 60;
/** On the page of a job its charts come first: the lists are for the pages that one goes to from there. */
const BEHIND_MS = isJobAddress(location.pathname) ? 500 : 0;

export const jobs = signal<ReadonlyMap<number, Job>>(new Map());
export const workers = signal<ReadonlyMap<string, Worker>>(new Map());
export const datasets = signal<ReadonlyMap<number, Dataset>>(new Map());
export const queue = signal<QueueState>({ paused: false, pausedAt: null });
export const loading = signal<Loading>("loading");
/** Whether the api has open or ended jobs that were not fetched. */
export const hasMore = signal({ open: false, ended: false });
const limits = { open: FIRST_JOBS, ended: FIRST_JOBS };

export const orderedJobs = computed(() => [...jobs.value.values()].sort(compareJobs));
/** Queued and held jobs in the order in which they are taken. */
export const waitingJobs = computed(() => [...jobs.value.values()].filter((job) => isWaiting(job.state)).sort(compareWaiting));
export const orderedDatasets = computed(() => [...datasets.value.values()].sort((a, b) => b.createdAt - a.createdAt));
const isAway = (worker: Worker): number => (worker.state === "offline" ? 1 : 0);
/** By name; those that are away come last. */
export const orderedWorkers = computed(() => [...workers.value.values()].sort((a, b) => isAway(a) - isAway(b) || a.name.localeCompare(b.name)));
export const onlineWorkers = computed(() => orderedWorkers.value.filter((worker) => worker.state !== "offline"));

const midnight = computed(() => new Date(nowMs.value).setHours(0, 0, 0, 0) / 1000);
export const counts = computed(() => {
  const all = [...jobs.value.values()];
  return {
    running: all.filter((job) => isActive(job.state)).length,
    queued: all.filter((job) => isWaiting(job.state)).length,
    failedToday: all.filter((job) => job.state === "failed" && (job.endedAt ?? 0) >= midnight.value).length,
    workers: onlineWorkers.value.length,
  };
});

export type Place = Pick<Job, "position" | "priority">;
/** Places that were given to jobs here and that the api has not confirmed yet: older views do not undo them. */
const placed = new Map<number, Place>();

/** Jobs that were deleted, whose numbers never come back: a view that was read before may still arrive after the news. */
const gone = new Set<number>();

/** Shows a job at a place until the api's answer is there; null ends that. */
export function placeJob(id: number, place: Place | null): void {
  if (place) placed.set(id, place);
  else placed.delete(id);
  const job = jobs.value.get(id);
  if (job && place) putJob(job);
}

/** Puts a view of a job into the list, unless one that knows of more events is there: an answer may come after the
 * news that followed it. */
export function putJob(job: Job): void {
  putJobs([job]);
}

export function putJobs(fresh: readonly Job[]): void {
  const all = new Map(jobs.value);
  for (const job of fresh) {
    const known = all.get(job.id);
    if (gone.has(job.id) || (known && job.lastEvent < known.lastEvent)) continue;
    noteLoss(job);
    tell(job, known);
    all.set(job.id, withPlace(job));
  }
  jobs.value = all;
}

function withPlace(job: Job): Job {
  const place = placed.get(job.id);
  return place ? { ...job, ...place } : job;
}

export function putDataset(dataset: Dataset): void {
  datasets.value = new Map(datasets.value).set(dataset.id, dataset);
}

/** Forgets a job or a dataset that was deleted. */
export function drop(kind: "job" | "dataset", id: number): void {
  if (kind === "job") gone.add(id);
  const list: Signal<ReadonlyMap<number, unknown>> = kind === "job" ? jobs : datasets;
  const known = new Map(list.value);
  known.delete(id);
  list.value = known;
}

/** Forgets a worker that a person removed. */
export function dropWorker(name: string): void {
  const known = new Map(workers.value);
  known.delete(name);
  workers.value = known;
}

export function putWorker(worker: Worker): void {
  noteWorker(worker);
  workers.value = new Map(workers.value).set(worker.name, worker);
}

/** Reads all lists anew; what the socket brought meanwhile is newer and wins. */
export async function loadLists(): Promise<void> {
  try {
    await Promise.all([loadJobs(), loadWorkers(), loadDatasets(), loadQueue()]);
    loading.value = "ready";
  } catch (error) {
    if (loading.value !== "ready") loading.value = { error };
    else if (socket.connected) setTimeout(() => void loadLists(), RETRY_MS); // a server that just starts, perhaps
  }
}

async function loadJobs(): Promise<void> {
  const before = jobs.value;
  const [open, ended] = await Promise.all([listJobs(OPEN, limits.open), listJobs(ENDED, limits.ended)]);
  const fresh = [...ended, ...open].filter((job) => !gone.has(job.id)).map(withPlace);
  batch(() => {
    jobs.value = merged(before, jobs.value, fresh.map((job) => [job.id, job]));
    // What happened while nobody was connected; of the others the socket has told.
    for (const job of fresh) if (jobs.value.get(job.id) === job) tell(job, before.get(job.id));
    hasMore.value = {
      open: open.length >= limits.open && limits.open < MOST_JOBS,
      ended: ended.length >= limits.ended && limits.ended < MOST_JOBS,
    };
  });
}

/** Fetches twice as many of the open or of the ended jobs. */
export async function loadMoreJobs(which: "open" | "ended"): Promise<void> {
  limits[which] = Math.min(MOST_JOBS, limits[which] * 2);
  await loadJobs();
}

export async function loadWorkers(): Promise<void> {
  const list = await listWorkers();
  workers.value = new Map(list.map((worker) => [worker.name, worker]));
}

async function loadDatasets(): Promise<void> {
  const before = datasets.value;
  const list = await listDatasets();
  datasets.value = merged(before, datasets.value, list.map((dataset) => [dataset.id, dataset]));
}

async function loadQueue(): Promise<void> {
  queue.value = await getQueue();
}

/** `fresh`, except for entries that changed between `before` and `now`. */
function merged<K, V>(before: ReadonlyMap<K, V>, now: ReadonlyMap<K, V>, fresh: readonly (readonly [K, V])[]): Map<K, V> {
  const result = new Map(fresh);
  for (const [key, value] of now) if (before.get(key) !== value) result.set(key, value);
  return result;
}

/** Starts following; called once. */
export function followQueue(): void {
  const arrived = new Map<number, Job>();
  socket.on("job", (wire) => {
    if (arrived.size === 0) {
      setTimeout(() => {
        const fresh = [...arrived.values()];
        arrived.clear();
        putJobs(fresh);
      }, GATHER_MS);
    }
    arrived.set(wire.id, toJob(wire));
  });
  socket.on("dataset", (wire) => putDataset(toDataset(wire)));
  socket.on("worker", (wire) => (wire.state === "removed" ? dropWorker(wire.name) : putWorker(toWorker(wire))));
  socket.on("gone", ({ kind, id }) => drop(kind, id));
  socket.on("queue", (wire) => {
    queue.value = toQueueState(wire);
  });
  const first = BEHIND_MS ? new Promise((resolve) => setTimeout(resolve, BEHIND_MS)) : Promise.resolve();
  onConnection(() => {
    socket.emit("watch_queue", {}, () => void first.then(loadLists));
  });
  // The lists come by HTTP even where the socket cannot be opened.
  void first.then(() => {
    if (!BEHIND_MS || !socket.connected) void loadLists();
  });
}
