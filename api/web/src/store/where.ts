// What can be chosen for where a job runs.
import type { Worker } from "../model/worker";
import { onlineWorkers, orderedWorkers } from "./queue";

/** Kinds of devices, the devices that are there, and what is chosen already. */
export function deviceChoices(chosen: string): string[] {
  const there = onlineWorkers.value.map((worker) => worker.device.name);
  return [...new Set(["auto", "cpu", "cuda", "mps", ...there, chosen])];
}

/** Labels that some worker has. */
export function knownLabels(): string[] {
  return [...new Set(orderedWorkers.value.flatMap(({ labels }) => labels))].sort();
}

/** "studio/cuda:0, RTX 4090 (offline)" */
export function workerText(worker: Worker): string {
  const model = worker.device.model ? `, ${worker.device.model}` : "";
  const note = worker.state === "offline" ? " (offline)" : worker.drained ? " (takes no more jobs)" : "";
  return `${worker.name}${model}${note}`;
}
