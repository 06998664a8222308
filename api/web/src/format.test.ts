import { describe, expect, it } from "vitest";
import { ago, bytes, clock, count, duration, fieldLabel, hertz, measure, plural, remaining, setting } from "./format";

describe("formats", () => {
  it.each([
    [count(12_000), "12,000"],
    [count(null), "–"],
    [plural(1, "clip"), "1 clip"],
    [plural(2000, "clip"), "2,000 clips"],
    [measure(0.0421), "0.0421"],
    [measure(-1.6249), "-1.62"],
    [measure(21_345.6), "21,346"],
    [measure(0.00002), "2.0e-5"],
    [measure(Number.NaN), "–"],
    [duration(0.42), "0.42 s"],
    [duration(59.7), "1 min 00 s"],
    [duration(245), "4 min 05 s"],
    [duration(7800), "2 h 10 min"],
    [duration(273_600), "3 d 4 h"],
    [remaining(20), "under a minute"],
    [remaining(720), "about 12 min"],
    [remaining(10_800), "about 3 h"],
    [remaining(null), ""],
    [ago(1), "just now"],
    [ago(300), "5 min ago"],
    [bytes(0), "0 B"],
    [bytes(12_400_000), "12 MB"],
    [bytes(578_744_320), "579 MB"],
    [hertz(44_100), "44.1 kHz"],
    [clock(187), "3:07"],
    [setting([1, 0.75]), "1, 0.75"],
    [setting(false), "off"],
    [fieldLabel("kl_warmup_fraction"), "KL warm-up fraction"],
    [fieldLabel("spectrogram.n_fft"), "FFT size"],
    [fieldLabel("noise_db"), "Noise (dB)"],
    [fieldLabel("pitches"), "Pitches (semitones)"],
    [fieldLabel("pitch_probability"), "Pitch probability"],
  ])("%s", (actual, expected) => {
    expect(actual).toBe(expected);
  });
});
