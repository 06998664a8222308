import { useEffect, useState } from "preact/hooks";
import { Icon } from "../../components/Icon";
import { Empty, Loading, Problem, Refused } from "../../components/Notices";
import { Page } from "../../components/Page";
import { duration, plural } from "../../format";
import { getDataset } from "../../http/api";
import type { DatasetDetail } from "../../model/dataset";
import { may } from "../../session";
import { deleting } from "../../store/actions";
import { datasets, orderedJobs } from "../../store/queue";
import { startUpload, uploadOf } from "../../store/uploads";
import { StateBadge } from "../../components/StateBadge";
import { ClipList } from "./ClipList";
import { contents } from "./DatasetsPage";
import { DropZone } from "./DropZone";
import { Soundness } from "./Soundness";
import { UploadPanel } from "./UploadPanel";

const REFRESH_MS = 600;

export function DatasetPage({ params }: { params?: { id: string } }) {
  const id = Number(params?.id);
  const [detail, setDetail] = useState<DatasetDetail | null>(null);
  const [error, setError] = useState<unknown>(null);
  const live = datasets.value.get(id);
  const stamp = live ? `${live.version} ${live.clips}` : "";

  useEffect(() => {
    let isGone = false;
    // Uploads change a dataset several times a second: the list of clips follows at its own pace.
    const timer = setTimeout(() => {
      getDataset(id).then(
        (value) => {
          if (isGone) return;
          setDetail(value);
          setError(null);
        },
        (reason: unknown) => {
          if (!isGone) setError(reason);
        },
      );
    }, detail?.id === id ? REFRESH_MS : 0);
    return () => {
      isGone = true;
      clearTimeout(timer);
    };
  }, [id, stamp]);

  if (!detail || detail.id !== id) {
    return <Page title="Dataset">{error ? <Problem error={error} others={{ href: "/datasets", label: "All datasets" }} /> : <Loading what="the dataset" />}</Page>;
  }
  const dataset = live ?? detail;
  const upload = uploadOf(id);
  return (
    <Page title={dataset.name} head={<DatasetActions id={id} name={dataset.name} isEmpty={dataset.clips === 0} />}>
      <div class="stack">
        <p class="muted">
          {plural(dataset.clips, "clip")} · {duration(dataset.durationS)} · {contents(dataset)} · version {dataset.version}
        </p>
        {upload && <UploadPanel upload={upload} />}
        {may("datasets.upload_files")
          ? <DropZone onFiles={(items) => startUpload(id, items)}>{dataset.clips > 0 ? "Drop more sounds or folders here" : undefined}</DropZone>
          : <Refused route="datasets.upload_files" what="Adding sounds" />}
        {detail.files.length > 0 && <Soundness dataset={id} clips={detail.files} />}
        <UsedBy id={id} />
        {detail.files.length > 0 ? <ClipList dataset={id} clips={detail.files} /> : !upload && <Empty title="No sounds in it yet">{may("datasets.upload_files") && <p>Drop files or a folder above; anything that is not audio is left out with a reason.</p>}</Empty>}
      </div>
    </Page>
  );
}

function DatasetActions({ id, name, isEmpty }: { id: number; name: string; isEmpty: boolean }) {
  return (
    <div class="row">
      {may("datasets.delete_dataset") && <button type="button" class="button button-danger" onClick={() => { deleting.value = { kind: "dataset", id, name }; }}><Icon name="bin" />Delete …</button>}
      {!isEmpty && may("jobs.submit_job") && (
        <>
          <a class="button" href={`/new?dataset=${id}&kind=preprocess`}>Preprocess</a>
          <a class="button button-primary" href={`/new?dataset=${id}&kind=train`}><Icon name="ear" />Train on this</a>
        </>
      )}
    </div>
  );
}

function UsedBy({ id }: { id: number }) {
  const users = orderedJobs.value.filter((job) => job.dataset.id === id);
  if (users.length === 0) return null;
  return (
    <section class="stack" aria-labelledby="used-by">
      <h2 id="used-by">Used by</h2>
      <ul class="row used-by">
        {users.slice(0, 12).map((job) => (
          <li key={job.id}>
            <a class="button button-small" href={`/jobs/${job.id}`}>{job.name}<StateBadge state={job.state} /></a>
          </li>
        ))}
        {users.length > 12 && <li class="small muted">and {plural(users.length - 12, "more", "more")}</li>}
      </ul>
    </section>
  );
}
