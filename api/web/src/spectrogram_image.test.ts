import { describe, expect, it } from "vitest";
import { colour, levels, readWav } from "./spectrogram_image";

/** A mono 16-bit WAV file of a sine. */
function sineWav(hz: number, sampleRate: number, length: number): ArrayBuffer {
  const buffer = new ArrayBuffer(44 + 2 * length);
  const view = new DataView(buffer);
  const put = (at: number, text: string): void => [...text].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  put(0, "RIFF");
  put(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, sampleRate, true);
  view.setUint16(34, 16, true);
  put(36, "data");
  view.setUint32(40, 2 * length, true);
  for (let index = 0; index < length; index += 1) view.setInt16(44 + 2 * index, 30_000 * Math.sin((2 * Math.PI * hz * index) / sampleRate), true);
  return buffer;
}

describe("readWav", () => {
  it("reads samples and rate", () => {
    const wave = readWav(sineWav(1000, 48_000, 480));
    expect(wave?.sampleRate).toBe(48_000);
    expect(wave?.samples).toHaveLength(480);
    expect(wave?.samples[12]).toBeCloseTo(30_000 / 32_768, 2);
  });

  it("gives null for anything else", () => {
    expect(readWav(new ArrayBuffer(100))).toBeNull();
  });
});

describe("levels", () => {
  it("is loudest where the tone is", () => {
    const height = 64;
    const wave = readWav(sineWav(1000, 48_000, 48_000))!;
    const shown = levels(wave, 3, height);
    const column = Array.from({ length: height }, (_, row) => shown[row * 3 + 1] ?? 0);
    const row = column.indexOf(Math.max(...column));
    // Rows fall from half the rate to 30 Hz in equal ratios.
    const hz = 30 * (24_000 / 30) ** (1 - row / (height - 1));
    expect(hz).toBeGreaterThan(900);
    expect(hz).toBeLessThan(1110);
  });

  it("shows a quiet tone darker than a loud one, against full scale", () => {
    const { samples, sampleRate } = readWav(sineWav(1000, 48_000, 48_000))!;
    const loud = Math.max(...levels({ samples, sampleRate }, 3, 64));
    const quiet = Math.max(...levels({ samples: samples.map((value) => value / 100), sampleRate }, 3, 64));
    expect(loud).toBeGreaterThan(0.9);
    expect(loud - quiet).toBeCloseTo(40 / 80, 1);
  });

  it("shows silence as nothing", () => {
    expect(Math.max(...levels({ samples: new Float32Array(4800), sampleRate: 48_000 }, 4, 8))).toBe(0);
  });
});

describe("colour", () => {
  it("gets brighter with the level", () => {
    const brightness = [0, 0.25, 0.5, 0.75, 1].map((level) => colour(level).reduce((sum, part) => sum + part, 0));
    expect(brightness).toEqual([...brightness].sort((a, b) => a - b));
  });
});
