import { decibels, duration, plural } from "../../format";
import type { Clip } from "../../model/dataset";
import { may } from "../../session";
import { durationBars, findingsOf, type FindingKind, MEANINGS, takeOut } from "./findings";

const FINDING_KINDS = Object.keys(MEANINGS) as FindingKind[];

/** How long and how loud the clips are, and what is wrong with some of them. */
export function Soundness({ dataset, clips }: { dataset: number; clips: readonly Clip[] }) {
  const groups = FINDING_KINDS.flatMap((kind) => {
    const concerned = clips.filter((clip) => findingsOf(clip).some((finding) => finding.kind === kind));
    return concerned.length > 0 ? [{ kind, concerned }] : [];
  });
  return (
    <section class="card soundness" aria-label="What is in it">
      <div class="soundness-facts">
        <Durations clips={clips} />
        <Levels clips={clips} />
      </div>
      {groups.length === 0 && <p class="small muted">Nothing silent, doubled, cut off or very quiet was found.</p>}
      {groups.map(({ kind, concerned }) => (
        <div key={kind} class="note note-warn row" data-finding={kind}>
          <p>
            <b>{MEANINGS[kind][0](concerned.length)}.</b> <span class="advice">{MEANINGS[kind][1]}</span>
            <span class="small muted"> {namesOf(concerned)}</span>
          </p>
          {may("datasets.remove_clips") && <button type="button" class="button button-small push" onClick={() => void takeOut(dataset, concerned.map(({ sha256 }) => sha256))}>
            {concerned.length === 1 ? "Take it out" : `Take these ${concerned.length} out`}
          </button>}
        </div>
      ))}
    </section>
  );
}

function namesOf(clips: readonly Clip[]): string {
  const names = clips.slice(0, 3).map(({ name }) => name).join(", ");
  return clips.length > 3 ? `${names} and ${clips.length - 3} more` : names;
}

function Durations({ clips }: { clips: readonly Clip[] }) {
  const bars = durationBars(clips);
  const most = Math.max(...bars.map((bar) => bar.clips));
  const textOf = (from: number, to: number): string => (Number.isFinite(to) ? `under ${duration(to)}` : `over ${duration(from)}`);
  return (
    <figure>
      <figcaption class="small muted">Durations</figcaption>
      <ul class="histogram">
        {bars.map(({ from, to, clips: many }) => (
          <li key={from} title={`${from > 0 ? `${duration(from)} to ` : ""}${textOf(from, to)}: ${plural(many, "clip")}`}>
            <span class="unseen">{textOf(from, to)}: {plural(many, "clip")}</span>
            <i style={{ blockSize: `${Math.max(many > 0 ? 4 : 0, (many / most) * 100)}%` }} />
            <small class="muted" aria-hidden="true">{Number.isFinite(to) ? duration(to) : "longer"}</small>
          </li>
        ))}
      </ul>
    </figure>
  );
}

function Levels({ clips }: { clips: readonly Clip[] }) {
  const levels = clips.flatMap(({ rms }) => (rms ? [rms] : [])).sort((a, b) => a - b);
  const middle = levels[levels.length >> 1];
  if (middle === undefined) return null;
  return (
    <dl class="facts">
      <div><dt>Median level</dt><dd>{decibels(middle)}</dd></div>
      <div><dt>Softest</dt><dd>{decibels(levels[0] ?? 0)}</dd></div>
      <div><dt>Loudest</dt><dd>{decibels(levels.at(-1) ?? 0)}</dd></div>
    </dl>
  );
}
