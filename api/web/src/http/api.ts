// Every call of the HTTP API that the page makes, by resource.
import { type Checkpoint, type Preview, type ResumeSummary, toCheckpoint, toPreview, toResumeSummary } from "../model/artifacts";
import { type Dataset, type DatasetDetail, type FileResult, toDataset, toDatasetDetail, toFileResult } from "../model/dataset";
import { type Job, type JobDetail, toJob, toJobDetail } from "../model/job";
import type { Representation, TrainConfig, Wire } from "../model/wire_types";
import { toWorker, type Worker } from "../model/worker";
import { request } from "./request";

/** Newest ended jobs are enough for the page; active and waiting ones are always among them. */
const JOB_LIMIT = 500;

export type JobRequest =
  | (Pick<Wire<"TrainRequest">, "dataset" | "name" | "preset" | "changes" | "device"> &
      // What a training starts from decides its representation.
      ({ representation: Representation } | { start: Wire<"StartRequest"> }) & { kind: "train" })
  | (Pick<Wire<"PreprocessRequest">, "dataset" | "name" | "features" | "device"> & { kind: "preprocess" });

export type ResumeChanges = { epochs?: number; checkpoint?: string };

export async function listJobs(query: { dataset?: string } = {}): Promise<Job[]> {
  const wire = await request<Wire<"JobListView">>("/jobs", { query: { ...query, limit: JOB_LIMIT } });
  return wire.jobs.map(toJob);
}

export async function getJob(id: number, signal?: AbortSignal): Promise<JobDetail> {
  return toJobDetail(await request<Wire<"JobDetailView">>(`/jobs/${id}`, signal ? { signal } : {}));
}

export async function submitJob(body: JobRequest): Promise<JobDetail> {
  return toJobDetail(await request<Wire<"JobDetailView">>("/jobs", { method: "POST", body }));
}

export function checkJob(body: JobRequest, signal: AbortSignal): Promise<Wire<"CheckView">> {
  return request("/jobs/check", { method: "POST", body, signal });
}

export async function commandJob(id: number, command: "cancel" | "pause" | "save" | "preview"): Promise<JobDetail> {
  return toJobDetail(await request<Wire<"JobDetailView">>(`/jobs/${id}/${command}`, { method: "POST", body: {} }));
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

export async function listCheckpoints(id: number): Promise<Checkpoint[]> {
  return (await request<Wire<"CheckpointListView">>(`/jobs/${id}/checkpoints`)).checkpoints.map(toCheckpoint);
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

export const clipUrl = (dataset: number, sha256: string): string => `/api/v1/datasets/${dataset}/clips/${sha256}/audio`;
export const weightsUrl = (job: number, checkpoint: string): string =>
  `/api/v1/jobs/${job}/checkpoints/${encodeURIComponent(checkpoint)}/weights`;
