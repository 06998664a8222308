import { describe, expect, it } from "vitest";
import { MetricColumns, METRICS } from "../../../store/metric_columns";
import { between, scaleOf, secondsOf } from "./x_axis";

function told(blocks: readonly (readonly [first: number, last: number, at: number])[]): MetricColumns {
  const metrics = new MetricColumns();
  for (const [first, last, at] of blocks) {
    const step = Array.from({ length: last - first + 1 }, (_, index) => first + index);
    const same = Object.fromEntries(METRICS.map((name) => [name, step.map(() => 1)]));
    metrics.append({ step, epoch: step.map(() => 1), ...same } as never, at);
  }
  return metrics;
}

describe("x axis", () => {
  it("spreads steps that came together over the time since those before", () => {
    expect([...secondsOf(told([[1, 2, 102], [3, 6, 110]]))]).toEqual([1, 2, 4, 6, 8, 10]);
  });

  it("goes to time and back", () => {
    const scale = scaleOf("time", told([[1, 2, 102], [3, 6, 110]]), 2);
    expect(scale.toX(4)).toBe(6);
    expect(scale.toStep(6)).toBe(4);
    expect(scale.toStep(5)).toBe(3.5);
  });

  it("counts epochs of so many steps, and steps where that is not known", () => {
    expect(scaleOf("epoch", told([]), 50).toX(125)).toBe(2.5);
    expect(scaleOf("epoch", told([]), 0).toX(125)).toBe(125);
  });

  it("goes on beyond the ends", () => {
    expect(between([0, 1], [10, 20], 2)).toBe(30);
  });
});
