import { describe, expect, it } from "vitest";
import { wireJob } from "../model/fixtures";
import { type JobDetail, toJobDetail } from "../model/job";
import type { TrainConfig, Wire } from "../model/wire_types";
import { changeDraft, draft, editDraft, EMPTY_DRAFT, typeInto, valueOf, withoutBound } from "./draft";
import { draftOf, readForm, toDraft, toEdit, toRequest } from "./draft_request";
import { durationText, parseDuration, parsePlacement, parseTyped, placementTyped } from "./typed";

const preset = { speeds: [1, 0.8], pitches: [2, -2], mask_threshold: 0.01, spectrogram: { sample_rate: 48_000, n_fft: 2048 } } as unknown as TrainConfig;

const ANYWHERE = { labels: [], worker: "", min_free_memory_bytes: 0, only_when_idle: false, hours: null, time_limit_s: null };
const WISHES = { dataset: "3", name: "", device: "auto", placement: ANYWHERE, priority: "normal", held: false, after: [] };

describe("parseTyped", () => {
  it("reads numbers, lists, switches and nested fields", () => {
    const { value: changes, errors } = parseTyped({ epochs: " 30 ", learning_rate: "5e-4", speeds: "1, 0.87 1.15", random_crops: "false", "spectrogram.n_fft": "1024", "spectrogram.f_max": "" });
    expect(errors).toEqual({});
    expect(changes).toEqual({ epochs: 30, learning_rate: 5e-4, speeds: [1, 0.87, 1.15], random_crops: false, spectrogram: { n_fft: 1024, f_max: null } });
  });

  it("takes no pitches for an empty list, but needs a speed", () => {
    expect(parseTyped({ pitches: " " }).value).toEqual({ pitches: [] });
    expect(Object.keys(parseTyped({ speeds: " " }).errors)).toEqual(["speeds"]);
  });

  it("says what is no number, field by field", () => {
    const { value: changes, errors } = parseTyped({ epochs: "1.5", learning_rate: "", speeds: "fast" });
    expect(changes).toEqual({});
    expect(Object.keys(errors).sort()).toEqual(["epochs", "learning_rate", "speeds"]);
  });
});

describe("toRequest", () => {
  it("sends the preset's name and the changes for a training", () => {
    expect(toRequest({ ...EMPTY_DRAFT, dataset: "3" }, { epochs: 5 }, preset)).toEqual({
      kind: "train", ...WISHES, representation: "mel", preset: "auto", changes: { epochs: 5 },
    });
  });

  it("leaves the representation to the model that a training starts from", () => {
    const start = { job: 7, checkpoint: "1-250" };
    expect(toRequest({ ...EMPTY_DRAFT, dataset: "3", start }, {}, preset)).toEqual({
      kind: "train", ...WISHES, preset: "auto", changes: {}, start,
    });
    expect(toRequest({ ...EMPTY_DRAFT, kind: "preprocess", dataset: "3", start }, {}, preset)).not.toHaveProperty("start");
  });

  it("sends the features that the same training would read for a preprocess job", () => {
    const request = toRequest({ ...EMPTY_DRAFT, kind: "preprocess", dataset: "3" }, { spectrogram: { n_fft: 1024 } }, preset);
    expect(request).toMatchObject({ kind: "preprocess", features: { representation: "mel", speeds: [1, 0.8], pitches: [2, -2], spectrogram: { sample_rate: 48_000, n_fft: 1024 } } });
  });
});

describe("a job in the form", () => {
  const placement = {
    labels: ["studio"], worker: "studio/cuda:0", min_free_memory_bytes: 6_500_000_001, only_when_idle: true,
    hours: { start: "23:00", end: "07:00" }, time_limit_s: 5461.5,
  };
  const asked: Wire<"TrainRequest"> = {
    kind: "train", dataset: "drums", name: "Night", device: "cuda", placement, priority: "high", held: true, after: [4, 5],
    representation: "mel_if", preset: "balanced", start: null,
    changes: { epochs: 7, learning_rate: 5e-4, random_crops: false, speeds: [1, 0.87], spectrogram: { n_mels: 64, f_max: null } },
  };
  const jobOf = (request: Wire<"JobDetailView">["request"]): JobDetail => toJobDetail({
    ...wireJob({ representation: "mel_if", state: "queued" }), train: null, features: null, preset_differences: { epochs: 9 }, versions: {}, request,
  });

  it("asks for all the same again", () => {
    const { start: _, ...rest } = asked;
    expect(readForm(toDraft(jobOf(asked)), preset).job).toEqual({ ...rest, dataset: "2" });
  });

  it("keeps the start instead of the representation", () => {
    const start = { job: 7, checkpoint: "1-250" };
    expect(readForm(toDraft(jobOf({ ...asked, start })), preset).job).toMatchObject({ start });
  });

  it("is filled from its configuration where nobody kept the request", () => {
    expect(toDraft(jobOf(null))).toMatchObject({ dataset: "2", representation: "mel_if", preset: "auto", typed: { epochs: "9" } });
  });

  it("edits apart from the new job's draft", () => {
    changeDraft({ name: "mine" });
    editDraft(toDraft(jobOf(asked)));
    changeDraft({ name: "Dawn" });
    expect(toEdit(draft.value, jobOf(asked))).toEqual({ name: "Dawn" });
    typeInto("epochs", "8", "200");
    expect(toEdit(draft.value, jobOf(asked))).toEqual({ name: "Dawn", changes: { ...asked.changes, epochs: 8 } });
    editDraft(null);
    expect(draft.value.name).toBe("mine");
    changeDraft({ name: "" });
  });
});

