// Where and when a job may run, and how that reads.
import { bytes, duration } from "../format";
import type { Wire } from "./wire_types";

export interface Placement {
  readonly labels: readonly string[];
  /** The one worker that may run it; empty for any. */
  readonly worker: string;
  readonly minFreeMemoryBytes: number;
  readonly onlyWhenIdle: boolean;
  /** Of each day, as HH:MM by the server's clock. */
  readonly hours: { readonly start: string; readonly end: string } | null;
  readonly timeLimitS: number | null;
}

export const ANYWHERE: Placement = { labels: [], worker: "", minFreeMemoryBytes: 0, onlyWhenIdle: false, hours: null, timeLimitS: null };

export function toPlacement(wire: Wire<"Placement">): Placement {
  return {
    labels: wire.labels,
    worker: wire.worker,
    minFreeMemoryBytes: wire.min_free_memory_bytes,
    onlyWhenIdle: wire.only_when_idle,
    hours: wire.hours,
    timeLimitS: wire.time_limit_s,
  };
}

export function fromPlacement(placement: Placement): Wire<"Placement"> {
  return {
    labels: [...placement.labels],
    worker: placement.worker,
    min_free_memory_bytes: placement.minFreeMemoryBytes,
    only_when_idle: placement.onlyWhenIdle,
    hours: placement.hours,
    time_limit_s: placement.timeLimitS,
  };
}

/** What a person asked for, a few words each; nothing for a job that may run anywhere at any time. */
export function placementWords(placement: Placement, wantedDevice: string): string[] {
  const { labels, worker, minFreeMemoryBytes, onlyWhenIdle, hours, timeLimitS } = placement;
  return [
    wantedDevice !== "auto" && wantedDevice !== "" ? `on ${wantedDevice}` : "",
    worker && `by ${worker}`,
    labels.length > 0 ? `labelled ${labels.join(", ")}` : "",
    minFreeMemoryBytes > 0 ? `${bytes(minFreeMemoryBytes)} free` : "",
    onlyWhenIdle ? "only when idle" : "",
    hours ? `${hours.start} to ${hours.end}` : "",
    timeLimitS !== null ? `at most ${duration(timeLimitS)}` : "",
  ].filter(Boolean);
}
