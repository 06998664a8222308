import { useState } from "preact/hooks";

/** The picture of a preview's sound, fetched when it comes into view; `share` (0 … 1) is where the sound is. */
export function Spectrogram({ src, share }: { src: string; share: number }) {
  const picture = src.replace(/\.wav$/, ".png");
  const [missing, setMissing] = useState("");
  return (
    <div class="spectrogram" aria-hidden="true">
      {missing !== picture && <img src={picture} alt="" loading="lazy" decoding="async" onError={() => setMissing(picture)} />}
      {share > 0 && <i style={{ insetInlineStart: `${share * 100}%` }} />}
    </div>
  );
}
