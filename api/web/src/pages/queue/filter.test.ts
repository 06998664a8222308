import { describe, expect, it } from "vitest";
import { wireJob } from "../../model/fixtures";
import { toJob } from "../../model/job";
import { belongs, grouped, matches, toShow, withQuery } from "./filter";

describe("the queue's filter", () => {
  it("finds every word, anywhere in the row", () => {
    const job = toJob(wireJob({ name: "Warm kicks" }));
    expect(matches(job, "kicks DRUMS")).toBe(true);
    expect(matches(job, "kicks snares")).toBe(false);
    expect(matches(job, "#1")).toBe(true);
  });

  it("sorts states into its choices", () => {
    expect(belongs(toJob(wireJob()), "running")).toBe(true);
    expect(belongs(toJob(wireJob({ state: "paused" })), "waiting")).toBe(true);
    expect(belongs(toJob(wireJob({ state: "failed" })), "finished")).toBe(true);
    expect(belongs(toJob(wireJob({ state: "completed" })), "failed")).toBe(false);
    expect(toShow("nonsense")).toBe("all");
  });

  it("groups without empty headings", () => {
    expect(grouped([toJob(wireJob()), toJob(wireJob({ state: "cancelled" }))]).map(({ title }) => title)).toEqual(["Running", "Finished"]);
  });

  it("keeps the rest of the address", () => {
    expect(withQuery("/", { q: "kick", show: "failed" }, { show: "" })).toBe("/?q=kick");
    expect(withQuery("/", { q: "kick" }, { q: "" })).toBe("/");
  });
});
