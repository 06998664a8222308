// The New job form as it is being filled in; kept over reloads.
import type { Signal } from "@preact/signals";
import type { JobRequest } from "../http/api";
import type { PresetName, Representation, TrainConfig, Wire } from "../model/wire_types";
import { TRAIN_FIELDS, type TrainField } from "../train_fields";
import { remembered } from "./preferences";

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
}

export const EMPTY_DRAFT: Draft = {
  kind: "train", dataset: "", name: "", representation: "mel", preset: "auto", device: "auto", start: null, typed: {},
};

export const draft: Signal<Draft> = remembered("draft", EMPTY_DRAFT, isDraft);

function isDraft(value: unknown): value is Draft {
  if (typeof value !== "object" || value === null) return false;
  const known = value as Partial<Record<keyof Draft, unknown>>;
  return (
    (known.kind === "train" || known.kind === "preprocess") &&
    (known.representation === "mel" || known.representation === "mel_if") &&
    ["auto", "conservative", "balanced", "aggressive"].includes(known.preset as string) &&
    [known.dataset, known.name, known.device].every((one) => typeof one === "string") &&
    isStart(known.start) &&
    typeof known.typed === "object" && known.typed !== null
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

export function changeDraft(change: Partial<Draft>): void {
  draft.value = { ...draft.value, ...change };
}

/** Notes what was typed into a field; the preset's own value counts as untouched. */
export function typeInto(field: string, text: string, presetText: string): void {
  const { [field]: _, ...rest } = draft.value.typed;
  changeDraft({ typed: text === presetText ? rest : { ...rest, [field]: text } });
}

/** The value of a dotted field in a configuration. */
export function valueOf(config: TrainConfig | null, field: string): unknown {
  let value: unknown = config;
  for (const part of field.split(".")) value = (value as Record<string, unknown> | null | undefined)?.[part];
  return value;
}

export interface Parsed {
  /** Values as TrainConfig wants them, nested where the field is. */
  readonly changes: Record<string, unknown>;
  /** Sentences by field, for what is no number at all; limits are the server's to judge. */
  readonly errors: Readonly<Record<string, string>>;
}

/** What was typed, as values. */
export function parseTyped(typed: Draft["typed"]): Parsed {
  const changes: Record<string, unknown> = {};
  const errors: Record<string, string> = {};
  for (const field of TRAIN_FIELDS) {
    const text = typed[field.name];
    if (text === undefined) continue;
    const value = parseField(field, text);
    if (value === undefined) errors[field.name] = wanted(field);
    else assign(changes, field.name, value);
  }
  return { changes, errors };
}

function parseField(field: TrainField, text: string): unknown {
  const trimmed = text.trim();
  if (trimmed === "" && field.nullable) return null;
  if (field.type === "boolean") return trimmed === "true";
  if (field.type === "choice" || field.type === "string") return trimmed;
  if (field.type === "array") {
    const numbers = trimmed.split(/[\s,;]+/).filter(Boolean).map(Number);
    return numbers.length >= (field.minimum ?? 0) && numbers.every(Number.isFinite) ? numbers : undefined;
  }
  const value = trimmed === "" ? Number.NaN : Number(trimmed);
  if (!Number.isFinite(value) || (field.type === "integer" && !Number.isInteger(value))) return undefined;
  return value;
}

function wanted(field: TrainField): string {
  if (field.type === "array") return "Write numbers with commas between them, such as 1, 0.87, 1.15.";
  return field.type === "integer" ? "Write a whole number." : "Write a number, such as 0.001.";
}

function assign(target: Record<string, unknown>, name: string, value: unknown): void {
  const [head = name, ...rest] = name.split(".");
  if (rest.length === 0) target[head] = value;
  else {
    const inner = (target[head] ?? {}) as Record<string, unknown>;
    assign(inner, rest.join("."), value);
    target[head] = inner;
  }
}

/** The request that a draft stands for; `preset` gives the values of what was not typed. */
export function toRequest(form: Draft, changes: Record<string, unknown>, preset: TrainConfig | null): JobRequest {
  const { dataset, name, device, representation, start } = form;
  if (form.kind === "train") return { kind: "train", dataset, name, device, preset: form.preset, changes, ...(start ? { start } : { representation }) };
  const config = { ...preset, ...changes } as TrainConfig;
  const spectrogram = { ...preset?.spectrogram, ...(changes["spectrogram"] as object | undefined) } as TrainConfig["spectrogram"];
  const { speeds, pitches, mask_threshold } = config;
  return { kind: "preprocess", dataset, name, device, features: { representation, spectrogram, speeds, pitches, mask_threshold } };
}
