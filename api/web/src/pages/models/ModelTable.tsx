import { Icon } from "../../components/Icon";
import { bytes, count, measure, moment, REPRESENTATIONS } from "../../format";
import { configUrl, weightsUrl } from "../../http/api";
import type { Model } from "../../model/model";
import { may } from "../../session";

export function ModelTable({ models }: { models: readonly Model[] }) {
  return (
    <div class="card checkpoints">
      <table class="table">
        <caption class="unseen">Models, newest first</caption>
        <thead>
          <tr><th scope="col">Model</th><th scope="col">Dataset</th><th scope="col" class="right">Held-out error</th><th scope="col" class="right">Size</th><th scope="col">Saved</th><th scope="col"><span class="unseen">Actions</span></th></tr>
        </thead>
        <tbody>{models.map((model) => <ModelRow key={`${model.jobId} ${model.checkpoint}`} model={model} />)}</tbody>
      </table>
    </div>
  );
}

/** The New job form with this model as the start, on the same dataset until another one is chosen. */
function trainFrom(model: Model): string {
  const query = { start: String(model.jobId), checkpoint: model.checkpoint, dataset: String(model.datasetId), representation: model.representation };
  return `/new?${new URLSearchParams(query).toString()}`;
}

function ModelRow({ model }: { model: Model }) {
  const id = `model-${model.jobId}-${model.checkpoint}`;
  return (
    <tr data-model={`${model.jobId} ${model.checkpoint}`}>
      <td data-label="">
        <a id={id} class="job-name" href={`/jobs/${model.jobId}?tab=checkpoints`}>{model.jobName}</a>{" "}
        {model.best && <span class="badge tone-good">Best</span>} {model.final && <span class="badge tone-work">Final</span>}{" "}
        {model.pinned && <span class="badge tone-idle"><Icon name="pin" />Pinned</span>}
        <p class="small muted">{REPRESENTATIONS[model.representation]}, epoch {count(model.epoch)}, step {count(model.step)}</p>
      </td>
      <td data-label="Dataset"><a class="link-plain" href={`/datasets/${model.datasetId}`}>{model.datasetName}</a></td>
      <td class="right" data-label="Held-out error">{measure(model.validationError)}</td>
      <td class="right" data-label="Size">{bytes(model.sizeBytes)}</td>
      <td data-label="Saved">{moment(model.at)}</td>
      <td data-label="">
        <div class="row checkpoint-actions">
          {may("jobs.submit_job") && <a class="button button-small" href={trainFrom(model)} aria-describedby={id}><Icon name="branch" />Train from this</a>}
          <a class="button button-small" href={weightsUrl(model.jobId, model.checkpoint)} download aria-describedby={id} title="The weights as a safetensors file"><Icon name="save" />Weights</a>
          <a class="button button-small" href={configUrl(model.jobId, model.checkpoint)} download aria-describedby={id} title="The configuration as a JSON file"><Icon name="file" />Configuration</a>
        </div>
      </td>
    </tr>
  );
}
