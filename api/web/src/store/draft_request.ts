// From the form to what is asked of the api, and from a job back to the form.
import type { EditRequest, JobRequest, SweepRequest } from "../http/api";
import type { JobDetail } from "../model/job";
import type { TrainConfig, Wire } from "../model/wire_types";
import { type Draft, EMPTY_DRAFT, isDraft } from "./draft";
import { parsePlacement, parseTyped, parseVary, placementTyped, typedOf } from "./typed";

export interface FormRequest {
  /** The one job, or the pattern of a sweep's jobs; null until there is a dataset. */
  readonly job: JobRequest | null;
  /** Set where the form asks for several jobs. */
  readonly sweep: SweepRequest | null;
  /** How many jobs it becomes. */
  readonly jobCount: number;
  readonly errors: Readonly<Record<string, string>>;
}

/** What the form asks for; `preset` gives the values of what was not typed. */
export function readForm(form: Draft, preset: TrainConfig | null): FormRequest {
  const typed = parseTyped(form.typed);
  const placement = parsePlacement(form.placement);
  const vary = form.kind === "train" ? parseVary(form.vary) : { value: {}, errors: {} };
  const job = form.dataset ? toRequest(form, typed.value, preset) : null;
  const datasets = [form.dataset, ...form.datasets.filter((one) => one !== form.dataset)];
  const jobCount = Object.values(vary.value).reduce((product, values) => product * values.length, datasets.length);
  return {
    job,
    sweep: job && jobCount > 1 ? { job, datasets, vary: vary.value } : null,
    jobCount,
    errors: { ...typed.errors, ...placement.errors, ...vary.errors },
  };
}

/** The request that a draft stands for. */
export function toRequest(form: Draft, changes: Record<string, unknown>, preset: TrainConfig | null): JobRequest {
  const { representation, start } = form;
  const wishes = {
    dataset: form.dataset, name: form.name, device: form.device, placement: parsePlacement(form.placement).value,
    priority: form.priority, held: form.held, after: [...form.after],
  };
  if (form.kind === "train") return { kind: "train", ...wishes, preset: form.preset, changes, ...(start ? { start } : { representation }) };
  const config = { ...preset, ...changes } as TrainConfig;
  const spectrogram = { ...preset?.spectrogram, ...(changes["spectrogram"] as object | undefined) } as TrainConfig["spectrogram"];
  const { speeds, pitches, mask_threshold } = config;
  return { kind: "preprocess", ...wishes, features: { representation, spectrogram, speeds, pitches, mask_threshold } };
}

/** The form as it would have been filled in for a job. */
export function toDraft(job: JobDetail): Draft {
  const { request } = job;
  const common: Draft = { ...EMPTY_DRAFT, kind: job.kind, dataset: String(job.dataset.id), representation: job.representation };
  // Jobs of old versions kept no request: their configuration says the same, but for where and when.
  if (!request) return { ...common, name: job.name, preset: job.preset ?? "auto", typed: typedOf(job.kind === "train" ? job.presetDifferences : { ...job.features }) };
  const { name, device, priority, held, after } = request;
  const wishes: Draft = { ...common, name, device, priority, held, after, placement: placementTyped(request.placement) };
  if (request.kind === "preprocess") return { ...wishes, typed: typedOf({ ...request.features }) };
  return { ...wishes, preset: request.preset, start: request.start, typed: typedOf(request.changes) };
}

/**
 * The form for a request that somebody kept as JSON, or for the configuration of a model; `datasets` are those that
 * there are. What is missing is as in an empty form. Throws an Error with a sentence for anything else.
 */
export function draftOf(json: unknown, datasets: Iterable<{ readonly id: number; readonly name: string }>): Draft {
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw new Error("Give one job as a JSON object.");
  const given = json as Partial<Record<string, unknown>>;
  const config = typeof given["train"] === "object" && given["train"] !== null ? given["train"] as TrainConfig : null;
  const { kind = "train", name = "", device = "auto", priority = "normal", held = false, after = [], start = null } = given;
  const named = typeof given["dataset"] === "object" ? (given["dataset"] as { name?: unknown } | null)?.name : given["dataset"];
  const dataset = [...datasets].find(({ id, name: known }) => String(id) === String(named) || known === named);
  if (named !== undefined && !dataset) throw new Error(`There is no dataset ${JSON.stringify(named)} here: make it first, or name another one.`);
  const { preset = config?.preset ?? "auto", representation = config?.representation ?? "mel" } = given;
  const { representation: _, preset: __, ...changes } = (given["changes"] ?? config ?? given["features"] ?? {}) as Record<string, unknown>;
  const placement = given["placement"] === undefined ? EMPTY_DRAFT.placement : placementTyped({ ...NOWHERE, ...(given["placement"] as object) });
  const form = {
    ...EMPTY_DRAFT, kind, name, device, priority, held, after, start, preset, representation, placement,
    dataset: dataset ? String(dataset.id) : "", typed: typedOf(changes),
  };
  if (!isDraft(form)) throw new Error("This is no job: kind, representation, preset or priority has a value that is not known here.");
  return form;
}

const NOWHERE: Wire<"Placement"> = parsePlacement(EMPTY_DRAFT.placement).value;

/** What the form changes about a job that is in the queue: only what differs, since a priority also moves it. */
export function toEdit(form: Draft, job: JobDetail): EditRequest {
  const before = edited(toDraft(job), job);
  return Object.fromEntries(Object.entries(edited(form, job)).filter(([name, value]) =>
    JSON.stringify(value) !== JSON.stringify(before[name as keyof EditRequest])));
}

function edited(form: Draft, job: JobDetail): EditRequest {
  const wishes: EditRequest = {
    name: form.name, device: form.device, priority: form.priority, after: [...form.after], placement: parsePlacement(form.placement).value,
  };
  return job.kind === "train" ? { ...wishes, preset: form.preset, changes: parseTyped(form.typed).value } : wishes;
}
