// What the Log tab shows of a job's events: those that are not numbers, by rising number, each once.
import { type Signal, signal } from "@preact/signals";
import { listEvents } from "../http/api";
import type { JobEvent } from "./event_follower";

/** Lines kept for the Log tab; the record has them all. */
const MAX_LINES = 2000;
const PAGE = 1000;
const LOGGED = ["state", "attempt_started", "attempt_ended", "warning", "log", "checkpoint", "preview"];

export class EventLog {
  readonly lines: Signal<readonly JobEvent[]> = signal([]);

  constructor(private readonly jobId: number) {}

  /** Takes those of `events` that are lines. */
  add(events: readonly JobEvent[]): void {
    const fresh = events.filter(({ body }) => LOGGED.includes(body.type));
    if (fresh.length === 0) return;
    const byNumber = new Map([...this.lines.value, ...fresh].map((event) => [event.number, event]));
    this.lines.value = [...byNumber.values()].sort((a, b) => a.number - b.number).slice(-MAX_LINES);
  }

  /** Fetches the lines among the events after number `after` up to `last`. */
  async fetch(after: number, last: number): Promise<void> {
    for (let from = after; from < last; ) {
      const { events } = await listEvents(this.jobId, { after: from, limit: PAGE, types: LOGGED.join(",") });
      this.add(events);
      if (events.length < PAGE) return;
      from = events.at(-1)?.number ?? last;
    }
  }
}
