// Jobs that this browser tells about by a notification of the system, each chosen by its person: the end, and trouble.
import type { Job } from "../model/job";
import { isEnded } from "../model/states";
import { remembered } from "./preferences";

export const told = remembered<readonly number[]>("told", [], (value): value is readonly number[] => Array.isArray(value));

/** Browsers have them on this machine and over https only. */
export const canTell = "Notification" in globalThis && isSecureContext;

export async function tellOf(id: number): Promise<void> {
  if ((await Notification.requestPermission()) === "granted") told.value = [...told.value, id];
}

/** Tells of a job whose newer view just came. */
export function tell(job: Job, before: Job | undefined): void {
  if (!told.value.includes(job.id)) return;
  const over = isEnded(job.state);
  if (over) told.value = told.value.filter((id) => id !== job.id);
  else if (!before || job.warnings.length <= before.warnings.length) return;
  show(job.name, { body: over ? `${job.state}. ${job.reason}` : job.warnings.at(-1)?.message ?? "", tag: `${job.id}` });
}

function show(title: string, options: NotificationOptions): void {
  try {
    new Notification(title, options);
  } catch (error) {
    // Phones grant them, and then leave them to service workers alone.
    console.warn("This browser shows no notification.", error);
  }
}
