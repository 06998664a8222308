import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { clock, duration } from "../format";
import { tellError } from "../store/toasts";
import { Icon } from "./Icon";
import { takeOver } from "./one_sound";
import { Spectrogram } from "./Spectrogram";

/** Plays one sound when asked to, never by itself; `draws` adds its spectrogram, `wave` (an address) its waveform. */
export function Player({ src, label, durationS, draws = false, wave }: { src: string; label: string; durationS: number; draws?: boolean; wave?: string }) {
  const audio = useRef<HTMLAudioElement>(null);
  const [isPlaying, setPlaying] = useState(false);
  const [position, setPosition] = useState(0);

  useEffect(() => {
    if (!isPlaying) return;
    let frame = 0;
    const follow = (): void => {
      setPosition(audio.current?.currentTime ?? 0);
      frame = requestAnimationFrame(follow);
    };
    frame = requestAnimationFrame(follow);
    return () => cancelAnimationFrame(frame);
  }, [isPlaying]);
  useEffect(() => () => audio.current?.pause(), []);

  const stop = useCallback(() => audio.current?.pause(), []);
  const toggle = (): void => {
    const element = audio.current;
    if (!element) return;
    if (!element.paused) {
      element.pause();
      return;
    }
    takeOver(stop);
    element.play().catch((error: unknown) => {
      // Pressing pause before the first sound is no fault.
      if (!(error instanceof DOMException && error.name === "AbortError")) tellError(new Error(`${label} could not be played.`));
    });
  };
  const seek = (seconds: number): void => {
    if (audio.current) audio.current.currentTime = seconds;
    setPosition(seconds);
  };

  return (
    <div class={`player${draws ? " player-draws" : ""}`}>
      <button type="button" class="player-button" aria-label={`${isPlaying ? "Pause" : "Play"} ${label}`} onClick={toggle}>
        <Icon name={isPlaying ? "pause" : "play"} />
      </button>
      <div class="player-track">
        {draws && <Spectrogram src={src} share={durationS > 0 ? position / durationS : 0} />}
        {wave && <i class="wave" style={{ maskImage: `url(${wave})` }} aria-hidden="true" />}
        <input
          type="range"
          aria-label={`Position in ${label}`}
          min={0}
          max={durationS}
          step="any"
          value={position}
          aria-valuetext={`${clock(position)} of ${duration(durationS)}`}
          onInput={(event) => seek(event.currentTarget.valueAsNumber)}
        />
      </div>
      <span class="player-time small muted number">{durationS >= 10 ? `${clock(position)} / ${clock(durationS)}` : `${position.toFixed(1)} / ${durationS.toFixed(1)} s`}</span>
      <audio
        ref={audio}
        src={src}
        preload="none"
        onPlay={() => setPlaying(true)}
        onPause={() => setPlaying(false)}
        onEnded={() => {
          setPlaying(false);
          setPosition(0);
        }}
      />
    </div>
  );
}
