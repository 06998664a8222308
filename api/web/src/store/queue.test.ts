import { beforeEach, describe, expect, it, vi } from "vitest";
import { wireJob } from "../model/fixtures";
import { toJob } from "../model/job";
import { told } from "./notices";
import { drop, jobs, loadLists, putJobs } from "./queue";

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

describe("views of a job", () => {
  beforeEach(() => {
    jobs.value = new Map();
  });

  it("do not go back: an answer may come after the news that followed it", () => {
    putJobs([toJob(wireJob({ id: 8, state: "cancelled", last_event: 6 }))]);
    putJobs([toJob(wireJob({ id: 8, state: "cancelling", last_event: 5 }))]);
    expect(jobs.value.get(8)?.state).toBe("cancelled");
    putJobs([toJob(wireJob({ id: 8, state: "queued", last_event: 6 }))]);
    expect(jobs.value.get(8)?.state).toBe("queued");
  });

  it("are those of the api when the lists are read anew, also where it was set back to an earlier record", async () => {
    putJobs([toJob(wireJob({ id: 8, state: "completed", last_event: 60 }))]);
    stubLists([wireJob({ id: 8, state: "running", last_event: 5 })]);
    await loadLists();
    expect(jobs.value.get(8)?.state).toBe("running");
  });

  it("tell of an end that came while nobody was connected, once", async () => {
    const shown = vi.fn();
    vi.stubGlobal("Notification", class {
      constructor(title: string) {
        shown(title);
      }
    });
    told.value = [8];
    putJobs([toJob(wireJob({ id: 8, name: "kit", state: "running", last_event: 5 }))]);
    stubLists([wireJob({ id: 8, name: "kit", state: "completed", last_event: 9 })]);
    await loadLists();
    await loadLists();
    expect(shown.mock.calls).toEqual([["kit"]]);
  });
});

/** What the api answers for the lists: some jobs, and nothing else. */
function stubLists(listed: readonly ReturnType<typeof wireJob>[]): void {
  vi.stubGlobal("fetch", async (path: string) => {
    if (path.includes("/jobs")) {
      const states = new URL(path, "http://localhost").searchParams.get("state") ?? "";
      return Response.json({ jobs: listed.filter(({ state }) => states.split(",").includes(state)) });
    }
    if (path.includes("/workers")) return Response.json({ workers: [] });
    return Response.json(path.includes("/datasets") ? { datasets: [] } : { paused: false, paused_at: null });
  });
}
