// Previews and checkpoints, newest first: lists from the api, with live events put on top.
import { type Checkpoint, type Preview, toPreview } from "../model/artifacts";
import type { Wire } from "../model/wire_types";

interface Artifact {
  readonly name: string;
  readonly at: number;
}

/** A fetched list, and what events brought after it was made. */
export function withFetched<T extends Artifact>(known: readonly T[] | null, fetched: readonly T[]): readonly T[] {
  const names = new Set(fetched.map((one) => one.name));
  const newest = fetched[0]?.at ?? 0;
  return [...(known ?? []).filter((one) => one.at > newest && !names.has(one.name)), ...fetched];
}

/** The list after a preview was made; older events than the list knows change nothing. */
export function withPreview(
  known: readonly Preview[] | null,
  jobId: number,
  body: Wire<"PreviewMade">,
  at: number,
): readonly Preview[] {
  const list = known ?? [];
  if (at <= (list[0]?.at ?? 0) || list.some((one) => one.name === body.name)) return list;
  return [toPreview(jobId, { ...body, at }), ...list];
}

/** The list after a checkpoint was saved and others were pruned. */
export function withCheckpoint(
  known: readonly Checkpoint[] | null,
  body: Wire<"CheckpointSaved">,
  at: number,
): readonly Checkpoint[] {
  const list = known ?? [];
  if (at <= (list[0]?.at ?? 0) || list.some((one) => one.name === body.name)) return list;
  const stays = (one: Checkpoint): boolean => body.kept.length === 0 || body.kept.includes(one.name);
  const kept = list.filter((one) => one.pinned || stays(one)).map((one) => ({ ...one, onlyPinned: one.pinned && (one.onlyPinned || !stays(one)) }));
  const saved: Checkpoint = {
    name: body.name,
    epoch: body.epoch,
    step: body.step,
    reason: body.reason,
    best: body.best,
    newest: true,
    pinned: false,
    onlyPinned: false,
    loss: body.loss,
    validationError: body.val_reconstruction,
    sizeBytes: body.size_bytes,
    seconds: body.seconds,
    at,
  };
  return [saved, ...kept.map((one) => ({ ...one, newest: false, best: one.best && !body.best }))];
}
