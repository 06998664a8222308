import { describe, expect, it } from "vitest";
import { idsOf, slotsText, toSlots, withJob, withoutJob } from "./slots";

describe("slots", () => {
  it("reads an address back as it was written, holes and all", () => {
    const slots = toSlots("3,,9");
    expect(slots).toEqual([3, null, 9]);
    expect(slotsText(slots)).toBe("3,,9");
    expect(idsOf(slots)).toEqual([3, 9]);
  });

  it("leaves out what is no job, what is there twice, and more than eight", () => {
    expect(toSlots("x,4,4,-1,5")).toEqual([null, 4, null, null, 5]);
    expect(toSlots("1,2,3,4,5,6,7,8,9")).toHaveLength(8);
    expect(toSlots(undefined)).toEqual([]);
  });

  it("keeps every other job where it is", () => {
    const two = withoutJob([3, 4, 9], 4);
    expect(two).toEqual([3, null, 9]);
    expect(withJob(two, 7)).toEqual([3, 7, 9]);
    expect(withoutJob(two, 9)).toEqual([3]);
    expect(withJob([1, 2, 3, 4, 5, 6, 7, 8], 9)).toHaveLength(8);
  });
});
