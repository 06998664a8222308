import { describe, expect, it } from "vitest";
import { MetricColumns, METRICS, type StepBlock } from "./metric_columns";

/** Steps `first` … `last`, whose loss is the step's number unless `loss` says otherwise. */
function block(first: number, last: number, loss: (step: number) => number | null = (step) => step): StepBlock {
  const step = Array.from({ length: last - first + 1 }, (_, index) => first + index);
  const columns = Object.fromEntries(METRICS.map((name) => [name, step.map(() => 1 as number | null)]));
  return { ...(columns as Record<(typeof METRICS)[number], (number | null)[]>), loss: step.map(loss), step, epoch: step.map(() => 1) };
}

const losses = (columns: MetricColumns): number[] => [...columns.values.loss.subarray(0, columns.length)];

describe("MetricColumns", () => {
  it("merges blocks into columns and grows", () => {
    const columns = new MetricColumns();
    columns.append(block(1, 3), 10);
    columns.append(block(4, 3000), 11);
    expect(columns.length).toBe(3000);
    expect(columns.values.loss[2999]).toBe(3000);
    expect(columns.at[2]).toBe(10);
    expect(columns.at[3]).toBe(11);
  });

  it("keeps a value that was no number as a gap", () => {
    const columns = new MetricColumns();
    columns.append(block(1, 3, (step) => (step === 2 ? null : step)), 0);
    expect(losses(columns)).toEqual([1, Number.NaN, 3]);
  });

  it("overwrites steps that a resumed run repeats", () => {
    const columns = new MetricColumns();
    columns.append(block(1, 10), 0);
    columns.append(block(6, 8, () => 99), 1);
    expect(columns.length).toBe(8);
    expect(losses(columns)).toEqual([1, 2, 3, 4, 5, 99, 99, 99]);
  });

  it("averages neighbours when it is full, whatever the size of the blocks", () => {
    const whole = new MetricColumns(8);
    whole.append(block(1, 32), 0);
    const pieces = new MetricColumns(8);
    for (let first = 1; first <= 32; first += 3) pieces.append(block(first, Math.min(32, first + 2)), 0);
    expect(whole.stride).toBe(4);
    expect(losses(whole)).toEqual([2.5, 6.5, 10.5, 14.5, 18.5, 22.5, 26.5, 30.5]);
    expect(losses(pieces)).toEqual(losses(whole));
    expect([...whole.step.subarray(0, 8)]).toEqual([4, 8, 12, 16, 20, 24, 28, 32]);
  });

  it("finds the row of a step", () => {
    const columns = new MetricColumns(8);
    columns.append(block(1, 32), 0);
    expect(columns.indexOf(1)).toBe(0);
    expect(columns.indexOf(5)).toBe(1);
    expect(columns.indexOf(33)).toBe(8);
  });
});
