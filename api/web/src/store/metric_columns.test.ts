import { describe, expect, it } from "vitest";
import { type History, MetricColumns, METRICS, type StepBlock } from "./metric_columns";

/** Steps `first` … `last`, whose loss is the step's number unless `loss` says otherwise. */
function block(first: number, last: number, loss: (step: number) => number | null = (step) => step): StepBlock {
  const step = Array.from({ length: last - first + 1 }, (_, index) => first + index);
  const columns = Object.fromEntries(METRICS.map((name) => [name, step.map(() => 1 as number | null)]));
  return { ...(columns as Record<(typeof METRICS)[number], (number | null)[]>), loss: step.map(loss), step, epoch: step.map(() => 1) };
}

/** What the api says of buckets with these last, lowest and highest losses. */
function history(stride: number, step: number[], loss: { last: (number | null)[]; min: (number | null)[]; max: (number | null)[] }): History {
  const curves = Object.fromEntries(METRICS.map((name) => [name, loss])) as Record<(typeof METRICS)[number], typeof loss>;
  return { ...curves, stride, step, epoch: step.map(() => 1), at: step.map(() => 5), epochs: [], newest_step: step.at(-1) ?? 0, last: 1 };
}

const rows = (columns: MetricColumns, kind: "last" | "min" | "max" = "last"): number[] => [...columns.values.loss[kind].subarray(0, columns.length)];

describe("MetricColumns", () => {
  it("merges blocks into columns and grows", () => {
    const columns = new MetricColumns();
    columns.append(block(1, 3), 10);
    columns.append(block(4, 3000), 11);
    expect(columns.length).toBe(3000);
    expect(columns.values.loss.last[2999]).toBe(3000);
    expect(columns.at[2]).toBe(10);
    expect(columns.at[3]).toBe(11);
  });

  it("keeps a value that was no number as a gap", () => {
    const columns = new MetricColumns();
    columns.append(block(1, 3, (step) => (step === 2 ? null : step)), 0);
    expect(rows(columns)).toEqual([1, Number.NaN, 3]);
  });

  it("overwrites steps that a resumed run repeats, and says so", () => {
    const columns = new MetricColumns();
    expect(columns.append(block(1, 10), 0)).toBe(true);
    expect(columns.append(block(6, 8, () => 99), 1)).toBe(false);
    expect(rows(columns)).toEqual([1, 2, 3, 4, 5, 99, 99, 99]);
  });

  it("keeps spikes and gaps when it is full, whatever the size of the blocks", () => {
    const loss = (step: number): number | null => (step === 6 ? 1e6 : step === 17 ? null : step);
    const whole = new MetricColumns(8);
    whole.append(block(1, 32, loss), 0);
    const pieces = new MetricColumns(8);
    for (let first = 1; first <= 32; first += 3) pieces.append(block(first, Math.min(32, first + 2), loss), 0);
    expect(whole.stride).toBe(4);
    expect(rows(whole)).toEqual([4, 8, 12, 16, Number.NaN, 24, 28, 32]);
    expect(rows(whole, "max")).toEqual([4, 1e6, 12, 16, 20, 24, 28, 32]);
    expect(rows(whole, "min")).toEqual([1, 5, 9, 13, 18, 21, 25, 29]);
    for (const kind of ["last", "min", "max"] as const) expect(rows(pieces, kind)).toEqual(rows(whole, kind));
    expect([...whole.step.subarray(0, 8)]).toEqual([4, 8, 12, 16, 20, 24, 28, 32]);
  });

  it("goes on live in the rows of the api's history", () => {
    const columns = new MetricColumns();
    columns.load(history(4, [4, 6], { last: [3, null], min: [1, 2], max: [9, 7] }));
    columns.append(block(7, 10), 6);
    expect([...columns.step.subarray(0, columns.length)]).toEqual([4, 8, 10]);
    expect(rows(columns)).toEqual([3, Number.NaN, 10]);
    expect(rows(columns, "min")).toEqual([1, 2, 9]);
    expect(rows(columns, "max")).toEqual([9, 8, 10]);
  });

  it("takes a history of single steps and of nothing", () => {
    const columns = new MetricColumns();
    columns.load(history(1, [1, 2], { last: [5, null], min: [], max: [] }));
    columns.append(block(3, 3), 6);
    expect(rows(columns)).toEqual([5, Number.NaN, 3]);
    expect(rows(columns, "max")).toEqual([5, Number.NEGATIVE_INFINITY, 3]);
    columns.load(history(1, [], { last: [], min: [], max: [] }));
    columns.append(block(1, 2), 6);
    expect(rows(columns)).toEqual([1, 2]);
  });

  it("stays bounded over hundreds of thousands of steps", () => {
    const columns = new MetricColumns();
    for (let first = 1; first < 300_000; first += 4096) columns.append(block(first, first + 4095), 0);
    expect(columns.length).toBeLessThanOrEqual(4096);
    expect(columns.length * columns.stride).toBeGreaterThanOrEqual(300_000);
    expect(Math.max(...rows(columns, "max"))).toBe(columns.newest);
  });

  it("finds the row of a step", () => {
    const columns = new MetricColumns(8);
    columns.append(block(1, 32), 0);
    expect(columns.indexOf(1)).toBe(0);
    expect(columns.indexOf(5)).toBe(1);
    expect(columns.indexOf(33)).toBe(8);
  });
});
