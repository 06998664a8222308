// Wire values for tests, as complete as the api sends them.
import type { Wire } from "./wire_types";

export function wireJob(change: Partial<Wire<"JobView">> = {}): Wire<"JobView"> {
  return {
    id: 1, kind: "train", name: "Kicks", state: "running", reason: "", detail: "",
    dataset: { id: 2, name: "drums", version: 1, clips: 25 },
    representation: "mel", preset: "auto", start: null, attempt: 1, device: "cpu", worker: "host/cpu", position: 1,
    wanted_device: "auto", placement: { labels: [], worker: "", min_free_memory_bytes: 0, only_when_idle: false, hours: null, time_limit_s: null },
    priority: "normal", batch: null, after: [], submitted_by: "",
    progress: { phase: "training", done: 5, total: 10, message: "", epoch: 2, epochs: 10, step: 50, total_steps: 200 },
    loss: 0.5, val_reconstruction: null, quality: null, overfitting_gap: null, active_units: null, latent_dim: null,
    steps_per_s: null, eta_s: null, elapsed_s: 3, device_memory_bytes: null, warnings: [], last_checkpoint: "",
    last_checkpoint_step: null, last_event: 4, queued_at: 100, started_at: 101, ended_at: null,
    ...change,
  };
}

export function wireWorker(change: Partial<Wire<"WorkerView">> = {}): Wire<"WorkerView"> {
  return {
    name: "studio/cuda:0", host: "studio", state: "idle", job_id: null, heartbeat_age_s: 1, started_at: 100,
    device: {
      name: "cuda:0", model: "GPU", memory_total_bytes: 8e9, memory_used_bytes: 2e9, memory_others_bytes: 5e8, utilisation: 0.5,
      temperature_c: 61,
    },
    versions: { torch: "2" }, system: "Linux", labels: [], own_labels: [], drained: false, threads: 4, others_load: 0, joined: false, warning: "",
    ...change,
  };
}

export function wireEvent(number: number, body: Wire<"Event">["body"] = { type: "log", level: "info", message: "" }): Wire<"Event"> {
  return { job_id: 1, number, attempt: 1, at: number, body };
}
