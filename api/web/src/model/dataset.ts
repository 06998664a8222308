// Datasets, their clips and what became of uploaded files.
import type { Wire } from "./wire_types";

export interface Dataset {
  readonly id: number;
  readonly name: string;
  readonly version: number;
  readonly clips: number;
  readonly durationS: number;
  readonly sizeBytes: number;
  readonly sampleRates: readonly number[];
  readonly channels: readonly number[];
  readonly jobs: number;
  readonly createdAt: number;
}

export interface Clip {
  readonly sha256: string;
  readonly name: string;
  readonly durationS: number;
  readonly sampleRate: number;
  readonly channels: number;
  readonly format: string;
  readonly sizeBytes: number;
  /** Largest absolute sample; null where it was never measured, as is the next one. */
  readonly peak: number | null;
  readonly rms: number | null;
  readonly clipped: number;
  readonly silentBeforeS: number;
  readonly silentAfterS: number;
  /** The clip before it with the very same samples. */
  readonly sameAs: string;
}

export interface DatasetDetail extends Dataset {
  readonly files: readonly Clip[];
}

export type FileOutcome = "added" | "duplicate" | "refused";

export interface FileResult {
  readonly name: string;
  readonly outcome: FileOutcome;
  readonly reason: string;
}

export function toDataset(wire: Wire<"DatasetView">): Dataset {
  return {
    id: wire.id,
    name: wire.name,
    version: wire.version,
    clips: wire.clips,
    durationS: wire.duration_s,
    sizeBytes: wire.size_bytes,
    sampleRates: [...wire.sample_rates].sort((a, b) => a - b),
    channels: [...wire.channels].sort((a, b) => a - b),
    jobs: wire.jobs,
    createdAt: wire.created_at,
  };
}

export function toDatasetDetail(wire: Wire<"DatasetDetailView">): DatasetDetail {
  return { ...toDataset(wire), files: wire.files.map(toClip) };
}

function toClip(wire: Wire<"ClipView">): Clip {
  return {
    sha256: wire.sha256,
    name: wire.name,
    durationS: wire.duration_s,
    sampleRate: wire.sample_rate,
    channels: wire.channels,
    format: wire.format,
    sizeBytes: wire.size_bytes,
    peak: wire.peak,
    rms: wire.rms,
    clipped: wire.clipped,
    silentBeforeS: wire.silent_before_s,
    silentAfterS: wire.silent_after_s,
    sameAs: wire.same_as,
  };
}

export function toFileResult(wire: Wire<"FileResultView">): FileResult {
  const known = wire.result === "added" || wire.result === "duplicate";
  return { name: wire.name, outcome: known ? (wire.result as FileOutcome) : "refused", reason: wire.reason };
}
