// How the fields of TrainConfig are laid out under Advanced.
import { type Draft, isBoundToWeights, startOf } from "../../store/draft";
import { TRAIN_FIELDS, type TrainField } from "../../train_fields";

interface FieldGroup {
  readonly title: string;
  readonly fields: readonly TrainField[];
}

/** Chosen above, with words of their own. */
const BASICS: ReadonlySet<string> = new Set(["representation", "preset", "epochs"]);
/** What a preprocess job asks for beside the spectrogram. */
const FEATURES: ReadonlySet<string> = new Set(["speeds", "pitches", "mask_threshold"]);
const MEL_IF_ONLY: ReadonlySet<string> = new Set(["mask_threshold", "frequency_weight"]);

const LAYOUT: readonly (readonly [string, readonly string[]])[] = [
  ["Learning", ["optimizer", "learning_rate", "warmup_fraction", "batch_size", "expansion", "weight_decay", "average_steps", "dropout", "grad_clip", "seed"]],
  ["Latent space", ["latent_dim", "first_weights", "keep_statistics", "kl_weight", "kl_warmup_fraction", "free_bits"]],
  ["Examples", ["chunk_s", "validation_fraction", "random_crops"]],
  ["Augmentation", ["augment_probability", "gain_db", "gain_probability", "shift_s", "shift_probability", "speeds", "speed_probability", "pitches", "pitch_probability", "mix_db", "mix_probability", "equalizer_db", "equalizer_probability", "noise_db", "noise_probability"]],
  ["Spectrogram", ["spectrogram.sample_rate", "spectrogram.n_fft", "spectrogram.hop_length", "spectrogram.n_mels", "spectrogram.f_min", "spectrogram.f_max", "mask_threshold"]],
  ["Loss", ["objective", "spectral_weight", "frequency_weight"]],
  ["Previews and checkpoints", ["preview_every", "preview_clips", "refine_steps", "checkpoint_every_s"]],
];

/** The groups that matter for the draft; a field that the layout does not know yet comes last, not nowhere. */
export function fieldGroups(form: Draft): readonly FieldGroup[] {
  const isShown = ({ name }: TrainField): boolean => {
    if (BASICS.has(name) || (MEL_IF_ONLY.has(name) && form.representation !== "mel_if")) return false;
    if (startOf(form) && isBoundToWeights(name)) return false;
    return form.kind === "train" || name.startsWith("spectrogram.") || FEATURES.has(name);
  };
  const shown = TRAIN_FIELDS.filter(isShown);
  const placed = new Set(LAYOUT.flatMap(([, names]) => names));
  const groups = LAYOUT.map(([title, names]) => ({
    title,
    fields: names.flatMap((name) => shown.find((field) => field.name === name) ?? []),
  }));
  return [...groups, { title: "More", fields: shown.filter(({ name }) => !placed.has(name)) }].filter(({ fields }) => fields.length > 0);
}

const SHOWN: ReadonlySet<string> = new Set(["dataset", "name", "device", "start", "priority", "after", "datasets", ...TRAIN_FIELDS.map(({ name }) => name)]);

/** Errors that belong to no input of the form, as one text: they are shown beside the button. */
export function generalError(errors: Readonly<Record<string, string>>): string | undefined {
  const texts = Object.entries(errors).filter(([name]) => !SHOWN.has(name) && !/^(placement|after|vary)\./.test(name)).map(([, text]) => text);
  return texts.length > 0 ? texts.join(" ") : undefined;
}

export function fieldId(name: string): string {
  return `field-${name.replaceAll(".", "-")}`;
}

/** The name of the form's field that the server means: "changes.learning_rate" and "learning_rate" are one. */
export function formField(name: string): string {
  return name.replace(/^(job|jobs\.\d+)\./, "").replace(/^(train|preprocess)\./, "").replace(/^(changes|features|train)\./, "");
}
