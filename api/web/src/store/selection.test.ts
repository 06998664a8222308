import { describe, expect, it } from "vitest";
import { bulkReport, clearSelection, selected, toggle } from "./selection";

describe("the selection", () => {
  it("takes a range from the row that was touched last", () => {
    const shown = [7, 3, 9, 4];
    clearSelection();
    toggle(3, true, false, shown);
    toggle(4, true, true, shown);
    expect([...selected.value]).toEqual([3, 9, 4]);
    toggle(9, false, false, shown);
    expect([...selected.value]).toEqual([3, 4]);
  });
});

describe("bulkReport", () => {
  const name = (id: number): string => `Kick ${id}`;
  const result = (job: number, error = "") => ({ job, ok: !error, error });

  it("counts what was done", () => {
    expect(bulkReport("cancel", [result(1), result(2)], name)).toEqual({ text: "2 jobs are cancelled.", failed: false });
  });

  it("names what could not be done, and counts the rest", () => {
    const refused = [2, 3, 4, 5].map((id) => result(id, "It has ended."));
    const { text, failed } = bulkReport("hold", [result(1), ...refused], name);
    expect(failed).toBe(true);
    expect(text).toBe("1 job is held. Kick 2: It has ended. Kick 3: It has ended. Kick 4: It has ended. The same or similar for 1 other job.");
  });
});
