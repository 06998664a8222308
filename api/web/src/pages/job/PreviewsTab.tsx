import { useLocation } from "preact-iso";
import { useState } from "preact/hooks";
import { Icon } from "../../components/Icon";
import { Listen, type Side } from "../../components/Listen";
import { Empty, Loading } from "../../components/Notices";
import { count, moment } from "../../format";
import type { Preview, PreviewSound } from "../../model/artifacts";
import type { JobDetail } from "../../model/job";
import type { JobSession } from "../../store/job_session";
import { withQuery } from "../queue/filter";

const SHOWN = 12;

/** What the model sounded like at each preview: one is heard and seen, the scrubber goes through all of them. */
export function PreviewsTab({ job, session }: { job: JobDetail; session: JobSession }) {
  const { path, query, route } = useLocation();
  const previews = session.previews.value;
  if (!previews) return <Loading what="the previews" />;
  const [newest] = previews;
  if (!newest) {
    const every = job.train?.preview_every ?? 0;
    return (
      <Empty title="No preview yet">
        <p>{every > 0 ? `One is made every ${every === 1 ? "epoch" : `${every} epochs`}.` : "This job makes none by itself."} {job.can.preview && "“Preview now” makes one right away."}</p>
      </Empty>
    );
  }
  // Whoever chose one, or listens to one, stays there while newer ones come.
  const shown = previews.find(({ name }) => name === query["preview"]) ?? newest;
  const choose = (preview: Preview | null): void => route(withQuery(path, query, { preview: preview?.name ?? "" }), true);
  return (
    <div class="stack">
      <Scrubber previews={previews} shown={shown} isChosen={Boolean(query["preview"])} choose={choose} />
      <div class="stack" onClickCapture={() => { if (!query["preview"]) choose(shown); }}><PreviewCard preview={shown} /></div>
      <AllPreviews previews={previews} shown={shown} choose={choose} />
    </div>
  );
}

const titleOf = (preview: Preview): string => `Epoch ${count(preview.epoch)}, step ${count(preview.step)}`;

/** From the first preview at the left to the newest at the right; all sounds follow it, also the one that plays. */
function Scrubber({ previews, shown, isChosen, choose }: {
  previews: readonly Preview[];
  shown: Preview;
  isChosen: boolean;
  choose: (preview: Preview | null) => void;
}) {
  const last = previews.length - 1;
  const place = last - previews.indexOf(shown);
  const go = (to: number): void => choose(previews[last - to] ?? null);
  return (
    <section class="card scrubber" aria-label="Epoch">
      <button type="button" class="button button-icon" aria-label="Older preview" disabled={place === 0} onClick={() => go(place - 1)}><Icon name="back" /></button>
      <input
        type="range"
        aria-label="Preview"
        min={0}
        max={last}
        step={1}
        value={place}
        disabled={last === 0}
        aria-valuetext={titleOf(shown)}
        onInput={(event) => go(event.currentTarget.valueAsNumber)}
      />
      <button type="button" class="button button-icon" aria-label="Newer preview" disabled={place === last} onClick={() => go(place + 1)}><Icon name="forth" /></button>
      <p class="small number"><b>Epoch {count(shown.epoch)}</b> <span class="muted">{place + 1} of {count(previews.length)}</span></p>
      <button type="button" class="button button-small" aria-pressed={!isChosen} onClick={() => choose(isChosen ? null : shown)}>Follow the newest</button>
    </section>
  );
}

function PreviewCard({ preview }: { preview: Preview }) {
  const title = titleOf(preview);
  const of = (kind: PreviewSound["kind"]) => preview.clips.filter((clip) => clip.kind === kind);
  return (
    <article class="card preview" data-preview={preview.name} data-epoch={preview.epoch} aria-labelledby="preview-title">
      <header class="row">
        <h2 id="preview-title">{title}</h2>
        <span class="small muted push">{moment(preview.at)}</span>
      </header>
      {of("reconstruction").map((sound) => (
        <div key={sound.title}>
          <h3>{sound.title}</h3>
          <Listen title={sound.title} sides={pairOf(sound, title)} durationS={sound.durationS} />
        </div>
      ))}
      <div class="preview-sounds">
        {of("sample").map((sound) => (
          <Listen key={sound.title} title={sound.title} sides={[{ caption: sound.title, label: `${sound.title}, ${title}`, url: sound.audioUrl, file: fileOf(sound.title, title) }]} durationS={sound.durationS} />
        ))}
      </div>
    </article>
  );
}

function pairOf(sound: PreviewSound, at: string): Side[] {
  const rebuilt = { caption: "Reconstruction", label: `reconstruction of ${sound.title}, ${at}`, url: sound.audioUrl, file: fileOf(sound.title, at) };
  if (!sound.originalUrl) return [rebuilt];
  return [{ caption: "Original", label: `original of ${sound.title}`, url: sound.originalUrl, file: fileOf(sound.title, "original") }, rebuilt];
}

/** "kick.wav" as it was after "Epoch 40, step 12,000": a name that says so, and that every system takes. */
function fileOf(title: string, at: string): string {
  return `${title.replace(/\.\w{2,4}$/, "")} - ${at}.wav`.replace(/[/\\:*?"<>|,]/g, "");
}

function AllPreviews({ previews, shown, choose }: { previews: readonly Preview[]; shown: Preview; choose: (preview: Preview) => void }) {
  const [limit, setLimit] = useState(SHOWN);
  return (
    <section class="stack" aria-labelledby="all-previews">
      <h2 id="all-previews">All previews, newest first</h2>
      <ul class="row all-previews">
        {previews.slice(0, limit).map((preview) => (
          <li key={preview.name}>
            <button type="button" class="button button-small" aria-pressed={preview === shown} onClick={() => choose(preview)}>{titleOf(preview)}</button>
          </li>
        ))}
        {previews.length > limit && <li><button type="button" class="button button-small" onClick={() => setLimit(limit * 4)}>Show older ones ({count(previews.length - limit)})</button></li>}
      </ul>
    </section>
  );
}
