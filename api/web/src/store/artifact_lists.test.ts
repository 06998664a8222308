import { describe, expect, it } from "vitest";
import type { Wire } from "../model/wire_types";
import { withCheckpoint, withFetched, withPreview } from "./artifact_lists";

function saved(step: number, change: Partial<Wire<"CheckpointSaved">> = {}): Wire<"CheckpointSaved"> {
  return { type: "checkpoint", name: `1-${step}`, epoch: 1, step, reason: "interval", best: false, loss: 1, val_reconstruction: null, size_bytes: 9, seconds: 1, kept: [], ...change };
}
const made = (step: number): Wire<"PreviewMade"> => ({ type: "preview", name: `1-${step}`, epoch: 1, step, clips: [], seconds: 1 });

describe("checkpoints", () => {
  it("come newest first, are pruned, and have one newest and one best", () => {
    let list = withCheckpoint(null, saved(1, { best: true }), 1);
    list = withCheckpoint(list, saved(2), 2);
    list = withCheckpoint(list, saved(3, { best: true, kept: ["1-2", "1-3"] }), 3);
    expect(list.map(({ name, newest, best }) => [name, newest, best])).toEqual([["1-3", true, true], ["1-2", false, false]]);
  });

  it("stay where they are pinned, whatever their training keeps", () => {
    const first = withCheckpoint(null, saved(1), 1).map((one) => ({ ...one, pinned: true }));
    const list = withCheckpoint(withCheckpoint(first, saved(2, { kept: ["1-1", "1-2"] }), 2), saved(3, { kept: ["1-3"] }), 3);
    expect(list.map(({ name, pinned, onlyPinned }) => [name, pinned, onlyPinned])).toEqual([["1-3", false, false], ["1-1", true, true]]);
  });

  it("ignore events that the fetched list knew of", () => {
    const fetched = withCheckpoint(null, saved(5), 5);
    expect(withCheckpoint(fetched, saved(2), 2)).toBe(fetched);
  });
});

describe("previews", () => {
  it("are not doubled, and newer live ones stay above a fetched list", () => {
    const fetched = withPreview(null, 7, made(1), 1);
    const live = withPreview(withPreview(fetched, 7, made(2), 2), 7, made(2), 2);
    expect(live.map(({ name }) => name)).toEqual(["1-2", "1-1"]);
    expect(withFetched(live, fetched).map(({ name }) => name)).toEqual(["1-2", "1-1"]);
  });
});
