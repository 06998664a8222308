// What a person should know of the clips of a dataset, and what can be done about it.
import { decibels, duration, plural } from "../../format";
import { removeClips } from "../../http/api";
import type { Clip } from "../../model/dataset";
import { putDataset } from "../../store/queue";
import { tell, tellError } from "../../store/toasts";

export type FindingKind = "silent" | "duplicate" | "clipped" | "edges" | "quiet";

export interface Finding {
  readonly kind: FindingKind;
  /** One sentence about the clip. */
  readonly text: string;
}

/** Largest sample of what is as good as nothing: -60 dBFS, as for silence at the ends. */
const NOTHING = 0.001;
/** Softer than that, the noise of a recording comes up with it: -36 dBFS. */
const QUIET = 0.016;
/** Silence at both ends together, as a share of the clip, from which a training learns mostly silence. */
const MUCH_SILENCE = 0.5;
/** Cut-off samples of which one hears nothing. */
const FEW_CLIPPED = 8;

export function findingsOf(clip: Clip): Finding[] {
  const found: Finding[] = [];
  const silentS = clip.silentBeforeS + clip.silentAfterS;
  if (clip.peak === null) return found;
  if (clip.peak <= NOTHING) found.push({ kind: "silent", text: "Silent from beginning to end." });
  else if (silentS > MUCH_SILENCE * clip.durationS) found.push({ kind: "edges", text: `${duration(silentS)} of ${duration(clip.durationS)} are silence at its ends.` });
  if (clip.peak > NOTHING && clip.peak < QUIET) found.push({ kind: "quiet", text: `Very quiet: its loudest sample is at ${decibels(clip.peak)}.` });
  if (clip.sameAs) found.push({ kind: "duplicate", text: `Sounds exactly like ${clip.sameAs}.` });
  if (clip.clipped > FEW_CLIPPED) found.push({ kind: "clipped", text: `Cut off at full scale (${plural(clip.clipped, "sample")}): it distorts.` });
  return found;
}

/** What each kind means for a training. */
export const MEANINGS: Readonly<Record<FindingKind, readonly [title: (clips: number) => string, meaning: string]>> = {
  silent: [(clips) => `${plural(clips, "clip is", "clips are")} silent`, "There is nothing to learn from them."],
  duplicate: [(clips) => `${plural(clips, "clip sounds", "clips sound")} exactly like another`, "Twice the same sound counts double, and one may be held out while the other is learnt."],
  clipped: [(clips) => `${plural(clips, "clip is", "clips are")} cut off at full scale`, "The model learns the distortion too. Export them again with more headroom if you can."],
  edges: [(clips) => `${plural(clips, "clip is", "clips are")} mostly silence`, "The model learns silence from them. Cutting it off in an editor is better than leaving them out."],
  quiet: [(clips) => `${plural(clips, "clip is", "clips are")} very quiet`, "Loudness is evened out before training, which brings up their noise."],
};

/** Takes clips out of a dataset, and says so. */
export async function takeOut(dataset: number, clips: readonly string[]): Promise<void> {
  try {
    putDataset(await removeClips(dataset, clips));
    tell(`${plural(clips.length, "clip is", "clips are")} out of the dataset. Jobs keep the version they have.`);
  } catch (error) {
    tellError(error);
  }
}

export interface Bar {
  /** Seconds: from … below. */
  readonly from: number;
  readonly to: number;
  readonly clips: number;
}

const STEPS_S = [0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800, 3600] as const;

/** How many clips are how long: from the shortest step that has any to the longest. */
export function durationBars(clips: readonly Clip[]): Bar[] {
  const edges = [0, ...STEPS_S, Number.POSITIVE_INFINITY];
  const bars = edges.slice(0, -1).map((from, index): Bar => {
    const to = edges[index + 1] ?? Number.POSITIVE_INFINITY;
    return { from, to, clips: clips.filter(({ durationS }) => durationS >= from && durationS < to).length };
  });
  const has = (bar: Bar): boolean => bar.clips > 0;
  return bars.slice(bars.findIndex(has), bars.findLastIndex(has) + 1);
}
