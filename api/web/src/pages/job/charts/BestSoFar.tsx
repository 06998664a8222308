import { count, measure, plural } from "../../../format";
import type { EpochMetrics, JobSession } from "../../../store/job_session";

export interface Best {
  readonly epoch: number;
  /** What it is judged by: the reconstruction error on held-out files. */
  readonly error: number;
  /** Epochs since then. */
  readonly since: number;
}

/** The best epoch so far; null before the first one, and where no file is held out to judge by. */
export function bestOf(epochs: readonly EpochMetrics[]): Best | null {
  const last = epochs.at(-1);
  const best = epochs.findLast((epoch) => epoch.best && epoch.val_reconstruction !== null);
  if (!last || !best || best.val_reconstruction === null) return null;
  return { epoch: best.epoch, error: best.val_reconstruction, since: last.epoch - best.epoch };
}

/** In plain words how long ago it last got better, which is what tells when to stop. */
export function BestSoFar({ session }: { session: JobSession }) {
  const epochs = session.epochs.value;
  if (epochs.length === 0) return null;
  const best = bestOf(epochs);
  if (!best) return <p class="muted">No file is held out, so the newest model counts as the best.</p>;
  const plateau = best.since > 0 ? session.current()?.warnings.find(({ code }) => code === "plateau") : undefined;
  return (
    <p data-best={best.epoch}>
      <b>Best at epoch {count(best.epoch)}</b>
      {best.since === 0 ? ", the newest one" : `, no better for ${plural(best.since, "epoch")}`}
      <span class="small muted number"> (validation error {measure(best.error)})</span>
      {plateau && <> {plateau.advice}</>}
    </p>
  );
}
