// Two sounds at the same position and equally loud, of which one is heard.
import { takeOver } from "../../components/one_sound";

/** How fast it changes from one to the other: too fast to notice, too slow to click. */
const FADE_S = 0.015;

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

export class BlindPlayer {
  private readonly context = new AudioContext();
  private playing: { readonly sources: AudioBufferSourceNode[]; readonly gains: GainNode[]; readonly startedAt: number } | null = null;
  private from = 0;
  private heard = 0;

  private constructor(private readonly sounds: readonly AudioBuffer[], private readonly factors: readonly number[], private readonly onStop: () => void) {}

  /** Fetches the sounds; rejects when one cannot be had. */
  static async load(urls: readonly string[], onStop: () => void): Promise<BlindPlayer> {
    const decoder = new OfflineAudioContext(1, 1, 48_000);
    const sounds = await Promise.all(urls.map(async (url) => {
      const response = await fetch(url);
      if (!response.ok) throw new Error("A sound could not be loaded.");
      return decoder.decodeAudioData(await response.arrayBuffer());
    }));
    const levels = sounds.map((sound) => loudness(Array.from({ length: sound.numberOfChannels }, (_, channel) => sound.getChannelData(channel))));
    return new BlindPlayer(sounds, matched(levels), onStop);
  }

  get durationS(): number {
    return Math.min(...this.sounds.map(({ duration }) => duration));
  }

  get positionS(): number {
    if (!this.playing) return this.from;
    return Math.min(this.durationS, this.from + this.context.currentTime - this.playing.startedAt);
  }

  /** Which of them is heard. */
  choose(index: number): void {
    this.heard = index;
    this.playing?.gains.forEach((gain, one) => gain.gain.setTargetAtTime(this.gainOf(one), this.context.currentTime, FADE_S / 3));
  }

  play(): void {
    takeOver(this.pause);
    void this.context.resume();
    if (this.playing) return;
    const gains = this.sounds.map((_, index) => new GainNode(this.context, { gain: this.gainOf(index) }));
    const sources = this.sounds.map((buffer) => new AudioBufferSourceNode(this.context, { buffer }));
    sources.forEach((source, index) => {
      source.connect(gains[index] as GainNode).connect(this.context.destination);
      source.start(0, this.from);
    });
    this.playing = { sources, gains, startedAt: this.context.currentTime };
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
    if (!this.playing) return;
    this.from = this.positionS;
    const { sources } = this.playing;
    this.playing = null;
    for (const source of sources) source.stop();
    this.onStop();
  };

  seek(seconds: number): void {
    const goesOn = this.playing !== null;
    this.pause();
    this.from = seconds;
    if (goesOn) this.play();
  }

  close(): void {
    this.pause();
    void this.context.close();
  }

  private gainOf(index: number): number {
    return index === this.heard ? (this.factors[index] ?? 1) : 0;
  }
}
