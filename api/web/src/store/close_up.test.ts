import { beforeEach, describe, expect, it, vi } from "vitest";
import { CloseUp } from "./close_up";
import { MetricColumns, METRICS } from "./metric_columns";

const asked: string[] = [];

/** An api that has rows of two steps in any range. */
beforeEach(() => {
  asked.length = 0;
  vi.useFakeTimers();
  vi.stubGlobal("fetch", vi.fn(async (url: string) => {
    const query = new URL(url, "http://page").searchParams;
    asked.push(`${query.get("first")}-${query.get("last")}`);
    const step = [Number(query.get("last"))];
    const curves = Object.fromEntries(METRICS.map((name) => [name, { last: [1], min: [1], max: [1] }]));
    return new Response(JSON.stringify({ ...curves, stride: 2, step, epoch: [1], at: [1], epochs: [], newest_step: 100, last: 1 }));
  }));
});

/** Rows of four steps up to `newest`. */
function overview(newest: number, stride = 4): MetricColumns {
  const columns = new MetricColumns();
  columns.stride = stride;
  columns.length = 1;
  columns.step[0] = newest;
  return columns;
}

describe("CloseUp", () => {
  it("asks for the range once it has settled", async () => {
    const closeUp = new CloseUp(1, overview(100));
    closeUp.show([10.2, 90]);
    closeUp.show([10.2, 19.5]);
    await vi.advanceTimersByTimeAsync(500);
    expect(asked).toEqual(["10-20"]);
    expect(closeUp.columns.value?.newest).toBe(20);
    closeUp.show(null);
    expect(closeUp.columns.value).toBeNull();
  });

  it("asks for nothing where every step is there already", async () => {
    const closeUp = new CloseUp(1, overview(100, 1));
    closeUp.show([10, 20]);
    await vi.advanceTimersByTimeAsync(500);
    expect(asked).toEqual([]);
  });

  it("asks again, now and then, while points come into the range", async () => {
    const columns = overview(100);
    const closeUp = new CloseUp(1, columns);
    closeUp.show([50, 100]);
    await vi.advanceTimersByTimeAsync(500);
    closeUp.renew();
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked).toHaveLength(1);
    closeUp.show([50, 200]);
    await vi.advanceTimersByTimeAsync(500);
    columns.step[0] = 230;
    closeUp.columns.value!.step[0] = 150;
    for (let round = 0; round < 5; round += 1) closeUp.renew();
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked).toEqual(["50-100", "50-200", "50-200"]);
  });
});
