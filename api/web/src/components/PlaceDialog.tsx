import { useState } from "preact/hooks";
import { messageOf } from "../http/request";
import type { Job } from "../model/job";
import { fromPlacement } from "../model/placement";
import { isWaiting } from "../model/states";
import { place, placing } from "../store/actions";
import { orderedWorkers } from "../store/queue";
import { deviceChoices, workerText } from "../store/where";
import { Dialog } from "./Dialog";
import { Said } from "./Said";
import { Field } from "./Field";

/** Asks which device or worker a job shall run on from now on. */
export function PlaceDialog() {
  const job = placing.value;
  return job && <PlaceForm key={job.id} job={job} />;
}

function PlaceForm({ job }: { job: Job }) {
  const [device, setDevice] = useState(job.wantedDevice || "auto");
  const [worker, setWorker] = useState(job.placement.worker);
  const [error, setError] = useState<unknown>(null);
  const [isSending, setSending] = useState(false);
  const close = (): void => {
    placing.value = null;
  };
  const submit = async (): Promise<void> => {
    if (isSending) return;
    setSending(true);
    try {
      await place(job, { device, placement: { ...fromPlacement(job.placement), worker } });
      close();
    } catch (reason) {
      setError(reason);
      setSending(false);
    }
  };
  const isUnchanged = device === job.wantedDevice && worker === job.placement.worker;
  return (
    <Dialog title={`Move ${job.name}`} onClose={close} onSubmit={() => void submit()}>
      {!isWaiting(job.state) && <p class="muted">It saves a checkpoint where it is, then goes on from exactly that step in its new place.</p>}
      <Field id="place-device" label="Device" help="Auto takes the first free one that fits.">
        {(props) => (
          <select {...props} class="select" value={device} onChange={(event) => setDevice(event.currentTarget.value)}>
            {deviceChoices(device).map((one) => <option key={one} value={one}>{one === "auto" ? "Auto" : one}</option>)}
          </select>
        )}
      </Field>
      <Field id="place-worker" label="Worker" help="A named worker is waited for, even while it is offline.">
        {(props) => (
          <select {...props} class="select" value={worker} onChange={(event) => setWorker(event.currentTarget.value)}>
            <option value="">Any that fits</option>
            {orderedWorkers.value.map((one) => <option key={one.name} value={one.name}>{workerText(one)}</option>)}
            {worker && !orderedWorkers.value.some(({ name }) => name === worker) && <option value={worker}>{worker} (not known here)</option>}
          </select>
        )}
      </Field>
      {error !== null && <div class="note note-bad" role="alert"><p><Said text={messageOf(error)} /></p></div>}
      <div class="dialog-foot">
        <button type="button" class="button" onClick={close}>Not now</button>
        <button type="submit" class="button button-primary" disabled={isUnchanged || isSending}>Move it</button>
      </div>
    </Dialog>
  );
}
