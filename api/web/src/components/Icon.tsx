// Small line drawings, 24 by 24, always beside a word or a label.
const PATHS = {
  clock: "M12 7v5l3 2M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  hand: "M10 8v8M14 8v8M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  work: "M21 12a9 9 0 1 1-6.2-8.6",
  check: "m8 12.5 2.7 2.7L16 9.5M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  cross: "m9 9 6 6m0-6-6 6M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  alert: "M12 9v4m0 3.5v.01M10.3 4 2.6 17.5A2 2 0 0 0 4.3 20.5h15.4a2 2 0 0 0 1.7-3L13.7 4a2 2 0 0 0-3.4 0Z",
  close: "m6 6 12 12M18 6 6 18",
  play: "M8 5.5v13l10.5-6.5L8 5.5Z",
  pause: "M8.5 5.5v13M15.5 5.5v13",
  stop: "M7 7h10v10H7z",
  save: "M12 4v11m0 0-4-4m4 4 4-4M5 19.5h14",
  plus: "M12 5v14M5 12h14",
  ear: "M4 10v4M8 7v10M12 4v16M16 8v8M20 10.5v3",
  again: "M4 12a8 8 0 1 0 2.5-5.8M4 4v4.5h4.5",
  branch: "M6 4v16M6 14c8 0 11-3 11-9m0 0-3.5 3.5M17 5l3.5 3.5",
  copy: "M9 9h10v10H9zM5 15V5h10",
  folder: "M3.5 6.5v11a1.5 1.5 0 0 0 1.5 1.5h14a1.5 1.5 0 0 0 1.5-1.5v-8A1.5 1.5 0 0 0 19 8h-7l-2-2.5H5A1.5 1.5 0 0 0 3.5 7Z",
  tick: "m5 12.5 4.5 4.5L19 7.5",
  more: "M5.5 12h.01M12 12h.01M18.5 12h.01",
  grip: "M9 6h.01M15 6h.01M9 12h.01M15 12h.01M9 18h.01M15 18h.01",
  back: "m14.5 5.5-6.5 6.5 6.5 6.5",
  forth: "m9.5 5.5 6.5 6.5-6.5 6.5",
  up: "M12 19V5m0 0-5.5 5.5M12 5l5.5 5.5",
  down: "M12 5v14m0 0 5.5-5.5M12 19l-5.5-5.5",
  first: "M12 20V8m0 0-5 5m5-5 5 5M6 4h12",
  last: "M12 4v12m0 0 5-5m-5 5-5-5M6 20h12",
  edit: "M4 20l1-4L16 5a2 2 0 0 1 3 3L8 19l-4 1Z",
  place: "M12 21s7-6.2 7-11.5a7 7 0 0 0-14 0C5 14.8 12 21 12 21Zm0-9a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Z",
  layers: "m12 4 8.5 4.5L12 13 3.5 8.5 12 4Zm-8.5 9L12 17.5 20.5 13",
  bin: "M5 7h14M10 4h4M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  pin: "M9 4h6l-1 6 3 3v1.5H7V13l3-3-1-6Zm3 10.5V20",
  file: "M7 3.5h7l4 4v13H7zM13.5 4v4H18M10 13h5M10 16.5h5",
  link: "M9.5 14.5 14.5 9.5M8 11l-2.5 2.5a3.5 3.5 0 0 0 5 5L13 16m-2-8 2.5-2.5a3.5 3.5 0 0 1 5 5L16 13",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, spin = false }: { name: IconName; spin?: boolean }) {
  return (
    <svg
      class={spin ? "spin" : undefined}
      viewBox="0 0 24 24"
      width="16"
      height="16"
      fill={name === "play" ? "currentColor" : "none"}
      stroke="currentColor"
      stroke-width={name === "more" || name === "grip" ? 3 : 2}
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
      focusable="false"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
