import { describe, expect, it } from "vitest";
import { longer } from "./ResumeDialog";

describe("longer", () => {
  it("is half as many epochs again, round, and always more", () => {
    expect([1, 2, 4, 20, 100, 205, 500].map(longer)).toEqual([2, 3, 6, 30, 150, 310, 750]);
  });
});
