import { describe, expect, it } from "vitest";
import { wireJob } from "./fixtures";
import { compareJobs, toJob } from "./job";

describe("toJob", () => {
  it("gives the share of a training by its steps", () => {
    expect(toJob(wireJob()).progress.fraction).toBe(0.25);
  });

  it("does not take a phase's own count for the share of a training", () => {
    const progress = { ...wireJob().progress, phase: "setup", step: 0, total_steps: 0, done: 1, total: 3 };
    expect(toJob(wireJob({ progress })).progress.fraction).toBeNull();
    expect(toJob(wireJob({ kind: "preprocess", progress })).progress.fraction).toBeCloseTo(1 / 3);
  });

  it("is whole when completed", () => {
    expect(toJob(wireJob({ state: "completed" })).progress.fraction).toBe(1);
  });

  it("allows what the state allows", () => {
    expect(toJob(wireJob()).can).toMatchObject({ cancel: true, pause: true, resume: false, retry: false, save: true, preview: true, hold: false, reorder: false, edit: false, place: true });
    expect(toJob(wireJob({ state: "queued" })).can).toMatchObject({ cancel: true, pause: false, resume: false, save: false, preview: false, hold: true, release: false, next: true, reorder: true, edit: true, place: true });
    expect(toJob(wireJob({ state: "held" })).can).toMatchObject({ hold: false, release: true, next: true, reorder: true });
    expect(toJob(wireJob({ state: "completed" })).can).toMatchObject({ resume: true, retry: false });
    expect(toJob(wireJob({ state: "cancelling" })).can.cancel).toBe(false);
    expect(toJob(wireJob({ state: "failed" })).can.resume).toBe(true);
  });

  it("offers no training commands for a preprocess job", () => {
    expect(toJob(wireJob({ kind: "preprocess" })).can).toMatchObject({ cancel: true, pause: false, resume: false, save: false, preview: false });
    expect(toJob(wireJob({ kind: "preprocess", state: "completed" })).can.resume).toBe(false);
  });

  it("names a nameless job", () => {
    expect(toJob(wireJob({ name: "" })).name).toBe("Job 1");
  });
});

describe("compareJobs", () => {
  it("puts active ones first, then waiting ones by position, then paused, then ended ones, newest first", () => {
    const jobs = [
      wireJob({ id: 1, state: "failed", ended_at: 50 }),
      wireJob({ id: 2, state: "completed", ended_at: 90 }),
      wireJob({ id: 3, state: "queued", position: 7 }),
      wireJob({ id: 4, state: "queued", position: 2 }),
      wireJob({ id: 5, state: "paused" }),
      wireJob({ id: 6, state: "running" }),
    ].map(toJob);
    expect(jobs.sort(compareJobs).map(({ id }) => id)).toEqual([6, 4, 3, 5, 2, 1]);
  });
});
