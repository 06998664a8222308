import { describe, expect, it } from "vitest";
import type { TrainConfig } from "../model/wire_types";
import { EMPTY_DRAFT, parseTyped, toRequest, typeInto, draft, valueOf, withoutBound } from "./draft";

const preset = { speeds: [1, 0.8], pitches: [2, -2], mask_threshold: 0.01, spectrogram: { sample_rate: 48_000, n_fft: 2048 } } as unknown as TrainConfig;

describe("parseTyped", () => {
  it("reads numbers, lists, switches and nested fields", () => {
    const { changes, errors } = parseTyped({ epochs: " 30 ", learning_rate: "5e-4", speeds: "1, 0.87 1.15", random_crops: "false", "spectrogram.n_fft": "1024", "spectrogram.f_max": "" });
    expect(errors).toEqual({});
    expect(changes).toEqual({ epochs: 30, learning_rate: 5e-4, speeds: [1, 0.87, 1.15], random_crops: false, spectrogram: { n_fft: 1024, f_max: null } });
  });

  it("takes no pitches for an empty list, but needs a speed", () => {
    expect(parseTyped({ pitches: " " }).changes).toEqual({ pitches: [] });
    expect(Object.keys(parseTyped({ speeds: " " }).errors)).toEqual(["speeds"]);
  });

  it("says what is no number, field by field", () => {
    const { changes, errors } = parseTyped({ epochs: "1.5", learning_rate: "", speeds: "fast" });
    expect(changes).toEqual({});
    expect(Object.keys(errors).sort()).toEqual(["epochs", "learning_rate", "speeds"]);
  });
});

describe("toRequest", () => {
  it("sends the preset's name and the changes for a training", () => {
    expect(toRequest({ ...EMPTY_DRAFT, dataset: "3" }, { epochs: 5 }, preset)).toEqual({
      kind: "train", dataset: "3", name: "", device: "auto", representation: "mel", preset: "auto", changes: { epochs: 5 },
    });
  });

  it("leaves the representation to the model that a training starts from", () => {
    const start = { job: 7, checkpoint: "1-250" };
    expect(toRequest({ ...EMPTY_DRAFT, dataset: "3", start }, {}, preset)).toEqual({
      kind: "train", dataset: "3", name: "", device: "auto", preset: "auto", changes: {}, start,
    });
    expect(toRequest({ ...EMPTY_DRAFT, kind: "preprocess", dataset: "3", start }, {}, preset)).not.toHaveProperty("start");
  });

  it("sends the features that the same training would read for a preprocess job", () => {
    const request = toRequest({ ...EMPTY_DRAFT, kind: "preprocess", dataset: "3" }, { spectrogram: { n_fft: 1024 } }, preset);
    expect(request).toMatchObject({ kind: "preprocess", features: { representation: "mel", speeds: [1, 0.8], pitches: [2, -2], spectrogram: { sample_rate: 48_000, n_fft: 1024 } } });
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
