// Workers and their devices.
import type { Wire } from "./wire_types";

export interface Worker {
  readonly name: string;
  readonly host: string;
  readonly state: "idle" | "busy" | "stopping" | "offline";
  readonly device: {
    readonly name: string;
    readonly model: string;
    readonly memoryTotalBytes: number | null;
    readonly memoryUsedBytes: number | null;
    /** What other programs use of it. */
    readonly memoryOthersBytes: number | null;
    /** 0 … 1 */
    readonly utilisation: number | null;
    readonly temperatureC: number | null;
  };
  readonly jobId: number | null;
  /** When it was last heard of, by this browser's clock, in milliseconds. */
  readonly heardAtMs: number;
  readonly startedAt: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly system: string;
  readonly labels: readonly string[];
  /** Those of them that it was started with. */
  readonly ownLabels: readonly string[];
  /** It finishes what it does and gets no more. */
  readonly drained: boolean;
  /** Threads that a training computes with. */
  readonly threads: number | null;
  /** Share of the machine that other programs keep busy, 0 … 1. */
  readonly othersLoad: number | null;
  /** It came over the network, with a token. */
  readonly joined: boolean;
  /** What a person should know about it. */
  readonly warning: string;
}

const KNOWN: ReadonlySet<string> = new Set(["idle", "busy", "stopping", "offline"]);

export function toWorker(wire: Wire<"WorkerView">, nowMs: number = Date.now()): Worker {
  return {
    name: wire.name,
    host: wire.host,
    state: KNOWN.has(wire.state) ? (wire.state as Worker["state"]) : "offline",
    device: {
      name: wire.device.name,
      model: wire.device.model,
      memoryTotalBytes: wire.device.memory_total_bytes,
      memoryUsedBytes: wire.device.memory_used_bytes,
      memoryOthersBytes: wire.device.memory_others_bytes,
      utilisation: wire.device.utilisation,
      temperatureC: wire.device.temperature_c,
    },
    jobId: wire.job_id,
    heardAtMs: nowMs - wire.heartbeat_age_s * 1000,
    startedAt: wire.started_at,
    versions: wire.versions,
    system: wire.system,
    labels: wire.labels,
    ownLabels: wire.own_labels,
    drained: wire.drained,
    threads: wire.threads,
    othersLoad: wire.others_load,
    joined: wire.joined,
    warning: wire.warning,
  };
}
