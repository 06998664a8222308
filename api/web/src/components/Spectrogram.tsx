import { useEffect, useRef } from "preact/hooks";
import { picture, readWav } from "../spectrogram_image";

const WIDTH = 180;
const HEIGHT = 72;

/** The spectrogram of a WAV file, drawn when it comes into view; `share` (0 … 1) is where the sound is. */
export function Spectrogram({ src, share }: { src: string; share: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    let isGone = false;
    const watcher = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      void draw(element, src, () => isGone);
    }, { rootMargin: "200px" });
    watcher.observe(element);
    return () => {
      isGone = true;
      watcher.disconnect();
    };
  }, [src]);
  return (
    <div class="spectrogram" aria-hidden="true">
      <canvas ref={canvas} width={WIDTH} height={HEIGHT} />
      {share > 0 && <i style={{ insetInlineStart: `${share * 100}%` }} />}
    </div>
  );
}

async function draw(canvas: HTMLCanvasElement, src: string, isGone: () => boolean): Promise<void> {
  try {
    const response = await fetch(src);
    const wave = response.ok ? readWav(await response.arrayBuffer()) : null;
    if (!wave || isGone()) return;
    canvas.getContext("2d")?.putImageData(picture(wave, WIDTH, HEIGHT), 0, 0);
    canvas.dataset["drawn"] = "true";
  } catch {
    // The sound still plays; only its picture is missing.
  }
}
