import { STATES } from "../model/states";
import type { JobState } from "../model/wire_types";
import { Icon, type IconName } from "./Icon";

const ICONS: Readonly<Record<JobState, IconName>> = {
  held: "hand",
  queued: "clock",
  starting: "work",
  running: "work",
  pausing: "work",
  paused: "hand",
  cancelling: "work",
  cancelled: "stop",
  completed: "check",
  failed: "alert",
};

/** The state of a job: an icon and a word, never a colour alone. */
export function StateBadge({ state }: { state: JobState }) {
  const { word, tone, meaning } = STATES[state];
  return (
    <span class={`badge tone-${tone}`} data-state={state} title={meaning}>
      <Icon name={ICONS[state]} spin={ICONS[state] === "work"} />
      {word}
    </span>
  );
}
