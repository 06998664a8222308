// A row that goes to another group is drawn anew there: whoever was on it with the keyboard stays on it.
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

interface Held {
  readonly control: HTMLElement;
  readonly job: string;
  readonly name: string;
}

/** To be called by what draws all rows: gives the focus back to the control whose row went elsewhere. */
export function useKeptFocus(): void {
  const held = useRef<Held | null>(null);
  useEffect(() => {
    const note = ({ target }: FocusEvent): void => {
      const control = target as HTMLElement;
      const job = control.closest<HTMLElement>("[data-job]")?.dataset["job"];
      held.current = job === undefined ? null : { control, job, name: nameOf(control) };
    };
    // Who presses somewhere on the page leaves the row, though nothing else may get the focus.
    const leave = (): void => {
      held.current = null;
    };
    document.addEventListener("focusin", note);
    document.addEventListener("pointerdown", leave, true);
    return () => {
      document.removeEventListener("focusin", note);
      document.removeEventListener("pointerdown", leave, true);
    };
  }, []);
  useLayoutEffect(() => {
    if (!held.current || held.current.control.isConnected || document.activeElement !== document.body) return;
    const { job, name } = held.current;
    const controls = [...document.querySelectorAll<HTMLElement>(`[data-job="${job}"] :is(a, button, input)`)];
    // What can be done with the job has changed, perhaps: its name leads to it in any state.
    (controls.find((each) => nameOf(each) === name) ?? controls.find((each) => each.matches(".job-name")))?.focus();
  });
}

const nameOf = (control: HTMLElement): string => control.getAttribute("aria-label") ?? control.textContent ?? "";
