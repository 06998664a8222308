// Every call of the HTTP API that the page makes, by resource.
import { type Checkpoint, type Preview, type ResumeSummary, toCheckpoint, toPreview, toResumeSummary } from "../model/artifacts";
import { type Dataset, type DatasetDetail, type FileResult, toDataset, toDatasetDetail, toFileResult } from "../model/dataset";
import { type Job, type JobDetail, toJob, toJobDetail } from "../model/job";
import { type Deletable, type DeletionPlan, type DiskUse, fromDatasetDeletion, fromJobDeletion, toDiskUse } from "../model/disk";
import { type Model, type ModelQuery, toModel } from "../model/model";
import type { Batch, BulkAction, BulkResult, QueueState } from "../model/queue";
import { type NewToken, type Role, type Token, toToken } from "../model/token";
import type { JobState, Representation, TrainConfig, Wire } from "../model/wire_types";
import { toWorker, type Worker } from "../model/worker";
import { request } from "./request";

/** The most jobs that one batch may have. */
const BATCH_LIMIT = 1000;

type QueueWishes = Pick<Wire<"TrainRequest">, "dataset" | "name" | "device" | "placement" | "priority" | "held" | "after">;

export type JobRequest =
  | (QueueWishes & Pick<Wire<"TrainRequest">, "preset" | "changes"> &
      // What a training starts from decides its representation.
      ({ representation: Representation } | { start: Wire<"StartRequest"> }) & { kind: "train" })
  | (QueueWishes & Pick<Wire<"PreprocessRequest">, "features"> & { kind: "preprocess" });

export interface SweepRequest {
  readonly job: JobRequest;
  readonly datasets: readonly string[];
  /** Values by field of TrainConfig. */
  readonly vary: Readonly<Record<string, readonly unknown[]>>;
}

export type ResumeChanges = { epochs?: number; checkpoint?: string };

/** What is changed of a job that has not ended. */
export type EditRequest = Partial<Wire<"EditRequest">>;

/** The first `limit` jobs in `states`: active ones, then queued ones in their order, then ended ones, newest first. */
export async function listJobs(states: readonly JobState[], limit: number): Promise<Job[]> {
  const wire = await request<Wire<"JobListView">>("/jobs", { query: { state: states.join(","), limit } });
  return wire.jobs.map(toJob);
}

/** All jobs of a batch. */
export async function listBatch(batch: number): Promise<Job[]> {
  return (await request<Wire<"JobListView">>("/jobs", { query: { batch, limit: BATCH_LIMIT } })).jobs.map(toJob);
}

export async function getJob(id: number, signal?: AbortSignal): Promise<JobDetail> {
  const address = `/jobs/${id}`;
  return toJobDetail(await (signal ? request<Wire<"JobDetailView">>(address, { signal }) : requestOnce<Wire<"JobDetailView">>(address)));
}

export async function submitJob(body: JobRequest): Promise<JobDetail> {
  return toJobDetail(await request<Wire<"JobDetailView">>("/jobs", { method: "POST", body }));
}

export function checkJob(body: JobRequest, signal: AbortSignal): Promise<Wire<"CheckView">> {
  return request("/jobs/check", { method: "POST", body, signal });
}

export function checkSweep(body: SweepRequest, signal: AbortSignal): Promise<Wire<"SweepCheckView">> {
  return request("/jobs/sweep/check", { method: "POST", body, signal });
}

export type JobCommand = "cancel" | "pause" | "save" | "preview" | "hold" | "release" | "next" | "retry";

export async function commandJob(id: number, command: JobCommand): Promise<JobDetail> {
  return toJobDetail(await request<Wire<"JobDetailView">>(`/jobs/${id}/${command}`, { method: "POST", body: {} }));
}

/** Puts a waiting job before another one; null means to the end. */
export async function moveJob(id: number, before: number | null): Promise<JobDetail> {
  return toJobDetail(await request<Wire<"JobDetailView">>(`/jobs/${id}/move`, { method: "POST", body: { before } }));
}

export async function editJob(id: number, body: EditRequest): Promise<JobDetail> {
  return toJobDetail(await request<Wire<"JobDetailView">>(`/jobs/${id}/edit`, { method: "POST", body }));
}

export function submitSweep(body: SweepRequest): Promise<Batch> {
  return request("/jobs/sweep", { method: "POST", body });
}

