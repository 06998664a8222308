// What the parts of the page show of the jobs that are compared.
import { fieldLabel, REPRESENTATIONS, setting } from "../../format";
import type { Preview, PreviewSound } from "../../model/artifacts";
import type { JobDetail } from "../../model/job";
import { valueOf } from "../../store/draft";
import type { JobSession } from "../../store/job_session";
import { TRAIN_FIELDS } from "../../train_fields";

/** A job that is compared; its slot is its colour. */
export interface Compared {
  readonly slot: number;
  readonly session: JobSession;
  readonly job: JobDetail;
}

export interface Difference {
  readonly label: string;
  /** One for each job. */
  readonly values: readonly string[];
}

/** What the jobs do not have in common, of all that decided them. */
export function differences(jobs: readonly JobDetail[]): Difference[] {
  const rows: Difference[] = [
    { label: "Dataset", values: jobs.map(({ dataset }) => `${dataset.name}, version ${dataset.version}`) },
    { label: "Started from", values: jobs.map(({ start }) => (start ? `job ${start.jobId}, ${start.checkpoint}` : "the beginning")) },
    { label: "Preset", values: jobs.map(({ preset }) => preset ?? "") },
    ...TRAIN_FIELDS.filter(({ name }) => name !== "preset").map(({ name }) => ({
      label: fieldLabel(name),
      values: jobs.map(({ train }) => shown(name, train ? valueOf(train, name) : undefined)),
    })),
    ...[...new Set(jobs.flatMap(({ versions }) => Object.keys(versions)))].map((name) => ({
      label: `Version of ${name}`,
      values: jobs.map(({ versions }) => versions[name] ?? ""),
    })),
  ];
  return rows.filter(({ values }) => new Set(values).size > 1);
}

function shown(name: string, value: unknown): string {
  if (name === "representation" && (value === "mel" || value === "mel_if")) return REPRESENTATIONS[value];
  return setting(value) || "automatic";
}

export interface SoundKey {
  readonly kind: PreviewSound["kind"];
  readonly title: string;
}

/** The sounds that there are previews of: those of the most jobs first. */
export function soundsOf(lists: readonly (readonly Preview[])[]): SoundKey[] {
  const found = new Map<string, SoundKey & { jobs: Set<number> }>();
  lists.forEach((previews, index) => {
    for (const { kind, title } of previews.flatMap(({ clips }) => clips)) {
      const key = `${kind} ${title}`;
      const one = found.get(key) ?? { kind, title, jobs: new Set() };
      one.jobs.add(index);
      found.set(key, one);
    }
  });
  return [...found.values()]
    .sort((a, b) => b.jobs.size - a.jobs.size || a.kind.localeCompare(b.kind) || a.title.localeCompare(b.title, "en", { numeric: true }))
    .map(({ kind, title }) => ({ kind, title }));
}

export function soundIn(preview: Preview | undefined, key: SoundKey): PreviewSound | undefined {
  return preview?.clips.find(({ kind, title }) => kind === key.kind && title === key.title);
}

/** Epochs with a preview in any job, newest first. */
export function epochsOf(lists: readonly (readonly Preview[])[]): number[] {
  return [...new Set(lists.flatMap((previews) => previews.map(({ epoch }) => epoch)))].sort((a, b) => b - a);
}
