import { Icon } from "../../components/Icon";
import type { Job } from "../../model/job";
import { moveBy, moveTo, placeOf } from "../../store/order";
import { waitingJobs } from "../../store/queue";
import { startDrag } from "./drag";

/** The handle of a waiting row: dragged, or moved by the arrow keys. */
export function Grip({ job }: { job: Job }) {
  const id = `grip-${job.id}`;
  const onPointerDown = (event: PointerEvent): void => {
    const row = (event.currentTarget as HTMLElement).closest<HTMLElement>(".job-row");
    const rows = [...(row?.parentElement?.querySelectorAll<HTMLElement>(":scope > .job-row") ?? [])];
    if (row) startDrag(event, row, rows, (slot) => void moveTo(job, indexAt(job, rows, slot)));
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = event.key === "ArrowUp" ? -1 : event.key === "ArrowDown" ? 1 : null;
    if (step === null) return;
    event.preventDefault();
    void moveBy(job, step);
    // The row is another element's neighbour then, and a moved element loses the focus.
    requestAnimationFrame(() => {
      const grip = document.getElementById(id);
      grip?.focus();
      grip?.scrollIntoView({ block: "nearest" });
    });
  };
  return (
    <button
      type="button"
      id={id}
      class="grip"
      aria-label={`Move ${job.name}: number ${placeOf(job) + 1} in the queue`}
      aria-keyshortcuts="ArrowUp ArrowDown Alt+ArrowUp Alt+ArrowDown"
      title="Drag to reorder, or press the up and down arrows"
      onPointerDown={onPointerDown}
      onKeyDown={onKeyDown}
    >
      <Icon name="grip" />
    </button>
  );
}

/** Index among all that wait for a job that was dropped at `slot` among the rows that are shown. */
function indexAt(job: Job, rows: readonly HTMLElement[], slot: number): number {
  const shown = rows.map((row) => Number(row.dataset["job"])).filter((id) => id !== job.id);
  const others = waitingJobs.value.filter(({ id }) => id !== job.id).map(({ id }) => id);
  const next = shown[slot];
  if (next !== undefined) return others.indexOf(next);
  return others.indexOf(shown.at(-1) ?? -1) + 1;
}
