import { describe, expect, it } from "vitest";
import { gapText, verdict } from "./QualityBar";

describe("the quality bar", () => {
  it("is green, yellow or red, with a word", () => {
    expect([0.95, 0.8, 0.79, 0.5, 0.2].map((quality) => verdict(quality).tone)).toEqual(["good", "good", "warn", "warn", "bad"]);
    expect(verdict(0.2).word).toBe("Overfitting");
  });

  it("says the gap as a share, then as a multiple", () => {
    expect([-0.04, 0.35, 1.5, 57].map(gapText)).toEqual(["-4 %", "+35 %", "held-out error 2.5 times the training's", "held-out error 58 times the training's"]);
  });
});
