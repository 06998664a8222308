// Which jobs the queue shows; the choice lives in the address.
import type { Job } from "../../model/job";
import { isActive, isWaiting } from "../../model/states";

export const SHOWS = ["all", "running", "waiting", "finished", "failed"] as const;
export type Show = (typeof SHOWS)[number];

export const SHOW_WORDS: Readonly<Record<Show, string>> = {
  all: "All", running: "Running", waiting: "Waiting", finished: "Finished", failed: "Failed",
};

export function toShow(text: string | undefined): Show {
  return SHOWS.find((show) => show === text) ?? "all";
}

const isPaused = (job: Job): boolean => job.state === "paused";
const isEnded = (job: Job): boolean => !isActive(job.state) && !isWaiting(job.state) && !isPaused(job);

export function belongs(job: Job, show: Show): boolean {
  if (show === "running") return isActive(job.state);
  if (show === "waiting") return isWaiting(job.state) || isPaused(job);
  if (show === "finished") return isEnded(job);
  return show === "all" || job.state === "failed";
}

/** The batch that the address names. */
export function toBatch(text: string | undefined): number | null {
  return /^\d{1,9}$/.test(text ?? "") ? Number(text) : null;
}

/** True when every word of `query` occurs somewhere in what the row shows. */
export function matches(job: Job, query: string): boolean {
  const text = [`#${job.id}`, job.name, job.kind, job.dataset.name, job.representation, job.preset ?? "", job.state, job.worker, job.device, job.submittedBy, ...job.placement.labels].join(" ").toLowerCase();
  return query.toLowerCase().split(/\s+/).filter(Boolean).every((word) => text.includes(word));
}

/** The address with `change` applied; empty values leave it. */
export function withQuery(path: string, query: Readonly<Record<string, string>>, change: Readonly<Record<string, string>>): string {
  const entries = Object.entries({ ...query, ...change }).filter(([, value]) => value !== "");
  return entries.length ? `${path}?${new URLSearchParams(entries)}` : path;
}

export interface Group {
  readonly title: "Running" | "Waiting" | "Paused" | "Finished";
  readonly jobs: readonly Job[];
}

/** Jobs, already in their order, under the headings of the queue. */
export function grouped(jobs: readonly Job[]): readonly Group[] {
  const groups: readonly Group[] = [
    { title: "Running", jobs: jobs.filter((job) => isActive(job.state)) },
    { title: "Waiting", jobs: jobs.filter((job) => isWaiting(job.state)) },
    { title: "Paused", jobs: jobs.filter(isPaused) },
    { title: "Finished", jobs: jobs.filter(isEnded) },
  ];
  return groups.filter((group) => group.jobs.length > 0);
}
