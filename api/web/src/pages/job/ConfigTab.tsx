import { Empty } from "../../components/Notices";
import { Icon } from "../../components/Icon";
import { Said } from "../../components/Said";
import { JobLinks } from "../../components/JobWishes";
import { fieldLabel, setting } from "../../format";
import type { JobDetail } from "../../model/job";
import { placementWords } from "../../model/placement";
import { valueOf } from "../../store/draft";
import { TRAIN_FIELDS } from "../../train_fields";

interface Row {
  readonly name: string;
  readonly value: unknown;
  readonly help: string;
}

/** Every value that decided the job, with what differs from the preset marked. */
export function ConfigTab({ job }: { job: JobDetail }) {
  const rows = rowsOf(job);
  if (rows.length === 0) return <Empty title="No configuration"><p>This job keeps none.</p></Empty>;
  const differing = new Set(Object.keys(job.presetDifferences));
  const isDifferent = (name: string): boolean => differing.has(name) || differing.has(name.split(".")[0] ?? "");
  return (
    <div class="stack">
      <QueueWishes job={job} />
      {job.preset && (
        <p class="muted">
          Preset {job.preset}{differing.size > 0 ? `, with ${differing.size === 1 ? "one value" : `${differing.size} values`} changed.` : ", unchanged."}
        </p>
      )}
      <div class="card config-card">
        <table class="table">
          <caption class="unseen">Configuration</caption>
          <thead><tr><th scope="col">Setting</th><th scope="col">Value</th></tr></thead>
          <tbody>
            {rows.map(({ name, value, help }) => (
              <tr key={name} data-changed={isDifferent(name)}>
                <td><b>{fieldLabel(name)}</b> {isDifferent(name) && <span class="badge tone-work">Changed</span>}<p class="small muted"><Said text={help} /></p></td>
                <td class="number">{setting(value) || (Array.isArray(value) ? "none" : "automatic")}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {Object.keys(job.versions).length > 0 && (
        <section class="card versions" aria-label="Versions">
          <h2>Versions</h2>
          <dl class="facts">{Object.entries(job.versions).map(([name, version]) => <div key={name}><dt>{name}</dt><dd>{version}</dd></div>)}</dl>
        </section>
      )}
    </div>
  );
}

/** What was asked of the queue: where, when, before and after what. */
function QueueWishes({ job }: { job: JobDetail }) {
  const where = placementWords(job.placement, job.wantedDevice);
  return (
    <section class="card versions" aria-label="Where and when">
      <div class="row">
        <h2>Where and when</h2>
        {job.can.edit && <a class="button button-small push" href={`/jobs/${job.id}/edit`}><Icon name="edit" />Edit</a>}
      </div>
      <dl class="facts">
        <div class="wide"><dt>Runs</dt><dd>{where.length > 0 ? where.join(", ") : "anywhere, at any time"}</dd></div>
        <div><dt>Priority</dt><dd>{job.priority}</dd></div>
        <div><dt>After</dt><dd>{job.after.length > 0 ? <JobLinks ids={job.after} /> : "no other job"}</dd></div>
        <div><dt>Batch</dt><dd>{job.batch === null ? "none" : <a href={`/?batch=${job.batch}`}>batch {job.batch}</a>}</dd></div>
      </dl>
    </section>
  );
}

function rowsOf(job: JobDetail): Row[] {
  const config = job.train ?? job.features;
  if (!config) return [];
  return TRAIN_FIELDS.flatMap(({ name, help }) => {
    const value = job.train ? valueOf(job.train, name) : valueOf(config as never, name);
    return value === undefined ? [] : [{ name, value, help }];
  });
}
