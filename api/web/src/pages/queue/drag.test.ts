import { describe, expect, it } from "vitest";
import { slotAt } from "./drag";

describe("slotAt", () => {
  const middles = [50, 150, 250];

  it("counts the rows that stay above", () => {
    expect([10, 60, 160, 900].map((y) => slotAt(middles, y))).toEqual([0, 1, 2, 3]);
  });

  it("changes nothing for a row that is let go where it was", () => {
    expect(slotAt([50, 250], 150)).toBe(1);
  });
});
