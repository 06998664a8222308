import { render } from "preact";
import { beforeEach, describe, expect, it } from "vitest";
import { changeDraft } from "../../store/draft";
import { Estimate } from "./Estimate";
import type { FormCheck } from "./form_check";

const view: FormCheck["view"] = {
  train: null, features: null, file_count: 12, chunks: 8, steps_per_epoch: 40, total_steps: 400, start: null,
  memory_bytes: 2e9, seconds: 60, warnings: [],
};

function shown(check: Partial<FormCheck>, jobCount = 1, isWrong = false): string {
  const box = document.createElement("div");
  const whole: FormCheck = { view, errors: {}, isFresh: true, ...check };
  render(<Estimate check={whole} general={undefined} fileCount={12} isSending={false} jobCount={jobCount} isWrong={isWrong} isEdit={false} />, box);
  return box.textContent ?? "";
}

beforeEach(() => changeDraft({ dataset: "1", kind: "train" }));

describe("the summary of a new job", () => {
  it("tells what one job comes to", () => {
    expect(shown({})).toContain("Steps in all400");
    expect(shown({})).not.toContain("all jobs");
  });

  it("tells the sum of several beside the first of them", () => {
    const text = shown({ view: { ...view, jobs: 4, all_steps: 1700, all_seconds: 7200 } }, 4);
    for (const fact of ["Jobs4", "Steps of all jobs1,700", "Time of all jobs", "Steps in all400"]) expect(text).toContain(fact);
    expect(shown({ view: { ...view, jobs: 1000 } }, 1000)).toContain("Steps of all jobs–");
  });

  it("shows no figure while something is wrong, but that it waits", () => {
    const text = shown({ view: null, errors: { epochs: "Write a whole number." } }, 4, true);
    expect(text).toContain("It waits for what is wrong in the form to be corrected.");
    expect(text).not.toMatch(/Steps|Time|Clips|first of them/);
  });
});
