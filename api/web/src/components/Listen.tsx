import { clock, duration } from "../format";
import { Icon } from "./Icon";
import { Spectrogram } from "./Spectrogram";
import { usePair } from "./use_pair";

export interface Side {
  readonly caption: string;
  readonly label: string;
  readonly url: string;
  /** Name of the file that it can be downloaded as; not where nobody may know whose it is. */
  readonly file?: string;
}

/** One sound, or several at one position and equally loud: pressing another one goes on where the first is. */
export function Listen({ title, sides, durationS }: { title: string; sides: readonly Side[]; durationS: number }) {
  const pair = usePair(sides.map(({ url }) => url));
  const share = durationS > 0 ? pair.positionS / durationS : 0;
  return (
    <div class="listen" data-sound={title} data-playing={pair.isPlaying ? pair.heard : undefined} data-factor={pair.factor ?? undefined}>
      <div class="listen-sides">
        {sides.map(({ caption, label, url, file }, index) => {
          const isHeard = pair.isPlaying && pair.heard === index;
          return (
            <div key={caption} class="listen-side" data-heard={isHeard}>
              <button type="button" class="player-button" aria-label={`${isHeard ? "Pause" : "Play"} ${label}`} onClick={() => (isHeard ? pair.toggle() : pair.hear(index))}>
                <Icon name={isHeard ? "pause" : "play"} />
              </button>
              <div>
                <p class="small muted">{caption}</p>
                <Spectrogram src={url} share={share} />
              </div>
              {file && <a class="button button-icon" href={url} download={file} aria-label={`Download ${label}`} title="Download as a WAV file"><Icon name="save" /></a>}
            </div>
          );
        })}
      </div>
      <div class="listen-track">
        <input
          type="range"
          aria-label={`Position in ${title}`}
          min={0}
          max={durationS}
          step="any"
          value={pair.positionS}
          aria-valuetext={`${clock(pair.positionS)} of ${duration(durationS)}`}
          onInput={(event) => pair.seek(event.currentTarget.valueAsNumber)}
        />
        <span class="player-time small muted number">{pair.positionS.toFixed(1)} / {durationS.toFixed(1)} s</span>
      </div>
    </div>
  );
}
