// All jobs, workers and datasets as the lists show them, kept current by the socket.
import { computed, signal } from "@preact/signals";
import { listDatasets, listJobs, listWorkers } from "../http/api";
import { compareJobs, type Job, toJob } from "../model/job";
import { type Dataset, toDataset } from "../model/dataset";
import { isActive, isWaiting } from "../model/states";
import { toWorker, type Worker } from "../model/worker";
import { nowMs } from "./clock";
import { onConnection, socket } from "./live";
import { noteLoss } from "./sparks";

type Loading = "loading" | "ready" | { readonly error: unknown };

export const jobs = signal<ReadonlyMap<number, Job>>(new Map());
export const workers = signal<ReadonlyMap<string, Worker>>(new Map());
export const datasets = signal<ReadonlyMap<number, Dataset>>(new Map());
export const loading = signal<Loading>("loading");

export const orderedJobs = computed(() => [...jobs.value.values()].sort(compareJobs));
export const orderedDatasets = computed(() => [...datasets.value.values()].sort((a, b) => b.createdAt - a.createdAt));
export const orderedWorkers = computed(() => [...workers.value.values()].sort((a, b) => a.name.localeCompare(b.name)));
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

/** Puts a newer view of a job into the list. */
export function putJob(job: Job): void {
  noteLoss(job);
  jobs.value = new Map(jobs.value).set(job.id, job);
}

export function putDataset(dataset: Dataset): void {
  datasets.value = new Map(datasets.value).set(dataset.id, dataset);
}

/** Reads all lists anew; what the socket brought meanwhile is newer and wins. */
export async function loadLists(): Promise<void> {
  const before = { jobs: jobs.value, datasets: datasets.value };
  try {
    const [jobList, workerList, datasetList] = await Promise.all([listJobs(), listWorkers(), listDatasets()]);
    jobs.value = merged(before.jobs, jobs.value, jobList.map((job) => [job.id, job]));
    datasets.value = merged(before.datasets, datasets.value, datasetList.map((dataset) => [dataset.id, dataset]));
    workers.value = new Map(workerList.map((worker) => [worker.name, worker]));
    loading.value = "ready";
  } catch (error) {
    if (loading.value !== "ready") loading.value = { error };
  }
}

/** `fresh`, except for entries that changed between `before` and `now`. */
function merged<K, V>(before: ReadonlyMap<K, V>, now: ReadonlyMap<K, V>, fresh: readonly (readonly [K, V])[]): Map<K, V> {
  const result = new Map(fresh);
  for (const [key, value] of now) if (before.get(key) !== value) result.set(key, value);
  return result;
}

/** Starts following; called once. */
export function followQueue(): void {
  socket.on("job", (wire) => putJob(toJob(wire)));
  socket.on("dataset", (wire) => putDataset(toDataset(wire)));
  socket.on("worker", (wire) => {
    workers.value = new Map(workers.value).set(wire.name, toWorker(wire));
  });
  onConnection(() => {
    socket.emit("watch_queue", {}, () => void loadLists());
  });
  // The lists come by HTTP even where the socket cannot be opened.
  void loadLists();
}
