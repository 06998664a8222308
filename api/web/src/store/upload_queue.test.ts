import { describe, expect, it, vi } from "vitest";
import { ApiError } from "../http/request";
import type { FileResult } from "../model/dataset";
import { type UploadItem, UploadQueue } from "./upload_queue";

const items = (count: number): UploadItem[] =>
  Array.from({ length: count }, (_, index) => ({ path: `f${index}.wav`, file: new File(["abc"], `f${index}.wav`) }));
const added = (batch: readonly UploadItem[]): FileResult[] =>
  batch.map(({ path }) => ({ name: path, outcome: "added", reason: "" }));
const instantly = async (): Promise<void> => undefined;
const done = (queue: UploadQueue) => vi.waitFor(() => expect(queue.isBusy).toBe(false));

describe("UploadQueue", () => {
  it("sends a thousand files a few at a time, three requests at once", async () => {
    let current = 0;
    let most = 0;
    const send = vi.fn(async (batch: readonly UploadItem[]) => {
      current += 1;
      most = Math.max(most, current);
      await Promise.resolve();
      current -= 1;
      return added(batch);
    });
    const queue = new UploadQueue({ send });
    queue.add(items(1000));
    await done(queue);
    expect(queue.counts.value).toMatchObject({ total: 1000, added: 1000, doneBytes: 3000 });
    expect(most).toBe(3);
    expect(Math.max(...send.mock.calls.map(([batch]) => batch.length))).toBe(8);
  });

  it("counts outcomes and keeps the reasons", async () => {
    const send = async (batch: readonly UploadItem[]): Promise<FileResult[]> =>
      batch.map(({ path }, index) => ({ name: path, outcome: index === 0 ? "refused" : index === 1 ? "duplicate" : "added", reason: "why" }));
    const queue = new UploadQueue({ send });
    queue.add(items(5));
    await done(queue);
    expect(queue.counts.value).toMatchObject({ added: 3, duplicate: 1, refused: 1 });
    expect(queue.notable.value.map(({ name }) => name)).toEqual(["f0.wav", "f1.wav"]);
  });

  it("sends only what is missing again after the network dropped", async () => {
    const sent: string[][] = [];
    let drops = 2;
    const send = async (batch: readonly UploadItem[]): Promise<FileResult[]> => {
      sent.push(batch.map(({ path }) => path));
      if (batch[0]?.path === "f8.wav" && drops-- > 0) throw new ApiError("The server does not answer.", 0);
      return added(batch);
    };
    const queue = new UploadQueue({ send, wait: instantly });
    queue.add(items(24));
    await done(queue);
    expect(queue.counts.value.added).toBe(24);
    expect(sent.filter(([first]) => first === "f8.wav")).toHaveLength(3);
    expect(sent.filter(([first]) => first === "f0.wav")).toHaveLength(1);
    expect(queue.trouble.value).toBe("");
  });

  it("tries again at once when told to", async () => {
    let isAway = true;
    const send = async (batch: readonly UploadItem[]): Promise<FileResult[]> => {
      if (isAway) throw new ApiError("The server does not answer.", 0);
      return added(batch);
    };
    const queue = new UploadQueue({ send, wait: () => new Promise(() => undefined) });
    queue.add(items(20));
    await vi.waitFor(() => expect(queue.trouble.value).not.toBe(""));
    isAway = false;
    queue.retryNow();
    await done(queue);
    expect(queue.counts.value.added).toBe(20);
  });

  it("lets one impossible file spoil nothing for its neighbours", async () => {
    const send = async (batch: readonly UploadItem[]): Promise<FileResult[]> => {
      if (batch.some(({ path }) => path === "f3.wav")) throw new ApiError("Too large.", 413);
      return added(batch);
    };
    const queue = new UploadQueue({ send });
    queue.add(items(8));
    await done(queue);
    expect(queue.counts.value).toMatchObject({ added: 7, refused: 1 });
    expect(queue.notable.value).toEqual([{ name: "f3.wav", outcome: "refused", reason: "Too large." }]);
  });

  it("starts its counts anew for a second upload, and adds to a running one", async () => {
    const queue = new UploadQueue({ send: async (batch) => added(batch) });
    queue.add(items(2));
    queue.add(items(3));
    expect(queue.counts.value.total).toBe(5);
    await done(queue);
    queue.add(items(1));
    expect(queue.counts.value.total).toBe(1);
    await done(queue);
  });
});
