import { Icon, type IconName } from "../../components/Icon";
import { count } from "../../format";
import type { Job } from "../../model/job";
import type { BulkAction } from "../../model/queue";
import { compareUrl, MOST_JOBS } from "../compare/slots";
import { bulkDo, clearSelection, isBulkBusy, selectedJobs } from "../../store/selection";

const ACTIONS: readonly { readonly action: BulkAction; readonly label: string; readonly icon: IconName; readonly fits: (job: Job) => boolean }[] = [
  { action: "release", label: "Release", icon: "play", fits: (job) => job.can.release },
  { action: "hold", label: "Hold", icon: "hand", fits: (job) => job.can.hold },
  { action: "pause", label: "Pause", icon: "pause", fits: (job) => job.can.pause },
  { action: "resume", label: "Resume", icon: "again", fits: (job) => job.state === "paused" && job.can.resume },
  { action: "retry", label: "Retry", icon: "again", fits: (job) => job.can.retry && job.state !== "paused" },
  { action: "cancel", label: "Cancel", icon: "stop", fits: (job) => job.can.cancel },
];

/** What can be done to the selected jobs; an action that fits only some is tried on all, and says what it could not do. */
export function BulkBar() {
  const chosen = selectedJobs.value;
  if (chosen.length === 0) return null;
  const offered = ACTIONS.filter(({ fits }) => chosen.some(fits));
  const trainings = chosen.filter(({ kind }) => kind === "train").map(({ id }) => id);
  return (
    <div class="bulk-bar card" role="toolbar" aria-label="Selected jobs">
      <p class="number" role="status"><b>{count(chosen.length)}</b> selected</p>
      <div class="row bulk-actions">
        {offered.map(({ action, label, icon }) => (
          <button
            key={action}
            type="button"
            class={`button button-small${action === "cancel" ? " button-danger" : ""}`}
            aria-label={`${label} the selected jobs`}
            disabled={isBulkBusy.value}
            onClick={() => void bulkDo(action, chosen)}
          >
            <Icon name={icon} />{label}
          </button>
        ))}
        {trainings.length >= 2 && trainings.length <= MOST_JOBS && (
          <a class="button button-small" href={compareUrl(trainings)} aria-label="Compare the selected jobs"><Icon name="layers" />Compare</a>
        )}
      </div>
      <button type="button" class="button button-small button-icon" aria-label="Select nothing" title="Select nothing" onClick={clearSelection}><Icon name="close" /></button>
    </div>
  );
}
