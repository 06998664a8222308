import type { Job } from "../model/job";
import { busy, command, resuming } from "../store/actions";
import { Icon, type IconName } from "./Icon";

interface Action {
  readonly key: keyof Job["can"];
  readonly label: string;
  readonly icon: IconName;
  readonly danger?: boolean;
}

const ACTIONS: readonly Action[] = [
  { key: "save", label: "Save now", icon: "save" },
  { key: "preview", label: "Preview now", icon: "ear" },
  { key: "pause", label: "Pause", icon: "pause" },
  { key: "cancel", label: "Cancel", icon: "stop", danger: true },
  { key: "resume", label: "Resume", icon: "again" },
];

/** Buttons for what can be done to a job in its state; `labelledBy` is the id of the element with its name. */
export function JobActions({ job, all = false, labelledBy }: { job: Job; all?: boolean; labelledBy: string }) {
  const shown = ACTIONS.filter(({ key }) => job.can[key] && (all || (key !== "save" && key !== "preview")));
  return (
    <div class="row job-actions">
      {shown.map(({ key, label, icon, danger }) => (
        <button
          key={key}
          type="button"
          class={`button button-small${danger ? " button-danger" : ""}`}
          aria-describedby={labelledBy}
          disabled={busy.value.has(`${job.id} ${key}`)}
          onClick={() => {
            if (key === "resume") resuming.value = { job };
            else void command(job, key);
          }}
        >
          <Icon name={icon} />
          {key === "resume" && job.state === "completed" ? "Extend …" : label}
        </button>
      ))}
    </div>
  );
}
