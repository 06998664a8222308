import { describe, expect, it } from "vitest";
import type { EpochMetrics } from "../../../store/job_session";
import { bestOf } from "./BestSoFar";

const epoch = (number: number, best: boolean, error: number | null): EpochMetrics =>
  ({ epoch: number, best, val_reconstruction: error }) as EpochMetrics;

describe("bestOf", () => {
  it("is the newest epoch that was the best, and how long ago it was", () => {
    const epochs = [epoch(1, true, 0.9), epoch(2, true, 0.5), epoch(3, false, 0.6), epoch(4, false, 0.7)];
    expect(bestOf(epochs)).toEqual({ epoch: 2, error: 0.5, since: 2 });
    expect(bestOf(epochs.slice(0, 2))).toEqual({ epoch: 2, error: 0.5, since: 0 });
  });

  it("is nothing before the first epoch and where no file is held out", () => {
    expect(bestOf([])).toBeNull();
    expect(bestOf([epoch(1, true, null)])).toBeNull();
  });
});
