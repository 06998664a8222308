// Sends many files to a dataset, a few per request and three requests at a time.
//
// Every file ends as added, duplicate, refused or (when given up) failed. A request that the network swallowed is sent
// again later; files that had arrived all the same come back as duplicates, so nothing is stored twice.
import { signal } from "@preact/signals";
import { ApiError, messageOf } from "../http/request";
import type { FileOutcome, FileResult } from "../model/dataset";

export interface UploadItem {
  /** Relative path with forward slashes. */
  readonly path: string;
  readonly file: File;
}

export interface UploadCounts {
  readonly total: number;
  readonly added: number;
  readonly duplicate: number;
  readonly refused: number;
  /** Bytes of files that have an outcome. */
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface UploadQueueOptions {
  readonly send: (items: readonly UploadItem[]) => Promise<readonly FileResult[]>;
  readonly wait?: (ms: number) => Promise<void>;
}

const CONCURRENCY = 3;
const MAX_FILES = 8;
const MAX_BYTES = 32_000_000;
const RETRY_MS = [1000, 2000, 4000, 8000, 15_000] as const;

const NOTHING: UploadCounts = { total: 0, added: 0, duplicate: 0, refused: 0, doneBytes: 0, totalBytes: 0 };

export class UploadQueue {
  readonly counts = signal<UploadCounts>(NOTHING);
  /** Outcomes that a person should read, in the order of their coming: refused files and duplicates. */
  readonly notable = signal<readonly FileResult[]>([]);
  /** Why it waits: empty while all is well. */
  readonly trouble = signal("");
  private waiting: UploadItem[][] = [];
  private sending = 0;
  private failures = 0;
  private wake: (() => void) | null = null;

  constructor(private readonly options: UploadQueueOptions) {}

  add(items: readonly UploadItem[]): void {
    const { counts } = this;
    const fresh = counts.value.total === doneOf(counts.value) ? NOTHING : counts.value;
    if (fresh === NOTHING) this.notable.value = [];
    counts.value = {
      ...fresh,
      total: fresh.total + items.length,
      totalBytes: fresh.totalBytes + items.reduce((sum, { file }) => sum + file.size, 0),
    };
    this.waiting.push(...inBatches(items));
    while (this.sending < CONCURRENCY && this.waiting.length > this.sending) void this.work();
  }

  get isBusy(): boolean {
    return this.counts.value.total > doneOf(this.counts.value);
  }

  /** Tries again at once, such as when the browser is online again. */
  retryNow(): void {
    this.wake?.();
  }

  private async work(): Promise<void> {
    this.sending += 1;
    try {
      for (let batch = this.waiting.shift(); batch; batch = this.waiting.shift()) await this.sendBatch(batch);
    } finally {
      this.sending -= 1;
    }
  }

  private async sendBatch(batch: readonly UploadItem[]): Promise<void> {
    for (;;) {
      try {
        const results = await this.options.send(batch);
        this.failures = 0;
        this.trouble.value = "";
        this.settle(batch, results);
        return;
      } catch (error) {
        if (error instanceof ApiError && error.isTransient) {
          this.trouble.value = `${error.message} The files that are missing are sent again.`;
          await this.pause();
        } else if (batch.length > 1) {
          // One file may have spoilt the request for its neighbours: each gets its own.
          this.waiting.unshift(...batch.map((item) => [item]));
          return;
        } else {
          this.settle(batch, batch.map(({ path }) => ({ name: path, outcome: "refused", reason: messageOf(error) })));
          return;
        }
      }
    }
  }

  private async pause(): Promise<void> {
    const ms = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)] ?? 1000;
    this.failures += 1;
    const before = this.wake;
    const woken = new Promise<void>((resolve) => {
      this.wake = () => {
        before?.();
        resolve();
      };
    });
    await Promise.race([(this.options.wait ?? sleep)(ms), woken]);
  }

  private settle(batch: readonly UploadItem[], results: readonly FileResult[]): void {
    const byName = new Map(results.map((result) => [result.name, result]));
    const tally: Record<FileOutcome, number> = { added: 0, duplicate: 0, refused: 0 };
    const notable: FileResult[] = [];
    let bytes = 0;
    batch.forEach(({ path, file }, index) => {
      const found = byName.get(path) ?? results[index];
      const result: FileResult = found
        ? { ...found, name: path }
        : { name: path, outcome: "refused", reason: "The server said nothing about this file." };
      tally[result.outcome] += 1;
      bytes += file.size;
      if (result.outcome !== "added") notable.push(result);
    });
    const old = this.counts.value;
    this.counts.value = {
      ...old,
      added: old.added + tally.added,
      duplicate: old.duplicate + tally.duplicate,
      refused: old.refused + tally.refused,
      doneBytes: old.doneBytes + bytes,
    };
    if (notable.length > 0) this.notable.value = [...this.notable.value, ...notable];
  }
}

/** Files that have an outcome. */
export function doneOf(counts: UploadCounts): number {
  return counts.added + counts.duplicate + counts.refused;
}

function inBatches(items: readonly UploadItem[]): UploadItem[][] {
  const batches: UploadItem[][] = [];
  let current: UploadItem[] = [];
  let size = 0;
  for (const item of items) {
    if (current.length === MAX_FILES || (current.length > 0 && size + item.file.size > MAX_BYTES)) {
      batches.push(current);
      current = [];
      size = 0;
    }
    current.push(item);
    size += item.file.size;
  }
  if (current.length > 0) batches.push(current);
  return batches;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
