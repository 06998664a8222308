import { useState } from "preact/hooks";
import { bytes, count, plural } from "../../format";
import type { FileResult } from "../../model/dataset";
import { doneOf, type UploadQueue } from "../../store/upload_queue";

const ROWS = 100;

/** How an upload goes: counts that are always right, and a reason for every file that was not taken. */
export function UploadPanel({ upload }: { upload: UploadQueue }) {
  const counts = upload.counts.value;
  const done = doneOf(counts);
  const isBusy = done < counts.total;
  return (
    <section class="card upload" aria-labelledby="upload-title" data-upload={isBusy ? "busy" : "done"}>
      <div class="row">
        <h2 id="upload-title">{isBusy ? `Uploading ${plural(counts.total, "file")}` : `${plural(counts.total, "file")} done`}</h2>
        <span class="push small muted number">{bytes(counts.doneBytes)} of {bytes(counts.totalBytes)}</span>
      </div>
      <div class="progress" role="progressbar" aria-label="Upload" aria-valuemin={0} aria-valuemax={counts.total} aria-valuenow={done} data-live={isBusy} data-state={isBusy ? "" : "completed"}>
        <i style={{ inlineSize: `${counts.total ? (done / counts.total) * 100 : 0}%` }} />
      </div>
      <p class="row number upload-counts" role="status">
        <span>{count(done)} of {count(counts.total)}</span>
        <span class="badge tone-good" data-added={counts.added}>{count(counts.added)} added</span>
        {counts.duplicate > 0 && <span class="badge tone-idle" data-duplicate={counts.duplicate}>{plural(counts.duplicate, "duplicate")}</span>}
        {counts.refused > 0 && <span class="badge tone-bad" data-refused={counts.refused}>{count(counts.refused)} refused</span>}
      </p>
      {upload.trouble.value && (
        <div class="note note-warn row">
          <p>{upload.trouble.value}</p>
          <button type="button" class="button button-small push" onClick={() => upload.retryNow()}>Try now</button>
        </div>
      )}
      <Results results={upload.notable.value} />
    </section>
  );
}

function Results({ results }: { results: readonly FileResult[] }) {
  const [limit, setLimit] = useState(ROWS);
  if (results.length === 0) return null;
  // Refused ones first: they are what somebody has to look at.
  const shown = [...results].sort((a, b) => Number(b.outcome === "refused") - Number(a.outcome === "refused")).slice(0, limit);
  return (
    <div class="upload-results" tabIndex={0} role="region" aria-label="Files that were not added">
      <ul class="small">
        {shown.map(({ name, outcome, reason }, index) => (
          <li key={`${index} ${name}`} data-result={outcome}>
            <span class={`badge tone-${outcome === "refused" ? "bad" : "idle"}`}>{outcome === "refused" ? "Refused" : "Duplicate"}</span>
            <b>{name}</b> <span class="muted">{reason}</span>
          </li>
        ))}
      </ul>
      {results.length > limit && <button type="button" class="button button-small" onClick={() => setLimit(limit * 4)}>Show more of {count(results.length)}</button>}
    </div>
  );
}
