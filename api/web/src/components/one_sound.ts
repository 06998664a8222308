// Only one sound plays at a time, whoever plays it.

let stopOther: (() => void) | null = null;

/** Stops what plays; `stop` is called when somebody else begins. */
export function takeOver(stop: () => void): void {
  if (stopOther && stopOther !== stop) stopOther();
  stopOther = stop;
}
