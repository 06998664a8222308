// What goes with a deletion, and what takes how much disk.
import { plural } from "../format";
import type { JobState, Wire } from "./wire_types";

export type Deletable = "job" | "dataset";

export interface DeletionPlan {
  readonly possible: boolean;
  readonly reason: string;
  readonly blockers: readonly { readonly id: number; readonly name: string; readonly state: JobState }[];
  /** What goes, in words, one thing each. */
  readonly goes: readonly string[];
  /** What somebody may not have thought of. */
  readonly notes: readonly string[];
  readonly sizeBytes: number;
}

export interface DiskUse {
  readonly parts: Readonly<Record<string, number>>;
  readonly sizeBytes: number;
  readonly freeBytes: number | null;
}

export function fromJobDeletion(wire: Wire<"JobDeletionView">): DeletionPlan {
  const goes = [
    wire.checkpoints > 0 && plural(wire.checkpoints, "checkpoint"),
    wire.previews > 0 && plural(wire.previews, "preview"),
    wire.events > 0 && `charts and log (${plural(wire.events, "event")})`,
    "the job itself",
  ].filter((part) => part !== false);
  const notes = wire.pinned > 0 ? [`${plural(wire.pinned, "of these checkpoints is", "of these checkpoints are")} pinned.`] : [];
  return { possible: wire.possible, reason: wire.reason, blockers: wire.blockers, goes, notes, sizeBytes: wire.size_bytes };
}

export function fromDatasetDeletion(wire: Wire<"DatasetDeletionView">): DeletionPlan {
  const notes = wire.shared_clips > 0
    ? [`${plural(wire.shared_clips, "of its clips stays", "of its clips stay")}, because other datasets have them, too.`]
    : [];
  const goes = [wire.clips > 0 && plural(wire.clips, "clip"), "the dataset itself"].filter((part) => part !== false);
  return { possible: wire.possible, reason: wire.reason, blockers: wire.blockers, goes, notes, sizeBytes: wire.size_bytes };
}

export function toDiskUse(wire: Wire<"DiskView">): DiskUse {
  return {
    parts: Object.fromEntries(wire.parts.map((part) => [part.name, part.size_bytes])),
    sizeBytes: wire.size_bytes,
    freeBytes: wire.free_bytes,
  };
}
