// A picture of a sound: 16-bit PCM WAV -> Hann-windowed Fourier transforms -> logarithmic frequency -> colours.
//
// Cooley-Tukey radix-2 transform, in place. 80 dB of range below a sine at full scale, the same for every picture, so
// that a quiet sound looks quiet beside a loud one; 30 Hz to half the sample rate.

const FFT_SIZE = 1024;
const RANGE_DB = 80;
const LOWEST_HZ = 30;
/** Energy of a bin that holds a sine at full scale: half its amplitude times the sum of the Hann window, squared. */
const FULL_SCALE = (FFT_SIZE / 4) ** 2;

export interface Wave {
  readonly samples: Float32Array;
  readonly sampleRate: number;
}

/** The first channel of a 16-bit PCM WAV file, in [-1, 1]; null for anything else. */
export function readWav(buffer: ArrayBuffer): Wave | null {
  const view = new DataView(buffer);
  const tag = (at: number): string => String.fromCharCode(...new Uint8Array(buffer, at, 4));
  if (buffer.byteLength < 44 || tag(0) !== "RIFF" || tag(8) !== "WAVE") return null;
  let channels = 0;
  let sampleRate = 0;
  for (let at = 12; at + 8 <= buffer.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    if (tag(at) === "fmt ") {
      channels = view.getUint16(at + 10, true);
      sampleRate = view.getUint32(at + 12, true);
      if (view.getUint16(at + 22, true) !== 16) return null;
    } else if (tag(at) === "data" && channels > 0) {
      const end = Math.min(buffer.byteLength, at + 8 + size);
      const samples = new Float32Array(Math.floor((end - at - 8) / (2 * channels)));
      for (let index = 0; index < samples.length; index += 1) samples[index] = view.getInt16(at + 8 + index * 2 * channels, true) / 32_768;
      return { samples, sampleRate };
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

/** Levels in [0, 1], row by row from the highest frequency down: `height` rows of `width`. */
export function levels(wave: Wave, width: number, height: number): Float32Array {
  const power = new Float64Array(width * height);
  const real = new Float64Array(FFT_SIZE);
  const imaginary = new Float64Array(FFT_SIZE);
  const top = wave.sampleRate / 2;
  const bins = Array.from({ length: height }, (_, row) => {
    const hz = LOWEST_HZ * (top / LOWEST_HZ) ** (1 - row / (height - 1));
    return Math.min(FFT_SIZE / 2 - 1, (hz / wave.sampleRate) * FFT_SIZE);
  });
  for (let column = 0; column < width; column += 1) {
    const centre = Math.round(((column + 0.5) / width) * wave.samples.length);
    for (let index = 0; index < FFT_SIZE; index += 1) {
      const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * index) / FFT_SIZE);
      real[index] = (wave.samples[centre - FFT_SIZE / 2 + index] ?? 0) * hann;
      imaginary[index] = 0;
    }
    transform(real, imaginary);
    for (let row = 0; row < height; row += 1) {
      const low = Math.floor(bins[row] ?? 0);
      const part = (bins[row] ?? 0) - low;
      power[row * width + column] = energy(real, imaginary, low) * (1 - part) + energy(real, imaginary, low + 1) * part;
    }
  }
  return Float32Array.from(power, (value) => Math.min(1, Math.max(0, 1 + (10 * Math.log10(value / FULL_SCALE + 1e-12)) / RANGE_DB)));
}

function energy(real: Float64Array, imaginary: Float64Array, bin: number): number {
  return (real[bin] ?? 0) ** 2 + (imaginary[bin] ?? 0) ** 2;
}

function transform(real: Float64Array, imaginary: Float64Array): void {
  const size = real.length;
  for (let index = 1, reversed = 0; index < size; index += 1) {
    let bit = size >> 1;
    for (; reversed & bit; bit >>= 1) reversed ^= bit;
    reversed ^= bit;
    if (index < reversed) {
      [real[index], real[reversed]] = [real[reversed]!, real[index]!];
      [imaginary[index], imaginary[reversed]] = [imaginary[reversed]!, imaginary[index]!];
    }
  }
  for (let span = 2; span <= size; span <<= 1) {
    const half = span >> 1;
    const angle = (-2 * Math.PI) / span;
    for (let start = 0; start < size; start += span) {
      for (let offset = 0; offset < half; offset += 1) {
        const even = start + offset;
        const odd = even + half;
        const cosine = Math.cos(angle * offset);
        const sine = Math.sin(angle * offset);
        const oddReal = real[odd]! * cosine - imaginary[odd]! * sine;
        const oddImaginary = real[odd]! * sine + imaginary[odd]! * cosine;
        real[odd] = real[even]! - oddReal;
        imaginary[odd] = imaginary[even]! - oddImaginary;
        real[even] = real[even]! + oddReal;
        imaginary[even] = imaginary[even]! + oddImaginary;
      }
    }
  }
}

/** From silence to loud: near black, violet, rose, amber, pale yellow. */
const STOPS: readonly (readonly [number, number, number])[] = [
  [18, 13, 34], [72, 34, 140], [158, 52, 172], [228, 84, 130], [250, 150, 92], [254, 232, 178],
];

/** The colour of a level in [0, 1]. */
export function colour(level: number): readonly [number, number, number] {
  const place = Math.min(0.9999, Math.max(0, level)) * (STOPS.length - 1);
  const low = STOPS[Math.floor(place)]!;
  const high = STOPS[Math.floor(place) + 1]!;
  const part = place % 1;
  return [low[0] + (high[0] - low[0]) * part, low[1] + (high[1] - low[1]) * part, low[2] + (high[2] - low[2]) * part];
}

/** The picture of a wave, `width` by `height` pixels. */
export function picture(wave: Wave, width: number, height: number): ImageData {
  const image = new ImageData(width, height);
  levels(wave, width, height).forEach((level, index) => {
    const [red, green, blue] = colour(level);
    image.data.set([red, green, blue, 255], index * 4);
  });
  return image;
}
