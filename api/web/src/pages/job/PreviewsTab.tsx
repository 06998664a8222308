import { useState } from "preact/hooks";
import { Empty, Loading } from "../../components/Notices";
import { Player } from "../../components/Player";
import { count, moment } from "../../format";
import type { Preview, PreviewSound } from "../../model/artifacts";
import type { JobDetail } from "../../model/job";
import type { JobSession } from "../../store/job_session";

const SHOWN = 6;

/** What the model sounded like at every preview, newest first. */
export function PreviewsTab({ job, session }: { job: JobDetail; session: JobSession }) {
  const [limit, setLimit] = useState(SHOWN);
  const previews = session.previews.value;
  if (!previews) return <Loading what="the previews" />;
  if (previews.length === 0) {
    const every = job.train?.preview_every ?? 0;
    return (
      <Empty title="No preview yet">
        <p>{every > 0 ? `One is made every ${every === 1 ? "epoch" : `${every} epochs`}.` : "This job makes none by itself."} {job.can.preview && "“Preview now” makes one right away."}</p>
      </Empty>
    );
  }
  return (
    <div class="stack">
      {previews.slice(0, limit).map((preview) => <PreviewCard key={preview.name} preview={preview} />)}
      {previews.length > limit && <p class="more"><button type="button" class="button" onClick={() => setLimit(limit + 2 * SHOWN)}>Show older ones ({count(previews.length - limit)})</button></p>}
    </div>
  );
}

function PreviewCard({ preview }: { preview: Preview }) {
  const title = `Epoch ${count(preview.epoch)}, step ${count(preview.step)}`;
  const rebuilt = preview.clips.filter(({ kind }) => kind === "reconstruction");
  const samples = preview.clips.filter(({ kind }) => kind === "sample");
  return (
    <article class="card preview" data-preview={preview.name} aria-labelledby={`preview-${preview.name}`}>
      <header class="row">
        <h2 id={`preview-${preview.name}`}>{title}</h2>
        <span class="small muted push">{moment(preview.at)}</span>
      </header>
      {rebuilt.map((sound) => <Reconstruction key={sound.audioUrl} sound={sound} at={title} />)}
      {samples.length > 0 && (
        <div class="preview-sounds">
          {samples.map((sound) => <Sound key={sound.audioUrl} src={sound.audioUrl} caption={sound.title} label={`${sound.title}, ${title}`} durationS={sound.durationS} />)}
        </div>
      )}
    </article>
  );
}

function Reconstruction({ sound, at }: { sound: PreviewSound; at: string }) {
  return (
    <div>
      <h3>{sound.title}</h3>
      <div class="preview-pair">
        {sound.originalUrl && <Sound src={sound.originalUrl} caption="Original" label={`original of ${sound.title}`} durationS={sound.durationS} />}
        <Sound src={sound.audioUrl} caption="Reconstruction" label={`reconstruction of ${sound.title}, ${at}`} durationS={sound.durationS} />
      </div>
    </div>
  );
}

function Sound({ src, caption, label, durationS }: { src: string; caption: string; label: string; durationS: number }) {
  return (
    <div>
      <p class="small muted">{caption}</p>
      <Player src={src} label={label} durationS={durationS} draws />
    </div>
  );
}
