// Sounds at the same position and equally loud, of which one is heard. They can be exchanged while they play.
import { takeOver } from "./one_sound";

/** How fast it changes from one to the other: too fast to notice, too slow to click. */
const FADE_S = 0.015;
/** Decoded sounds that are kept, so that going back and forth between epochs waits for nothing. */
const KEPT = 24;

/** Root of the mean square over all samples. */
export function loudness(channels: readonly Float32Array[]): number {
  let sum = 0;
  let samples = 0;
  for (const channel of channels) {
    for (const value of channel) sum += value * value;
    samples += channel.length;
  }
  return samples > 0 ? Math.sqrt(sum / samples) : 0;
}

/** Factors that make sounds of these loudnesses as loud as the softest; silence stays as it is. */
export function matched(levels: readonly number[]): number[] {
  const softest = Math.min(...levels.filter((level) => level > 0));
  return levels.map((level) => (level > 0 ? softest / level : 1));
}

const kept = new Map<string, Promise<AudioBuffer>>();

function decoded(url: string): Promise<AudioBuffer> {
  const sound = kept.get(url) ?? fetchSound(url);
  kept.delete(url);
  kept.set(url, sound);
  sound.catch(() => kept.delete(url));
  if (kept.size > KEPT) kept.delete(kept.keys().next().value ?? "");
  return sound;
}

async function fetchSound(url: string): Promise<AudioBuffer> {
  const response = await fetch(url);
  if (!response.ok) throw new Error("A sound could not be loaded.");
  return new OfflineAudioContext(1, 1, 48_000).decodeAudioData(await response.arrayBuffer());
}

interface Playing {
  readonly sources: readonly AudioBufferSourceNode[];
  readonly gains: readonly GainNode[];
  readonly startedAt: number;
}

export class PairPlayer {
  private context: AudioContext | null = null;
  private sounds: readonly AudioBuffer[] = [];
  private factors: readonly number[] = [];
  private loaded = "";
  private wanted = "";
  private playing: Playing | null = null;
  private from = 0;
  private heard = 0;

  constructor(private readonly onStop: () => void) {}

  /** Takes other sounds; what plays goes on with them where it is. False when others were asked for meanwhile. */
  async load(urls: readonly string[]): Promise<boolean> {
    const key = urls.join(" ");
    this.wanted = key;
    if (this.loaded === key) return true;
    const sounds = await Promise.all(urls.map(decoded));
    if (this.wanted !== key) return false;
    const goesOn = this.halt();
    this.sounds = sounds;
    this.factors = matched(sounds.map((sound) => loudness(Array.from({ length: sound.numberOfChannels }, (_, channel) => sound.getChannelData(channel)))));
    this.loaded = key;
    if (goesOn) this.play();
    return true;
  }

  get positionS(): number {
    if (!this.playing || !this.context) return this.from;
    return Math.min(this.durationS, this.from + this.context.currentTime - this.playing.startedAt);
  }

  /** Factor that a sound is played with, so that all are equally loud. */
  factor(index: number): number {
    return this.factors[index] ?? 1;
  }

  /** Which of them is heard. */
  choose(index: number): void {
    this.heard = index;
    const { context, playing } = this;
    if (context) playing?.gains.forEach((gain, one) => gain.gain.setTargetAtTime(this.gainOf(one), context.currentTime, FADE_S / 3));
  }

  play(): void {
    takeOver(this.pause);
    // Browsers want a click before they give one.
    const context = (this.context ??= new AudioContext());
    void context.resume();
    if (this.playing) return;
    const gains = this.sounds.map((_, index) => new GainNode(context, { gain: this.gainOf(index) }));
    const sources = this.sounds.map((buffer) => new AudioBufferSourceNode(context, { buffer }));
    sources.forEach((source, index) => {
      source.connect(gains[index] as GainNode).connect(context.destination);
      source.start(0, this.from);
    });
    this.playing = { sources, gains, startedAt: context.currentTime };
    const [first] = sources;
    if (first) {
      first.onended = () => {
        if (this.playing?.sources[0] !== first) return;
        this.pause();
        this.from = 0;
        this.onStop();
      };
    }
  }

  readonly pause = (): void => {
    if (this.halt()) this.onStop();
  };

  seek(seconds: number): void {
    const goesOn = this.halt();
    this.from = seconds;
    if (goesOn) this.play();
  }

  close(): void {
    this.wanted = "";
    this.pause();
    void this.context?.close();
  }

  private get durationS(): number {
    return Math.min(...this.sounds.map(({ duration }) => duration));
  }

  /** Stops where it is; true when it played. */
  private halt(): boolean {
    if (!this.playing) return false;
    this.from = this.positionS;
    const { sources } = this.playing;
    this.playing = null;
    for (const source of sources) source.stop();
    return true;
  }

  private gainOf(index: number): number {
    return index === this.heard ? this.factor(index) : 0;
  }
}
