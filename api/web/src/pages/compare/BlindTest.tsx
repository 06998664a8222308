import { useState } from "preact/hooks";
import { Icon } from "../../components/Icon";
import { usePair } from "../../components/use_pair";
import { clock, count } from "../../format";
import { type Compared, soundIn, type SoundKey } from "./compared";

interface Choice {
  readonly label: string;
  readonly url: string;
  readonly durationS: number;
}

/** Two sounds under cover: which is which is hidden until asked. */
export function BlindTest({ compared, sound }: { compared: readonly Compared[]; sound: SoundKey }) {
  const choices = choicesOf(compared, sound);
  const [first, setFirst] = useState("");
  const [second, setSecond] = useState("");
  const [trial, setTrial] = useState<readonly Choice[] | null>(null);
  const a = choices.find(({ url }) => url === first) ?? choices[0];
  const b = choices.find(({ url }) => url === second) ?? choices.find(({ label, url }) => url !== a?.url && label.split(",")[0] !== a?.label.split(",")[0]) ?? choices[1];
  if (!a || !b) return null;
  return (
    <section class="card blind" aria-labelledby="blind-title">
      <h3 id="blind-title">Blind test</h3>
      <p class="small muted">Two of these sounds, equally loud and at the same position. You do not see which is which until you ask.</p>
      {trial ? <Trial key={trial[0]?.url} sounds={trial} end={() => setTrial(null)} again={() => setTrial(shuffled([a, b]))} /> : (
        <div class="row">
          <Pick label="One sound" value={a.url} choices={choices} choose={setFirst} />
          <Pick label="Other sound" value={b.url} choices={choices} choose={setSecond} />
          <button type="button" class="button button-primary" disabled={a.url === b.url} onClick={() => setTrial(shuffled([a, b]))}><Icon name="ear" />Start blind test</button>
        </div>
      )}
    </section>
  );
}

function Pick({ label, value, choices, choose }: { label: string; value: string; choices: readonly Choice[]; choose: (url: string) => void }) {
  return (
    <label class="field">
      <span class="label">{label}</span>
      <select class="select" value={value} onChange={(event) => choose(event.currentTarget.value)}>
        {choices.map((one) => <option key={one.url} value={one.url}>{one.label}</option>)}
      </select>
    </label>
  );
}

function Trial({ sounds, end, again }: { sounds: readonly Choice[]; end: () => void; again: () => void }) {
  const { heard, isPlaying, positionS, hear, toggle, seek } = usePair(sounds.map(({ url }) => url));
  const [isTold, setTold] = useState(false);
  const durationS = Math.min(...sounds.map((sound) => sound.durationS));
  return (
    <div class="stack">
      <div class="row blind-sounds">
        <button type="button" class="player-button" aria-label={isPlaying ? "Pause the blind test" : "Play the blind test"} onClick={toggle}><Icon name={isPlaying ? "pause" : "play"} /></button>
        {sounds.map(({ url }, index) => (
          <button key={url} type="button" class="button" aria-pressed={heard === index} onClick={() => hear(index)}>Sound {index + 1}</button>
        ))}
        <input
          type="range"
          aria-label="Position in the blind test"
          min={0}
          max={durationS}
          step="any"
          value={positionS}
          aria-valuetext={clock(positionS)}
          onInput={(event) => seek(event.currentTarget.valueAsNumber)}
        />
      </div>
      <p class="blind-answer" role="status">{isTold && sounds.map(({ label }, index) => <span key={label}><b>Sound {index + 1}</b> is {label}. </span>)}</p>
      <div class="row">
        {!isTold && <button type="button" class="button" onClick={() => setTold(true)}>Tell me which is which</button>}
        <button type="button" class="button" onClick={again}><Icon name="again" />Shuffle again</button>
        <button type="button" class="button" onClick={end}>Choose other sounds</button>
      </div>
    </div>
  );
}

function choicesOf(compared: readonly Compared[], key: SoundKey): Choice[] {
  return compared.flatMap(({ job, session }) =>
    (session.previews.value ?? []).flatMap((preview) => {
      const sound = soundIn(preview, key);
      return sound ? [{ label: `${job.name} (#${job.id}), epoch ${count(preview.epoch)}`, url: sound.audioUrl, durationS: sound.durationS }] : [];
    }));
}

function shuffled(pair: readonly [Choice, Choice]): Choice[] {
  return Math.random() < 0.5 ? [...pair] : [pair[1], pair[0]];
}
