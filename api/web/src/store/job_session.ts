// Everything the Job page knows of one job: its record, its events, its metrics, its previews and checkpoints.
//
// A training may have a million steps, so its history comes summed up, in one request, with the number of the newest
// event that is in it. From there on every event is applied: live ones, and those that were missed.
import { batch, signal } from "@preact/signals";
import { getHistory, getJob, listCheckpoints, listEvents, listPreviews } from "../http/api";
import { ApiError } from "../http/request";
import type { Checkpoint, Preview } from "../model/artifacts";
import type { Job, JobDetail } from "../model/job";
import type { Wire } from "../model/wire_types";
import { withCheckpoint, withFetched, withPreview } from "./artifact_lists";
import { CloseUp } from "./close_up";
import { EventFollower, type JobEvent } from "./event_follower";
import { EventLog } from "./event_log";
import { onConnection, socket } from "./live";
import { MetricColumns } from "./metric_columns";
import { jobs, putJob } from "./queue";

export type EpochMetrics = Wire<"EpochMetrics">;
/** Who missed more events than that fetches the history anew instead of them. */
const MANY_EVENTS = 300;

export class JobSession {
  readonly detail = signal<JobDetail | null>(null);
  readonly error = signal<unknown>(null);
  readonly caughtUp = signal(false);
  readonly metrics = new MetricColumns();
  /** Raised when `metrics` or `epochs` changed. */
  readonly metricsVersion = signal(0);
  readonly epochs = signal<readonly EpochMetrics[]>([]);
  readonly log: EventLog;
  readonly closeUp: CloseUp;
  readonly previews = signal<readonly Preview[] | null>(null);
  readonly checkpoints = signal<readonly Checkpoint[] | null>(null);
  private readonly follower: EventFollower;
  private readonly undo: (() => void)[] = [];
  private readonly refreshes = new Map<string, number>();
  private closed = false;
  private newestAttempt = 0;
  private hasHistory = false;
  private loading: Promise<void> | null = null;
  private readingLog: Promise<void> = Promise.resolve();

  constructor(readonly id: number) {
    this.log = new EventLog(id);
    this.closeUp = new CloseUp(id, this.metrics);
    this.follower = new EventFollower({
      fetchPage: (after, limit) => listEvents(id, { after, limit }),
      apply: (events) => this.apply(events),
      onError: () => this.soon("retry", () => void this.follow(), 3000),
    });
  }

  open(): void {
    const live = (event: JobEvent): void => {
      if (event.job_id === this.id) this.follower.receive(event);
    };
    const newest = (told: { job_id: number; number: number }): void => {
      if (told.job_id === this.id) this.follower.expect(told.number);
    };
    socket.on("event", live);
    socket.on("newest", newest);
    this.undo.push(
      () => socket.off("event", live),
      () => socket.off("newest", newest),
      () => socket.emit("unwatch", { job: this.id }, () => undefined),
      // Watch first, then read the history: what happens in between is in both, and applied once.
      onConnection(() => socket.emit("watch", { job: this.id }, ({ last }) => void this.follow().then(() => this.follower.expect(last ?? 0)))),
    );
    void this.follow();
    this.loadArtifacts();
  }

  close(): void {
    this.closed = true;
    this.follower.close();
    this.closeUp.close();
    for (const timer of this.refreshes.values()) clearTimeout(timer);
    for (const undo of this.undo) undo();
  }

  async refreshDetail(): Promise<void> {
    try {
      const detail = await getJob(this.id);
      if (this.closed) return;
      batch(() => {
        this.detail.value = detail;
        this.error.value = null;
        // The lists may come later than what happens next, and whoever is told of a change has to know what was before.
        if (!jobs.value.has(this.id)) putJob(detail);
      });
    } catch (error) {
      const isGone = error instanceof ApiError && !error.isTransient;
      if (!this.closed && (isGone || this.detail.value === null)) this.error.value = error;
    }
  }

  /** The newest view: the queue's live one where it is there, with the configuration that only the detail has. */
  current(): JobDetail | null {
    const detail = this.detail.value;
    const live: Job | undefined = jobs.value.get(this.id);
    if (!detail || !live || live.lastEvent < detail.lastEvent) return detail;
    return { ...detail, ...live };
  }

