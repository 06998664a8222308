// What this browser remembers of its user: the theme and how charts are drawn.
import { effect, type Signal, signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";

/** A signal whose value outlives the tab; broken or forbidden storage only means that it does not. */
export function remembered<T>(key: string, initial: T, isValid: (value: unknown) => value is T): Signal<T> {
  const full = `spectrain.${key}`;
  let start = initial;
  try {
    const text = localStorage.getItem(full);
    const value: unknown = text === null ? initial : typeof initial === "string" ? text : JSON.parse(text);
    if (isValid(value)) start = value;
  } catch {
    // Keep the initial value.
  }
  const state = signal(start);
  effect(() => {
    const value = state.value;
    try {
      localStorage.setItem(full, typeof value === "string" ? value : JSON.stringify(value));
    } catch {
      // Not remembered, then.
    }
  });
  return state;
}

export const theme = remembered<Theme>("theme", "auto", (value): value is Theme =>
  value === "auto" || value === "light" || value === "dark");

/** Slider position 0 … 1. */
export const smoothing = remembered("smoothing", 0.3, (value): value is number =>
  typeof value === "number" && value >= 0 && value <= 1);
export const logAxis = remembered("log_axis", false, (value): value is boolean => typeof value === "boolean");
export type XAxis = "step" | "epoch" | "time";
export const xAxis = remembered<XAxis>("x_axis", "step", (value): value is XAxis => value === "step" || value === "epoch" || value === "time");
export const clipsOutliers = remembered("clip_outliers", false, (value): value is boolean => typeof value === "boolean");

effect(() => {
  if (theme.value === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme.value;
});
