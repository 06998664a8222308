import { describe, expect, it } from "vitest";
import { panned, roomFor, stepsFor } from "./draw_chart";

describe("stepsFor", () => {
  it("gives a single point room, zoomed or not", () => {
    expect(stepsFor(null, 61, 61)).toEqual([60, 62]);
    expect(stepsFor([7, 7], 0, 100)).toEqual([6, 8]);
  });

  it("shows everything until there is a zoom", () => {
    expect(stepsFor(null, 1, 300)).toEqual([1, 300]);
    expect(stepsFor([10, 20], 1, 300)).toEqual([10, 20]);
    expect(stepsFor(null, null, null)).toEqual([0, 1]);
  });
});

describe("panned", () => {
  it("moves a range and stops where the curve does", () => {
    expect(panned([20, 40], 0.5, [1, 100])).toEqual([30, 50]);
    expect(panned([20, 40], -2, [1, 100])).toEqual([1, 21]);
    expect(panned([90, 100], 3, [1, 100])).toEqual([90, 100]);
    expect(panned([0, 200], 1, [1, 100])).toEqual([0, 200]);
  });
});

describe("roomFor", () => {
  it("puts a flat line in the middle", () => {
    const [low, high] = roomFor(1e-3, 1e-3);
    expect(low).toBeLessThan(1e-3);
    expect(high).toBeGreaterThan(1e-3);
    expect((Number(low) + Number(high)) / 2).toBeCloseTo(1e-3);
  });

  it("shows zeros and nothing at all between 0 and 1", () => {
    expect(roomFor(0, 0)).toEqual([0, 1]);
    expect(roomFor(null, null)).toEqual([0, 1]);
  });

  it("keeps every value of a line that moves inside", () => {
    const [low, high] = roomFor(-0.4, 0.6);
    expect(low).toBeLessThanOrEqual(-0.4);
    expect(high).toBeGreaterThanOrEqual(0.6);
  });
});
