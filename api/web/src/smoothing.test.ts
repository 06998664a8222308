import { describe, expect, it } from "vitest";
import { smooth, smoothingWeight, withGaps } from "./smoothing";

describe("smooth", () => {
  it("starts at the first value and stays on a constant", () => {
    expect(smooth([3, 3, 3], 3, 0.9)).toEqual([3, 3, 3].map((value) => expect.closeTo(value) as number));
  });

  it("gives the values back for a weight of zero", () => {
    expect(smooth([1, 5, 2], 3, 0)).toEqual([1, 5, 2]);
  });

  it("is the corrected moving average", () => {
    const [first, second] = smooth([0, 1], 2, 0.5);
    expect(first).toBe(0);
    expect(second).toBeCloseTo(0.5 / 0.75);
  });

  it("keeps gaps as gaps and is not moved by them", () => {
    expect(smooth([2, Number.NaN, 2, Number.POSITIVE_INFINITY], 4, 0.9)).toEqual([2, null, expect.closeTo(2), null]);
  });

  it("looks at the rows in use alone", () => {
    expect(withGaps(new Float64Array([1, 2, 0, 0]), 2)).toEqual([1, 2]);
  });
});

describe("smoothingWeight", () => {
  it("is zero at the left end, below one at the right, and grows with the curve", () => {
    expect(smoothingWeight(0, 1000)).toBe(0);
    expect(smoothingWeight(1, 1000)).toBeLessThan(1);
    expect(smoothingWeight(0.5, 10_000)).toBeGreaterThan(smoothingWeight(0.5, 1000));
  });
});
