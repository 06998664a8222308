import { beforeEach, describe, expect, it } from "vitest";
import { wireWorker } from "../model/fixtures";
import { toWorker } from "../model/worker";
import { histories, HISTORY_MS, noteWorker } from "./worker_history";

const worker = toWorker(wireWorker());

describe("noteWorker", () => {
  beforeEach(() => {
    histories.value = new Map();
  });

  it("keeps ten minutes and no more", () => {
    noteWorker(worker, 1000);
    noteWorker(worker, 2000);
    noteWorker(worker, 1500 + HISTORY_MS);
    expect(histories.value.get(worker.name)?.map(({ at }) => at)).toEqual([2000, 1500 + HISTORY_MS]);
  });

  it("keeps what is not reported apart from nothing at all", () => {
    noteWorker(toWorker(wireWorker({ device: { ...wireWorker().device, memory_used_bytes: null, utilisation: 0 } })), 1000);
    expect(histories.value.get(worker.name)).toEqual([{ at: 1000, utilisation: 0, memory: null, temperatureC: 61 }]);
  });

  it("takes nothing from one that is away", () => {
    noteWorker({ ...worker, state: "offline" }, 1000);
    expect(histories.value.size).toBe(0);
  });
});
