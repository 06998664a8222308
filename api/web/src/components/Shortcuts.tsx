import { signal } from "@preact/signals";
import { useLocation } from "preact-iso";
import { useEffect } from "preact/hooks";
import { may } from "../session";
import { Dialog } from "./Dialog";

/** Pages by the letter that follows a G. */
const PAGES: Readonly<Record<string, readonly [href: string, name: string]>> = {
  q: ["/", "Queue"], d: ["/datasets", "Datasets"], ...(may("jobs.submit_job") && { n: ["/new", "New job"] as const }), w: ["/workers", "Workers"], c: ["/compare", "Compare"], m: ["/models", "Models"],
};

const OTHERS: readonly (readonly [keys: readonly string[], what: string])[] = [
  [["/"], "Search, where there is a search"],
  [["?"], "This list"],
  [["Alt", "↑ ↓"], "Move a waiting job whose handle has the focus"],
  [["Shift", "click"], "Select all jobs between two"],
  [["← →"], "Between the tabs of a job, and through its previews"],
  [["Shift", "wheel"], "Move a chart that is zoomed in"],
  [["Esc"], "Close what is open"],
];

/** Time between the two keys of a page. */
const SECOND_KEY_MS = 1500;

export const isShortcutsOpen = signal(false);

/** Listens for the keys, and shows them when asked. Not while somebody types. */
export function Shortcuts() {
  const { route } = useLocation();
  useEffect(() => {
    let goesUntil = 0;
    const press = (event: KeyboardEvent): void => {
      const { key, target, timeStamp } = event;
      const isTyping = target instanceof HTMLElement && target.closest("input:not([type='range'], [type='checkbox'], [type='radio']), select, textarea, [contenteditable]");
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping || document.querySelector("dialog[open]")) return;
      const page = timeStamp < goesUntil ? PAGES[key] : undefined;
      goesUntil = key === "g" ? timeStamp + SECOND_KEY_MS : 0;
      if (page) route(page[0]);
      else if (key === "?") isShortcutsOpen.value = true;
      else if (key === "/") {
        const search = document.querySelector<HTMLElement>("main input[type='search']");
        if (search) event.preventDefault();
        search?.focus();
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [route]);
  if (!isShortcutsOpen.value) return null;
  const close = (): void => { isShortcutsOpen.value = false; };
  return (
    <Dialog title="Keyboard shortcuts" onClose={close} onSubmit={close}>
      <dl class="shortcuts">
        {Object.entries(PAGES).map(([key, [href, name]]) => <Row key={href} keys={["G", key.toUpperCase()]} what={name} />)}
        {OTHERS.map(([keys, what]) => <Row key={what} keys={keys} what={what} />)}
      </dl>
      <div class="dialog-foot"><button type="submit" class="button">Close</button></div>
    </Dialog>
  );
}

function Row({ keys, what }: { keys: readonly string[]; what: string }) {
  return <div><dt>{keys.map((key) => <kbd key={key}>{key}</kbd>)}</dt><dd>{what}</dd></div>;
}
