// What a person can tell a worker; every outcome is said in a toast.
import { signal } from "@preact/signals";
import { commandWorker, labelWorker } from "../http/api";
import type { Worker } from "../model/worker";
import { loadWorkers, putWorker, workers } from "./queue";
import { tell, tellError } from "./toasts";

export const busyWorkers = signal<ReadonlySet<string>>(new Set());

export function drainWorker(worker: Worker, drain: boolean): Promise<void> {
  return once(worker, async () => {
    await commandWorker(worker.name, drain ? "drain" : "resume");
    tell(drain ? `${worker.name} finishes what it does and gets no more jobs.` : `${worker.name} takes jobs again.`);
  });
}

export function removeWorker(worker: Worker): Promise<void> {
  return once(worker, async () => {
    await commandWorker(worker.name, "remove");
    tell(`${worker.name} is forgotten.`);
  });
}

/** Shows the labels at once, and takes them back when the api refuses. */
export async function setLabels(worker: Worker, labels: readonly string[]): Promise<void> {
  putWorker({ ...worker, labels });
  try {
    await labelWorker(worker.name, labels);
  } catch (error) {
    const now = workers.value.get(worker.name);
    if (now) putWorker({ ...now, labels: worker.labels });
    tellError(error);
  }
}

async function once(worker: Worker, deed: () => Promise<void>): Promise<void> {
  if (busyWorkers.value.has(worker.name)) return;
  busyWorkers.value = new Set(busyWorkers.value).add(worker.name);
  try {
    await deed();
    await loadWorkers();
  } catch (error) {
    tellError(error);
  } finally {
    const rest = new Set(busyWorkers.value);
    rest.delete(worker.name);
    busyWorkers.value = rest;
  }
}
