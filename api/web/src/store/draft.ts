// The New job form as it is being filled in; kept over reloads. A job that is edited fills the same form, apart from it.
import { computed, type Signal, signal } from "@preact/signals";
import type { PresetName, Priority, Representation, TrainConfig, Wire } from "../model/wire_types";
import { remembered } from "./preferences";

/** Where and when, as it is typed. */
export interface PlacementDraft {
  readonly labels: readonly string[];
  readonly worker: string;
  /** In gigabytes. */
  readonly freeMemory: string;
  readonly onlyWhenIdle: boolean;
  /** Both as HH:MM, or both empty. */
  readonly hoursStart: string;
  readonly hoursEnd: string;
  /** Such as "90 min" or "2 h". */
  readonly timeLimit: string;
}

/** One field whose values a sweep goes through. */
export interface Variation {
  readonly field: string;
  readonly values: string;
}

export interface Draft {
  readonly kind: "train" | "preprocess";
  readonly dataset: string;
  readonly name: string;
  readonly representation: Representation;
  readonly preset: PresetName;
  readonly device: string;
  /** The checkpoint that a training starts from; null for new weights. */
  readonly start: Wire<"StartRequest"> | null;
  /** What was typed, by dotted field name; a field that is not here has the preset's value. */
  readonly typed: Readonly<Record<string, string>>;
  readonly placement: PlacementDraft;
  readonly priority: Priority;
  readonly held: boolean;
  /** Jobs that must have completed first. */
  readonly after: readonly number[];
  /** Datasets besides `dataset` that the same is done for. */
  readonly datasets: readonly string[];
  readonly vary: readonly Variation[];
}

export const NO_PLACEMENT: PlacementDraft = {
  labels: [], worker: "", freeMemory: "", onlyWhenIdle: false, hoursStart: "", hoursEnd: "", timeLimit: "",
};

export const EMPTY_DRAFT: Draft = {
  kind: "train", dataset: "", name: "", representation: "mel", preset: "auto", device: "auto", start: null, typed: {},
  placement: NO_PLACEMENT, priority: "normal", held: false, after: [], datasets: [], vary: [],
};

const newJob: Signal<Draft> = remembered("draft", EMPTY_DRAFT, isDraft);
const editedJob = signal<Draft | null>(null);

/** What the form shows. */
export const draft = computed(() => editedJob.value ?? newJob.value);

/** Fills the form with a job that is edited; null gives the form back to the new job. */
export function editDraft(form: Draft | null): void {
  editedJob.value = form;
}

export function putDraft(form: Draft): void {
  if (editedJob.value) editedJob.value = form;
  else newJob.value = form;
}

export function changeDraft(change: Partial<Draft>): void {
  putDraft({ ...draft.value, ...change });
}

export function changePlacement(change: Partial<PlacementDraft>): void {
  changeDraft({ placement: { ...draft.value.placement, ...change } });
}

/** Notes what was typed into a field; the preset's own value counts as untouched. */
export function typeInto(field: string, text: string, presetText: string): void {
  const { [field]: _, ...rest } = draft.value.typed;
  changeDraft({ typed: text === presetText ? rest : { ...rest, [field]: text } });
}

/** Whether something that was kept or brought is a form. */
export function isDraft(value: unknown): value is Draft {
  if (typeof value !== "object" || value === null) return false;
  const known = value as Partial<Record<keyof Draft, unknown>>;
  return (
    (known.kind === "train" || known.kind === "preprocess") &&
    (known.representation === "mel" || known.representation === "mel_if") &&
    ["auto", "conservative", "balanced", "aggressive"].includes(known.preset as string) &&
    ["low", "normal", "high"].includes(known.priority as string) &&
    [known.dataset, known.name, known.device].every((one) => typeof one === "string") &&
    isStart(known.start) &&
    [known.typed, known.placement].every((one) => typeof one === "object" && one !== null) &&
    Object.keys(NO_PLACEMENT).every((key) => key in (known.placement as object)) &&
    [known.after, known.datasets, known.vary].every(Array.isArray)
  );
}

function isStart(value: unknown): boolean {
  if (value === null) return true;
  const known = value as Partial<Record<keyof Wire<"StartRequest">, unknown>> | undefined;
  return Number.isInteger(known?.job) && typeof known?.checkpoint === "string";
}

/** True for a value that weights are bound to: a training that starts from them has it from their model. */
export function isBoundToWeights(field: string): boolean {
  return field.startsWith("spectrogram.") || field === "latent_dim" || field === "chunk_s" || field === "mask_threshold";
}

/** The draft's start where it counts. */
export function startOf(form: Draft): Draft["start"] {
  return form.kind === "train" ? form.start : null;
}

/** What was typed, less what the model decides that the training starts from. */
export function withoutBound(typed: Draft["typed"]): Draft["typed"] {
  return Object.fromEntries(Object.entries(typed).filter(([field]) => !isBoundToWeights(field)));
}

/** The value of a dotted field in a configuration. */
export function valueOf(config: TrainConfig | null, field: string): unknown {
  let value: unknown = config;
  for (const part of field.split(".")) value = (value as Record<string, unknown> | null | undefined)?.[part];
  return value;
}
