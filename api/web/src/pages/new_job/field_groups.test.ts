import { describe, expect, it } from "vitest";
import { EMPTY_DRAFT } from "../../store/draft";
import { TRAIN_FIELDS } from "../../train_fields";
import { fieldGroups, formField, generalError } from "./field_groups";

const names = (form: typeof EMPTY_DRAFT): string[] => fieldGroups(form).flatMap(({ fields }) => fields.map(({ name }) => name));

describe("fieldGroups", () => {
  it("shows every field of the configuration once, except those that stand above", () => {
    const shown = names({ ...EMPTY_DRAFT, representation: "mel_if" });
    expect(new Set(shown).size).toBe(shown.length);
    expect(fieldGroups({ ...EMPTY_DRAFT, representation: "mel_if" }).map(({ title }) => title)).not.toContain("More");
    expect([...shown, "representation", "preset", "epochs"].sort()).toEqual(TRAIN_FIELDS.map(({ name }) => name).sort());
  });

  it("leaves out what the representation or the kind does not use", () => {
    expect(names(EMPTY_DRAFT)).not.toContain("frequency_weight");
    const features = names({ ...EMPTY_DRAFT, kind: "preprocess" });
    expect(features).not.toContain("learning_rate");
    expect(features).toEqual(expect.arrayContaining(["speeds", "pitches"]));
  });
});

describe("a training that starts from a model", () => {
  it("leaves to the model what its weights are bound to", () => {
    const shown = names({ ...EMPTY_DRAFT, start: { job: 3, checkpoint: "" } });
    expect(shown).not.toEqual(expect.arrayContaining(["latent_dim"]));
    expect(shown.filter((name) => name.startsWith("spectrogram."))).toEqual([]);
    expect(shown).toEqual(expect.arrayContaining(["learning_rate", "pitches", "objective"]));
    expect(names({ ...EMPTY_DRAFT, kind: "preprocess", start: { job: 3, checkpoint: "" } })).toContain("spectrogram.n_mels");
  });
});

describe("formField", () => {
  it.each([["changes.learning_rate", "learning_rate"], ["train.changes.epochs", "epochs"], ["epochs", "epochs"], ["features.spectrogram.n_fft", "spectrogram.n_fft"]])(
    "%s is %s",
    (sent, field) => expect(formField(sent)).toBe(field),
  );
});

describe("generalError", () => {
  it("takes what no input shows, such as a fault of a whole group", () => {
    expect(generalError({ spectrogram: "f_min must lie below f_max", epochs: "too many" })).toBe("f_min must lie below f_max");
    expect(generalError({ "": "The server does not answer." })).toBe("The server does not answer.");
    expect(generalError({ epochs: "too many" })).toBeUndefined();
  });
});