export async function bulk(action: BulkAction, jobs: readonly number[]): Promise<BulkResult[]> {
  return (await request<Wire<"BulkView">>("/jobs/bulk", { method: "POST", body: { action, jobs } })).results;
}

export const toQueueState = (wire: Wire<"QueueView">): QueueState => ({ paused: wire.paused, pausedAt: wire.paused_at });

export async function getQueue(): Promise<QueueState> {
  return toQueueState(await request<Wire<"QueueView">>("/queue"));
}

export async function commandQueue(command: "pause" | "resume"): Promise<QueueState> {
  return toQueueState(await request<Wire<"QueueView">>(`/queue/${command}`, { method: "POST", body: {} }));
}

export async function getResumeSummary(id: number, changes: ResumeChanges, signal: AbortSignal): Promise<ResumeSummary> {
  return toResumeSummary(await request<Wire<"ResumeSummaryView">>(`/jobs/${id}/resume`, { query: { ...changes }, signal }));
}

export async function resumeJob(id: number, body: ResumeChanges): Promise<JobDetail> {
  return toJobDetail(await request<Wire<"JobDetailView">>(`/jobs/${id}/resume`, { method: "POST", body }));
}

export function listEvents(
  id: number,
  query: { after: number; limit: number; types?: string },
  signal?: AbortSignal,
): Promise<Wire<"EventListView">> {
  return request(`/jobs/${id}/events`, signal ? { query, signal } : { query });
}

/** What was asked for before the code that wants it had come, by its address. */
const early = new Map<string, Promise<unknown>>();

/** Whether a job's page is there; its numbers are those that the api sends things along for. */
export function isJobAddress(path: string): boolean {
  return /^\/jobs\/[1-9]\d{0,8}$/.test(path);
}

/** Asks for the job whose page is opened, and for its history, while the code of that page is still on its way. */
export function askForJob(path: string): void {
  if (!isJobAddress(path)) return;
  for (const address of [path, `${path}/history`]) {
    const answer = request<unknown>(address);
    // Whoever takes it over hears of a failure.
    answer.catch(() => undefined);
    early.set(address, answer);
  }
}

/** What was asked for early, once; else asks now. */
function requestOnce<T>(address: string): Promise<T> {
  const answer = early.get(address) ?? request<T>(address);
  early.delete(address);
  return answer as Promise<T>;
}

/** Steps `first` … `last` of a job in at most so many buckets. */
export function getHistory(
  id: number,
  query: { first?: number; last?: number; buckets?: number; epochs?: "false" } = {},
  signal?: AbortSignal,
): Promise<Wire<"HistoryView">> {
  if (Object.keys(query).length === 0) return requestOnce(`/jobs/${id}/history`);
  return request(`/jobs/${id}/history`, signal ? { query, signal } : { query });
}

export const stepsTableUrl = (job: number): string => `/api/v1/jobs/${job}/steps.csv`;
export const epochsTableUrl = (job: number): string => `/api/v1/jobs/${job}/epochs.csv`;

export async function listCheckpoints(id: number): Promise<Checkpoint[]> {
  return (await request<Wire<"CheckpointListView">>(`/jobs/${id}/checkpoints`)).checkpoints.map(toCheckpoint);
}

/** Pins or unpins a checkpoint; resolves to all of the job. */
export async function pinCheckpoint(id: number, checkpoint: string, pinned: boolean): Promise<Checkpoint[]> {
  const path = `/jobs/${id}/checkpoints/${encodeURIComponent(checkpoint)}/${pinned ? "pin" : "unpin"}`;
  return (await request<Wire<"CheckpointListView">>(path, { method: "POST", body: {} })).checkpoints.map(toCheckpoint);
}

export async function getDeletion(kind: Deletable, id: number): Promise<DeletionPlan> {
  return kind === "job"
    ? fromJobDeletion(await request<Wire<"JobDeletionView">>(`/jobs/${id}/deletion`))
    : fromDatasetDeletion(await request<Wire<"DatasetDeletionView">>(`/datasets/${id}/deletion`));
}

/** Deletes a job or a dataset; resolves to the bytes that became free. */
export async function deleteOne(kind: Deletable, id: number): Promise<number> {
  return (await request<Wire<"DeletedView">>(`/${kind}s/${id}`, { method: "DELETE" })).freed_bytes;
}

export async function getDisk(): Promise<DiskUse> {
  return toDiskUse(await request<Wire<"DiskView">>("/disk"));
}

