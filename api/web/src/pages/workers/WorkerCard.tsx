import { Chips } from "../../components/Chips";
import { Icon } from "../../components/Icon";
import { ProgressBar } from "../../components/ProgressBar";
import { ProgressText } from "../../components/ProgressText";
import { Said } from "../../components/Said";
import { TimeLine } from "../../components/TimeLine";
import { ago, bytes, moment, percent, plural } from "../../format";
import type { Worker } from "../../model/worker";
import { may } from "../../session";
import { nowMs } from "../../store/clock";
import { jobs } from "../../store/queue";
import { knownLabels } from "../../store/where";
import { histories, HISTORY_MS, memoryShare, type Sample } from "../../store/worker_history";
import { busyWorkers, drainWorker, removeWorker, setLabels } from "../../store/workers";

const STATES = {
  idle: { word: "Idle", tone: "good" },
  busy: { word: "Busy", tone: "work" },
  stopping: { word: "Stopping", tone: "wait" },
  offline: { word: "Offline", tone: "idle" },
} as const;

export function WorkerCard({ worker }: { worker: Worker }) {
  const { device } = worker;
  const { word, tone } = STATES[worker.state];
  const isOffline = worker.state === "offline";
  const nameId = `worker-${worker.name}`;
  const mayLabel = may("workers.label_worker");
  return (
    <li class="card worker" data-worker={worker.name} data-offline={isOffline || undefined} aria-labelledby={nameId}>
      <div class="worker-head">
        <div>
          <h2 id={nameId}>{worker.name}</h2>
          <p class="small muted">{[device.model || device.name, worker.threads !== null && plural(worker.threads, "thread")].filter(Boolean).join(" · ")}</p>
        </div>
        <div class="worker-badges">
          <span class={`badge tone-${tone}`} data-state={worker.state}>{word}</span>
          {worker.drained && <span class="badge tone-wait" title="It finishes what it does and gets no more">Drained</span>}
        </div>
      </div>
      {worker.warning && <div class="note note-warn"><p><Said text={worker.warning} /></p></div>}
      <CurrentJob worker={worker} />
      {!isOffline && <Meters worker={worker} />}
      <Chips label={`Labels of ${worker.name}`} values={worker.labels} fixed={mayLabel ? worker.ownLabels : worker.labels} fixedWhy={mayLabel ? "Given where the worker is started (--label)" : undefined} isFixed={!mayLabel} suggestions={knownLabels()} placeholder="Add a label" onChange={(labels) => void setLabels(worker, labels)} />
      <p class="small muted worker-age" title={`Since ${moment(worker.startedAt)}`}>
        {isOffline ? "Last heard of" : "Heard of"} {ago((nowMs.value - worker.heardAtMs) / 1000)}{worker.joined && " · joined over the network"}
      </p>
      <details class="small">
        <summary>System and versions</summary>
        <p class="muted">{worker.system || "Not reported"}</p>
        <dl class="versions-list">
          <div><dt>Host</dt><dd>{worker.host}</dd></div>
          <div><dt>Started</dt><dd>{moment(worker.startedAt)}</dd></div>
          {Object.entries(worker.versions).map(([name, version]) => <div key={name}><dt>{name}</dt><dd>{version}</dd></div>)}
        </dl>
      </details>
      <WorkerActions worker={worker} labelledBy={nameId} />
    </li>
  );
}

function CurrentJob({ worker }: { worker: Worker }) {
  if (worker.jobId === null) return null;
  const job = jobs.value.get(worker.jobId);
  return (
    <div>
      <p class="worker-job"><a class="job-name" href={`/jobs/${worker.jobId}`}>{job?.name ?? `Job ${worker.jobId}`}</a></p>
      {job && <ProgressBar job={job} />}
      {job && <ProgressText job={job} />}
    </div>
  );
}

const SHARE = [0, 1] as const;
/** Devices at rest and at their limit; what is beyond is drawn at the edge. */
const TEMPERATURES = [20, 100] as const;

function Meters({ worker }: { worker: Worker }) {
  const { device, othersLoad } = worker;
  const samples = histories.value.get(worker.name) ?? [];
  const memory = memoryShare(worker);
  const others = device.memoryOthersBytes;
  const memoryText = `${bytes(device.memoryUsedBytes)} of ${bytes(device.memoryTotalBytes)}`;
  return (
    <div class="meters">
      <Meter
        label="Utilisation"
        text={device.utilisation === null ? null : percent(device.utilisation)}
        note={othersLoad === null || othersLoad < 0.005 ? "" : `other programs ${percent(othersLoad)}`}
        samples={samples}
        of={(sample) => sample.utilisation}
        range={SHARE}
      />
      <Meter label="Memory" text={memory === null ? null : memoryText} note={others === null ? "" : `other programs ${bytes(others)}`} samples={samples} of={(sample) => sample.memory} range={SHARE} />
      <Meter label="Temperature" text={device.temperatureC === null ? null : `${Math.round(device.temperatureC)} °C`} note="" samples={samples} of={(sample) => sample.temperatureC} range={TEMPERATURES} />
    </div>
  );
}

function Meter({ label, text, note, samples, of, range }: {
  label: string;
  text: string | null;
  note: string;
  samples: readonly Sample[];
  of: (sample: Sample) => number | null;
  range: readonly [number, number];
}) {
  return (
    <div class="meter-line">
      <span class="muted">{label}</span>
      <span class={text === null ? "muted" : "number"}>{text ?? "not reported"}</span>
      {text !== null && <TimeLine points={samples.map((sample) => ({ at: sample.at, value: of(sample) }))} spanMs={HISTORY_MS} range={range} />}
      {text !== null && note && <span class="muted meter-note">{note}</span>}
    </div>
  );
}

function WorkerActions({ worker, labelledBy }: { worker: Worker; labelledBy: string }) {
  const isBusy = busyWorkers.value.has(worker.name);
  return (
    <div class="row worker-actions">
      {worker.drained
        ? may("workers.resume_worker") && <button type="button" class="button button-small" aria-describedby={labelledBy} disabled={isBusy} onClick={() => void drainWorker(worker, false)}><Icon name="play" />Resume</button>
        : worker.state !== "offline" && may("workers.drain_worker") && <button type="button" class="button button-small" aria-describedby={labelledBy} disabled={isBusy} title="It finishes what it does and gets no more" onClick={() => void drainWorker(worker, true)}><Icon name="pause" />Drain</button>}
      {worker.state === "offline" && may("workers.remove_worker") && <button type="button" class="button button-small button-danger" aria-describedby={labelledBy} disabled={isBusy} onClick={() => void removeWorker(worker)}><Icon name="close" />Remove</button>}
    </div>
  );
}
