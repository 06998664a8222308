// Numbers, durations and sizes as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const NONE = "–";

/** 12000 -> "12,000" */
export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : whole.format(value);
}

/** "1 clip", "2,000 clips" */
export function plural(value: number, one: string, many: string = `${one}s`): string {
  return `${whole.format(value)} ${value === 1 ? one : many}`;
}

/** A measured value with about three significant digits: 0.0421, 3.14, 128, 2.1e-5. */
export function measure(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e6) return value.toExponential(1).replace("e+", "e");
  if (size >= 1000) return whole.format(value);
  return value.toPrecision(3);
}

/** A setting as it would be typed: 0.0005 stays "0.0005", lists are "1, 0.75". */
export function setting(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(setting).join(", ");
  if (typeof value === "boolean") return value ? "on" : "off";
  if (typeof value === "object") return Object.entries(value).map(([key, one]) => `${key} ${setting(one)}`).join(", ");
  return String(value);
}

/** A duration in seconds: "0.42 s", "12 s", "4 min 05 s", "2 h 10 min", "3 d 4 h". */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NONE;
  if (seconds < 10) return `${Number(seconds.toFixed(seconds < 1 ? 2 : 1))} s`;
  const total = Math.round(seconds);
  if (total < 60) return `${total} s`;
  if (total < 3600) return `${Math.floor(total / 60)} min ${String(total % 60).padStart(2, "0")} s`;
  if (total < 86_400) return `${Math.floor(total / 3600)} h ${Math.floor((total % 3600) / 60)} min`;
  return `${Math.floor(total / 86_400)} d ${Math.floor((total % 86_400) / 3600)} h`;
}

/** Time to go, deliberately coarse: "under a minute", "about 12 min", "about 3 h". */
export function remaining(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "";
  if (seconds < 60) return "under a minute";
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `about ${Number((seconds / 3600).toFixed(seconds < 36_000 ? 1 : 0))} h`;
  return `about ${Math.round(seconds / 86_400)} days`;
}

/** How long ago, in seconds: "just now", "40 s ago", "5 min ago". */
export function ago(seconds: number): string {
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** Position in a sound: "0:07", "3:05". */
export function clock(seconds: number): string {
  const total = Math.max(0, Math.floor(seconds));
  return `${Math.floor(total / 60)}:${String(total % 60).padStart(2, "0")}`;
}

/** Bytes in decimal units: "12 MB". */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = value;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : Number(size.toPrecision(2))} ${units[unit]}`;
}

/** Sample rate: 44100 -> "44.1 kHz" */
export function hertz(value: number): string {
  return value >= 1000 ? `${Number((value / 1000).toFixed(3))} kHz` : `${value} Hz`;
}

/** Channels: 1 -> "mono" */
export function channelWord(channels: number): string {
  return channels === 1 ? "mono" : channels === 2 ? "stereo" : `${channels} channels`;
}

/** A level, 1 at full scale: "-12.3 dB" */
export function decibels(level: number): string {
  return level > 0 ? `${(20 * Math.log10(level)).toFixed(1).replace("-", "−")} dB` : "silent";
}

/** A share of 0 … 1 as "42 %". */
export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : `${Math.round(value * 100)} %`;
}

/** A moment (seconds since 1970) in the reader's own zone. */
export function moment(at: number): string {
  const date = new Date(at * 1000);
  const sameDay = date.toDateString() === new Date().toDateString();
  return date.toLocaleString("en-GB", sameDay
    ? { hour: "2-digit", minute: "2-digit", second: "2-digit" }
    : { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}

/** "kl_warmup_fraction" -> "KL warm-up fraction" */
export function fieldLabel(name: string): string {
  const special: Readonly<Record<string, string>> = {
    kl: "KL", n: "", fft: "FFT size", mels: "mel bands", f: "frequency", db: "(dB)", s: "(s)", warmup: "warm-up", hop: "hop",
    pitches: "pitches (semitones)",
    min: "minimum", max: "maximum", dim: "dimensions", grad: "gradient",
  };
  const words = (name.split(".").at(-1) ?? name).split("_").map((word) => special[word] ?? word).filter(Boolean).join(" ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export const REPRESENTATIONS = { mel: "Mel", mel_if: "Mel + frequency" } as const;
