// Exponential smoothing of a curve, as it is drawn over the faint raw one.

/**
 * Exponential moving average of `values`, corrected for its start so that the first point is the first value.
 * `weight` in [0, 1): 0 gives the values back. Values that are not finite stay gaps and leave the average alone.
 */
export function smooth(values: ArrayLike<number>, length: number, weight: number): (number | null)[] {
  const smoothed = new Array<number | null>(length);
  let mean = 0;
  let correction = 0;
  for (let index = 0; index < length; index += 1) {
    const value = values[index] ?? Number.NaN;
    if (!Number.isFinite(value)) {
      smoothed[index] = null;
      continue;
    }
    mean = weight * mean + (1 - weight) * value;
    correction = weight * correction + (1 - weight);
    smoothed[index] = mean / correction;
  }
  return smoothed;
}

/** A column as uPlot wants it: null where there is no finite value. */
export function withGaps(values: ArrayLike<number>, length: number): (number | null)[] {
  return smooth(values, length, 0);
}

/**
 * The weight for a slider position of 0 … 1 over a curve of `length` points: the average spans up to a tenth of the
 * curve, so that one position looks alike on short and long runs.
 */
export function smoothingWeight(position: number, length: number): number {
  if (position <= 0) return 0;
  const span = 1 + position ** 2 * Math.max(8, length / 10);
  return 1 - 1 / span;
}
