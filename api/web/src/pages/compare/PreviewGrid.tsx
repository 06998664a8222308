import { useState } from "preact/hooks";
import { Player } from "../../components/Player";
import { count } from "../../format";
import { BlindTest } from "./BlindTest";
import { type Compared, epochsOf, soundIn, type SoundKey, soundsOf } from "./compared";
import { Swatch } from "./Swatch";

const SHOWN = 5;

/** One sound as every job made it at every preview: jobs side by side, newest epoch on top. */
export function PreviewGrid({ compared }: { compared: readonly Compared[] }) {
  const [chosen, choose] = useState("");
  const [limit, setLimit] = useState(SHOWN);
  const lists = compared.map(({ session }) => session.previews.value ?? []);
  const sounds = soundsOf(lists);
  const key = sounds.find((one) => keyText(one) === chosen) ?? sounds[0];
  if (!key) {
    return <section class="stack" aria-label="Previews"><h2>Previews</h2><p class="muted">None of them has made a preview yet.</p></section>;
  }
  const epochs = epochsOf(lists.map((previews) => previews.filter((preview) => soundIn(preview, key))));
  const original = lists.flat().map((preview) => soundIn(preview, key)).find((sound) => sound?.originalUrl);
  return (
    <section class="stack" aria-label="Previews">
      <div class="row compare-sound">
        <h2>Previews</h2>
        <label class="row small">
          Sound
          <select class="select" value={keyText(key)} onChange={(event) => choose(event.currentTarget.value)}>
            {sounds.map((one) => <option key={keyText(one)} value={keyText(one)}>{one.title}</option>)}
          </select>
        </label>
      </div>
      {original?.originalUrl && (
        <div class="card compare-original">
          <p class="small muted">Original</p>
          <Player src={original.originalUrl} label={`original of ${original.title}`} durationS={original.durationS} draws />
        </div>
      )}
      <div class="card wide-table" tabIndex={0} role="region" aria-label="Previews by epoch and job">
        <table class="table preview-grid">
          <thead><tr><th scope="col">Epoch</th>{compared.map(({ job, slot }) => <th key={job.id} scope="col"><Swatch slot={slot} />{job.name}</th>)}</tr></thead>
          <tbody>
            {epochs.slice(0, limit).map((epoch) => (
              <tr key={epoch} data-epoch={epoch}>
                <th scope="row" class="number">{count(epoch)}</th>
                {compared.map(({ job }, index) => {
                  const sound = soundIn(lists[index]?.find((preview) => preview.epoch === epoch && soundIn(preview, key)), key);
                  return (
                    <td key={job.id}>
                      {sound ? <Player key={sound.audioUrl} src={sound.audioUrl} label={`${key.title}, ${job.name}, epoch ${epoch}`} durationS={sound.durationS} draws /> : <span class="muted">–</span>}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {epochs.length > limit && <p class="more"><button type="button" class="button" onClick={() => setLimit(limit + 2 * SHOWN)}>Show older ones ({count(epochs.length - limit)})</button></p>}
      <BlindTest key={keyText(key)} compared={compared} sound={key} />
    </section>
  );
}

function keyText({ kind, title }: SoundKey): string {
  return `${kind} ${title}`;
}
