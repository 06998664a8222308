import { describe, expect, it } from "vitest";
import { wireJob } from "../../model/fixtures";
import type { Preview } from "../../model/artifacts";
import { type JobDetail, toJobDetail } from "../../model/job";
import { differences, epochsOf, soundIn, soundsOf } from "./compared";

function job(train: Record<string, unknown>, change: Partial<JobDetail> = {}): JobDetail {
  const wire = { ...wireJob(), train, features: null, preset_differences: {}, versions: { torch: "2" }, request: null };
  return { ...toJobDetail(wire as never), ...change };
}

function preview(epoch: number, ...titles: string[]): Preview {
  const clips = titles.map((title) => ({ kind: "reconstruction" as const, title, audioUrl: `${title}${epoch}`, originalUrl: null, durationS: 1 }));
  return { name: `1-${epoch}`, epoch, step: epoch, at: epoch, clips };
}

describe("differences", () => {
  it("are only those", () => {
    const rows = differences([job({ latent_dim: 16, epochs: 5 }), job({ latent_dim: 64, epochs: 5 }, { versions: { torch: "3" } })]);
    expect(rows.map(({ label, values }) => [label, values])).toEqual([
      ["Latent dimensions", ["16", "64"]],
      ["Version of torch", ["2", "3"]],
    ]);
    expect(differences([job({ epochs: 5 }), job({ epochs: 5 })])).toEqual([]);
  });
});

describe("previews", () => {
  it("are offered by how many jobs have them", () => {
    const lists = [[preview(2, "b", "a")], [preview(3, "b")]];
    expect(soundsOf(lists).map(({ title }) => title)).toEqual(["b", "a"]);
    expect(epochsOf(lists)).toEqual([3, 2]);
    expect(soundIn(lists[1]?.[0], { kind: "reconstruction", title: "b" })?.audioUrl).toBe("b3");
    expect(soundIn(lists[1]?.[0], { kind: "reconstruction", title: "a" })).toBeUndefined();
  });
});
