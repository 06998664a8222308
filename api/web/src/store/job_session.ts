// Everything the Job page knows of one job: its record, its events, its metrics, its previews and checkpoints.
import { batch, signal } from "@preact/signals";
import { getJob, listCheckpoints, listEvents, listPreviews } from "../http/api";
import { ApiError } from "../http/request";
import type { Checkpoint, Preview } from "../model/artifacts";
import type { Job, JobDetail } from "../model/job";
import type { Wire } from "../model/wire_types";
import { withCheckpoint, withFetched, withPreview } from "./artifact_lists";
import { EventFollower, type JobEvent } from "./event_follower";
import { onConnection, socket } from "./live";
import { MetricColumns } from "./metric_columns";
import { jobs } from "./queue";

export type EpochMetrics = Wire<"EpochMetrics">;
/** Lines kept for the Log tab; the record has them all. */
const MAX_LOG = 2000;
const LOGGED: ReadonlySet<string> = new Set(["state", "attempt_started", "attempt_ended", "warning", "log", "checkpoint", "preview"]);

export class JobSession {
  readonly detail = signal<JobDetail | null>(null);
  readonly error = signal<unknown>(null);
  readonly caughtUp = signal(false);
  readonly metrics = new MetricColumns();
  /** Raised when `metrics` or `epochs` changed. */
  readonly metricsVersion = signal(0);
  readonly epochs = signal<readonly EpochMetrics[]>([]);
  readonly log = signal<readonly JobEvent[]>([]);
  readonly previews = signal<readonly Preview[] | null>(null);
  readonly checkpoints = signal<readonly Checkpoint[] | null>(null);
  readonly newestTotalSteps = signal(0);
  private readonly follower: EventFollower;
  private readonly undo: (() => void)[] = [];
  private readonly refreshes = new Map<string, number>();
  private closed = false;

  constructor(readonly id: number) {
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
    socket.on("event", live);
    this.undo.push(
      () => socket.off("event", live),
      () => socket.emit("unwatch", { job: this.id }, () => undefined),
      // Watch first, then read the history: what happens in between is in both, and applied once.
      onConnection(() => socket.emit("watch", { job: this.id }, () => void this.follow())),
    );
    void this.follow();
    this.loadArtifacts();
  }

  close(): void {
    this.closed = true;
    this.follower.close();
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

  private async follow(): Promise<void> {
    await Promise.all([this.refreshDetail(), this.follower.catchUp()]);
    if (!this.closed) this.caughtUp.value = true;
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
      const lines: JobEvent[] = [];
      let measured = false;
      for (const event of events) {
        const { body } = event;
        if (LOGGED.has(body.type)) lines.push(event);
        if (body.type === "steps") {
          this.metrics.append(body, event.at);
          this.newestTotalSteps.value = body.total_steps;
          measured = true;
        } else if (body.type === "epoch") epochs.push(body);
        else if (body.type === "preview") this.previews.value = withPreview(this.previews.value, this.id, body, event.at);
        else if (body.type === "checkpoint") this.checkpoints.value = withCheckpoint(this.checkpoints.value, body, event.at);
        else if (body.type === "state" || body.type === "attempt_started") this.soon("detail", () => void this.refreshDetail(), 100);
      }
      if (epochs.length > 0) this.epochs.value = mergeEpochs(this.epochs.value, epochs);
      if (lines.length > 0) this.log.value = [...this.log.value, ...lines].slice(-MAX_LOG);
      if (measured || epochs.length > 0) this.metricsVersion.value += 1;
    });
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