describe("several jobs at once", () => {
  const form = { ...EMPTY_DRAFT, dataset: "3" };

  it("multiplies values and datasets", () => {
    const read = readForm({ ...form, datasets: ["4", "3"], vary: [{ field: "latent_dim", values: "8, 16 16" }, { field: "objective", values: "sigma, beta" }] }, preset);
    expect(read.jobCount).toBe(8);
    expect(read.sweep).toMatchObject({ datasets: ["3", "4"], vary: { latent_dim: [8, 16], objective: ["sigma", "beta"] } });
  });

  it("is one job where nothing varies", () => {
    expect(readForm(form, preset)).toMatchObject({ sweep: null, jobCount: 1, errors: {} });
    expect(readForm({ ...form, vary: [{ field: "", values: "" }] }, preset).sweep).toBeNull();
  });

  it("says which values cannot be read", () => {
    const vary = [{ field: "latent_dim", values: "8, many" }, { field: "dropout", values: "" }];
    expect(Object.keys(readForm({ ...form, vary }, preset).errors)).toEqual(["vary.0", "vary.1"]);
  });
});

describe("where and when", () => {
  it("reads times with their units", () => {
    expect(["90 min", "1 h 30 min", "1,5h", "2 d", "45s"].map(parseDuration)).toEqual([5400, 5400, 5400, 172_800, 45]);
    expect(["", "90", "soon", "1 h later"].map(parseDuration)).toEqual([undefined, undefined, undefined, undefined]);
    expect([5400, 86_461, 0.5].map(durationText)).toEqual(["1 h 30 min", "1 d 1 min 1 s", "0.5 s"]);
  });

  it("says what is wrong beside its field", () => {
    const typed = { ...placementTyped(ANYWHERE), freeMemory: "much", timeLimit: "9", hoursStart: "23:00" };
    expect(Object.keys(parsePlacement(typed).errors)).toEqual(["placement.min_free_memory_bytes", "placement.time_limit_s", "placement.hours"]);
  });
});

describe("withoutBound", () => {
  it("drops what weights are bound to and keeps the rest", () => {
    expect(withoutBound({ latent_dim: "8", "spectrogram.n_mels": "64", learning_rate: "0.01", objective: "elbo" })).toEqual({ learning_rate: "0.01", objective: "elbo" });
  });
});

describe("the draft", () => {
  it("forgets a field that has the preset's value again", () => {
    typeInto("epochs", "30", "100");
    expect(draft.value.typed).toEqual({ epochs: "30" });
    expect(JSON.parse(localStorage.getItem("spectrain.draft") ?? "{}").typed).toEqual({ epochs: "30" });
    typeInto("epochs", "100", "100");
    expect(draft.value.typed).toEqual({});
  });

  it("finds nested values", () => {
    expect(valueOf(preset, "spectrogram.n_fft")).toBe(2048);
    expect(valueOf(null, "spectrogram.n_fft")).toBeUndefined();
  });
});

describe("draftOf", () => {
  const datasets = [{ id: 3, name: "kicks" }];

  it("reads back what the form asks for", () => {
    const form = {
      ...EMPTY_DRAFT, dataset: "3", name: "again", preset: "balanced" as const, priority: "high" as const, after: [4],
      typed: { epochs: "12", "spectrogram.n_mels": "64" }, placement: { ...EMPTY_DRAFT.placement, labels: ["studio"], timeLimit: "2 h" },
    };
    const { job } = readForm(form, preset);
    expect(draftOf(JSON.parse(JSON.stringify(job)), datasets)).toEqual(form);
  });

  it("knows a dataset by its name, and says which one is missing", () => {
    expect(draftOf({ dataset: "kicks" }, datasets).dataset).toBe("3");
    expect(() => draftOf({ dataset: "snares" }, datasets)).toThrow("no dataset \"snares\"");
  });

  it("takes the configuration of a model", () => {
    const form = draftOf({ job: 5, train: { representation: "mel_if", preset: "balanced", latent_dim: 32 } }, datasets);
    expect([form.representation, form.preset, form.typed]).toEqual(["mel_if", "balanced", { latent_dim: "32" }]);
  });

  it("refuses what is no job", () => {
    expect(() => draftOf([1], datasets)).toThrow("one job as a JSON object");
    expect(() => draftOf({ preset: "best" }, datasets)).toThrow("This is no job");
  });
});
