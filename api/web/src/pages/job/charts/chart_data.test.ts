import { describe, expect, it } from "vitest";
import { MetricColumns, METRICS, type StepBlock } from "../../../store/metric_columns";
import { chartData } from "./chart_data";
import { CHARTS } from "./chart_specs";

/** Steps `first` … `last`, whose metrics are the step's number. */
function steps(first: number, last: number): StepBlock {
  const step = Array.from({ length: last - first + 1 }, (_, index) => first + index);
  const columns = Object.fromEntries(METRICS.map((name) => [name, step as readonly (number | null)[]]));
  return { ...(columns as Record<(typeof METRICS)[number], (number | null)[]>), step, epoch: step.map(() => 1) };
}

const LOSS = CHARTS.find(({ name }) => name === "loss")!;

describe("chartData", () => {
  it("puts the finer rows of a close-up in place of the overview's", () => {
    const overview = new MetricColumns(4);
    overview.append(steps(1, 16), 0);
    const closeUp = new MetricColumns();
    closeUp.append(steps(6, 9), 0);
    expect(chartData(LOSS, overview, null, [], 0).x).toEqual([4, 8, 12, 16]);
    const data = chartData(LOSS, overview, closeUp, [], 0);
    expect(data.x).toEqual([4, 6, 7, 8, 9, 12, 16]);
    expect(data.columns[0]).toEqual(data.x);
    expect(data.columns[2]).toEqual([4, null, null, null, null, 12, 16]);
    expect(data.columns[3]).toEqual([1, null, null, null, null, 9, 13]);
  });

  it("counts what it shows in steps", () => {
    const overview = new MetricColumns(4);
    overview.append(steps(1, 15), 0);
    expect(chartData(LOSS, overview, null, [], 0).points).toBe(15);
  });
});
