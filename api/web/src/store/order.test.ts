import { beforeEach, describe, expect, it, vi } from "vitest";
import { wireJob } from "../model/fixtures";
import { toJob } from "../model/job";
import { command } from "./actions";
import { moveBy, moveTo, orderNews, placeAt } from "./order";
import { jobs, putJob, putJobs, waitingJobs } from "./queue";
import { toasts } from "./toasts";

const waiting = (id: number, position: number, priority: "low" | "normal" | "high" = "normal") =>
  toJob(wireJob({ id, name: `Job ${id}`, state: "queued", position, priority, progress: { ...wireJob().progress } }));
const order = (): number[] => waitingJobs.value.map(({ id }) => id);
const job = (id: number) => jobs.value.get(id)!;

let answer: (path: string, body: unknown) => Response;
const asked: unknown[] = [];

beforeEach(() => {
  jobs.value = new Map();
  toasts.value = [];
  asked.length = 0;
  putJobs([waiting(1, 10), waiting(2, 20), waiting(3, 30), waiting(4, 5, "low"), waiting(5, 90, "high")]);
  vi.stubGlobal("fetch", async (path: string, init: RequestInit) => {
    const body: unknown = JSON.parse(String(init.body));
    asked.push([path, body]);
    return answer(path, body);
  });
});

describe("the order of the queue", () => {
  it("takes high priorities first, whatever their place", () => {
    expect(order()).toEqual([5, 1, 2, 3, 4]);
  });

  it("shows a move at once, and the api's own place after it", async () => {
    answer = () => Response.json(wireJob({ id: 3, state: "queued", position: 9.5 }));
    const done = moveTo(job(3), 1);
    expect(order()).toEqual([5, 3, 1, 2, 4]);
    expect(orderNews.value).toBe("Job 3 is number 2 of 5.");
    await done;
    expect(asked).toEqual([["/api/v1/jobs/3/move", { before: 1 }]]);
    expect(job(3).position).toBe(9.5);
    expect(toasts.value).toEqual([]);
  });

  it("sends Run next behind a move that is not answered yet", async () => {
    const answers: (() => void)[] = [];
    vi.stubGlobal("fetch", (path: string) => {
      asked.push(path);
      const id = Number(path.split("/")[4]);
      return new Promise<Response>((resolve) => answers.push(() => resolve(Response.json(wireJob({ id, state: "queued" })))));
    });
    const moved = moveTo(job(3), 1);
    const first = command(job(2), "next");
    await vi.waitFor(() => expect(answers).toHaveLength(1));
    expect(asked).toEqual(["/api/v1/jobs/3/move"]);
    answers[0]!();
    await moved;
    await vi.waitFor(() => expect(answers).toHaveLength(2));
    answers[1]!();
    await first;
    expect(asked).toEqual(["/api/v1/jobs/3/move", "/api/v1/jobs/2/next"]);
  });

  it("keeps the new place when an older view arrives before the answer", async () => {
    answer = () => Response.json(wireJob({ id: 3, state: "queued", position: 9.5 }));
    const done = moveTo(job(3), 1);
    putJob(waiting(3, 30));
    expect(order()).toEqual([5, 3, 1, 2, 4]);
    await done;
  });

  it("keeps news that overtake the answer, and takes the place from the answer", async () => {
    answer = () => Response.json(wireJob({ id: 3, name: "Job 3", state: "queued", position: 9.5, last_event: 4 }));
    const done = moveTo(job(3), 1);
    putJob({ ...waiting(3, 30), reason: "Waits for a worker.", lastEvent: 5 });
    await done;
    expect(job(3)).toMatchObject({ position: 9.5, reason: "Waits for a worker.", lastEvent: 5 });
  });

  it("takes a refused move back and says why", async () => {
    answer = () => Response.json({ error: "Job 3 has started." }, { status: 409 });
    await moveTo(job(3), 1);
    expect(order()).toEqual([5, 1, 2, 3, 4]);
    expect(toasts.value.map(({ text }) => text)).toEqual(["Job 3 has started."]);
  });

  it("goes to the end, and no further", async () => {
    answer = () => Response.json(wireJob({ id: 1, state: "queued", position: 91, priority: "low" }));
    const done = moveTo(job(1), 99);
    expect(order()).toEqual([5, 2, 3, 4, 1]);
    await done;
    expect(asked).toEqual([["/api/v1/jobs/1/move", { before: null }]]);
    expect(toasts.value.map(({ text }) => text)).toEqual(["Job 1 is moved. Its priority is now low."]);
    await moveBy(job(1), 1);
    expect(asked).toHaveLength(1);
  });

  it("takes the priority of the job that it goes before", () => {
    const [high, low, lower] = [waiting(5, 90, "high"), waiting(4, 5, "low"), waiting(6, 6, "low")];
    expect(placeAt([], 0)).toEqual({ position: 0, priority: "normal" });
    expect(placeAt([high, low, lower], 0)).toEqual({ position: 89, priority: "high" });
    expect(placeAt([high, low, lower], 1)).toEqual({ position: 4, priority: "low" });
    expect(placeAt([high, low, lower], 2)).toEqual({ position: 5.5, priority: "low" });
    expect(placeAt([high, low, lower], 3)).toEqual({ position: 7, priority: "low" });
  });
});
