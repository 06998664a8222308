import type { Job, JobAction } from "../model/job";
import type { Priority } from "../model/wire_types";
import { busy, command, deleting, placing, prioritise, resuming } from "../store/actions";
import { may } from "../session";
import { moveBy, moveTo, placeOf } from "../store/order";
import { waitingJobs } from "../store/queue";
import { Icon, type IconName } from "./Icon";
import { Menu, type MenuItem } from "./Menu";

interface Button {
  readonly key: JobAction;
  readonly label: string;
  readonly icon: IconName;
  readonly danger?: boolean;
}

const SAVE: Button = { key: "save", label: "Save now", icon: "save" };
const PREVIEW: Button = { key: "preview", label: "Preview now", icon: "ear" };
const PAUSE: Button = { key: "pause", label: "Pause", icon: "pause" };
const CANCEL: Button = { key: "cancel", label: "Cancel", icon: "stop", danger: true };
const RELEASE: Button = { key: "release", label: "Release", icon: "play" };
const RETRY: Button = { key: "retry", label: "Retry", icon: "again" };
const RESUME: Button = { key: "resume", label: "Resume", icon: "again" };

/** What most people want of a job in its state stands as buttons; the rest is in the menu. A job's page releases it elsewhere. */
function buttonsFor(job: Job, all: boolean): readonly Button[] {
  const order = job.state === "failed" ? [CANCEL, RETRY] : [...(all ? [SAVE, PREVIEW] : [RELEASE]), PAUSE, CANCEL, RESUME];
  return order.filter(({ key }) => job.can[key]);
}

/** Buttons and a menu for what can be done to a job in its state; `labelledBy` is the id of the element with its name. */
export function JobActions({ job, all = false, labelledBy }: { job: Job; all?: boolean; labelledBy: string }) {
  return (
    <div class="row job-actions">
      {buttonsFor(job, all).map(({ key, label, icon, danger }) => (
        <button
          key={key}
          type="button"
          class={`button button-small${danger ? " button-danger" : ""}`}
          aria-describedby={labelledBy}
          disabled={busy.value.has(`${job.id} ${key}`)}
          onClick={() => {
            if (key === "resume") resuming.value = { job };
            else void command(job, key as Parameters<typeof command>[1]);
          }}
        >
          <Icon name={icon} />
          {key === "resume" && job.state === "completed" ? "Extend …" : label}
        </button>
      ))}
      {hasMenu(job) && <Menu label={`More for ${job.name}`} items={() => menuFor(job)}><Icon name="more" /></Menu>}
    </div>
  );
}

const PRIORITIES: readonly (readonly [Priority, string])[] = [
  ["high", "High priority"],
  ["normal", "Normal priority"],
  ["low", "Low priority"],
];

/** Who may submit may more of this too; others find in it nothing but its batch. */
const hasMenu = (job: Job): boolean => may("jobs.submit_job") || job.batch !== null;

function menuFor(job: Job): readonly MenuItem[] {
  const { can } = job;
  const groups: (readonly MenuItem[])[] = [
    [
      ...(can.next ? [{ label: "Run next", icon: "first" as const, onChoose: () => void command(job, "next") }] : []),
      ...(can.reorder ? orderItems(job) : []),
      ...(can.hold ? [{ label: "Hold", icon: "hand" as const, onChoose: () => void command(job, "hold") }] : []),
    ],
    can.prioritise
      ? PRIORITIES.map(([priority, label]) => ({ label, checked: job.priority === priority, onChoose: () => void prioritise(job, priority) }))
      : [],
    [
      ...(can.edit ? [{ label: "Edit settings …", icon: "edit" as const, href: `/jobs/${job.id}/edit` }] : []),
      ...(can.place ? [{ label: "Move to another device …", icon: "place" as const, onChoose: () => { placing.value = job; } }] : []),
      ...(can.retry && job.state !== "failed" ? [{ label: "Retry at once", icon: "again" as const, onChoose: () => void command(job, "retry") }] : []),
      ...(can.resume && job.state === "failed" ? [{ label: "Resume …", icon: "again" as const, onChoose: () => { resuming.value = { job }; } }] : []),
      ...(may("jobs.submit_job") ? [{ label: "Duplicate …", icon: "copy" as const, href: `/new?from=${job.id}` }] : []),
    ],
    can.delete ? [{ label: "Delete …", icon: "bin" as const, danger: true, onChoose: () => { deleting.value = { kind: "job", id: job.id, name: job.name }; } }] : [],
    job.batch === null ? [] : [{ label: `Show batch ${job.batch}`, icon: "layers" as const, href: `/?batch=${job.batch}` }],
  ];
  return groups.filter((group) => group.length > 0).flatMap((group, number) =>
    group.map((item, index) => ({ ...item, startsGroup: number > 0 && index === 0 })));
}

function orderItems(job: Job): readonly MenuItem[] {
  const place = placeOf(job);
  const end = waitingJobs.value.length - 1;
  const items: MenuItem[] = [];
  if (place > 0) items.push({ label: "Move up", icon: "up", onChoose: () => void moveBy(job, -1) });
  if (place < end) {
    items.push({ label: "Move down", icon: "down", onChoose: () => void moveBy(job, 1) });
    items.push({ label: "Move to the end", icon: "last", onChoose: () => void moveTo(job, end) });
  }
  return items;
}
