// The last ten minutes of each worker's meters, as heartbeats bring them; kept in memory alone.
import { signal } from "@preact/signals";
import type { Worker } from "../model/worker";

export const HISTORY_MS = 600_000;

export interface Sample {
  /** By this browser's clock, in milliseconds. */
  readonly at: number;
  /** 0 … 1; null where it is not reported. */
  readonly utilisation: number | null;
  /** Share of the device's memory, 0 … 1. */
  readonly memory: number | null;
  readonly temperatureC: number | null;
}

export const histories = signal<ReadonlyMap<string, readonly Sample[]>>(new Map());

export function memoryShare({ device }: Worker): number | null {
  return device.memoryTotalBytes && device.memoryUsedBytes !== null ? device.memoryUsedBytes / device.memoryTotalBytes : null;
}

/** Notes what a heartbeat tells of the worker's device. */
export function noteWorker(worker: Worker, now: number = Date.now()): void {
  if (worker.state === "offline") return;
  const sample: Sample = {
    at: now,
    utilisation: worker.device.utilisation,
    memory: memoryShare(worker),
    temperatureC: worker.device.temperatureC,
  };
  const kept = (histories.value.get(worker.name) ?? []).filter(({ at }) => at > now - HISTORY_MS);
  histories.value = new Map(histories.value).set(worker.name, [...kept, sample]);
}
