// The zoomed range in finer rows than the overview has, fetched when somebody looks closer.
import { type Signal, signal } from "@preact/signals";
import { getHistory } from "../http/api";
import { MetricColumns } from "./metric_columns";

export type Range = readonly [number, number];

/** Dragging and panning settle before anything is asked for. */
const SETTLE_MS = 120;
/** While points arrive inside the range, it is fetched anew so often at most. */
const RENEW_MS = 2000;

export class CloseUp {
  /** Rows of the range; null while the overview is as fine as can be. */
  readonly columns: Signal<MetricColumns | null> = signal(null);
  private range: Range | null = null;
  private timer = 0;
  private asked: AbortController | null = null;

  constructor(private readonly jobId: number, private readonly overview: MetricColumns) {}

  show(range: Range | null): void {
    this.range = range;
    if (!range) {
      this.cancel();
      this.columns.value = null;
    } else this.later(SETTLE_MS, true);
  }

  /** The overview changed: points that came into the range are wanted in full. */
  renew(): void {
    const shown = this.columns.value?.newest ?? 0;
    if (this.range && this.range[1] > shown && this.overview.newest > shown) this.later(RENEW_MS, false);
  }

  close(): void {
    this.range = null;
    this.cancel();
  }

  private cancel(): void {
    clearTimeout(this.timer);
    this.timer = 0;
    this.asked?.abort();
  }

  private later(ms: number, isUrgent: boolean): void {
    if (this.timer && !isUrgent) return;
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      void this.fetch();
    }, ms);
  }

  private async fetch(): Promise<void> {
    const { range } = this;
    if (!range || this.overview.stride === 1) return;
    this.asked?.abort();
    const asked = (this.asked = new AbortController());
    try {
      const [first, last] = [Math.max(1, Math.floor(range[0])), Math.max(1, Math.ceil(range[1]))];
      const history = await getHistory(this.jobId, { first, last, epochs: "false" }, asked.signal);
      if (asked.signal.aborted) return;
      const columns = new MetricColumns();
      columns.load(history);
      this.columns.value = history.stride < this.overview.stride && columns.length > 0 ? columns : null;
    } catch {
      // The overview is still there.
    }
  }
}
