// Which jobs of the queue are selected, and what is done to all of them at once.
import { computed, signal } from "@preact/signals";
import { bulk } from "../http/api";
import type { Job } from "../model/job";
import type { BulkAction, BulkResult } from "../model/queue";
import { plural } from "../format";
import { jobs } from "./queue";
import { tell, tellError, warn } from "./toasts";

export const selected = signal<ReadonlySet<number>>(new Set());
export const isBulkBusy = signal(false);
/** The selected jobs that still exist. */
export const selectedJobs = computed(() => [...selected.value].flatMap((id) => jobs.value.get(id) ?? []));

/** The row that a range starts from. */
let anchor: number | null = null;
/** Names that a message tells before it only counts. */
const NAMED = 3;
/** Jobs that one request may name. */
const PER_REQUEST = 1000;

/** Selects a row or drops it; with `range`, all rows of `shown` from the last one touched to this one. */
export function toggle(id: number, isOn: boolean, range = false, shown: readonly number[] = []): void {
  const ids = range && anchor !== null ? between(shown, anchor, id) : [id];
  const next = new Set(selected.value);
  for (const one of ids) {
    if (isOn) next.add(one);
    else next.delete(one);
  }
  anchor = id;
  selected.value = next;
}

function between(shown: readonly number[], a: number, b: number): readonly number[] {
  const [from, to] = [shown.indexOf(a), shown.indexOf(b)].sort((one, other) => one - other);
  return from === undefined || to === undefined || from < 0 ? [b] : shown.slice(from, to + 1);
}

export function select(ids: readonly number[]): void {
  selected.value = new Set([...selected.value, ...ids]);
}

export function clearSelection(): void {
  anchor = null;
  selected.value = new Set();
}

const DONE: Readonly<Record<BulkAction, string>> = {
  cancel: "cancelled", pause: "paused once saved", resume: "in the queue again", hold: "held", release: "released", retry: "in the queue again",
};

/** What came of it, in words: how many it was done to, and by name what could not be done. */
export function bulkReport(action: BulkAction, results: readonly BulkResult[], nameOf: (id: number) => string): { text: string; failed: boolean } {
  const failed = results.filter(({ ok }) => !ok);
  const done = results.length - failed.length;
  const parts = done > 0 || failed.length === 0 ? [`${plural(done, "job is", "jobs are")} ${DONE[action]}.`] : [];
  parts.push(...failed.slice(0, NAMED).map(({ job, error }) => `${nameOf(job)}: ${error}`));
  if (failed.length > NAMED) parts.push(`The same or similar for ${plural(failed.length - NAMED, "other job")}.`);
  return { text: parts.join(" "), failed: failed.length > 0 };
}

/** Does `action` to `chosen`, tells what came of it, and leaves selected what could not be done. */
export async function bulkDo(action: BulkAction, chosen: readonly Job[]): Promise<void> {
  if (isBulkBusy.value || chosen.length === 0) return;
  isBulkBusy.value = true;
  try {
    const results: BulkResult[] = [];
    const ids = chosen.map(({ id }) => id);
    for (let start = 0; start < ids.length; start += PER_REQUEST) results.push(...(await bulk(action, ids.slice(start, start + PER_REQUEST))));
    const report = bulkReport(action, results, (id) => jobs.value.get(id)?.name ?? `Job ${id}`);
    (report.failed ? warn : tell)(report.text);
    const done = new Set(results.filter(({ ok }) => ok).map(({ job }) => job));
    selected.value = new Set([...selected.value].filter((id) => !done.has(id)));
  } catch (error) {
    tellError(error);
  } finally {
    isBulkBusy.value = false;
  }
}
