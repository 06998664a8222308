import type { Job } from "../../model/job";

interface Verdict {
  readonly tone: "good" | "warn" | "bad";
  readonly word: string;
  readonly text: string;
}

/** Quality is 1 - gap; a gap above 0.2 is the warning line. */
export function verdict(quality: number): Verdict {
  if (quality >= 0.8) return { tone: "good", word: "Good", text: "It does about as well on held-out sounds as on those it learns from." };
  if (quality >= 0.5) return { tone: "warn", word: "Watch it", text: "It does worse on held-out sounds: it begins to memorise." };
  return { tone: "bad", word: "Overfitting", text: "It memorises its sounds. The best checkpoint may be behind it." };
}

const MEANING = "By how much the error on held-out sounds is above that on the sounds it learns from. It says nothing of how good it sounds.";

/** The gap in words: a share while it is small, a multiple once it is not. */
export function gapText(gap: number): string {
  if (gap < 1) return `${gap > 0 ? "+" : ""}${(gap * 100).toFixed(0)} %`;
  return `held-out error ${(1 + gap).toFixed(gap < 9 ? 1 : 0)} times the training's`;
}

/** How well the model does on sounds that it never learns from: a colour, a word and a number. */
export function QualityBar({ job }: { job: Job }) {
  if (job.quality === null) {
    return <p class="small muted">How well it does on sounds that it never learns from shows after the first check against held-out files.</p>;
  }
  const { tone, word, text } = verdict(job.quality);
  const gap = job.overfittingGap;
  return (
    <div class="quality" data-quality={tone}>
      <p class="row quality-line">
        <span class="quality-label" title={MEANING}>On held-out sounds</span>
        <b>{word}</b>
        {gap !== null && <span class="small muted number push" title={MEANING}>Overfitting gap: {gapText(gap)}</span>}
      </p>
      <div class="quality-track" role="meter" aria-label="Quality on held-out sounds" aria-valuemin={0} aria-valuemax={1} aria-valuenow={Number(job.quality.toFixed(2))} aria-valuetext={`${word}, ${job.quality.toFixed(2)}`}>
        <i style={{ inlineSize: `${job.quality * 100}%` }} />
      </div>
      <p class="small muted">{text} How good it sounds, the previews tell.</p>
    </div>
  );
}
