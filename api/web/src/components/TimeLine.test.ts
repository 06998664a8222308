import { describe, expect, it } from "vitest";
import { timeLines } from "./TimeLine";

describe("timeLines", () => {
  it("draws from the oldest on the left to now on the right", () => {
    expect(timeLines([{ at: 0, value: 0 }, { at: 500, value: 1 }, { at: 1000, value: 0.5 }], 1000, 1000, [0, 1])).toEqual(["0.0,26.0 100.0,2.0 200.0,14.0"]);
  });

  it("leaves a gap where nothing was reported", () => {
    const points = [{ at: 0, value: 0 }, { at: 100, value: 0 }, { at: 200, value: null }, { at: 300, value: 0 }, { at: 400, value: 0 }];
    expect(timeLines(points, 400, 400, [0, 1])).toHaveLength(2);
    expect(timeLines([{ at: 0, value: null }], 0, 400, [0, 1])).toEqual([]);
  });
});
