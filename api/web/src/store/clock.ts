// The time, once a second, for ages and running times; it stands still while nobody looks.
import { signal } from "@preact/signals";

/** Milliseconds since 1970. */
export const nowMs = signal(Date.now());

const tick = (): void => {
  if (!document.hidden) nowMs.value = Date.now();
};
setInterval(tick, 1000);
document.addEventListener("visibilitychange", tick);
