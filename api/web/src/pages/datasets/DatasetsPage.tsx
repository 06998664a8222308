import { DiskLine } from "../../components/DiskLine";
import { Loading, Problem, Refused } from "../../components/Notices";
import { Page } from "../../components/Page";
import { bytes, channelWord, duration, hertz, plural } from "../../format";
import type { Dataset } from "../../model/dataset";
import { may } from "../../session";
import { loading, loadLists, orderedDatasets } from "../../store/queue";
import { NewDataset } from "./NewDataset";

export function DatasetsPage() {
  return (
    <Page title="Datasets">
      <div class="datasets">
        <DatasetList />
        {may("datasets.create_dataset") ? <NewDataset /> : <Refused route="datasets.create_dataset" what="Making a dataset" />}
      </div>
      <DiskLine />
    </Page>
  );
}

function DatasetList() {
  if (loading.value === "loading") return <Loading what="the datasets" />;
  if (typeof loading.value === "object") return <Problem error={loading.value.error} retry={() => void loadLists()} />;
  if (orderedDatasets.value.length === 0) {
    return (
      <div class="card no-datasets">
        <h2>No sounds yet</h2>
        <p class="muted">A dataset is a named set of audio files: 5 to 500 sounds that belong together work well. WAV, FLAC, AIFF, Ogg and MP3 all do.</p>
      </div>
    );
  }
  return <ul class="card dataset-list">{orderedDatasets.value.map((dataset) => <DatasetRow key={dataset.id} dataset={dataset} />)}</ul>;
}

function DatasetRow({ dataset }: { dataset: Dataset }) {
  return (
    <li class="dataset-row" data-dataset={dataset.id}>
      <div>
        <a class="job-name" href={`/datasets/${dataset.id}`}>{dataset.name}</a>
        <p class="small muted">{contents(dataset)}</p>
      </div>
      <p class="small number">
        {plural(dataset.clips, "clip")}
        <span class="muted"> · {duration(dataset.durationS)}</span>
      </p>
      <p class="small">{dataset.jobs > 0 ? <a href={`/?${new URLSearchParams({ q: dataset.name })}`}>{plural(dataset.jobs, "job")}</a> : <span class="muted">no jobs yet</span>}</p>
    </li>
  );
}

/** "48 kHz, stereo, 120 MB" */
export function contents(dataset: Dataset): string {
  if (dataset.clips === 0) return "empty";
  return [
    dataset.sampleRates.map(hertz).join(" and "),
    dataset.channels.map(channelWord).join(" and "),
    bytes(dataset.sizeBytes),
  ].join(" · ");
}
