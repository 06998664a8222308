const WIDTH = 200;
const HEIGHT = 28;

export interface TimePoint {
  readonly at: number;
  readonly value: number | null;
}

/** Lines through points over the span of time that ends now; a value that is missing leaves a gap. */
export function timeLines(points: readonly TimePoint[], now: number, spanMs: number, [low, high]: readonly [number, number]): string[] {
  const lines: string[][] = [[]];
  for (const { at, value } of points) {
    if (value === null) {
      lines.push([]);
      continue;
    }
    const x = WIDTH * (1 - (now - at) / spanMs);
    const share = Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
    lines.at(-1)?.push(`${Math.max(0, x).toFixed(1)},${(HEIGHT - 2 - share * (HEIGHT - 4)).toFixed(1)}`);
  }
  return lines.filter((line) => line.length > 1).map((line) => line.join(" "));
}

/** A small curve over the last minutes; the value now stands beside it, so that it is hidden from screen readers. */
export function TimeLine({ points, spanMs, range }: { points: readonly TimePoint[]; spanMs: number; range: readonly [number, number] }) {
  const lines = timeLines(points, points.at(-1)?.at ?? 0, spanMs, range);
  return (
    <svg class="time-line" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      {lines.map((line, index) => (
        <polyline key={index} points={line} fill="none" stroke="currentColor" stroke-width="1.5" vector-effect="non-scaling-stroke" stroke-linejoin="round" />
      ))}
    </svg>
  );
}
