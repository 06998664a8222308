import { describe, expect, it } from "vitest";
import { wireJob } from "../../../model/fixtures";
import { toJob } from "../../../model/job";
import { whyEmpty } from "./ChartsTab";

const began = wireJob();
const stepless = { ...began, progress: { ...began.progress, step: 0, done: 0, total: 0, total_steps: 0 } };

describe("whyEmpty", () => {
  it.each([
    ["queued", null, "It has not started yet"],
    ["cancelled", null, "It never started"],
    ["failed", 101, "It ended before its first step"],
    ["running", 101, null],
  ] as const)("tells of a job that is %s", (state, started_at, why) => {
    expect(whyEmpty(toJob({ ...stepless, state, started_at }))).toBe(why);
  });

  it("is silent where steps are on their way", () => {
    expect(whyEmpty(toJob({ ...began, state: "completed" }))).toBeNull();
  });
});
