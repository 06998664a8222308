import { Icon } from "../../components/Icon";
import { Empty, Loading, Problem } from "../../components/Notices";
import { Page } from "../../components/Page";
import { ago, bytes, moment, percent } from "../../format";
import type { Worker } from "../../model/worker";
import { nowMs } from "../../store/clock";
import { jobs, loading, loadLists, orderedWorkers } from "../../store/queue";
import { tell } from "../../store/toasts";

export function WorkersPage() {
  return (
    <Page title="Workers">
      <WorkersBody />
    </Page>
  );
}

function WorkersBody() {
  if (loading.value === "loading") return <Loading what="the workers" />;
  if (typeof loading.value === "object") return <Problem error={loading.value.error} retry={() => void loadLists()} />;
  if (orderedWorkers.value.length === 0) return <NoWorkers />;
  return <ul class="worker-grid">{orderedWorkers.value.map((worker) => <WorkerCard key={worker.name} worker={worker} />)}</ul>;
}

const START = "./deploy/up";

function NoWorkers() {
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(START);
    tell("Copied.");
  };
  return (
    <Empty title="No worker is here">
      <p>A worker runs the jobs, one per device. Jobs wait until there is one. This starts one for every device of the machine that you type it on:</p>
      <div class="join">
        <code>{START}</code>
        {"clipboard" in navigator && <button type="button" class="button button-small" onClick={() => void copy()}><Icon name="copy" />Copy</button>}
      </div>
    </Empty>
  );
}

const STATE_WORDS = { idle: "Idle", busy: "Busy", stopping: "Stopping", offline: "Offline" } as const;
const STATE_TONES = { idle: "good", busy: "work", stopping: "wait", offline: "bad" } as const;

function WorkerCard({ worker }: { worker: Worker }) {
  const { device } = worker;
  const job = worker.jobId === null ? undefined : jobs.value.get(worker.jobId);
  const memoryShare = device.memoryTotalBytes && device.memoryUsedBytes !== null ? device.memoryUsedBytes / device.memoryTotalBytes : null;
  return (
    <li class="card worker" data-worker={worker.name}>
      <div class="worker-head">
        <div>
          <h2>{worker.name}</h2>
          <p class="small muted">{device.model || device.name}</p>
        </div>
        <span class={`badge tone-${STATE_TONES[worker.state]}`} data-state={worker.state}>{STATE_WORDS[worker.state]}</span>
      </div>
      {worker.jobId !== null && <p>Works on <a href={`/jobs/${worker.jobId}`}>{job?.name ?? `job ${worker.jobId}`}</a></p>}
      <Meter label="Utilisation" share={device.utilisation} text={percent(device.utilisation)} />
      <Meter label="Memory" share={memoryShare} text={`${bytes(device.memoryUsedBytes)} of ${bytes(device.memoryTotalBytes)}`} />
      <dl class="facts">
        <div><dt>Heartbeat</dt><dd>{ago((nowMs.value - worker.heardAtMs) / 1000)}</dd></div>
        <div><dt>Temperature</dt><dd>{device.temperatureC === null ? "not reported" : `${Math.round(device.temperatureC)} °C`}</dd></div>
        <div><dt>Since</dt><dd>{moment(worker.startedAt)}</dd></div>
      </dl>
      <details class="small">
        <summary>System and versions</summary>
        <p class="muted">{worker.system}</p>
        <ul>{Object.entries(worker.versions).map(([name, version]) => <li key={name}>{name} {version}</li>)}</ul>
      </details>
    </li>
  );
}

function Meter({ label, share, text }: { label: string; share: number | null; text: string }) {
  return (
    <div class="meter-line">
      <span class="muted">{label}</span>
      <span class="number">{share === null ? "not reported" : text}</span>
      {share !== null && (
        <div class="progress" role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(share * 100)}>
          <i style={{ inlineSize: `${Math.min(1, share) * 100}%` }} />
        </div>
      )}
    </div>
  );
}
