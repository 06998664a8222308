import { useEffect, useRef } from "preact/hooks";
import type { Job } from "../model/job";
import { loadSpark, sparks } from "../store/sparks";

const WIDTH = 96;
const HEIGHT = 28;

/** Points of a polyline through `values`, in the drawing's own units. */
export function sparkPoints(values: readonly number[]): string {
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  return values
    .map((value, index) => {
      const x = values.length === 1 ? WIDTH : (index / (values.length - 1)) * WIDTH;
      return `${x.toFixed(1)},${(HEIGHT - 3 - ((value - low) / span) * (HEIGHT - 6)).toFixed(1)}`;
    })
    .join(" ");
}

/** The loss of a job so far; its numbers stand beside it, so that it is hidden from screen readers. */
export function Sparkline({ job }: { job: Job }) {
  const box = useRef<HTMLDivElement>(null);
  const started = job.progress.step > 0;
  useEffect(() => {
    if (!box.current || !started) return;
    const watcher = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) void loadSpark(job);
    });
    watcher.observe(box.current);
    return () => watcher.disconnect();
  }, [job.id, started]);
  const values = sparks.value.get(job.id) ?? [];
  return (
    <div ref={box} class="spark" aria-hidden="true">
      {values.length > 1 && (
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} preserveAspectRatio="none">
          <polyline points={sparkPoints(values)} fill="none" stroke="currentColor" stroke-width="1.75" vector-effect="non-scaling-stroke" stroke-linejoin="round" />
        </svg>
      )}
    </div>
  );
}