  /** What an answer of the api says of all checkpoints. */
  putCheckpoints(fetched: readonly Checkpoint[]): void {
    this.checkpoints.value = withFetched(this.checkpoints.value, fetched);
  }

  private async follow(): Promise<void> {
    const detail = this.refreshDetail();
    try {
      if (this.hasHistory) await detail;
      if (!this.hasHistory || (this.detail.value?.lastEvent ?? 0) - this.follower.last > MANY_EVENTS) await this.loadHistory();
    } catch {
      this.soon("retry", () => void this.follow(), 3000);
      return;
    }
    await Promise.all([detail, this.follower.catchUp(), this.readingLog]);
    if (!this.closed) this.caughtUp.value = true;
  }

  /** Replaces the metrics by what the api has; events go on from there. */
  private loadHistory(): Promise<void> {
    this.loading ??= this.fetchHistory().finally(() => {
      this.loading = null;
    });
    return this.loading;
  }

  private async fetchHistory(): Promise<void> {
    const history = await getHistory(this.id);
    if (this.closed) return;
    const known = this.hasHistory ? this.follower.last : 0;
    this.hasHistory = true;
    this.follower.skipTo(history.last);
    batch(() => {
      this.metrics.load(history);
      this.epochs.value = mergeEpochs([], history.epochs);
      this.metricsVersion.value += 1;
    });
    this.closeUp.renew();
    this.readLog(known, history.last);
  }

  private readLog(after: number, last: number): void {
    this.readingLog = this.log.fetch(after, last).catch(() => this.soon("log", () => this.readLog(after, last), 3000));
  }

  private loadArtifacts(): void {
    listPreviews(this.id).then(
      (fetched) => {
        if (!this.closed) this.previews.value = withFetched(this.previews.value, fetched);
      },
      () => this.soon("previews", () => this.loadArtifacts(), 3000),
    );
    listCheckpoints(this.id).then(
      (fetched) => {
        if (!this.closed) this.checkpoints.value = withFetched(this.checkpoints.value, fetched);
      },
      () => this.soon("checkpoints", () => this.loadArtifacts(), 3000),
    );
  }

  private apply(events: readonly JobEvent[]): void {
    batch(() => {
      const epochs: EpochMetrics[] = [];
      let measured = false;
      for (const event of events) {
        const { body } = event;
        if (body.type === "steps") {
          // What an attempt still sends after a newer one began counts for nothing.
          if (event.attempt < this.newestAttempt) continue;
          this.newestAttempt = event.attempt;
          const follows = this.metrics.append(body, event.at);
          // Rows that a resume cut through are whole again in the api's history.
          if (!follows && this.metrics.stride > 1) this.soon("history", () => void this.reload(), 1500);
          measured = true;
        } else if (body.type === "epoch") epochs.push(body);
        else if (body.type === "preview") this.previews.value = withPreview(this.previews.value, this.id, body, event.at);
        else if (body.type === "checkpoint") this.checkpoints.value = withCheckpoint(this.checkpoints.value, body, event.at);
        else if (body.type === "state" || body.type === "attempt_started") this.soon("detail", () => void this.refreshDetail(), 100);
      }
      if (epochs.length > 0) this.epochs.value = mergeEpochs(this.epochs.value, epochs);
      this.log.add(events);
      if (measured || epochs.length > 0) this.metricsVersion.value += 1;
      if (measured) this.closeUp.renew();
    });
  }

  private async reload(): Promise<void> {
    try {
      await this.loadHistory();
      await this.follower.catchUp();
    } catch {
      this.soon("history", () => void this.reload(), 3000);
    }
  }

  /** Runs `action` after `ms`, once for however many reasons come up until then. */
  private soon(name: string, action: () => void, ms: number): void {
    if (this.closed || this.refreshes.has(name)) return;
    this.refreshes.set(name, window.setTimeout(() => {
      this.refreshes.delete(name);
      action();
    }, ms));
  }
}

/** Epochs by rising number; one that is repeated after a resume replaces the old one and what came after it. */
export function mergeEpochs(old: readonly EpochMetrics[], fresh: readonly EpochMetrics[]): EpochMetrics[] {
  let result = [...old];
  for (const epoch of fresh) {
    if ((result.at(-1)?.epoch ?? 0) >= epoch.epoch) result = result.filter((one) => one.epoch < epoch.epoch);
    result.push(epoch);
  }
  return result;
}
