// Puts a job's events into their order: history by HTTP, then live ones, without a gap and without a double.
//
// Enters: live events in any order, pages of history. Leaves: `apply` is called once per event, by rising number.
// A live event that does not follow the last one is kept aside while the history in between is fetched.
import type { Wire } from "../model/wire_types";

export type JobEvent = Wire<"Event">;

export interface FollowerOptions {
  readonly fetchPage: (after: number, limit: number) => Promise<{ events: readonly JobEvent[]; last: number }>;
  readonly apply: (events: readonly JobEvent[]) => void;
  /** Called when the history could not be fetched; the follower waits for the next `catchUp`. */
  readonly onError?: (error: unknown) => void;
  readonly wait?: (ms: number) => Promise<void>;
  readonly now?: () => number;
}

/** Live events kept aside during a catch-up; beyond it they are dropped, since the history has them too. */
const MAX_ASIDE = 2000;
/** The record trails the live channel by a moment: how long to wait before asking again for what is missing. */
const TRAIL_MS = 250;
const MAX_TRAILS = 40;
/** A page should take about this long, since an event may hold one step or 4,096. */
const PAGE_TARGET_MS = 400;

export class EventFollower {
  /** Number of the newest applied event. */
  last = 0;
  /** Number of the newest event that is known to be there. */
  private expected = 0;
  private aside = new Map<number, JobEvent>();
  private running = false;
  private again = false;
  private closed = false;
  private limit = 200;

  constructor(private readonly options: FollowerOptions) {}

  /** Takes a live event. */
  receive(event: JobEvent): void {
    if (this.closed || event.number <= this.last) return;
    if (!this.running && event.number === this.last + 1) {
      this.accept([event]);
      return;
    }
    if (this.aside.size < MAX_ASIDE) this.aside.set(event.number, event);
    if (!this.running) void this.catchUp();
  }

  /** Events up to `number` are there: those that never came live are fetched, as soon as the record has them. */
  expect(number: number): void {
    this.expected = Math.max(this.expected, number);
    if (this.expected > this.last) void this.catchUp();
  }

  /** Goes on after event `number`, since all up to it is known from elsewhere. */
  skipTo(number: number): void {
    this.last = number;
    for (const known of this.aside.keys()) if (known <= number) this.aside.delete(known);
  }

  /** Fetches everything after the last applied event, then the live ones kept aside. */
  async catchUp(): Promise<void> {
    if (this.closed) return;
    if (this.running) {
      this.again = true;
      return;
    }
    this.running = true;
    try {
      do {
        this.again = false;
        await this.fetchAll();
      } while (this.again && !this.closed);
    } catch (error) {
      if (!this.closed) this.options.onError?.(error);
    } finally {
      this.running = false;
    }
  }

  /** Nothing is applied after this. */
  close(): void {
    this.closed = true;
    this.aside.clear();
  }

  private async fetchAll(): Promise<void> {
    const now = this.options.now ?? (() => performance.now());
    let trails = 0;
    for (;;) {
      const began = now();
      const page = await this.options.fetchPage(this.last, this.limit);
      if (this.closed) return;
      const took = now() - began;
      const wasFull = page.events.length >= this.limit;
      if (took > PAGE_TARGET_MS * 2) this.limit = Math.max(20, this.limit >> 1);
      else if (wasFull && took < PAGE_TARGET_MS / 2) this.limit = Math.min(1000, this.limit << 1);
      if (page.events.some((event) => event.number > this.last)) this.accept(page.events.filter((event) => event.number > this.last));
      if (page.events.length > 0 && this.last < page.last) continue;
      if (this.aside.size === 0 && this.last >= this.expected) return;
      // Something is still ahead of the record: it will be there in a moment.
      trails += 1;
      if (trails > MAX_TRAILS) {
        this.skipGap();
        return;
      }
      await (this.options.wait ?? sleep)(TRAIL_MS);
      if (this.closed) return;
    }
  }

  /** Applies `events` (rising), then whatever was kept aside and follows on. */
  private accept(events: readonly JobEvent[]): void {
    const ready = [...events];
    let next = (ready.at(-1)?.number ?? this.last) + 1;
    for (let event = this.aside.get(next); event; event = this.aside.get(next)) {
      ready.push(event);
      next += 1;
    }
    this.last = next - 1;
    for (const number of this.aside.keys()) if (number <= this.last) this.aside.delete(number);
    if (ready.length > 0) this.options.apply(ready);
  }

  /** The missing events never came: goes on with those that did, rather than standing still. */
  private skipGap(): void {
    this.expected = 0;
    const rest = [...this.aside.values()].sort((a, b) => a.number - b.number);
    this.aside.clear();
    this.accept(rest);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
