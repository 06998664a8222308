// What is typed into the form's inputs, as values, and back.
import { setting } from "../format";
import type { Wire } from "../model/wire_types";
import { TRAIN_FIELDS, type TrainField } from "../train_fields";
import type { Draft, PlacementDraft, Variation } from "./draft";

export interface Parsed<T = Record<string, unknown>> {
  readonly value: T;
  /** Sentences by field, for what cannot be read at all; limits are the server's to judge. */
  readonly errors: Readonly<Record<string, string>>;
}

/** Changes as TrainConfig wants them, nested where the field is. */
export function parseTyped(typed: Draft["typed"]): Parsed {
  const value: Record<string, unknown> = {};
  const errors: Record<string, string> = {};
  for (const field of TRAIN_FIELDS) {
    const text = typed[field.name];
    if (text === undefined) continue;
    const one = parseField(field, text);
    if (one === undefined) errors[field.name] = wanted(field);
    else assign(value, field.name, one);
  }
  return { value, errors };
}

/** A value as it stands in its input. */
export function textOf(value: unknown): string {
  return typeof value === "boolean" ? String(value) : setting(value);
}

/** The reverse of `parseTyped`. */
export function typedOf(changes: Readonly<Record<string, unknown>>, prefix = ""): Record<string, string> {
  const typed: Record<string, string> = {};
  for (const [name, value] of Object.entries(changes)) {
    const full = prefix + name;
    if (TRAIN_FIELDS.some((field) => field.name === full)) typed[full] = textOf(value);
    else if (typeof value === "object" && value !== null) Object.assign(typed, typedOf(value as Record<string, unknown>, `${full}.`));
  }
  return typed;
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

const UNIT_S: Readonly<Record<string, number>> = { s: 1, min: 60, h: 3600, d: 86_400 };

/** "90 min" or "1 h 30 min" as seconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const parts = [...text.trim().toLowerCase().matchAll(/(\d+(?:[.,]\d+)?)\s*(s|min|m|h|d)\b\s*/g)];
  if (parts.length === 0 || parts.map(([whole]) => whole).join("").trim() !== text.trim().toLowerCase()) return undefined;
  return parts.reduce((sum, [, amount = "", unit = ""]) => sum + Number(amount.replace(",", ".")) * (UNIT_S[unit === "m" ? "min" : unit] ?? 0), 0);
}

/** Seconds as `parseDuration` reads them, exactly. */
export function durationText(seconds: number): string {
  const words: string[] = [];
  let rest = seconds;
  for (const [unit, size] of [["d", 86_400], ["h", 3600], ["min", 60]] as const) {
    const amount = Math.floor(rest / size);
    if (amount > 0) words.push(`${amount} ${unit}`);
    rest -= amount * size;
  }
  if (rest > 0 || words.length === 0) words.push(`${rest} s`);
  return words.join(" ");
}

const GIGABYTE = 1e9;

export function parsePlacement(typed: PlacementDraft): Parsed<Wire<"Placement">> {
  const errors: Record<string, string> = {};
  const memory = typed.freeMemory.trim() === "" ? 0 : Number(typed.freeMemory.replace(",", "."));
  if (!Number.isFinite(memory) || memory < 0) errors["placement.min_free_memory_bytes"] = "Write a number of gigabytes, such as 6.";
  const limit = typed.timeLimit.trim() === "" ? null : parseDuration(typed.timeLimit);
  if (limit === undefined) errors["placement.time_limit_s"] = "Write a time with its unit, such as 90 min or 2 h.";
  const { hoursStart: start, hoursEnd: end } = typed;
  if ((start === "") !== (end === "")) errors["placement.hours"] = "Give both times, or neither.";
  return {
    value: {
      labels: [...typed.labels],
      worker: typed.worker,
      min_free_memory_bytes: Number.isFinite(memory) ? Math.round(memory * GIGABYTE) : 0,
      only_when_idle: typed.onlyWhenIdle,
      hours: start && end ? { start, end } : null,
      time_limit_s: limit ?? null,
    },
    errors,
  };
}

export function placementTyped(wire: Wire<"Placement">): PlacementDraft {
  return {
    labels: wire.labels,
    worker: wire.worker,
    freeMemory: wire.min_free_memory_bytes > 0 ? String(wire.min_free_memory_bytes / GIGABYTE) : "",
    onlyWhenIdle: wire.only_when_idle,
    hoursStart: wire.hours?.start ?? "",
    hoursEnd: wire.hours?.end ?? "",
    timeLimit: wire.time_limit_s === null ? "" : durationText(wire.time_limit_s),
  };
}

/** Fields that a sweep can go through: those with one value each. */
export const VARIABLE_FIELDS: readonly TrainField[] = TRAIN_FIELDS.filter(({ name, type }) =>
  type !== "array" && name !== "representation" && name !== "preset");

/** Values by field; a repeated value counts once. */
export function parseVary(vary: readonly Variation[]): Parsed<Record<string, unknown[]>> {
  const value: Record<string, unknown[]> = {};
  const errors: Record<string, string> = {};
  vary.forEach(({ field: name, values }, index) => {
    const field = VARIABLE_FIELDS.find((one) => one.name === name);
    if (!field) return;
    const texts = [...new Set(values.split(/[\s,;]+/).filter(Boolean))];
    const parsed = texts.map((text) => parseField(field, field.type === "boolean" ? String(/^(true|on|yes)$/i.test(text)) : text));
    if (name in value) errors[`vary.${index}`] = "This setting is varied already.";
    else if (parsed.length === 0 || parsed.includes(undefined)) {
      errors[`vary.${index}`] = field.type === "integer" ? "Write whole numbers with commas between them, such as 16, 32, 64." : field.choices.length > 0 ? `Write some of ${field.choices.join(", ")}.` : "Write values with commas between them, such as 0.001, 0.0005.";
    } else value[name] = [...new Set(parsed)];
  });
  return { value, errors };
}