/** Bytes that a job takes. */
export async function getJobDisk(id: number): Promise<number> {
  return (await request<Wire<"JobDiskView">>(`/jobs/${id}/disk`)).size_bytes;
}

/** A page of models, newest first, that follows the place `after`. */
export async function listModels(query: ModelQuery, after: string, signal: AbortSignal): Promise<{ models: Model[]; next: string }> {
  const wire = await request<Wire<"ModelListView">>("/models", { query: { ...query, after }, signal });
  return { models: wire.models.map(toModel), next: wire.next };
}

export async function listPreviews(id: number): Promise<Preview[]> {
  const wire = await request<Wire<"PreviewListView">>(`/jobs/${id}/previews`);
  return wire.previews.map((preview) => toPreview(id, preview));
}

export async function listDatasets(): Promise<Dataset[]> {
  return (await request<Wire<"DatasetListView">>("/datasets")).datasets.map(toDataset);
}

export async function getDataset(id: number): Promise<DatasetDetail> {
  return toDatasetDetail(await request<Wire<"DatasetDetailView">>(`/datasets/${id}`));
}

export async function createDataset(name: string): Promise<Dataset> {
  return toDataset(await request<Wire<"DatasetView">>("/datasets", { method: "POST", body: { name } }));
}

/** Sends files under their relative paths; resolves to what became of each, in the order sent. */
export async function uploadFiles(
  dataset: number,
  files: readonly { readonly path: string; readonly file: File }[],
): Promise<{ dataset: Dataset; results: FileResult[] }> {
  const body = new FormData();
  for (const { path, file } of files) body.append("files", file, path);
  const wire = await request<Wire<"UploadView">>(`/datasets/${dataset}/files`, { method: "POST", body });
  return { dataset: toDataset(wire.dataset), results: wire.files.map(toFileResult) };
}

/** Takes clips out, which makes a new version. */
export async function removeClips(dataset: number, clips: readonly string[]): Promise<Dataset> {
  return toDataset(await request<Wire<"DatasetView">>(`/datasets/${dataset}/clips/remove`, { method: "POST", body: { clips } }));
}

export async function listPresets(
  dataset: string,
  representation: Representation,
  start: Wire<"StartRequest"> | null,
  signal: AbortSignal,
): Promise<{ fileCount: number; presets: readonly { preset: string; recommendedFor: string; train: TrainConfig }[] }> {
  const wire = await request<Wire<"PresetListView">>("/presets", {
    query: { dataset, representation, ...(start && { start: start.job, checkpoint: start.checkpoint }) },
    signal,
  });
  return {
    fileCount: wire.file_count,
    presets: wire.presets.map((one) => ({ preset: one.preset, recommendedFor: one.recommended_for, train: one.train })),
  };
}

export async function listWorkers(): Promise<Worker[]> {
  return (await request<Wire<"WorkerListView">>("/workers")).workers.map((wire) => toWorker(wire));
}

export async function commandWorker(worker: string, command: "drain" | "resume" | "remove"): Promise<void> {
  await request(`/workers/${command}`, { method: "POST", body: { worker } });
}

export async function labelWorker(worker: string, labels: readonly string[]): Promise<void> {
  await request("/workers/labels", { method: "POST", body: { worker, labels } });
}

export async function listTokens(): Promise<Token[]> {
  return (await request<Wire<"TokenListView">>("/tokens")).tokens.map(toToken);
}

/** Makes a token that is valid for `days`, or for ever. */
export async function createToken(role: Role, name: string, days: number | null): Promise<NewToken> {
  const wire = await request<Wire<"NewTokenView"> & { command: string; note: string }>("/tokens", { method: "POST", body: { role, name, days } });
  return { ...toToken(wire), secret: wire.secret, command: wire.command, note: wire.note };
}

export async function revokeToken(id: number): Promise<Token> {
  return toToken(await request<Wire<"TokenView">>(`/tokens/${id}/revoke`, { method: "POST", body: {} }));
}

export const clipUrl = (dataset: number, sha256: string, what: "audio" | "waveform.svg"): string =>
  `/api/v1/datasets/${dataset}/clips/${sha256}/${what}`;
export const weightsUrl = (job: number, checkpoint: string): string =>
  `/api/v1/jobs/${job}/checkpoints/${encodeURIComponent(checkpoint)}/weights`;
export const configUrl = (job: number, checkpoint: string): string =>
  `/api/v1/jobs/${job}/checkpoints/${encodeURIComponent(checkpoint)}/config`;
