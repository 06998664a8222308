import { useState } from "preact/hooks";
import { Icon } from "../../components/Icon";
import { Player } from "../../components/Player";
import { channelWord, count, decibels, hertz, plural } from "../../format";
import { clipUrl } from "../../http/api";
import type { Clip } from "../../model/dataset";
import { may } from "../../session";
import { findingsOf, takeOut } from "./findings";

const ROWS = 60;

/** The clips of a dataset, each with a player that loads nothing until it is pressed. */
export function ClipList({ dataset, clips }: { dataset: number; clips: readonly Clip[] }) {
  const [limit, setLimit] = useState(ROWS);
  const [words, setWords] = useState("");
  const found = clips.filter(({ name }) => name.toLowerCase().includes(words.trim().toLowerCase()));
  return (
    <section class="stack" aria-labelledby="clips-title">
      <div class="row">
        <h2 id="clips-title">Clips</h2>
        <input type="search" class="input clip-search push" aria-label="Search clips" placeholder="Search clips …" value={words} onInput={(event) => setWords(event.currentTarget.value)} />
      </div>
      <ul class="card clip-list">
        {found.slice(0, limit).map((clip) => (
          <li key={`${clip.sha256} ${clip.name}`} class="clip-row" data-clip={clip.sha256}>
            <div>
              <p class="clip-name">{clip.name}</p>
              <p class="small muted number">{hertz(clip.sampleRate)} · {channelWord(clip.channels)} · {clip.format}{clip.rms !== null && ` · ${decibels(clip.rms)}`}</p>
              {findingsOf(clip).map(({ kind, text }) => <p key={kind} class="small clip-finding">{text}</p>)}
            </div>
            <Player src={clipUrl(dataset, clip.sha256, "audio")} wave={clipUrl(dataset, clip.sha256, "waveform.svg")} label={clip.name} durationS={clip.durationS} />
            {may("datasets.remove_clips") && <button type="button" class="button button-small button-icon" aria-label={`Take ${clip.name} out`} title="Take it out" onClick={() => void takeOut(dataset, [clip.sha256])}><Icon name="close" /></button>}
          </li>
        ))}
        {found.length === 0 && <li class="clip-row muted">No clip has that in its name.</li>}
      </ul>
      {found.length > limit && (
        <p class="more"><button type="button" class="button" onClick={() => setLimit(limit + 4 * ROWS)}>Show more of {plural(found.length, "clip")} ({count(found.length - limit)} hidden)</button></p>
      )}
    </section>
  );
}
