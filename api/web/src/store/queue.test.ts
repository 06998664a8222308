import { beforeEach, describe, expect, it } from "vitest";
import { wireJob } from "../model/fixtures";
import { toJob } from "../model/job";
import { drop, jobs, putJobs } from "./queue";

describe("a deleted job", () => {
  beforeEach(() => {
    jobs.value = new Map();
  });

  it("stays away when a view that was read before arrives after the news", () => {
    const [first, second] = [1, 2].map((id) => toJob(wireJob({ id })));
    putJobs([first!, second!]);
    drop("job", 1);
    putJobs([first!, second!]);
    expect([...jobs.value.keys()]).toEqual([2]);
  });
});
