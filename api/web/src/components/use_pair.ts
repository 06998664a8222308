// A PairPlayer as a component sees it.
import { useEffect, useRef, useState } from "preact/hooks";
import { tellError } from "../store/toasts";
import { PairPlayer } from "./pair_player";

export interface Pair {
  readonly heard: number;
  readonly isPlaying: boolean;
  readonly positionS: number;
  /** Factor that the heard sound is played with; null before it was loaded. */
  readonly factor: number | null;
  /** Plays this one, from where the one before is. */
  readonly hear: (index: number) => void;
  /** Stops, or plays the one that was heard last. */
  readonly toggle: () => void;
  readonly seek: (seconds: number) => void;
}

/** Sounds that are fetched when one of them is played; with other `urls` it goes on where it is. */
export function usePair(urls: readonly string[]): Pair {
  const [isPlaying, setPlaying] = useState(false);
  const [heard, setHeard] = useState(0);
  const [positionS, setPosition] = useState(0);
  const [factor, setFactor] = useState<number | null>(null);
  const kept = useRef<PairPlayer | null>(null);
  const player = (kept.current ??= new PairPlayer(() => setPlaying(false)));

  useEffect(() => () => player.close(), []);
  useEffect(() => {
    // What was never played need not be loaded.
    if (factor !== null) player.load(urls).catch(tellError);
  }, [urls.join(" ")]);
  useEffect(() => {
    setPosition(player.positionS);
    if (!isPlaying) return;
    let frame = 0;
    const follow = (): void => {
      setPosition(player.positionS);
      frame = requestAnimationFrame(follow);
    };
    frame = requestAnimationFrame(follow);
    return () => cancelAnimationFrame(frame);
  }, [isPlaying]);

  const hear = (index: number): void => {
    setHeard(index);
    player.choose(index);
    player.load(urls).then((isReady) => {
      if (!isReady) return;
      setFactor(player.factor(index));
      player.play();
      setPlaying(true);
    }, tellError);
  };
  return {
    heard, isPlaying, positionS, factor, hear,
    toggle: () => (isPlaying ? player.pause() : hear(heard)),
    seek: (seconds) => {
      player.seek(seconds);
      setPosition(seconds);
    },
  };
}
