import { describe, expect, it } from "vitest";
import { loudness, matched } from "./pair_player";

describe("loudness", () => {
  it("is the root of the mean square over all channels", () => {
    expect(loudness([new Float32Array([0.5, -0.5])])).toBeCloseTo(0.5);
    expect(loudness([new Float32Array([1, 1]), new Float32Array([0, 0])])).toBeCloseTo(Math.SQRT1_2);
    expect(loudness([])).toBe(0);
  });
});

describe("matched", () => {
  it("makes the louder one softer, and leaves silence alone", () => {
    expect(matched([0.1, 0.4])).toEqual([1, 0.25]);
    expect(matched([0, 0.4])).toEqual([1, 1]);
  });
});
